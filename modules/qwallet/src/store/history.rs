//! Each account's transfers by version, merged behind the journal in sorted batches.
//!
//! Entries keyed by account would be random inserts on the hot path, the most expensive kind. The journal
//! is in order of arrival; a job sorts what has arrived since and adds it account by account. A reader who
//! needs an account's history merges first.

use q_core::{SignedAmount, Timestamp};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};

use crate::domain::account::{Account, AccountId};

/// The cursor's name: the place up to which the journal is merged.
const CURSOR: &str = "history";

/// How many transfers one merge takes on: about 30 ms of the writer's time.
pub const MERGE_TRANSFERS_MAX: i64 = 8_192;

/// Merges the next transfers; answers whether there may be more. For `write_locked`: mergers take turns.
pub fn merge(tx: &mut Tx<'_>) -> Result<bool, DbError> {
    const COLUMNS: [Column; 3] =
        [Column::integer("account"), Column::integer("version"), Column::integer("seq")];
    tx.lock("qwallet.history")?;
    let from = tx.cursor(CURSOR)?;
    let sql = "SELECT seq, debit, debit_version, credit, credit_version FROM transfers \
               WHERE seq > $1 ORDER BY seq LIMIT $2";
    let rows = tx.query(sql, params![from, MERGE_TRANSFERS_MAX])?;
    let Some(last) = rows.last() else { return Ok(false) };
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
    tx.set_cursor(CURSOR, last)?;
    Ok(i64::try_from(rows.len()).unwrap_or(i64::MAX) >= MERGE_TRANSFERS_MAX)
}

/// How many transfers wait to be merged.
pub fn backlog(reader: &mut Reader<'_>) -> Result<i64, DbError> {
    let from = reader.cursor(CURSOR)?;
    let last: i64 = reader.query_one("SELECT COALESCE(MAX(seq), 0) FROM transfers", params![])?.try_get(0)?;
    Ok(last - from)
}

/// The places of an account's transfers with versions below `before`, newest first.
pub fn places_before(
    reader: &mut Reader<'_>,
    account: AccountId,
    before: i64,
    count: u32,
) -> Result<Vec<(i64, i64)>, DbError> {
    let sql =
        "SELECT version, seq FROM history WHERE account = $1 AND version < $2 ORDER BY version DESC LIMIT $3";
    let rows = reader.query(sql, params![account.0, before, count])?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// The place and commit of one version of an account.
pub fn version(
    reader: &mut Reader<'_>,
    account: AccountId,
    version: i64,
) -> Result<Option<(i64, i64)>, DbError> {
    let sql = "SELECT transfers.seq, transfers.commit_id FROM history \
               JOIN transfers ON transfers.seq = history.seq \
               WHERE history.account = $1 AND history.version = $2";
    let row = reader.query_opt(sql, params![account.0, version])?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

/// The settled balance of an account at a past instant: a search over its gap-free versions, and a look at the
/// transfers that are not merged yet, of which there are more whenever somebody pays meanwhile.
pub fn balance_at(
    reader: &mut Reader<'_>,
    account: &Account,
    at: Timestamp,
) -> Result<SignedAmount, DbError> {
    const BALANCE: &str = "CASE WHEN transfers.debit = $1 THEN transfers.debit_balance \
                           ELSE transfers.credit_balance END";
    let balance = |row: &Row| {
        let bytes: Vec<u8> = row.try_get(0)?;
        SignedAmount::from_bytes(&bytes).ok_or(DbError::BadRow { column: 0, expected: "a balance" })
    };
    let sql = format!(
        "SELECT {BALANCE} FROM transfers JOIN commits ON commits.id = transfers.commit_id \
         WHERE transfers.seq > $2 AND (transfers.debit = $1 OR transfers.credit = $1) AND commits.at <= $3 \
         ORDER BY transfers.seq DESC LIMIT 1"
    );
    let merged_to = reader.cursor(CURSOR)?;
    if let Some(row) = reader.query_opt(&sql, params![account.id.0, merged_to, at])? {
        return balance(&row);
    }
    let sql = "SELECT COALESCE(MAX(version), 0) FROM history WHERE account = $1";
    let merged: i64 = reader.query_one(sql, params![account.id.0])?.try_get(0)?;
    // Versions up to `low` are not after `at`; versions from `high` on are, or are not merged.
    let (mut low, mut high) = (0, merged + 1);
    while high - low > 1 {
        let middle = i64::midpoint(low, high);
        let sql = "SELECT commits.at FROM history JOIN transfers ON transfers.seq = history.seq \
                   JOIN commits ON commits.id = transfers.commit_id \
                   WHERE history.account = $1 AND history.version = $2";
        let time: Timestamp = reader.query_one(sql, params![account.id.0, middle])?.try_get(0)?;
        if time <= at {
            low = middle;
        } else {
            high = middle;
        }
    }
    if low == 0 {
        return Ok(SignedAmount::ZERO);
    }
    let sql = format!(
        "SELECT {BALANCE} FROM transfers WHERE seq = (SELECT seq FROM history WHERE account = $1 AND version = $2)"
    );
    balance(&reader.query_one(&sql, params![account.id.0, low])?)
}

/// Merged entries that do not name a transfer of their account and version: account, version, place.
pub fn mismatches(reader: &mut Reader<'_>) -> Result<Vec<(i64, i64, i64)>, DbError> {
    let sql = "SELECT history.account, history.version, history.seq FROM history \
               LEFT JOIN transfers ON transfers.seq = history.seq \
               WHERE transfers.seq IS NULL OR NOT ( \
                   (transfers.debit = history.account AND transfers.debit_version = history.version) \
                   OR (transfers.credit = history.account AND transfers.credit_version = history.version)) \
               ORDER BY history.account, history.version LIMIT 1000";
    let rows = reader.query(sql, params![])?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
}
