//! Withdrawals that wait for the approval of others, and what was decided about them.

use q_core::{Amount, Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{TransactionId, WalletId};

use super::approvals::DecisionRow;
use crate::domain::{currency::CurrencyId, fees::FeeAmounts, rails::WaitingStatus};

/// The most rows of a list.
const LIST_MAX: i64 = 200;

/// A row of `waiting_withdrawals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Its id, which the withdrawal has when it is carried out.
    pub id: TransactionId,
    /// The paying wallet.
    pub wallet: WalletId,
    /// Who signed the order.
    pub payer: Did,
    /// The nonce of the order.
    pub nonce: String,
    /// The order as it came, sealed.
    pub document: Vec<u8>,
    /// What it is in.
    pub currency: CurrencyId,
    /// How much the recipient is to get.
    pub amount: Amount,
    /// What it would have cost when it was asked for.
    pub fees: FeeAmounts,
    /// Where it is.
    pub status: WaitingStatus,
    /// Why it was not carried out when it was approved.
    pub reason: Option<String>,
    /// When it was asked for.
    pub made_at: Timestamp,
    /// When the order lapses.
    pub expires_at: Timestamp,
    /// When its status changed.
    pub changed_at: Timestamp,
}

const COLUMNS: &str = "id, wallet, payer, nonce, document, currency, amount, platform_fee, network_fee, status, reason, \
                       made_at, expires_at, changed_at";

fn waiting(row: &Row) -> Result<WaitingRow, DbError> {
    let status = WaitingStatus::from_code(row.try_get(9)?);
    let amount = |at| Ok::<_, DbError>(Amount::from_bytes(row.try_get(at)?));
    Ok(WaitingRow {
        id: TransactionId::from_bytes(row.try_get(0)?),
        wallet: WalletId::from_bytes(row.try_get(1)?),
        payer: row.try_get(2)?,
        nonce: row.try_get(3)?,
        document: row.try_get(4)?,
        currency: CurrencyId(row.try_get(5)?),
        amount: amount(6)?,
        fees: FeeAmounts { platform: amount(7)?, network: amount(8)? },
        status: status.ok_or(DbError::BadRow { column: 9, expected: "a status of a waiting withdrawal" })?,
        reason: row.try_get(10)?,
        made_at: row.try_get(11)?,
        expires_at: row.try_get(12)?,
        changed_at: row.try_get(13)?,
    })
}

/// Adds one.
pub fn insert(tx: &mut Tx<'_>, row: &WaitingRow) -> Result<(), DbError> {
    let sql = format!(
        "INSERT INTO waiting_withdrawals ({COLUMNS}) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
    );
    let values = params![
        row.id.bytes(),
        row.wallet.bytes(),
        &row.payer,
        &row.nonce,
        &row.document,
        row.currency.0,
        row.amount.to_bytes(),
        row.fees.platform.to_bytes(),
        row.fees.network.to_bytes(),
        row.status.code(),
        row.reason.as_deref(),
        row.made_at,
        row.expires_at,
        row.changed_at,
    ];
    tx.execute(&sql, values)?;
    Ok(())
}

/// The one with this id.
pub fn find(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<WaitingRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM waiting_withdrawals WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(waiting).transpose()
}

/// The one of an order.
pub fn find_order(reader: &mut Reader<'_>, payer: &Did, nonce: &str) -> Result<Option<WaitingRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM waiting_withdrawals WHERE payer = $1 AND nonce = $2");
    reader.query_opt(&sql, params![payer, nonce])?.as_ref().map(waiting).transpose()
}

/// The one with this id, locked until the commit.
pub fn lock(tx: &mut Tx<'_>, id: TransactionId) -> Result<Option<WaitingRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM waiting_withdrawals WHERE id = $1");
    tx.query_for_update(&sql, params![id.bytes()])?.first().map(waiting).transpose()
}

/// Says where it is, and why it did not go on.
pub fn set_status(
    tx: &mut Tx<'_>,
    id: TransactionId,
    status: WaitingStatus,
    reason: Option<&str>,
) -> Result<(), DbError> {
    let sql = "UPDATE waiting_withdrawals SET status = $2, reason = $3, changed_at = $4 WHERE id = $1";
    let now = tx.now();
    tx.execute(sql, params![id.bytes(), status.code(), reason, now])?;
    Ok(())
}

/// Those that wait for wallets for which somebody approves, newest first.
pub fn of_approver(
    reader: &mut Reader<'_>,
    approver: &Did,
    now: Timestamp,
) -> Result<Vec<WaitingRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM waiting_withdrawals WHERE status = 0 AND expires_at > $2 AND wallet IN \
         (SELECT wallet FROM approvers WHERE approver = $1) ORDER BY id DESC LIMIT {LIST_MAX}"
    );
    reader.query(&sql, params![approver, now])?.iter().map(waiting).collect()
}

/// Calls `each` with every one.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<WaitingRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    reader.for_each(&format!("SELECT {COLUMNS} FROM waiting_withdrawals ORDER BY id"), params![], |row| {
        each(waiting(&row))
    })
}

/// What was decided about one, in the order of the approvers.
pub fn decisions(reader: &mut Reader<'_>, id: TransactionId) -> Result<Vec<DecisionRow>, DbError> {
    let sql = "SELECT approver, is_approved, signature, decided_at FROM withdrawal_approvals \
               WHERE withdrawal = $1 ORDER BY approver";
    let decision = |row: &Row| {
        Ok(DecisionRow {
            approver: row.try_get(0)?,
            is_approved: row.try_get(1)?,
            signature: row.try_get(2)?,
            at: row.try_get(3)?,
        })
    };
    reader.query(sql, params![id.bytes()])?.iter().map(decision).collect()
}

/// Adds what an approver decided, in place of what the same one decided before.
pub fn decide(tx: &mut Tx<'_>, id: TransactionId, decision: &DecisionRow) -> Result<(), DbError> {
    let sql = "INSERT INTO withdrawal_approvals (withdrawal, approver, is_approved, signature, decided_at) \
               VALUES ($1, $2, $3, $4, $5) ON CONFLICT (withdrawal, approver) DO UPDATE SET \
               is_approved = EXCLUDED.is_approved, signature = EXCLUDED.signature, decided_at = EXCLUDED.decided_at";
    let row = params![id.bytes(), &decision.approver, decision.is_approved, &decision.signature, decision.at];
    tx.execute(sql, row)?;
    Ok(())
}
