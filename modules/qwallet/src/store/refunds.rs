//! What was given back of payments.

use q_core::{Amount, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::TransactionId;

use crate::domain::fees::FeeAmounts;

/// A row of `refunds`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundRow {
    /// Its id, which is its transaction's.
    pub id: TransactionId,
    /// The payment.
    pub payment: TransactionId,
    /// What the payer of the payment got.
    pub amount: Amount,
    /// What the house gave back.
    pub fees: FeeAmounts,
    /// What may still be given back of the payment after it.
    pub remaining: Amount,
    /// Why, sealed.
    pub reason: Option<Vec<u8>>,
    /// When.
    pub created_at: Timestamp,
}

const COLUMNS: &str = "id, payment, amount, platform_fee, network_fee, remaining, reason, created_at";

/// Locks a payment against other writers until the commit, so that its refunds come one after the other.
pub fn lock_payment(tx: &mut Tx<'_>, payment: TransactionId) -> Result<(), DbError> {
    tx.query_for_update("SELECT id FROM transactions WHERE id = $1", params![payment.bytes()])?;
    Ok(())
}

/// Adds a refund.
pub fn insert(tx: &mut Tx<'_>, refund: &RefundRow) -> Result<(), DbError> {
    let row = params![
        refund.id.bytes(),
        refund.payment.bytes(),
        refund.amount.to_bytes(),
        refund.fees.platform.to_bytes(),
        refund.fees.network.to_bytes(),
        refund.remaining.to_bytes(),
        refund.reason.as_deref(),
        refund.created_at,
    ];
    tx.execute(&format!("INSERT INTO refunds ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"), row)?;
    Ok(())
}

/// The refund, if it exists.
pub fn find(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<RefundRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM refunds WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(refund).transpose()
}

/// The refunds of a payment, oldest first.
pub fn of_payment(reader: &mut Reader<'_>, payment: TransactionId) -> Result<Vec<RefundRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM refunds WHERE payment = $1 ORDER BY remaining DESC");
    reader.query(&sql, params![payment.bytes()])?.iter().map(refund).collect()
}

/// Calls `each` with every refund, those of one payment together, or why one cannot be read.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(TransactionId, Result<RefundRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {COLUMNS} FROM refunds ORDER BY payment, remaining DESC");
    reader.for_each(&sql, params![], |row| each(TransactionId::from_bytes(row.try_get(0)?), refund(&row)))
}

fn refund(row: &Row) -> Result<RefundRow, DbError> {
    let amount = |at| row.try_get(at).map(Amount::from_bytes);
    Ok(RefundRow {
        id: TransactionId::from_bytes(row.try_get(0)?),
        payment: TransactionId::from_bytes(row.try_get(1)?),
        amount: amount(2)?,
        fees: FeeAmounts { platform: amount(3)?, network: amount(4)? },
        remaining: amount(5)?,
        reason: row.try_get(6)?,
        created_at: row.try_get(7)?,
    })
}
