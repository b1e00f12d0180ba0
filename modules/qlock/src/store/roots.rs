//! Root keys and key-encryption keys.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};

use super::{NamedRows, one_by_one};
use crate::domain::hierarchy::{KekFacts, KekId};

/// A root key as stored.
#[derive(Debug, Clone)]
pub struct StoredRoot {
    /// Counted from 1.
    pub version: u32,
    /// The unseal key it is wrapped under.
    pub unseal_key_id: String,
    /// The blob.
    pub wrapped: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key-encryption key as stored.
#[derive(Debug, Clone)]
pub struct StoredKek {
    /// What the blob is bound to.
    pub facts: KekFacts,
    /// The blob.
    pub wrapped: Vec<u8>,
}

const ROOT: &str = "SELECT version, unseal_key_id, wrapped, created_at FROM root_keys";
const KEK: &str = "SELECT kek_id, identity, purpose, root_version, wrapped, created_at FROM keks";

/// Every root key, oldest first.
pub fn list_roots(reader: &mut Reader<'_>) -> Result<Vec<StoredRoot>, DbError> {
    let rows = reader.query(&format!("{ROOT} ORDER BY version"), params![])?;
    rows.iter().map(root).collect()
}

/// Every root key, for the integrity check.
pub fn list_root_rows(reader: &mut Reader<'_>) -> Result<NamedRows<i64, StoredRoot>, DbError> {
    let sql = ("SELECT version FROM root_keys ORDER BY version", &*format!("{ROOT} WHERE version = $1"));
    one_by_one(reader, sql, params![], root)
}

/// Adds a root key.
pub fn insert_root(tx: &mut Tx<'_>, root: &StoredRoot) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO root_keys (version, unseal_key_id, wrapped, created_at) VALUES ($1, $2, $3, $4)",
        params![root.version, &root.unseal_key_id, &root.wrapped, root.created_at],
    )?;
    Ok(())
}

/// The key-encryption key of an identity for a purpose.
pub fn find_kek(
    reader: &mut Reader<'_>,
    identity: &Did,
    purpose: &str,
) -> Result<Option<StoredKek>, DbError> {
    let sql = format!("{KEK} WHERE identity = $1 AND purpose = $2");
    reader.query_opt(&sql, params![identity, purpose])?.map(|row| kek(&row)).transpose()
}

/// The key-encryption key with this name.
pub fn get_kek(reader: &mut Reader<'_>, kek_id: KekId) -> Result<Option<StoredKek>, DbError> {
    let sql = format!("{KEK} WHERE kek_id = $1");
    reader.query_opt(&sql, params![kek_id.to_string()])?.map(|row| kek(&row)).transpose()
}

/// Every key-encryption key, for the integrity check.
pub fn list_keks(reader: &mut Reader<'_>) -> Result<NamedRows<String, StoredKek>, DbError> {
    let sql = ("SELECT kek_id FROM keks ORDER BY kek_id", &*format!("{KEK} WHERE kek_id = $1"));
    one_by_one(reader, sql, params![], kek)
}

/// Adds a key-encryption key.
pub fn insert_kek(tx: &mut Tx<'_>, kek: &StoredKek) -> Result<(), DbError> {
    let facts = &kek.facts;
    tx.execute(
        "INSERT INTO keks (kek_id, identity, purpose, root_version, wrapped, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            facts.kek_id.to_string(),
            &facts.identity,
            &facts.purpose,
            facts.root_version,
            &kek.wrapped,
            facts.created_at,
        ],
    )?;
    Ok(())
}

fn root(row: &Row) -> Result<StoredRoot, DbError> {
    Ok(StoredRoot {
        version: row.try_get(0)?,
        unseal_key_id: row.try_get(1)?,
        wrapped: row.try_get(2)?,
        created_at: row.try_get(3)?,
    })
}

fn kek(row: &Row) -> Result<StoredKek, DbError> {
    Ok(StoredKek {
        facts: KekFacts {
            kek_id: row.parse(0)?,
            identity: row.parse(1)?,
            purpose: row.try_get(2)?,
            root_version: row.try_get(3)?,
            created_at: row.try_get(5)?,
        },
        wrapped: row.try_get(4)?,
    })
}
