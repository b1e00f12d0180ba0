//! Plans in their versions.

use q_core::{Amount, Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::{Entitlements, PlanId, WalletId};

use crate::domain::{currency::CurrencyId, recurrence::Period};

/// A row of `plans`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanRow {
    /// The plan.
    pub id: PlanId,
    /// Its version, from 1.
    pub version: i64,
    /// Who offers it.
    pub owner: Did,
    /// Who is paid.
    pub payee: WalletId,
    /// What it is called.
    pub name: String,
    /// The currency.
    pub currency: CurrencyId,
    /// What it costs each period.
    pub price: Amount,
    /// What is paid for.
    pub period: Period,
    /// What it grants.
    pub entitlements: Entitlements,
    /// Whether anybody may subscribe.
    pub is_offered: bool,
    /// When this version was made.
    pub created_at: Timestamp,
}

const COLUMNS: &str =
    "id, version, owner, payee, name, currency, price, period, entitlements, is_offered, created_at";

/// Adds a version of a plan.
pub fn insert(tx: &mut Tx<'_>, plan: &PlanRow) -> Result<(), DbError> {
    let row = params![
        plan.id.bytes(),
        plan.version,
        &plan.owner,
        plan.payee.bytes(),
        &plan.name,
        plan.currency.0,
        plan.price.to_bytes(),
        plan.period.name(),
        serde_json::to_string(&plan.entitlements)?,
        plan.is_offered,
        plan.created_at,
    ];
    let sql = format!("INSERT INTO plans ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    tx.execute(&sql, row)?;
    Ok(())
}

/// A version of a plan, or the newest, if it exists.
pub fn find(reader: &mut Reader<'_>, id: PlanId, version: Option<i64>) -> Result<Option<PlanRow>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM plans WHERE id = $1 AND (CAST($2 AS BIGINT) = 0 OR version = $2) \
         ORDER BY version DESC LIMIT 1"
    );
    reader.query_opt(&sql, params![id.bytes(), version.unwrap_or(0)])?.as_ref().map(plan).transpose()
}

/// Locks a plan against other writers until the commit.
pub fn lock(tx: &mut Tx<'_>, id: PlanId) -> Result<(), DbError> {
    tx.query_for_update("SELECT id FROM plans WHERE id = $1 ORDER BY version", params![id.bytes()])?;
    Ok(())
}

/// The plans that are offered, of this payee or of all, made before `before`, newest first.
pub fn list(
    reader: &mut Reader<'_>,
    payee: Option<WalletId>,
    before: PlanId,
    count: u32,
) -> Result<Vec<PlanRow>, DbError> {
    let of_payee = if payee.is_some() { "AND payee = $3 " } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM plans WHERE id < $1 AND is_offered = 1 {of_payee}\
         AND version = (SELECT MAX(newest.version) FROM plans AS newest WHERE newest.id = plans.id) \
         ORDER BY id DESC LIMIT $2"
    );
    let mut row = params![before.bytes(), count].to_vec();
    row.extend(payee.map(|payee| payee.bytes().into()));
    reader.query(&sql, &row)?.iter().map(plan).collect()
}

fn plan(row: &Row) -> Result<PlanRow, DbError> {
    let period = Period::from_name(&row.try_get::<String>(7)?);
    Ok(PlanRow {
        id: PlanId::from_bytes(row.try_get(0)?),
        version: row.try_get(1)?,
        owner: row.try_get(2)?,
        payee: WalletId::from_bytes(row.try_get(3)?),
        name: row.try_get(4)?,
        currency: CurrencyId(row.try_get(5)?),
        price: row.try_get(6).map(Amount::from_bytes)?,
        period: period.ok_or(DbError::BadRow { column: 7, expected: "a period" })?,
        entitlements: serde_json::from_str(&row.try_get::<String>(8)?)?,
        is_offered: row.try_get(9)?,
        created_at: row.try_get(10)?,
    })
}
