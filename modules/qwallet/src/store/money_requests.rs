//! Requests for money.

use q_core::{Amount, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{RequestId, TransactionId, WalletId};

use crate::domain::{currency::CurrencyId, money_request::Status};

/// A row of `money_requests`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoneyRequestRow {
    /// Its id.
    pub id: RequestId,
    /// Who asks.
    pub wallet: WalletId,
    /// The currency.
    pub currency: CurrencyId,
    /// How much.
    pub amount: Option<Amount>,
    /// What for, sealed.
    pub memo: Option<Vec<u8>>,
    /// Whether one payment fulfils it.
    pub is_single_use: bool,
    /// Whether its payee took it back.
    pub is_cancelled: bool,
    /// How often it was paid.
    pub payments: i64,
    /// The last payment.
    pub transaction: Option<TransactionId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it may be paid.
    pub expires_at: Option<Timestamp>,
}

impl MoneyRequestRow {
    /// Where it is at `now`.
    pub fn status(&self, now: Timestamp) -> Status {
        Status::at(now, self.is_cancelled, self.is_single_use, self.payments, self.expires_at)
    }
}

const COLUMNS: &str = "id, wallet, currency, amount, memo, is_single_use, is_cancelled, payments, transaction_id, \
                       created_at, expires_at";

/// Adds a request.
pub fn insert(tx: &mut Tx<'_>, request: &MoneyRequestRow) -> Result<(), DbError> {
    let row = params![
        request.id.bytes(),
        request.wallet.bytes(),
        request.currency.0,
        request.amount.map(Amount::to_bytes),
        request.memo.as_deref(),
        request.is_single_use,
        request.is_cancelled,
        request.payments,
        request.transaction.map(TransactionId::bytes),
        request.created_at,
        request.expires_at,
    ];
    let sql = format!(
        "INSERT INTO money_requests ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)"
    );
    tx.execute(&sql, row)?;
    Ok(())
}

/// The request, if it exists.
pub fn find(reader: &mut Reader<'_>, id: RequestId) -> Result<Option<MoneyRequestRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM money_requests WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(request).transpose()
}

/// Locks a request against other writers until the commit.
pub fn lock(tx: &mut Tx<'_>, id: RequestId) -> Result<(), DbError> {
    tx.query_for_update("SELECT id FROM money_requests WHERE id = $1", params![id.bytes()])?;
    Ok(())
}

/// The requests of a wallet made before `before`, newest first.
pub fn list(
    reader: &mut Reader<'_>,
    wallet: WalletId,
    before: RequestId,
    count: u32,
) -> Result<Vec<MoneyRequestRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM money_requests WHERE wallet = $1 AND id < $2 ORDER BY id DESC LIMIT $3"
    );
    reader.query(&sql, params![wallet.bytes(), before.bytes(), count])?.iter().map(request).collect()
}

/// Notes a payment.
pub fn pay(tx: &mut Tx<'_>, id: RequestId, transaction: TransactionId) -> Result<(), DbError> {
    let sql = "UPDATE money_requests SET payments = payments + 1, transaction_id = $1 WHERE id = $2";
    tx.execute(sql, params![transaction.bytes(), id.bytes()])?;
    Ok(())
}

/// Takes a request back.
pub fn cancel(tx: &mut Tx<'_>, id: RequestId) -> Result<(), DbError> {
    tx.execute("UPDATE money_requests SET is_cancelled = 1 WHERE id = $1", params![id.bytes()])?;
    Ok(())
}

fn request(row: &Row) -> Result<MoneyRequestRow, DbError> {
    Ok(MoneyRequestRow {
        id: RequestId::from_bytes(row.try_get(0)?),
        wallet: WalletId::from_bytes(row.try_get(1)?),
        currency: CurrencyId(row.try_get(2)?),
        amount: row.try_get::<Option<[u8; 16]>>(3)?.map(Amount::from_bytes),
        memo: row.try_get(4)?,
        is_single_use: row.try_get(5)?,
        is_cancelled: row.try_get(6)?,
        payments: row.try_get(7)?,
        transaction: row.try_get::<Option<[u8; 16]>>(8)?.map(TransactionId::from_bytes),
        created_at: row.try_get(9)?,
        expires_at: row.try_get(10)?,
    })
}
