//! The versions of the fee schedule.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qwallet_api::FeeRate;

use crate::domain::fees::Rates;

/// A row of `fee_versions`.
#[derive(Debug, Clone, PartialEq)]
pub struct FeeVersionRow {
    /// Its number.
    pub version: u32,
    /// From when on it holds.
    pub valid_from: Timestamp,
    /// What payments cost.
    pub rates: Vec<FeeRate>,
    /// The operators' reference.
    pub client_ref: String,
    /// What makes the order good once.
    pub nonce: String,
    /// Who approved it.
    pub approvers: Vec<Did>,
    /// What they signed.
    pub input: String,
    /// Their signatures, divided by spaces.
    pub signatures: String,
    /// When it was set.
    pub set_at: Timestamp,
}

const COLUMNS: &str = "version, valid_from, rates, client_ref, nonce, approvers, input, signatures, set_at";

fn row_of(row: &Row) -> Result<FeeVersionRow, DbError> {
    let (rates, approvers): (String, String) = (row.try_get(2)?, row.try_get(5)?);
    Ok(FeeVersionRow {
        version: row.try_get(0)?,
        valid_from: row.try_get(1)?,
        rates: serde_json::from_str(&rates)?,
        client_ref: row.try_get(3)?,
        nonce: row.try_get(4)?,
        approvers: serde_json::from_str(&approvers)?,
        input: row.try_get(6)?,
        signatures: row.try_get(7)?,
        set_at: row.try_get(8)?,
    })
}

/// Every version, by number.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<FeeVersionRow>, DbError> {
    let rows = reader.query(&format!("SELECT {COLUMNS} FROM fee_versions ORDER BY version"), params![])?;
    rows.iter().map(row_of).collect()
}

/// Calls `each` with every version, by number.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(i64, Result<FeeVersionRow, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {COLUMNS} FROM fee_versions ORDER BY version");
    reader.for_each(&sql, params![], |row| each(row.try_get(0)?, row_of(&row)))
}

/// Rates of the settings, and when the instance was first started with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RanWith {
    /// What payments cost then.
    pub rates: Rates,
    /// When it was first started so.
    pub since: Timestamp,
}

/// The rates of the settings that the instance ran with.
pub fn ran_with(reader: &mut Reader<'_>) -> Result<Vec<RanWith>, DbError> {
    let sql = "SELECT platform, network, since FROM fee_settings ORDER BY since, platform, network";
    let rows = reader.query(sql, params![])?;
    let read = |row: &Row| {
        let (platform, network): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        let points = |points| {
            u16::try_from(points).map_err(|_| DbError::BadRow { column: 0, expected: "basis points" })
        };
        let rates =
            Rates { platform_basis_points: points(platform)?, network_basis_points: points(network)? };
        Ok(RanWith { rates, since: row.try_get(2)? })
    };
    rows.iter().map(read).collect()
}

/// Notes that the instance runs with these rates of the settings.
pub fn note_settings(tx: &mut Tx<'_>, rates: Rates) -> Result<(), DbError> {
    let sql =
        "INSERT INTO fee_settings (platform, network, since) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    let (platform, network) = (i64::from(rates.platform_basis_points), i64::from(rates.network_basis_points));
    let since = tx.now();
    tx.execute(sql, params![platform, network, since])?;
    Ok(())
}

/// The highest number there is.
pub fn last(reader: &mut Reader<'_>) -> Result<Option<u32>, DbError> {
    let row =
        reader.query_opt("SELECT version FROM fee_versions ORDER BY version DESC LIMIT 1", params![])?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Whether an order with this nonce was carried out.
pub fn is_spent(reader: &mut Reader<'_>, nonce: &str) -> Result<bool, DbError> {
    Ok(reader.query_opt("SELECT version FROM fee_versions WHERE nonce = $1", params![nonce])?.is_some())
}

/// Adds a version.
pub fn insert(tx: &mut Tx<'_>, row: &FeeVersionRow) -> Result<(), DbError> {
    let values = params![
        row.version,
        row.valid_from,
        serde_json::to_string(&row.rates)?,
        &row.client_ref,
        &row.nonce,
        serde_json::to_string(&row.approvers)?,
        &row.input,
        &row.signatures,
        row.set_at,
    ];
    let sql = format!("INSERT INTO fee_versions ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)");
    tx.execute(&sql, values)?;
    Ok(())
}
