//! Signed delegations, as they were handed in.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_ucan::{Delegation, TokenCid, VerifyingKey};

use super::{cid, column, epoch};

/// A delegation as it is kept. The token is not decoded: it may be damaged.
#[derive(Debug, Clone)]
pub struct StoredDelegation {
    /// Its identifier.
    pub cid: TokenCid,
    /// Its bytes.
    pub token: Vec<u8>,
    /// Who handed on.
    pub issuer: String,
    /// Who received.
    pub audience: String,
    /// The key its signature held for when it was registered.
    pub signing_key: String,
    /// When it ends, in microseconds.
    pub expires_at: Option<i64>,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// The state that includes it.
    pub registered_epoch: u64,
}

const COLUMNS: &str =
    "cid, token, issuer, audience, signing_key, expires_at, registered_at, registered_epoch";

/// The delegation with this identifier.
pub fn find(reader: &mut Reader<'_>, cid: &TokenCid) -> Result<Option<StoredDelegation>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM delegations WHERE cid = $1");
    reader.query_opt(&sql, params![cid.digest()])?.as_ref().map(read).transpose()
}

/// The bytes of delegations to `audience` that have not ended, at most `count`: those signed by `owner` first,
/// because nobody else can make more of them, then the newest.
pub fn tokens_to(
    reader: &mut Reader<'_>,
    audience: &Did,
    owner: Option<&Did>,
    now: Timestamp,
    count: u32,
) -> Result<Vec<Vec<u8>>, DbError> {
    let owner = owner.map(ToString::to_string).unwrap_or_default();
    let sql = "SELECT token FROM delegations WHERE audience = $1 AND (expires_at IS NULL OR expires_at > $2) \
               ORDER BY CASE WHEN issuer = $3 THEN 0 ELSE 1 END, registered_epoch DESC, cid LIMIT $4";
    reader.query(sql, params![audience, now, owner, count])?.iter().map(|row| row.try_get(0)).collect()
}

/// Where a list of delegations goes on: behind this one.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The state that includes it.
    pub epoch: u64,
    /// Its identifier.
    pub cid: TokenCid,
}

/// What `who` gave or received and what counts at `now`, newest first.
pub fn of(
    reader: &mut Reader<'_>,
    who: &Did,
    now: Timestamp,
    behind: Option<Place>,
    count: u32,
) -> Result<Vec<StoredDelegation>, DbError> {
    let epoch = behind.map_or(i64::MAX, |place| column(place.epoch));
    let digest = behind.map_or([0; 32], |place| *place.cid.digest());
    let sql = format!(
        "SELECT {COLUMNS} FROM delegations WHERE (issuer = $1 OR audience = $1) \
         AND (expires_at IS NULL OR expires_at > $2) AND (registered_epoch, cid) < ($3, $4) \
         AND NOT EXISTS (SELECT 1 FROM revocations WHERE revocations.cid = delegations.cid) \
         ORDER BY registered_epoch DESC, cid DESC LIMIT $5"
    );
    reader.query(&sql, params![who, now, epoch, digest, count])?.iter().map(read).collect()
}

/// Keeps a delegation, unless it is kept already. `true` when it is new.
pub fn insert(
    tx: &mut Tx<'_>,
    delegation: &Delegation,
    key: &VerifyingKey,
    in_epoch: u64,
) -> Result<bool, DbError> {
    let row = params![
        delegation.cid().digest(),
        delegation.bytes(),
        &delegation.issuer().did,
        delegation.audience(),
        key.to_multikey(),
        delegation.expires_at(),
        tx.now(),
        column(in_epoch),
    ];
    let sql = format!(
        "INSERT INTO delegations ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING"
    );
    Ok(tx.execute(&sql, row)? == 1)
}

/// Calls `each` with every delegation.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<StoredDelegation, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = format!("SELECT {COLUMNS} FROM delegations ORDER BY cid");
    reader.for_each(&sql, params![], |row| each(read(&row)))
}

fn read(row: &Row) -> Result<StoredDelegation, DbError> {
    Ok(StoredDelegation {
        cid: cid(row, 0)?,
        token: row.try_get(1)?,
        issuer: row.try_get(2)?,
        audience: row.try_get(3)?,
        signing_key: row.try_get(4)?,
        expires_at: row.try_get(5)?,
        registered_at: Timestamp::from_micros(row.try_get(6)?),
        registered_epoch: epoch(row, 7)?,
    })
}
