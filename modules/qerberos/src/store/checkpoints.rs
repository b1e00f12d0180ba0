//! Signed tree heads.

use q_core::Timestamp;
use q_db::{DbError, Reader, Row, Tx, params};
use q_tlog::Hash;

use super::integer;

/// A tree head that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The leaves it covers.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// The signed note, verbatim.
    pub note: String,
    /// When it was signed.
    pub signed_at: Timestamp,
}

const COLUMNS: &str = "size, root, note, signed_at";

/// The newest one.
pub fn newest(reader: &mut Reader<'_>) -> Result<Option<StoredCheckpoint>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM checkpoints ORDER BY size DESC LIMIT 1");
    reader.query_opt(&sql, &[])?.map(|row| stored(&row)).transpose()
}

/// The one that covers exactly `size` leaves.
pub fn find(reader: &mut Reader<'_>, size: u64) -> Result<Option<StoredCheckpoint>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM checkpoints WHERE size = $1");
    reader.query_opt(&sql, params![integer(size)])?.map(|row| stored(&row)).transpose()
}

/// Every one, smallest first; one that cannot be read as the error.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<Result<StoredCheckpoint, DbError>>, DbError> {
    let rows = reader.query(&format!("SELECT {COLUMNS} FROM checkpoints ORDER BY size"), &[])?;
    Ok(rows.iter().map(stored).collect())
}

/// Keeps a new one.
pub fn insert(tx: &mut Tx<'_>, checkpoint: &StoredCheckpoint) -> Result<(), DbError> {
    let StoredCheckpoint { size, root, note, signed_at } = checkpoint;
    tx.execute(
        "INSERT INTO checkpoints (size, root, note, signed_at) VALUES ($1, $2, $3, $4)",
        params![integer(*size), root, note, *signed_at],
    )?;
    Ok(())
}

fn stored(row: &Row) -> Result<StoredCheckpoint, DbError> {
    Ok(StoredCheckpoint {
        size: row.try_get(0)?,
        root: row.try_get(1)?,
        note: row.try_get(2)?,
        signed_at: row.try_get(3)?,
    })
}
