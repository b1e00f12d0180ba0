//! Snapshots of what many held.

use q_core::{Timestamp, hash::Sha256};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};
use qwallet_api::SnapshotId;

use super::in_lists;
use crate::domain::currency::CurrencyId;

/// A row of `snapshots`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its id.
    pub id: SnapshotId,
    /// The currency.
    pub currency: CurrencyId,
    /// The instant.
    pub as_of: Timestamp,
    /// When it was taken.
    pub created_at: Timestamp,
    /// How many holders.
    pub holder_count: i64,
    /// What they held together, as it is told.
    pub total: String,
    /// The root over the entries.
    pub root: Sha256,
    /// The signed statement.
    pub jws: String,
}

/// A row of `snapshot_entries`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// Its place among the leaves, from 0.
    pub place: i64,
    /// Whose.
    pub holder: String,
    /// What it was, as it is told.
    pub balance: String,
}

const COLUMNS: &str = "id, currency, as_of, created_at, holder_count, total, root, jws";

fn snapshot(row: &Row) -> Result<SnapshotRow, DbError> {
    Ok(SnapshotRow {
        id: SnapshotId::from_bytes(row.try_get(0)?),
        currency: CurrencyId(row.try_get(1)?),
        as_of: row.try_get(2)?,
        created_at: row.try_get(3)?,
        holder_count: row.try_get(4)?,
        total: row.try_get(5)?,
        root: row.try_get(6)?,
        jws: row.try_get(7)?,
    })
}

/// Adds a snapshot with its entries.
pub fn insert(tx: &mut Tx<'_>, row: &SnapshotRow, entries: &[EntryRow]) -> Result<(), DbError> {
    const ENTRY: [Column; 4] = [
        Column::bytes("snapshot"),
        Column::integer("place"),
        Column::text("holder"),
        Column::text("balance"),
    ];
    let values = params![
        row.id.bytes(),
        row.currency.0,
        row.as_of,
        row.created_at,
        row.holder_count,
        &row.total,
        row.root,
        &row.jws,
    ];
    let sql = format!("INSERT INTO snapshots ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)");
    tx.execute(&sql, values)?;
    let rows: Vec<[Value; 4]> = entries
        .iter()
        .map(|entry| {
            [
                row.id.bytes().into(),
                entry.place.into(),
                entry.holder.as_str().into(),
                entry.balance.as_str().into(),
            ]
        })
        .collect();
    tx.insert_many("snapshot_entries", &ENTRY, &rows)?;
    Ok(())
}

/// The snapshot, if it exists.
pub fn find(reader: &mut Reader<'_>, id: SnapshotId) -> Result<Option<SnapshotRow>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM snapshots WHERE id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.as_ref().map(snapshot).transpose()
}

/// All entries of a snapshot, by place.
pub fn entries(reader: &mut Reader<'_>, id: SnapshotId) -> Result<Vec<EntryRow>, DbError> {
    let sql = "SELECT place, holder, balance FROM snapshot_entries WHERE snapshot = $1 ORDER BY place";
    let rows = reader.query(sql, params![id.bytes()])?;
    let entry = |row: &Row| {
        Ok(EntryRow { place: row.try_get(0)?, holder: row.try_get(1)?, balance: row.try_get(2)? })
    };
    rows.iter().map(entry).collect()
}

/// A snapshot or why it cannot be read, with its id.
pub type StoredSnapshot = (SnapshotId, Result<SnapshotRow, DbError>);

/// Every snapshot.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<StoredSnapshot>, DbError> {
    let rows = reader.query(&format!("SELECT {COLUMNS} FROM snapshots ORDER BY id"), params![])?;
    rows.iter().map(|row| Ok((SnapshotId::from_bytes(row.try_get(0)?), snapshot(row)))).collect()
}

/// The instant of the first commit.
pub fn first_commit(reader: &mut Reader<'_>) -> Result<Option<Timestamp>, DbError> {
    let row = reader.query_opt("SELECT at FROM commits ORDER BY at, id LIMIT 1", params![])?;
    row.map(|row| row.try_get(0)).transpose()
}

/// The accounts of a currency that belong to these owners: owner, account.
pub fn accounts_of_owners(
    reader: &mut Reader<'_>,
    owners: &[String],
    currency: CurrencyId,
) -> Result<Vec<(String, i64)>, DbError> {
    let keys: Vec<Value> = owners.iter().map(|owner| owner.as_str().into()).collect();
    let rows = in_lists(&keys, |places, keys| {
        let sql = format!(
            "SELECT wallets.owner, accounts.id FROM wallets JOIN accounts ON accounts.wallet = wallets.id \
             WHERE wallets.owner IN ({places}) AND accounts.currency = {}",
            currency.0
        );
        reader.query(&sql, keys)
    })?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}
