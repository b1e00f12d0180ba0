//! Parts that were taken of what is held.

use q_core::Amount;
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{CaptureId, EscrowId, TransactionId};

use crate::domain::transfer::Phase;

/// A row of `captures`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CaptureRow {
    /// Its id.
    pub id: CaptureId,
    /// The held transaction.
    pub transaction: TransactionId,
    /// How much of its first leg was taken with this part and before it.
    pub captured: Amount,
    /// Its first transfer; the others follow.
    pub first_seq: i64,
    /// How many transfers it is.
    pub transfer_count: i64,
    /// Its commit.
    pub commit: i64,
    /// Whether nothing is held any more after it.
    pub is_final: bool,
    /// The escrow that holds it now instead of the payee.
    pub escrow: Option<EscrowId>,
}

const COLUMNS: &str = "id, transaction_id, captured, first_seq, transfer_count, commit_id, is_final, escrow";

/// Notes a part, and how much of the hold was taken by now.
pub fn insert(tx: &mut Tx<'_>, row: &CaptureRow) -> Result<(), DbError> {
    let (transaction, captured) = (row.transaction.bytes(), row.captured.to_bytes());
    let sql = format!("INSERT INTO captures ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    let values = params![
        row.id.bytes(),
        transaction,
        captured,
        row.first_seq,
        row.transfer_count,
        row.commit,
        row.is_final,
        row.escrow.map(EscrowId::bytes),
    ];
    tx.execute(&sql, values)?;
    tx.execute("UPDATE holds SET captured = $1 WHERE transaction_id = $2", params![captured, transaction])?;
    Ok(())
}

/// The part with this id.
pub fn find(reader: &mut Reader<'_>, id: CaptureId) -> Result<Option<CaptureRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM captures WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(capture).transpose()
}

/// The parts taken of a transaction, in their order.
pub fn of_transaction(reader: &mut Reader<'_>, id: TransactionId) -> Result<Vec<CaptureRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM captures WHERE transaction_id = $1 ORDER BY captured");
    reader.query(&sql, params![id.bytes()])?.iter().map(capture).collect()
}

/// Calls `each` with every part, those of one transaction in their order, and how much its first transfer moved of it, or
/// why it cannot be read.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(TransactionId, Result<(CaptureRow, Option<Amount>), DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let columns: Vec<String> = COLUMNS.split(", ").map(|column| format!("captures.{column}")).collect();
    let sql = format!(
        "SELECT {}, transfers.amount FROM captures LEFT JOIN transfers ON transfers.seq = captures.first_seq \
         AND transfers.transaction_id = captures.transaction_id AND transfers.commit_id = captures.commit_id \
         AND transfers.phase = $1 ORDER BY captures.transaction_id, captures.captured",
        columns.join(", ")
    );
    reader.for_each(&sql, params![Phase::Settled.code()], |row| {
        let whole = || Ok((capture(&row)?, row.try_get::<Option<[u8; 16]>>(8)?.map(Amount::from_bytes)));
        each(TransactionId::from_bytes(row.try_get(1)?), whole())
    })
}

/// The holds that do not say what the last part taken of them says, at most a thousand.
pub fn uncounted(reader: &mut Reader<'_>) -> Result<Vec<TransactionId>, DbError> {
    let sql = "SELECT transaction_id FROM holds WHERE captured IS DISTINCT FROM ( \
                   SELECT captures.captured FROM captures WHERE captures.transaction_id = holds.transaction_id \
                   ORDER BY captures.captured DESC LIMIT 1) LIMIT 1000";
    let rows = reader.query(sql, params![])?;
    rows.iter().map(|row| Ok(TransactionId::from_bytes(row.try_get(0)?))).collect()
}

fn capture(row: &Row) -> Result<CaptureRow, DbError> {
    Ok(CaptureRow {
        id: CaptureId::from_bytes(row.try_get(0)?),
        transaction: TransactionId::from_bytes(row.try_get(1)?),
        captured: Amount::from_bytes(row.try_get(2)?),
        first_seq: row.try_get(3)?,
        transfer_count: row.try_get(4)?,
        commit: row.try_get(5)?,
        is_final: row.try_get(6)?,
        escrow: row.try_get::<Option<[u8; 16]>>(7)?.map(EscrowId::from_bytes),
    })
}
