//! Each account's transfers by time and version, merged behind the journal in sorted batches.
//!
//! Entries keyed by account would be random inserts on the hot path, the most expensive kind. The journal
//! is in order of arrival; a job sorts what has arrived since and adds it account by account. A reader who
//! needs an account's history reads the rest from the journal, or merges first.
//!
//! **Invariant:** along an account's gap-free versions time does not go back, whoever wrote them, so the order by time and
//! version is that by version.

use std::collections::{BTreeMap, HashMap};

use q_core::{SignedAmount, Timestamp};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};

use super::ledger::{WRITER_SPAN, end_of_span, writers};
use crate::domain::{
    account::{Account, AccountId},
    currency::CurrencyId,
};
use qwallet_api::WalletId;

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
    const COLUMNS: [Column; 4] = [
        Column::integer("account"),
        Column::integer("at"),
        Column::integer("version"),
        Column::integer("seq"),
    ];
    let from = merged_to(tx, writer)?;
    let sql = "SELECT seq, debit, debit_version, credit, credit_version, commits.at FROM transfers \
               JOIN commits ON commits.id = transfers.commit_id WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3";
    let rows = tx.query(sql, params![from, end_of_span(from), MERGE_TRANSFERS_MAX])?;
    let Some(last) = rows.last() else { return Ok(0) };
    let last: i64 = last.try_get(0)?;
    let mut entries: Vec<[i64; 4]> = Vec::with_capacity(rows.len() * 2);
    for row in &rows {
        let (seq, at) = (row.try_get(0)?, row.try_get(5)?);
        entries.push([row.try_get(1)?, at, row.try_get(2)?, seq]);
        entries.push([row.try_get(3)?, at, row.try_get(4)?, seq]);
    }
    entries.sort_unstable();
    let values: Vec<[Value; 4]> = entries.into_iter().map(|entry| entry.map(Value::from)).collect();
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

/// Where an entry stands in an account's history, or where a part of it begins or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// The instant of its commit.
    pub at: Timestamp,
    /// The version of the account after it; versions begin at 1.
    pub version: i64,
}

impl Mark {
    /// Behind every entry.
    pub const END: Self = Self { at: Timestamp::MAX, version: i64::MAX };

    /// Before every entry of an instant, and behind whatever was earlier.
    pub const fn before(at: Timestamp) -> Self {
        Self { at, version: 0 }
    }
}

/// An account's transfers that are in no history yet: where, place in the journal, settled balance after it.
///
/// Together with the history, read from the same snapshot, they are every transfer of the account: one writer's may be
/// merged while another's, between them, are not.
pub(super) fn unmerged(
    reader: &mut Reader<'_>,
    account: AccountId,
) -> Result<BTreeMap<Mark, (i64, SignedAmount)>, DbError> {
    let sql = format!(
        "SELECT commits.at, CASE WHEN transfers.debit = $1 THEN transfers.debit_version ELSE transfers.credit_version END, \
         transfers.seq, {BALANCE} FROM transfers JOIN commits ON commits.id = transfers.commit_id \
         WHERE transfers.seq > $2 AND transfers.seq <= $3 AND (transfers.debit = $1 OR transfers.credit = $1)"
    );
    let mut found = BTreeMap::new();
    for (from, to) in unmerged_spans(reader)? {
        for row in reader.query(&sql, params![account.0, from, to])? {
            found.insert(mark(&row)?, (row.try_get(2)?, balance(&row, 3)?));
        }
    }
    Ok(found)
}

/// Each writer's places in the journal that are in no history yet.
fn unmerged_spans(reader: &mut Reader<'_>) -> Result<Vec<(i64, i64)>, DbError> {
    // A file has one writer.
    let writers = if reader.is_server() { writers(reader)? } else { vec![1] };
    let span = |writer| merged_to(reader, writer).map(|from| (from, end_of_span(from)));
    writers.into_iter().map(span).collect()
}

const BALANCE: &str =
    "CASE WHEN transfers.debit = $1 THEN transfers.debit_balance ELSE transfers.credit_balance END";

fn mark(row: &Row) -> Result<Mark, DbError> {
    Ok(Mark { at: row.try_get(0)?, version: row.try_get(1)? })
}

fn balance(row: &Row, column: usize) -> Result<SignedAmount, DbError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    SignedAmount::from_bytes(&bytes).ok_or(DbError::BadRow { column, expected: "a balance" })
}

/// An account's transfers before a mark, newest first: where, and the place in the journal.
pub fn places_before(
    reader: &mut Reader<'_>,
    account: AccountId,
    before: Mark,
    count: u32,
) -> Result<Vec<(Mark, i64)>, DbError> {
    let unmerged = unmerged(reader, account)?;
    let sql = "SELECT at, version, seq FROM history WHERE account = $1 AND (at, version) < ($2, $3) \
               ORDER BY at DESC, version DESC LIMIT $4";
    let rows = reader.query(sql, params![account.0, before.at, before.version, count])?;
    let mut places = marked(&rows)?;
    places.extend(unmerged.range(..before).map(|(mark, (seq, _))| (*mark, *seq)));
    places.sort_unstable_by_key(|(mark, _)| std::cmp::Reverse(*mark));
    places.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    Ok(places)
}

/// An account's merged transfers behind a mark and before another, oldest first: where, and the place in the journal.
pub(super) fn merged_between(
    reader: &mut Reader<'_>,
    account: AccountId,
    (after, before): (Mark, Mark),
    count: u32,
) -> Result<Vec<(Mark, i64)>, DbError> {
    let sql = "SELECT at, version, seq FROM history WHERE account = $1 AND (at, version) > ($2, $3) \
               AND (at, version) < ($4, $5) ORDER BY at, version LIMIT $6";
    let bounds = params![account.0, after.at, after.version, before.at, before.version, count];
    marked(&reader.query(sql, bounds)?)
}

fn marked(rows: &[Row]) -> Result<Vec<(Mark, i64)>, DbError> {
    rows.iter().map(|row| Ok((mark(row)?, row.try_get(2)?))).collect()
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

/// What was settled at a past instant: of an account, its last entry by then.
#[derive(Debug)]
pub struct Past {
    at: Timestamp,
    /// What is in no history yet: the last version of an account by then, and the balance after it.
    unmerged: HashMap<AccountId, (i64, SignedAmount)>,
    commit: (i64, Timestamp),
}

impl Past {
    /// The books at `at`, to be asked with the same reader.
    pub fn at(reader: &mut Reader<'_>, at: Timestamp) -> Result<Self, DbError> {
        let past = Self::at_within(reader, at, UNBOUNDED)?;
        past.ok_or(DbError::BadRow { column: 0, expected: "a bound" })
    }

    /// The books at `at`, unless more than `most` transfers of a writer would have to be read that are in no history yet:
    /// then merging them comes first.
    pub fn at_within(reader: &mut Reader<'_>, at: Timestamp, most: i64) -> Result<Option<Self>, DbError> {
        if reader.is_server() {
            let commit = super::ledger::last_commit_at(reader, at)?;
            let mut past = Self { at, unmerged: HashMap::new(), commit };
            for span in unmerged_spans(reader)? {
                if !past.read_unmerged(reader, span, most)? {
                    return Ok(None);
                }
            }
            return Ok(Some(past));
        }
        // A file has one writer, whose chain the index of commits by time is: the commit tells how far it had come.
        let mut past = Self { at, unmerged: HashMap::new(), commit: (0, Timestamp::default()) };
        let sql = "SELECT id, at, first_seq + transfer_count - 1, \
                   COALESCE((SELECT position FROM q_cursors WHERE name = $2), 0) FROM commits WHERE at <= $1 \
                   ORDER BY at DESC, id DESC LIMIT 1";
        let Some(row) = reader.query_opt(sql, params![at, cursor(1)])? else { return Ok(Some(past)) };
        past.commit = (row.try_get(0)?, row.try_get(1)?);
        let (last, merged): (i64, i64) = (row.try_get(2)?, row.try_get(3)?);
        let waiting = last - merged;
        let is_told = waiting <= 0 || waiting <= most && past.read_unmerged(reader, (merged, last), most)?;
        Ok(is_told.then_some(past))
    }

    /// The newest commit by then, and its instant.
    pub const fn commit(&self) -> (i64, Timestamp) {
        self.commit
    }

    /// Takes in what a writer had written by then and is in no history yet; false when that is more than `most` transfers.
    fn read_unmerged(
        &mut self,
        reader: &mut Reader<'_>,
        (from, to): (i64, i64),
        most: i64,
    ) -> Result<bool, DbError> {
        // Along a writer's journal time does not go back: what is by then comes first.
        let sql = "SELECT debit, debit_version, debit_balance, credit, credit_version, credit_balance FROM \
                   (SELECT * FROM transfers WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3) AS waiting \
                   JOIN commits ON commits.id = waiting.commit_id WHERE commits.at <= $4";
        let mut count = 0;
        reader.for_each(sql, params![from, to, most.saturating_add(1), self.at], |row| {
            count += 1;
            for side in [0, 3] {
                let (account, version): (i64, i64) = (row.try_get(side)?, row.try_get(side + 1)?);
                let found = (version, balance(&row, side + 2)?);
                let last = self.unmerged.entry(AccountId(account)).or_insert(found);
                if last.0 < version {
                    *last = found;
                }
            }
            Ok::<_, DbError>(())
        })?;
        Ok(count <= most)
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
        let sql = format!(
            "SELECT history.version, {BALANCE} FROM history JOIN transfers ON transfers.seq = history.seq \
             WHERE history.account = $1 AND history.at <= $2 ORDER BY history.at DESC, history.version DESC LIMIT 1"
        );
        let row = reader.query_opt(&sql, params![account.0, self.at])?;
        let merged = row.map(|row| Ok::<_, DbError>((row.try_get(0)?, balance(&row, 1)?))).transpose()?;
        Ok(self.newer(account, merged))
    }

    /// What each account and stripe of a wallet held then, of one currency or of all.
    pub fn of_wallet(
        &self,
        reader: &mut Reader<'_>,
        wallet: WalletId,
        only: Option<CurrencyId>,
    ) -> Result<Vec<(CurrencyId, SignedAmount)>, DbError> {
        let currency = if only.is_some() { "AND accounts.currency = $3" } else { "" };
        let sql = format!(
            "SELECT accounts.id, accounts.currency, \
             CASE WHEN transfers.debit = accounts.id THEN transfers.debit_version ELSE transfers.credit_version END, \
             CASE WHEN transfers.debit = accounts.id THEN transfers.debit_balance ELSE transfers.credit_balance END \
             FROM accounts LEFT JOIN transfers ON transfers.seq = ( \
                 SELECT history.seq FROM history WHERE history.account = accounts.id AND history.at <= $2 \
                 ORDER BY history.at DESC, history.version DESC LIMIT 1) \
             WHERE accounts.wallet = $1 {currency}"
        );
        let mut values: Vec<Value> = vec![wallet.bytes().into(), self.at.into()];
        values.extend(only.map(|only| Value::from(i64::from(only.0))));
        let held = |row: &Row| {
            let version: Option<i64> = row.try_get(2)?;
            let merged = version.map(|version| Ok::<_, DbError>((version, balance(row, 3)?))).transpose()?;
            let (_, balance) = self.newer(AccountId(row.try_get(0)?), merged);
            Ok((CurrencyId(row.try_get(1)?), balance))
        };
        reader.query(&sql, &values)?.iter().map(held).collect()
    }

    /// One writer's transfers may be merged while another's between them are not: the newer version counts.
    fn newer(&self, account: AccountId, merged: Option<(i64, SignedAmount)>) -> (i64, SignedAmount) {
        let unmerged = self.unmerged.get(&account).copied();
        let last = [merged, unmerged].into_iter().flatten().max_by_key(|(version, _)| *version);
        last.unwrap_or((0, SignedAmount::ZERO))
    }
}

/// More transfers than a writer's journal has places for.
const UNBOUNDED: i64 = WRITER_SPAN;

/// The settled balance of an account after the transfer with this version, if there is one and `at` is not before it.
/// Nothing but what settled at that very instant is passed over.
pub fn balance_after(
    reader: &mut Reader<'_>,
    account: AccountId,
    version: i64,
    at: Timestamp,
) -> Result<Option<SignedAmount>, DbError> {
    let sql = format!(
        "SELECT history.version, {BALANCE} FROM history JOIN transfers ON transfers.seq = history.seq \
         WHERE history.account = $1 AND history.at <= $2 AND history.version <= $3 \
         ORDER BY history.at DESC, history.version DESC LIMIT 1"
    );
    let row = reader.query_opt(&sql, params![account.0, at, version])?;
    if let Some(row) = row
        && row.try_get::<i64>(0)? == version
    {
        return balance(&row, 1).map(Some);
    }
    let unmerged = unmerged(reader, account)?;
    let found = unmerged.iter().find(|(mark, _)| mark.version == version);
    Ok(found.map(|(_, (_, balance))| *balance))
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
            "SELECT transfers.{account}, transfers.{version}, transfers.seq FROM transfers \
             JOIN commits ON commits.id = transfers.commit_id LEFT JOIN history \
             ON history.account = transfers.{account} AND history.at = commits.at \
             AND history.version = transfers.{version} WHERE transfers.seq > $1 AND transfers.seq <= $2 AND (history.seq IS NULL OR history.seq <> transfers.seq) \
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
