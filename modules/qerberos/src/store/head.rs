//! The log's head.

use q_db::{DbError, Reader, Tx, params};
use q_tlog::Hash;

use super::integer;

/// What was appended and what was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The name of the log.
    pub origin: String,
    /// Leaves appended.
    pub size: u64,
    /// Their root.
    pub root: Hash,
    /// Leaves covered by the newest checkpoint.
    pub signed_size: u64,
}

/// The head, unless the log was never begun.
pub fn find(reader: &mut Reader<'_>) -> Result<Option<Head>, DbError> {
    let row = reader.query_opt("SELECT origin, size, root, signed_size FROM head WHERE id = 1", &[])?;
    row.map(|row| {
        Ok(Head {
            origin: row.try_get(0)?,
            size: row.try_get(1)?,
            root: row.try_get(2)?,
            signed_size: row.try_get(3)?,
        })
    })
    .transpose()
}

/// The head of a log that was begun.
pub fn get(reader: &mut Reader<'_>) -> Result<Head, DbError> {
    find(reader)?.ok_or(DbError::NotOneRow(0))
}

/// Begins the log.
pub fn insert(tx: &mut Tx<'_>, origin: &str, root: &Hash) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO head (id, origin, size, root, signed_size) VALUES (1, $1, 0, $2, 0)",
        params![origin, root],
    )?;
    Ok(())
}

/// Lets the log go on under another name.
pub fn rename(tx: &mut Tx<'_>, origin: &str) -> Result<(), DbError> {
    tx.execute("UPDATE head SET origin = $1 WHERE id = 1", params![origin])?;
    Ok(())
}

/// Moves the head from `old` to the tree of `size` leaves; `false` when another writer was first.
pub fn advance(tx: &mut Tx<'_>, old: &Head, size: u64, root: &Hash) -> Result<bool, DbError> {
    let sql = "UPDATE head SET size = $1, root = $2 WHERE id = 1 AND size = $3 AND root = $4";
    Ok(tx.execute(sql, params![integer(size), root, integer(old.size), &old.root])? == 1)
}

/// Notes that the whole of `head` is signed; `false` when the head or what was signed has changed since it was read.
pub fn mark_signed(tx: &mut Tx<'_>, head: &Head) -> Result<bool, DbError> {
    let sql =
        "UPDATE head SET signed_size = $1 WHERE id = 1 AND size = $1 AND root = $2 AND signed_size = $3";
    Ok(tx.execute(sql, params![integer(head.size), &head.root, integer(head.signed_size)])? == 1)
}
