//! What two operators set right in the books of a rail.

use q_core::{Amount, Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{TransactionId, WalletId};

use crate::domain::rails::CorrectionKind;

/// The most rows of a list.
const LIST_MAX: i64 = 200;

/// A row of `rail_corrections`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrectionRow {
    /// The transaction.
    pub id: TransactionId,
    /// The rail.
    pub rail: String,
    /// What was set right.
    pub kind: CorrectionKind,
    /// The deposit or withdrawal it is about; none of a loss.
    pub about: Option<TransactionId>,
    /// The wallet that paid or got it.
    pub wallet: Option<WalletId>,
    /// How much.
    pub amount: Amount,
    /// Why.
    pub reason: String,
    /// Who signed.
    pub approvers: Vec<Did>,
    /// When.
    pub made_at: Timestamp,
}

const COLUMNS: &str = "id, rail, kind, about, wallet, amount, reason, approvers, made_at";

fn correction(row: &Row) -> Result<CorrectionRow, DbError> {
    let id = |at| row.try_get::<Option<[u8; 16]>>(at);
    let approvers: String = row.try_get(7)?;
    let bad = |column, expected| DbError::BadRow { column, expected };
    Ok(CorrectionRow {
        id: TransactionId::from_bytes(row.try_get(0)?),
        rail: row.try_get(1)?,
        kind: CorrectionKind::from_code(row.try_get(2)?).ok_or(bad(2, "a kind of correction"))?,
        about: id(3)?.map(TransactionId::from_bytes),
        wallet: id(4)?.map(WalletId::from_bytes),
        amount: Amount::from_bytes(row.try_get(5)?),
        reason: row.try_get(6)?,
        approvers: approvers
            .split(' ')
            .map(|did| did.parse().map_err(|_| bad(7, "approvers")))
            .collect::<Result<_, _>>()?,
        made_at: row.try_get(8)?,
    })
}

/// Adds a correction.
pub fn insert(tx: &mut Tx<'_>, row: &CorrectionRow) -> Result<(), DbError> {
    let sql = format!("INSERT INTO rail_corrections ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    let approvers: Vec<&str> = row.approvers.iter().map(Did::as_str).collect();
    let values = params![
        row.id.bytes(),
        &row.rail,
        row.kind.code(),
        row.about.map(TransactionId::bytes),
        row.wallet.map(WalletId::bytes),
        row.amount.to_bytes(),
        &row.reason,
        approvers.join(" "),
        row.made_at,
    ];
    tx.execute(&sql, values)?;
    Ok(())
}

/// The correction, if it was made.
pub fn find(reader: &mut Reader<'_>, id: TransactionId) -> Result<Option<CorrectionRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM rail_corrections WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(correction).transpose()
}

/// The corrections of a rail, newest first.
pub fn list(reader: &mut Reader<'_>, rail: &str) -> Result<Vec<CorrectionRow>, DbError> {
    let sql =
        format!("SELECT {COLUMNS} FROM rail_corrections WHERE rail = $1 ORDER BY id DESC LIMIT {LIST_MAX}");
    reader.query(&sql, params![rail])?.iter().map(correction).collect()
}

/// When a correction of one of these kinds was last made on a rail.
pub fn last_of(
    reader: &mut Reader<'_>,
    rail: &str,
    kinds: [CorrectionKind; 2],
) -> Result<Option<Timestamp>, DbError> {
    let sql = "SELECT MAX(made_at) FROM rail_corrections WHERE rail = $1 AND kind IN ($2, $3)";
    let [one, other] = kinds.map(CorrectionKind::code);
    reader.query_one(sql, params![rail, one, other])?.try_get(0)
}

/// Calls `each` with every correction.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<CorrectionRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    reader.for_each(&format!("SELECT {COLUMNS} FROM rail_corrections ORDER BY id"), params![], |row| {
        each(correction(&row))
    })
}
