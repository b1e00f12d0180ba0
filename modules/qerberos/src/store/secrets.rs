//! The log's own keys, sealed.

use q_db::{DbError, Reader, Tx, params};

/// The sealed bytes of the secret called `name`.
pub fn find(reader: &mut Reader<'_>, name: &str) -> Result<Option<Vec<u8>>, DbError> {
    let row = reader.query_opt("SELECT sealed FROM secrets WHERE name = $1", params![name])?;
    row.map(|row| row.try_get(0)).transpose()
}

/// Keeps a new secret.
pub fn insert(tx: &mut Tx<'_>, name: &str, sealed: &[u8]) -> Result<(), DbError> {
    tx.execute("INSERT INTO secrets (name, sealed) VALUES ($1, $2)", params![name, sealed])?;
    Ok(())
}
