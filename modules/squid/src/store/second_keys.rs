//! Second keys.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Tx, params};

/// The second keys of an identity with the instants they were enrolled at, oldest first.
pub fn list(reader: &mut Reader<'_>, did: &Did) -> Result<Vec<(String, Timestamp)>, DbError> {
    let sql = "SELECT key, created_at FROM second_keys WHERE did = $1 ORDER BY created_at, key";
    let rows = reader.query(sql, params![did])?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// Adds a key.
pub fn insert(tx: &mut Tx<'_>, did: &Did, key: &str) -> Result<(), DbError> {
    let now = tx.now();
    let sql = "INSERT INTO second_keys (did, key, created_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    tx.execute(sql, params![did, key.to_owned(), now])?;
    Ok(())
}

/// Forgets a key; `false` when it is not there.
pub fn delete(tx: &mut Tx<'_>, did: &Did, key: &str) -> Result<bool, DbError> {
    Ok(tx.execute("DELETE FROM second_keys WHERE did = $1 AND key = $2", params![did, key.to_owned()])? == 1)
}

/// Forgets all keys of an identity, and says how many there were.
pub fn delete_all(tx: &mut Tx<'_>, did: &Did) -> Result<u64, DbError> {
    tx.execute("DELETE FROM second_keys WHERE did = $1", params![did])
}
