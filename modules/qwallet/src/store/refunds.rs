//! What was given back of payments.

use q_core::{Amount, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::TransactionId;

use crate::domain::{fees::FeeAmounts, transfer::Purpose};

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

/// A refund beside what the books say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Booked {
    /// The refund.
    pub row: RefundRow,
    /// What its transaction gave back, if there is one.
    pub moved: Option<Amount>,
    /// What the payment brought, if there is one.
    pub paid: Option<Amount>,
}

/// Calls `each` with every refund, those of one payment in their order, or why one cannot be read.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(TransactionId, Result<Booked, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let columns: Vec<String> = COLUMNS.split(", ").map(|column| format!("refunds.{column}")).collect();
    let sql = format!(
        "SELECT {}, moved.amount, COALESCE(holds.captured, paid.amount) FROM refunds \
         LEFT JOIN transactions AS own ON own.id = refunds.id \
         LEFT JOIN transfers AS moved ON moved.seq = own.first_seq AND moved.purpose = $1 \
         LEFT JOIN transactions AS payment ON payment.id = refunds.payment \
         LEFT JOIN transfers AS paid ON paid.seq = payment.first_seq AND paid.purpose = $2 \
         LEFT JOIN holds ON holds.transaction_id = refunds.payment \
         ORDER BY refunds.payment, refunds.remaining DESC",
        columns.join(", ")
    );
    let purposes = params![Purpose::Refund.code(), Purpose::Principal.code()];
    reader.for_each(&sql, purposes, |row| {
        let amount = |at| Ok::<_, DbError>(row.try_get::<Option<[u8; 16]>>(at)?.map(Amount::from_bytes));
        let booked = || Ok(Booked { row: refund(&row)?, moved: amount(8)?, paid: amount(9)? });
        each(TransactionId::from_bytes(row.try_get(0)?), booked())
    })
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
