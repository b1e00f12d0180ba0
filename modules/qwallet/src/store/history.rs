//! Each account's transfers by version, merged behind the journal in sorted batches.
//!
//! Entries keyed by account would be random inserts on the hot path, the most expensive kind. The journal
//! is in order of arrival; a job sorts what has arrived since and adds it account by account. A reader who
//! needs an account's history merges first.

use std::collections::{BTreeMap, HashMap};

use q_core::{SignedAmount, Timestamp};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};

use super::ledger::{WRITER_SPAN, end_of_span, writers};
use crate::domain::account::{Account, AccountId};

/// How many transfers a question reads that are in no history yet before it has them merged: a few milliseconds.
pub const UNMERGED_READ_MAX: i64 = 1_024;

/// How many transfers one merge takes on: about 30 ms of the writer's time.
pub const MERGE_TRANSFERS_MAX: i64 = 8_192;

/// The cursor's name: the place up to which a writer's journal is merged. Places of two writers say nothing of each
/// other's order, so each writer has a cursor.
fn cursor(writer: i64) -> String {
    if writer == 1 { "history".to_owned() } else { format!("history:{writer}") }
}

/// Where a writer's journal begins to be unmerged.
fn merged_to(reader: &mut Reader<'_>, writer: i64) -> Result<i64, DbError> {
    Ok(reader.cursor(&cursor(writer))?.max((writer - 1) * WRITER_SPAN))
}

/// Merges the next transfers of the writer that has most, so that one who goes on writing keeps no other waiting;
/// answers whether there may be more. For `write_locked`: mergers take turns.
pub fn merge(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    tx.lock("qwallet.history")?;
    let (writers, backlogs) = (writers(tx)?, backlogs(tx)?);
    let most = writers.into_iter().zip(&backlogs).max_by_key(|(_, backlog)| **backlog);
    let Some((writer, _)) = most.filter(|(_, backlog)| **backlog > 0) else { return Ok(false) };
    let merged = merge_writer(tx, writer)?;
    // Another writer may have more even if this one has not.
    Ok(merged >= MERGE_TRANSFERS_MAX || backlogs.iter().filter(|backlog| **backlog > 0).count() > 1)
}

/// How many merges these backlogs take. Whoever merges until nothing is left would never end while others write.
pub fn merges(backlogs: &[i64]) -> i64 {
    backlogs.iter().map(|backlog| (backlog.max(&0) + MERGE_TRANSFERS_MAX - 1) / MERGE_TRANSFERS_MAX).sum()
}

fn merge_writer(tx: &mut Tx<'_>, writer: i64) -> Result<i64, DbError> {
    const COLUMNS: [Column; 3] =
        [Column::integer("account"), Column::integer("version"), Column::integer("seq")];
    let from = merged_to(tx, writer)?;
    let sql = "SELECT seq, debit, debit_version, credit, credit_version FROM transfers \
               WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3";
    let rows = tx.query(sql, params![from, end_of_span(from), MERGE_TRANSFERS_MAX])?;
    let Some(last) = rows.last() else { return Ok(0) };
    let last: i64 = last.try_get(0)?;
    let mut entries: Vec<(i64, i64, i64)> = Vec::with_capacity(rows.len() * 2);
    for row in &rows {
        let seq = row.try_get(0)?;
        entries.push((row.try_get(1)?, row.try_get(2)?, seq));
        entries.push((row.try_get(3)?, row.try_get(4)?, seq));
    }
    entries.sort_unstable();
    let values: Vec<[Value; 3]> = entries
        .into_iter()
        .map(|(account, version, seq)| [account.into(), version.into(), seq.into()])
        .collect();
    tx.insert_many("history", &COLUMNS, &values)?;
    tx.set_cursor(&cursor(writer), last)?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX))
}

/// How many transfers wait to be merged, by writer.
pub fn backlogs(reader: &mut Reader<'_>) -> Result<Vec<i64>, DbError> {
    let mut backlogs = Vec::new();
    for writer in writers(reader)? {
        let from = merged_to(reader, writer)?;
        let sql = "SELECT COALESCE(MAX(seq), $1) FROM transfers WHERE seq > $1 AND seq <= $2";
        let last: i64 = reader.query_one(sql, params![from, end_of_span(from)])?.try_get(0)?;
        backlogs.push(last - from);
    }
    Ok(backlogs)
}

/// An account's transfers that are in no history yet: version, place, settled balance after it, when.
///
/// Together with the history, read from the same snapshot, they are every transfer of the account: one writer's may be
/// merged while another's, between them, are not.
pub(super) fn unmerged(
    reader: &mut Reader<'_>,
    account: AccountId,
) -> Result<BTreeMap<i64, (i64, SignedAmount, Timestamp)>, DbError> {
    let sql = format!(
        "SELECT CASE WHEN transfers.debit = $1 THEN transfers.debit_version ELSE transfers.credit_version END, \
         transfers.seq, {BALANCE}, commits.at FROM transfers JOIN commits ON commits.id = transfers.commit_id \
         WHERE transfers.seq > $2 AND transfers.seq <= $3 AND (transfers.debit = $1 OR transfers.credit = $1)"
    );
    let mut found = BTreeMap::new();
    for writer in writers(reader)? {
        let from = merged_to(reader, writer)?;
        for row in reader.query(&sql, params![account.0, from, end_of_span(from)])? {
            found.insert(row.try_get(0)?, (row.try_get(1)?, balance(&row, 2)?, row.try_get(3)?));
        }
    }
    Ok(found)
}

const BALANCE: &str =
    "CASE WHEN transfers.debit = $1 THEN transfers.debit_balance ELSE transfers.credit_balance END";

fn balance(row: &Row, column: usize) -> Result<SignedAmount, DbError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    SignedAmount::from_bytes(&bytes).ok_or(DbError::BadRow { column, expected: "a balance" })
}

/// The places of an account's transfers with versions below `before`, newest first.
pub fn places_before(
    reader: &mut Reader<'_>,
    account: AccountId,
    before: i64,
    count: u32,
) -> Result<Vec<(i64, i64)>, DbError> {
    let unmerged = unmerged(reader, account)?;
    let sql =
        "SELECT version, seq FROM history WHERE account = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
    let rows = reader.query(sql, params![account.0, before, count])?;
    let merged: Result<Vec<(i64, i64)>, DbError> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect();
    let mut places = merged?;
    places.extend(unmerged.range(..before).map(|(version, (seq, ..))| (*version, *seq)));
    places.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
    places.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    Ok(places)
}

/// The settled balance of an account at a past instant.
pub fn balance_at(
    reader: &mut Reader<'_>,
    account: &Account,
    at: Timestamp,
) -> Result<SignedAmount, DbError> {
    version_at(reader, account, at).map(|(_, balance)| balance)
}

/// The version of an account at a past instant, 0 before its first transfer, and its settled balance then. For many
/// accounts at one instant, ask [`Past`] itself.
pub fn version_at(
    reader: &mut Reader<'_>,
    account: &Account,
    at: Timestamp,
) -> Result<(i64, SignedAmount), DbError> {
    Past::at(reader, at)?.version(reader, account.id)
}

/// What was settled at a past instant.
///
/// An instant is a place in the journal of each writer, and along an account's gap-free versions time does not go back:
/// so the version that was the last one then is found by halves, in one statement that reads nothing but the history.
#[derive(Debug)]
pub struct Past {
    /// Each writer's first and last place by then.
    ranges: Vec<(i64, i64)>,
    /// What is in no history yet: the last version of an account by then, and the balance after it.
    unmerged: HashMap<AccountId, (i64, SignedAmount)>,
    commit: (i64, Timestamp),
}

impl Past {
    /// The books at `at`, to be asked with the same reader.
    pub fn at(reader: &mut Reader<'_>, at: Timestamp) -> Result<Self, DbError> {
        let past = Self::at_within(reader, at, i64::MAX)?;
        past.ok_or(DbError::BadRow { column: 0, expected: "a bound" })
    }

    /// The books at `at`, unless more than `most` transfers of a writer would have to be read that are in no history yet:
    /// then merging them comes first.
    pub fn at_within(reader: &mut Reader<'_>, at: Timestamp, most: i64) -> Result<Option<Self>, DbError> {
        let mut past =
            Self { ranges: Vec::new(), unmerged: HashMap::new(), commit: (0, Timestamp::default()) };
        // A file has one writer, whose chain the index of commits by time is.
        if !reader.is_server() {
            let sql = "SELECT id, at, first_seq + transfer_count - 1, \
                       COALESCE((SELECT position FROM q_cursors WHERE name = $2), 0) FROM commits WHERE at <= $1 \
                       ORDER BY at DESC, id DESC LIMIT 1";
            let Some(row) = reader.query_opt(sql, params![at, cursor(1)])? else { return Ok(Some(past)) };
            past.commit = (row.try_get(0)?, row.try_get(1)?);
            let (last, merged) = (row.try_get(2)?, row.try_get(3)?);
            return past.reach(reader, 1, (merged, last), most);
        }
        past.commit = super::ledger::last_commit_at(reader, at)?;
        for writer in writers(reader)? {
            let Some(last) = last_place(reader, writer, at)? else { continue };
            let merged = merged_to(reader, writer)?;
            match past.reach(reader, writer, (merged, last), most)? {
                Some(reached) => past = reached,
                None => return Ok(None),
            }
        }
        Ok(Some(past))
    }

    /// Takes in a writer's journal up to a place.
    fn reach(
        mut self,
        reader: &mut Reader<'_>,
        writer: i64,
        (merged, last): (i64, i64),
        most: i64,
    ) -> Result<Option<Self>, DbError> {
        if last - merged > most {
            return Ok(None);
        }
        self.ranges.push(((writer - 1) * WRITER_SPAN, last));
        if merged < last {
            self.read_unmerged(reader, merged, last)?;
        }
        Ok(Some(self))
    }

    /// The newest commit by then, and its instant.
    pub const fn commit(&self) -> (i64, Timestamp) {
        self.commit
    }

    fn read_unmerged(&mut self, reader: &mut Reader<'_>, from: i64, to: i64) -> Result<(), DbError> {
        let sql = "SELECT debit, debit_version, debit_balance, credit, credit_version, credit_balance FROM transfers \
                   WHERE seq > $1 AND seq <= $2";
        reader.for_each(sql, params![from, to], |row| {
            for side in [0, 3] {
                let (account, version): (i64, i64) = (row.try_get(side)?, row.try_get(side + 1)?);
                let found = (version, balance(&row, side + 2)?);
                let last = self.unmerged.entry(AccountId(account)).or_insert(found);
                if last.0 < version {
                    *last = found;
                }
            }
            Ok(())
        })
    }

    /// The settled balance of an account then.
    pub fn balance(&self, reader: &mut Reader<'_>, account: AccountId) -> Result<SignedAmount, DbError> {
        self.version(reader, account).map(|(_, balance)| balance)
    }

    /// The version of an account then, 0 before its first transfer, and its settled balance.
    pub fn version(
        &self,
        reader: &mut Reader<'_>,
        account: AccountId,
    ) -> Result<(i64, SignedAmount), DbError> {
        let merged = self.merged(reader, account)?;
        let unmerged = self.unmerged.get(&account).copied();
        // One writer's transfers may be merged while another's between them are not: the newer version counts.
        let last = [merged, unmerged].into_iter().flatten().max_by_key(|(version, _)| *version);
        Ok(last.unwrap_or((0, SignedAmount::ZERO)))
    }

    fn merged(
        &self,
        reader: &mut Reader<'_>,
        account: AccountId,
    ) -> Result<Option<(i64, SignedAmount)>, DbError> {
        let Some((_, last)) = self.ranges.last().copied() else { return Ok(None) };
        if !reader.is_server() {
            return merged_by(reader, account, last);
        }
        let mut values: Vec<Value> = vec![account.0.into()];
        let mut by_then = Vec::with_capacity(self.ranges.len());
        for (first, last) in &self.ranges {
            let at = values.len();
            by_then.push(format!("(probe.seq > ${} AND probe.seq <= ${})", at + 1, at + 2));
            values.extend([(*first).into(), (*last).into()]);
        }
        let by_then = by_then.join(" OR ");
        // Up to `low` everything is decided and `best` was by then, `high` was not; each step asks for the last one up to
        // the middle. There may be none: while one writer's transfers are merged and another's between them are not, the
        // history of an account has gaps.
        let sql = format!(
            "WITH RECURSIVE search(best, low, high) AS ( \
                 SELECT CAST(0 AS BIGINT), CAST(0 AS BIGINT), \
                        COALESCE((SELECT MAX(version) FROM history WHERE account = $1), 0) + 1 \
                 UNION ALL \
                 SELECT CASE WHEN {by_then} THEN probe.version ELSE search.best END, \
                        CASE WHEN probe.seq IS NULL OR {by_then} THEN (search.low + search.high) / 2 \
                             ELSE search.low END, \
                        CASE WHEN probe.seq IS NULL OR {by_then} THEN search.high ELSE probe.version END \
                 FROM search LEFT JOIN LATERAL ( \
                     SELECT version, seq FROM history WHERE account = $1 AND version > search.low \
                         AND version <= (search.low + search.high) / 2 ORDER BY version DESC LIMIT 1) AS probe ON TRUE \
                 WHERE search.high - search.low > 1) \
             SELECT history.version, {BALANCE} FROM history JOIN transfers ON transfers.seq = history.seq \
             WHERE history.account = $1 AND history.version = (SELECT MAX(best) FROM search)"
        );
        let row = reader.query_opt(&sql, &values)?;
        row.map(|row| Ok((row.try_get(0)?, balance(&row, 1)?))).transpose()
    }
}

/// The fewest and the most versions that are looked through at once, to each side of where one is expected: they stand on
/// a page or two of the history.
const NEAR_VERSIONS: std::ops::RangeInclusive<i64> = 16..=64;
/// How often the place is told from how evenly the account was used, before halves are taken.
const EVEN_GUESSES: usize = 3;

/// The last merged version of an account that stands in the journal up to `last`, and the balance after it; for a store
/// whose statements cost nothing but themselves.
///
/// An account that is used evenly has the version about where it would stand if the journal were divided evenly between
/// two places that are known: off by the square root of what lies between them. What is looked through there proves
/// itself, for the version that follows is beyond `last`; and if it is not there, two nearer places are known.
fn merged_by(
    reader: &mut Reader<'_>,
    account: AccountId,
    last: i64,
) -> Result<Option<(i64, SignedAmount)>, DbError> {
    let newest = "SELECT version, seq FROM history WHERE account = $1 ORDER BY version DESC LIMIT 1";
    let Some(row) = reader.query_opt(newest, params![account.0])? else { return Ok(None) };
    // Version and place: the last that is known to be by then, and the first that is known not to be.
    let mut low = (0, 0);
    let mut high: (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if high.1 <= last {
        return settled_after(reader, account, high);
    }
    for round in 0.. {
        let between = high.0 - low.0;
        if between <= 1 {
            break;
        }
        let near = between.isqrt().clamp(*NEAR_VERSIONS.start(), *NEAR_VERSIONS.end());
        let even = i128::from(between) * i128::from(last - low.1) / i128::from((high.1 - low.1).max(1));
        let even = low.0 + i64::try_from(even).unwrap_or(between);
        let guess = if round < EVEN_GUESSES { even } else { i64::midpoint(low.0, high.0) };
        let from = (guess - near).clamp(low.0 + 1, high.0 - 1);
        let to = (guess + near).clamp(from, high.0 - 1);
        let sql = "SELECT version, seq FROM history \
                   WHERE account = $1 AND version >= $2 AND version <= $3 AND seq <= $4 ORDER BY version DESC LIMIT 1";
        if let Some(row) = reader.query_opt(sql, params![account.0, from, to, last])? {
            low = (row.try_get(0)?, row.try_get(1)?);
            if low.0 < to {
                break;
            }
        } else {
            let sql = "SELECT seq FROM history WHERE account = $1 AND version = $2";
            high = (from, reader.query_one(sql, params![account.0, from])?.try_get(0)?);
        }
    }
    if low.0 == 0 { Ok(None) } else { settled_after(reader, account, low) }
}

/// An entry of the history as the answer: its version, and the balance after it.
fn settled_after(
    reader: &mut Reader<'_>,
    account: AccountId,
    (version, seq): (i64, i64),
) -> Result<Option<(i64, SignedAmount)>, DbError> {
    let sql = format!("SELECT {BALANCE} FROM transfers WHERE seq = $2");
    let row = reader.query_one(&sql, params![account.0, seq])?;
    Ok(Some((version, balance(&row, 0)?)))
}

/// The place of the last transfer that a writer had committed by `at`, if it had any.
fn last_place(reader: &mut Reader<'_>, writer: i64, at: Timestamp) -> Result<Option<i64>, DbError> {
    let base = (writer - 1) * WRITER_SPAN;
    // The commits of a writer are numbered without gaps, and time does not go back along them.
    let sql = "WITH RECURSIVE search(low, high) AS ( \
                   SELECT CAST($1 AS BIGINT), \
                          COALESCE((SELECT MAX(id) FROM commits WHERE id > $1 AND id <= $2), $1) + 1 \
                   UNION ALL \
                   SELECT CASE WHEN commits.at <= $3 THEN commits.id ELSE search.low END, \
                          CASE WHEN commits.at <= $3 THEN search.high ELSE commits.id END \
                   FROM search JOIN commits ON commits.id = (search.low + search.high) / 2 \
                   WHERE search.high - search.low > 1) \
               SELECT first_seq + transfer_count - 1 FROM commits WHERE id = (SELECT MAX(low) FROM search)";
    let row = reader.query_opt(sql, params![base, end_of_span(base), at])?;
    row.map(|row| row.try_get(0)).transpose()
}

/// The settled balance of an account after the transfer with this version, if there is one.
pub fn balance_after(
    reader: &mut Reader<'_>,
    account: AccountId,
    version: i64,
) -> Result<Option<SignedAmount>, DbError> {
    let sql = format!(
        "SELECT {BALANCE} FROM history JOIN transfers ON transfers.seq = history.seq \
         WHERE history.account = $1 AND history.version = $2"
    );
    if let Some(row) = reader.query_opt(&sql, params![account.0, version])? {
        return balance(&row, 0).map(Some);
    }
    Ok(unmerged(reader, account)?.get(&version).map(|(_, balance, _)| *balance))
}

/// How many merged transfers a writer has after a place, and those of them that the histories do not name rightly: an
/// account, its version, the place. At most a thousand.
#[expect(clippy::type_complexity, reason = "a count and a list of places")]
pub fn mismatches(
    reader: &mut Reader<'_>,
    writer: i64,
    after: i64,
) -> Result<(i64, Vec<(i64, i64, i64)>), DbError> {
    let to = merged_to(reader, writer)?;
    let sql = "SELECT COUNT(*) FROM transfers WHERE seq > $1 AND seq <= $2";
    let count = reader.query_one(sql, params![after, to])?.try_get(0)?;
    let mut found = Vec::new();
    for (account, version) in [("debit", "debit_version"), ("credit", "credit_version")] {
        let sql = format!(
            "SELECT transfers.{account}, transfers.{version}, transfers.seq FROM transfers LEFT JOIN history \
             ON history.account = transfers.{account} AND history.version = transfers.{version} \
             WHERE transfers.seq > $1 AND transfers.seq <= $2 AND (history.seq IS NULL OR history.seq <> transfers.seq) \
             LIMIT 1000"
        );
        for row in reader.query(&sql, params![after, to])? {
            found.push((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?));
        }
    }
    Ok((count, found))
}

/// How many entries the histories have.
pub fn entry_count(reader: &mut Reader<'_>) -> Result<i64, DbError> {
    reader.query_one("SELECT COUNT(*) FROM history", params![])?.try_get(0)
}
