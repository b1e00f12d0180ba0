//! Keys and their versions.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use qlock_api::{KeyId, KeyState, KeyType};

use super::{NamedRows, one_by_one};
use crate::domain::hierarchy::{KekId, VersionFacts};

/// A key as stored.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// Its name.
    pub key_id: KeyId,
    /// The key its versions are wrapped under.
    pub kek_id: KekId,
    /// Whose it is.
    pub owner: Did,
    /// What it is made of.
    pub key_type: KeyType,
    /// The version that seals and signs.
    pub version: u32,
    /// Whether it is taken when a request names no key.
    pub is_default: bool,
    /// Its name for people.
    pub label: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key version as stored.
#[derive(Debug, Clone)]
pub struct StoredVersion {
    /// Counted from 1.
    pub version: u32,
    /// Where it is in its life.
    pub state: KeyState,
    /// The blob.
    pub wrapped: Vec<u8>,
    /// The public half.
    pub public: Option<Vec<u8>>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl StoredKey {
    /// What the blob of a version is bound to.
    pub fn facts(&self, version: &StoredVersion) -> VersionFacts {
        VersionFacts {
            key_id: self.key_id,
            owner: self.owner.clone(),
            key_type: self.key_type,
            kek_id: self.kek_id,
            version: version.version,
            created_at: version.created_at,
        }
    }
}

const KEY: &str = "SELECT key_id, kek_id, owner, type, version, is_default, label, created_at FROM keys";
const VERSION: &str = "SELECT version, state, wrapped, public, created_at FROM key_versions";

/// The key with this name.
pub fn find(reader: &mut Reader<'_>, key_id: KeyId) -> Result<Option<StoredKey>, DbError> {
    let sql = format!("{KEY} WHERE key_id = $1");
    reader.query_opt(&sql, params![key_id.to_string()])?.map(|row| key(&row)).transpose()
}

/// The key of a type that an identity uses when it names none.
pub fn find_default(
    reader: &mut Reader<'_>,
    owner: &Did,
    key_type: KeyType,
) -> Result<Option<StoredKey>, DbError> {
    let sql = format!("{KEY} WHERE owner = $1 AND type = $2 AND is_default = 1");
    reader.query_opt(&sql, params![owner, type_name(key_type)])?.map(|row| key(&row)).transpose()
}

/// The keys of an identity after `after`, oldest first.
pub fn list(
    reader: &mut Reader<'_>,
    owner: &Did,
    after: Option<KeyId>,
    rows_max: u32,
) -> Result<Vec<StoredKey>, DbError> {
    let sql = format!("{KEY} WHERE owner = $1 AND key_id > $2 ORDER BY key_id LIMIT $3");
    let after = after.map(|key_id| key_id.to_string()).unwrap_or_default();
    let rows = reader.query(&sql, params![owner, after, rows_max])?;
    rows.iter().map(key).collect()
}

/// The keys of an identity of one type, newest first.
pub fn list_of_type(
    reader: &mut Reader<'_>,
    owner: &Did,
    key_type: KeyType,
    rows_max: u32,
) -> Result<Vec<StoredKey>, DbError> {
    let sql = format!("{KEY} WHERE owner = $1 AND type = $2 ORDER BY key_id DESC LIMIT $3");
    let rows = reader.query(&sql, params![owner, type_name(key_type), rows_max])?;
    rows.iter().map(key).collect()
}

/// Every key, for the integrity check.
pub fn list_all(reader: &mut Reader<'_>) -> Result<NamedRows<String, StoredKey>, DbError> {
    let sql = ("SELECT key_id FROM keys ORDER BY key_id", &*format!("{KEY} WHERE key_id = $1"));
    one_by_one(reader, sql, params![], key)
}

/// One version of a key.
pub fn find_version(
    reader: &mut Reader<'_>,
    key_id: KeyId,
    number: u32,
) -> Result<Option<StoredVersion>, DbError> {
    let sql = format!("{VERSION} WHERE key_id = $1 AND version = $2");
    reader.query_opt(&sql, params![key_id.to_string(), number])?.map(|row| version(&row)).transpose()
}

/// Every version of a key, oldest first.
pub fn list_versions(reader: &mut Reader<'_>, key_id: KeyId) -> Result<Vec<StoredVersion>, DbError> {
    let sql = format!("{VERSION} WHERE key_id = $1 ORDER BY version");
    let rows = reader.query(&sql, params![key_id.to_string()])?;
    rows.iter().map(version).collect()
}

/// Every version of a key, for the integrity check.
pub fn list_version_rows(
    reader: &mut Reader<'_>,
    key_id: KeyId,
) -> Result<NamedRows<i64, StoredVersion>, DbError> {
    let sql = (
        "SELECT version FROM key_versions WHERE key_id = $1 ORDER BY version",
        &*format!("{VERSION} WHERE key_id = $1 AND version = $2"),
    );
    one_by_one(reader, sql, params![key_id.to_string()], version)
}

/// The versions that no key owns, as their rows are named: there should be none.
pub fn list_orphans(reader: &mut Reader<'_>) -> Result<Vec<String>, DbError> {
    let sql = "SELECT key_id, version FROM key_versions \
               WHERE NOT EXISTS (SELECT 1 FROM keys WHERE keys.key_id = key_versions.key_id)";
    let rows = reader.query(sql, params![])?;
    Ok(rows.iter().map(|row| format!("{}#{}", row.get::<String>(0), row.get::<i64>(1))).collect())
}

/// A public half that is published.
pub struct PublicVersion {
    /// The key.
    pub key_id: KeyId,
    /// Its version.
    pub version: u32,
    /// The public half.
    pub public: Vec<u8>,
}

/// The public halves of signing keys, newest first; of one key if `only` says so.
pub fn list_public(
    reader: &mut Reader<'_>,
    only: Option<KeyId>,
    rows_max: u32,
) -> Result<Vec<PublicVersion>, DbError> {
    let only = only.map(|key_id| key_id.to_string());
    let sql = "SELECT v.key_id, v.version, v.public FROM key_versions v JOIN keys k ON k.key_id = v.key_id \
               WHERE k.type = 'ed25519' AND ($1 = '' OR v.key_id = $1) \
               ORDER BY v.key_id DESC, v.version DESC LIMIT $2";
    let rows = reader.query(sql, params![only.unwrap_or_default(), rows_max])?;
    rows.iter()
        .map(|row| {
            Ok(PublicVersion { key_id: row.parse(0)?, version: row.try_get(1)?, public: row.try_get(2)? })
        })
        .collect()
}

/// Adds a key.
pub fn insert(tx: &mut Tx<'_>, key: &StoredKey) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO keys (key_id, kek_id, owner, type, version, is_default, label, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            key.key_id.to_string(),
            key.kek_id.to_string(),
            &key.owner,
            type_name(key.key_type),
            key.version,
            key.is_default,
            key.label.clone(),
            key.created_at,
        ],
    )?;
    Ok(())
}

/// Adds a version.
pub fn insert_version(tx: &mut Tx<'_>, key_id: KeyId, version: &StoredVersion) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO key_versions (key_id, version, state, wrapped, public, created_at) \
         VALUES ($1, $2, $3, $4, $5, $6)",
        params![
            key_id.to_string(),
            version.version,
            state_name(version.state),
            &version.wrapped,
            version.public.clone(),
            version.created_at,
        ],
    )?;
    Ok(())
}

/// Makes `version` the one that seals and signs, and its predecessor one that only opens and verifies.
pub fn promote(tx: &mut Tx<'_>, key_id: KeyId, version: u32) -> Result<(), DbError> {
    let name = key_id.to_string();
    tx.execute(
        "UPDATE key_versions SET state = $1 WHERE key_id = $2 AND version < $3",
        params![state_name(KeyState::Deactivated), &name, version],
    )?;
    tx.execute("UPDATE keys SET version = $1 WHERE key_id = $2", params![version, &name])?;
    Ok(())
}

fn key(row: &Row) -> Result<StoredKey, DbError> {
    Ok(StoredKey {
        key_id: row.parse(0)?,
        kek_id: row.parse(1)?,
        owner: row.parse(2)?,
        key_type: key_type(&row.try_get::<String>(3)?).ok_or(bad_row(3, "the name of a key type"))?,
        version: row.try_get(4)?,
        is_default: row.try_get(5)?,
        label: row.try_get(6)?,
        created_at: row.try_get(7)?,
    })
}

fn version(row: &Row) -> Result<StoredVersion, DbError> {
    Ok(StoredVersion {
        version: row.try_get(0)?,
        state: state(&row.try_get::<String>(1)?).ok_or(bad_row(1, "the name of a state"))?,
        wrapped: row.try_get(2)?,
        public: row.try_get(3)?,
        created_at: row.try_get(4)?,
    })
}

const fn bad_row(column: usize, expected: &'static str) -> DbError {
    DbError::BadRow { column, expected }
}

/// The name of a type in its column.
pub const fn type_name(key_type: KeyType) -> &'static str {
    match key_type {
        KeyType::Aes256 => "aes-256",
        KeyType::Ed25519 => "ed25519",
        KeyType::X25519 => "x25519",
    }
}

fn key_type(name: &str) -> Option<KeyType> {
    [KeyType::Aes256, KeyType::Ed25519, KeyType::X25519].into_iter().find(|known| type_name(*known) == name)
}

const fn state_name(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "active",
        KeyState::Deactivated => "deactivated",
    }
}

fn state(name: &str) -> Option<KeyState> {
    [KeyState::Active, KeyState::Deactivated].into_iter().find(|known| state_name(*known) == name)
}
