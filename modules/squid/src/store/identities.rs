//! Identities, their profiles still sealed.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_did::Head;
use squid_api::{IdentityType, PrivacyLevel, Status};

/// An identity as it stands in its row.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The location-free name.
    pub did: Did,
    /// What kind it is.
    pub kind: IdentityType,
    /// The module, for a service identity.
    pub service: Option<String>,
    /// Whether it may act.
    pub status: Status,
    /// Who sees the profile.
    pub privacy_level: PrivacyLevel,
    /// The sealed profile.
    pub profile: Option<Vec<u8>>,
    /// Counts the changes of the profile.
    pub revision: i64,
    /// The log after its newest entry.
    pub head: Head,
    /// Tokens made before this are dead.
    pub not_before: Option<Timestamp>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When profile or status last changed.
    pub updated_at: Timestamp,
    /// Who stopped it, while it is suspended.
    pub held_by: Hold,
}

/// Who may let a suspended identity act again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Hold {
    /// An operator.
    #[default]
    Operator,
    /// Whoever lets its parent act again; it was stopped with it.
    Tree,
    /// Its parents: this one stopped it.
    Parent(Did),
}

impl Hold {
    /// The word of a hold that was taken with the parent's.
    const TREE: &'static str = "tree";

    fn column(&self) -> Option<String> {
        match self {
            Self::Operator => None,
            Self::Tree => Some(Self::TREE.to_owned()),
            Self::Parent(did) => Some(did.to_string()),
        }
    }

    fn read(column: Option<String>) -> Result<Self, DbError> {
        Ok(match column {
            None => Self::Operator,
            Some(word) if word == Self::TREE => Self::Tree,
            Some(did) => {
                let bad = |_| DbError::BadRow { column: 11, expected: "who holds a suspension" };
                Self::Parent(did.parse().map_err(bad)?)
            }
        })
    }
}

const COLUMNS: &str = "did, type, service, status, privacy_level, profile, revision, head, not_before, \
                       created_at, updated_at, held_by";

/// The identity, if it is registered.
pub fn find(reader: &mut Reader<'_>, did: &Did) -> Result<Option<Stored>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM identities WHERE did = $1");
    reader.query_opt(&sql, params![did])?.map(|row| stored(&row)).transpose()
}

/// The names of all identities, sorted.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<Did>, DbError> {
    reader.query("SELECT did FROM identities ORDER BY did", &[])?.iter().map(|row| row.try_get(0)).collect()
}

/// Adds an identity; `false` when it is there already.
pub fn insert(tx: &mut Tx<'_>, identity: &Stored) -> Result<bool, DbError> {
    let added = tx.execute(
        "INSERT INTO identities (did, type, service, status, privacy_level, profile, revision, head, \
         version_id, not_before, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (did) DO NOTHING",
        params![
            &identity.did,
            identity.kind.as_str(),
            identity.service.clone(),
            identity.status.as_str(),
            identity.privacy_level.as_str(),
            identity.profile.clone(),
            identity.revision,
            serde_json::to_string(&identity.head)?,
            &identity.head.version_id,
            identity.not_before,
            identity.created_at,
            identity.updated_at,
        ],
    )?;
    Ok(added == 1)
}

/// Replaces the profile if it is still at `revision`.
pub fn set_profile(
    tx: &mut Tx<'_>,
    did: &Did,
    revision: i64,
    profile: &[u8],
    privacy_level: PrivacyLevel,
) -> Result<bool, DbError> {
    let now = tx.now();
    let changed = tx.execute(
        "UPDATE identities SET profile = $1, privacy_level = $2, revision = revision + 1, updated_at = $3 \
         WHERE did = $4 AND revision = $5 AND status <> 'DELETED'",
        params![profile.to_vec(), privacy_level.as_str(), now, did, revision],
    )?;
    Ok(changed == 1)
}

/// Moves the head on from `from`; `false` when another entry came first.
pub fn set_head(tx: &mut Tx<'_>, did: &Did, from: &str, head: &Head) -> Result<bool, DbError> {
    let now = tx.now();
    let changed = tx.execute(
        "UPDATE identities SET head = $1, version_id = $2, updated_at = $3 WHERE did = $4 AND version_id = $5",
        params![serde_json::to_string(head)?, &head.version_id, now, did, from.to_owned()],
    )?;
    Ok(changed == 1)
}

/// Sets the status, and who may lift a suspension.
pub fn set_status(tx: &mut Tx<'_>, did: &Did, status: Status, hold: &Hold) -> Result<(), DbError> {
    let now = tx.now();
    tx.execute(
        "UPDATE identities SET status = $1, held_by = $2, updated_at = $3 WHERE did = $4",
        params![status.as_str(), hold.column(), now, did],
    )?;
    Ok(())
}

/// Erases the profile.
pub fn erase_profile(tx: &mut Tx<'_>, did: &Did) -> Result<(), DbError> {
    tx.execute("UPDATE identities SET profile = NULL, revision = revision + 1 WHERE did = $1", params![did])?;
    Ok(())
}

/// Declares every token made before `instant` dead.
pub fn set_not_before(tx: &mut Tx<'_>, did: &Did, instant: Timestamp) -> Result<(), DbError> {
    tx.execute("UPDATE identities SET not_before = $1 WHERE did = $2", params![instant, did])?;
    Ok(())
}

fn stored(row: &Row) -> Result<Stored, DbError> {
    let head: String = row.try_get(7)?;
    Ok(Stored {
        did: row.try_get(0)?,
        kind: row.parse(1)?,
        service: row.try_get(2)?,
        status: row.parse(3)?,
        privacy_level: row.parse(4)?,
        profile: row.try_get(5)?,
        revision: row.try_get(6)?,
        head: serde_json::from_str(&head)?,
        not_before: row.try_get(8)?,
        created_at: row.try_get(9)?,
        updated_at: row.try_get(10)?,
        held_by: Hold::read(row.try_get(11)?)?,
    })
}
