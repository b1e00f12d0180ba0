//! Holds: what is set aside, how much of it was taken, and how it ended.

use std::collections::{BTreeSet, HashMap};

use q_core::{Amount, Span, Timestamp};
use q_db::{DbError, Reader, Row, Tx, Value, params};
use qwallet_api::{IntentId, TransactionId};

use super::{
    in_lists,
    ledger::{TransactionRow, legs_at, transactions},
};
use crate::domain::{
    books::{Hold, HoldEnd},
    transfer::Phase,
};

/// A row of `holds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HoldRow {
    /// The held transaction.
    pub transaction: TransactionId,
    /// The intent it fulfils; none where a record of its own says what it is for.
    pub intent: Option<IntentId>,
    /// When it was taken; the epoch where that was not written down.
    pub held_at: Timestamp,
    /// When it lapses.
    pub expires_at: Timestamp,
    /// How it ended.
    pub end: Option<HoldEnd>,
    /// The first transfer that ended it.
    pub end_seq: Option<i64>,
    /// The commit that ended it.
    pub end_commit: Option<i64>,
    /// How much of what it is about was taken in parts; nothing where it is taken as a whole.
    pub captured: Amount,
}

/// The intent of a hold without one.
const NO_INTENT: [u8; 16] = [0; 16];

const fn hold_end_code(end: HoldEnd) -> i64 {
    match end {
        HoldEnd::Settled => 0,
        HoldEnd::Voided => 1,
        HoldEnd::Expired => 2,
    }
}

const fn hold_end(code: i64) -> Option<HoldEnd> {
    match code {
        0 => Some(HoldEnd::Settled),
        1 => Some(HoldEnd::Voided),
        2 => Some(HoldEnd::Expired),
        _ => None,
    }
}

/// How a hold ended, from column `index` of a row.
pub(super) fn read_end(row: &Row, index: usize) -> Result<Option<HoldEnd>, DbError> {
    let end: Option<i64> = row.try_get(index)?;
    end.map(|code| hold_end(code).ok_or(DbError::BadRow { column: index, expected: "how a hold ended" }))
        .transpose()
}

fn hold(row: &Row) -> Result<HoldRow, DbError> {
    Ok(HoldRow {
        transaction: TransactionId::from_bytes(row.try_get(0)?),
        intent: Some(row.try_get(1)?).filter(|id| *id != NO_INTENT).map(IntentId::from_bytes),
        expires_at: row.try_get(2)?,
        end: read_end(row, 3)?,
        end_seq: row.try_get(4)?,
        end_commit: row.try_get(5)?,
        held_at: row.try_get(6)?,
        captured: row.try_get::<Option<[u8; 16]>>(7)?.map_or(Amount::ZERO, Amount::from_bytes),
    })
}

/// Adds holds.
pub fn insert(tx: &mut Tx<'_>, hold: &HoldRow) -> Result<(), DbError> {
    let intent = hold.intent.map_or(NO_INTENT, IntentId::bytes);
    let row = params![hold.transaction.bytes(), intent, hold.expires_at, hold.held_at];
    tx.execute(
        "INSERT INTO holds (transaction_id, intent, expires_at, held_at) VALUES ($1, $2, $3, $4)",
        row,
    )?;
    Ok(())
}

/// Notes how a hold ended.
pub fn end(
    tx: &mut Tx<'_>,
    transaction: TransactionId,
    end: HoldEnd,
    seq: i64,
    commit: i64,
) -> Result<(), DbError> {
    let row = params![hold_end_code(end), seq, commit, transaction.bytes()];
    tx.execute(
        "UPDATE holds SET end_kind = $1, end_seq = $2, end_commit = $3 WHERE transaction_id = $4",
        row,
    )?;
    Ok(())
}

const HOLD_COLUMNS: &str =
    "transaction_id, intent, expires_at, end_kind, end_seq, end_commit, held_at, captured";

/// The hold of a transaction, if it ever had one.
pub fn find(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<HoldRow>, DbError> {
    let sql = format!("SELECT {HOLD_COLUMNS} FROM holds WHERE transaction_id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(hold).transpose()
}

/// A transaction's hold, or why it cannot be read.
pub type ReadHold = (TransactionId, Result<HoldRow, DbError>);

/// The holds of these transactions that there are.
pub fn list(reader: &mut Reader<'_>, ids: &[TransactionId]) -> Result<Vec<ReadHold>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| id.bytes().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!("SELECT {HOLD_COLUMNS} FROM holds WHERE transaction_id IN ({places})");
        reader.query(&sql, keys)
    })?;
    rows.iter().map(|row| Ok((TransactionId::from_bytes(row.try_get(0)?), hold(row)))).collect()
}

/// The holds whose transactions hold nothing, at most a thousand.
pub fn of_nothing(reader: &mut Reader<'_>) -> Result<Vec<TransactionId>, DbError> {
    let sql = "SELECT transaction_id FROM holds WHERE NOT EXISTS ( \
                   SELECT 1 FROM transactions JOIN transfers ON transfers.seq = transactions.first_seq \
                   WHERE transactions.id = holds.transaction_id AND transfers.phase = $1) LIMIT 1000";
    let rows = reader.query(sql, params![Phase::Held.code()])?;
    rows.iter().map(|row| Ok(TransactionId::from_bytes(row.try_get(0)?))).collect()
}

/// Calls `each` with the transaction of every hold, and the hold or why it cannot be read.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(TransactionId, Result<HoldRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {HOLD_COLUMNS} FROM holds ORDER BY transaction_id");
    reader.for_each(&sql, params![], |row| each(TransactionId::from_bytes(row.try_get(0)?), hold(&row)))
}

/// Open holds that lapsed by `now`, oldest first.
pub fn lapsed(reader: &mut Reader<'_>, now: Timestamp, count: u32) -> Result<Vec<HoldRow>, DbError> {
    let sql = format!(
        "SELECT {HOLD_COLUMNS} FROM holds WHERE end_kind IS NULL AND expires_at <= $1 ORDER BY expires_at LIMIT $2"
    );
    reader.query(&sql, params![now, count])?.iter().map(hold).collect()
}

/// The holds of these transactions as the books need them: their legs and places. Locked against other writers until the
/// commit, in one order, so that a hold ends once whoever ends it.
pub fn lock(tx: &mut Tx<'_>, ids: &BTreeSet<TransactionId>) -> Result<Vec<(TransactionId, Hold)>, DbError> {
    let keys: Vec<Value> = ids.iter().map(|id| id.bytes().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!(
            "SELECT {HOLD_COLUMNS} FROM holds WHERE transaction_id IN ({places}) ORDER BY transaction_id"
        );
        tx.query_for_update(&sql, keys)
    })?;
    let rows: Vec<HoldRow> = rows.iter().map(hold).collect::<Result<_, _>>()?;
    let Some(oldest) = rows.iter().map(|row| row.held_at).min() else { return Ok(Vec::new()) };
    let now = tx.now();
    let was_paused = tx.paused_between(oldest, now)? != Span::default();
    let keys: Vec<TransactionId> = rows.iter().map(|row| row.transaction).collect();
    let transactions: HashMap<TransactionId, TransactionRow> =
        transactions(tx, &keys)?.into_iter().map(|(row, _)| (row.id, row)).collect();
    let seqs = transactions.values().flat_map(|row| row.first_seq..row.first_seq + row.transfer_count);
    let held = legs_at(tx, &seqs.collect::<Vec<_>>())?;
    let mut holds = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(transaction) = transactions.get(&row.transaction) else { continue };
        let places = transaction.first_seq..transaction.first_seq + transaction.transfer_count;
        let legs = places.filter_map(|seq| Some((seq, *held.get(&seq)?))).collect();
        // Nobody could settle it while the module was paused, so that time is not counted.
        let is_known = row.held_at != Timestamp::default();
        let paused =
            if was_paused && is_known { tx.paused_between(row.held_at, now)? } else { Span::default() };
        let expires_at = row.expires_at + paused;
        let (captured, held_at, end) = (row.captured, row.held_at, row.end);
        holds.push((row.transaction, Hold { legs, captured, held_at, expires_at, end }));
    }
    Ok(holds)
}

/// How many holds are open.
pub fn open_count(reader: &mut Reader<'_>) -> Result<i64, DbError> {
    reader.query_one("SELECT COUNT(*) FROM holds WHERE end_kind IS NULL", params![])?.try_get(0)
}
