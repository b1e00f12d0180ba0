//! Grants, their actions, and the chains that prove them.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_pdp::{GrantId, GrantIssued, Proven};
use q_ucan::TokenCid;

use super::{cid, column, epoch, parsed};

/// A grant without its actions.
#[derive(Debug, Clone)]
pub struct StoredGrant {
    /// Its name.
    pub grant_id: GrantId,
    /// On what.
    pub resource: String,
    /// Whose.
    pub owner: Did,
    /// To whom.
    pub identity: Did,
    /// By whom.
    pub granted_by: Did,
    /// When.
    pub granted_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// The state that includes it.
    pub epoch: u64,
}

/// One action of a grant.
#[derive(Debug, Clone)]
pub struct StoredPermission {
    /// The action.
    pub permission: String,
    /// The state in which it was taken back.
    pub revoked_epoch: Option<u64>,
    /// Its chain, root first.
    pub links: Vec<TokenCid>,
}

const COLUMNS: &str = "grant_id, resource, owner, identity, granted_by, granted_at, expires_at, epoch";

/// Which grants to list.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Those this identity owns, made or holds; all when absent.
    pub seen_by: Option<Did>,
    /// Only on this resource.
    pub resource: Option<String>,
    /// Only to this identity.
    pub identity: Option<Did>,
    /// Only before this epoch.
    pub before: Option<u64>,
}

/// Grants, newest first, at most `count`.
pub fn list(reader: &mut Reader<'_>, filter: &Filter, count: u32) -> Result<Vec<StoredGrant>, DbError> {
    let before = filter.before.map_or(i64::MAX, column);
    let seen_by = filter.seen_by.as_ref().map(ToString::to_string);
    let sql = format!(
        "SELECT {COLUMNS} FROM grants WHERE epoch < $1 \
         AND ($2 = '' OR resource = $2) AND ($3 = '' OR identity = $3) \
         AND ($4 = '' OR owner = $4 OR granted_by = $4 OR identity = $4) ORDER BY epoch DESC LIMIT $5"
    );
    let identity = filter.identity.as_ref().map(ToString::to_string);
    let values = params![
        before,
        filter.resource.clone().unwrap_or_default(),
        identity.unwrap_or_default(),
        seen_by.unwrap_or_default(),
        count,
    ];
    reader.query(&sql, values)?.iter().map(read).collect()
}

/// The grants on `resource` to `identity` that have not ended, newest first.
pub fn unended(
    reader: &mut Reader<'_>,
    resource: &str,
    identity: &Did,
    now: Timestamp,
) -> Result<Vec<StoredGrant>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM grants WHERE resource = $1 AND identity = $2 AND expires_at > $3 ORDER BY epoch DESC"
    );
    reader.query(&sql, params![resource, identity, now])?.iter().map(read).collect()
}

/// The grants whose chains go through the delegation `cid`.
pub fn through(reader: &mut Reader<'_>, cid: &TokenCid) -> Result<Vec<StoredGrant>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM grants WHERE grant_id IN (SELECT grant_id FROM grant_links WHERE cid = $1) ORDER BY epoch"
    );
    reader.query(&sql, params![cid.digest()])?.iter().map(read).collect()
}

/// The actions of a grant with their chains.
pub fn permissions(reader: &mut Reader<'_>, grant: &GrantId) -> Result<Vec<StoredPermission>, DbError> {
    let sql = "SELECT p.permission, p.revoked_epoch, l.cid FROM grant_permissions p \
               LEFT JOIN grant_links l ON l.grant_id = p.grant_id AND l.permission = p.permission \
               WHERE p.grant_id = $1 ORDER BY p.permission, l.position";
    let mut permissions: Vec<StoredPermission> = Vec::new();
    for row in reader.query(sql, params![grant.to_string()])? {
        let permission: String = row.try_get(0)?;
        if permissions.last().is_none_or(|last| last.permission != permission) {
            let revoked_epoch = match row.try_get::<Option<i64>>(1)? {
                Some(_) => Some(epoch(&row, 1)?),
                None => None,
            };
            permissions.push(StoredPermission { permission, revoked_epoch, links: Vec::new() });
        }
        let has_link = row.try_get::<Option<Vec<u8>>>(2)?.is_some();
        if let Some(last) = permissions.last_mut().filter(|_| has_link) {
            last.links.push(cid(&row, 2)?);
        }
    }
    Ok(permissions)
}

/// How many unended grants `owner` has on a resource, and on all.
///
/// Counted by owner, so that nobody can use up what others may grant.
pub fn counts(
    reader: &mut Reader<'_>,
    resource: &str,
    owner: &Did,
    now: Timestamp,
) -> Result<(i64, i64), DbError> {
    let on = "SELECT COUNT(*) FROM grants WHERE owner = $1 AND expires_at > $2 AND resource = $3";
    let all = "SELECT COUNT(*) FROM grants WHERE owner = $1 AND expires_at > $2";
    let on = reader.query_one(on, params![owner, now, resource])?.try_get(0)?;
    let all = reader.query_one(all, params![owner, now])?.try_get(0)?;
    Ok((on, all))
}

/// Keeps a grant.
pub fn insert(tx: &mut Tx<'_>, grant: &GrantIssued, proven: &[Proven]) -> Result<(), DbError> {
    let id = grant.grant_id.to_string();
    let row = params![
        &id,
        &grant.resource,
        &grant.owner,
        &grant.identity,
        &grant.granted_by,
        grant.granted_at,
        grant.expires_at,
        column(grant.epoch),
    ];
    tx.execute(&format!("INSERT INTO grants ({COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"), row)?;
    for proven in proven {
        let permission = &proven.permission;
        tx.execute(
            "INSERT INTO grant_permissions (grant_id, permission, revoked_epoch) VALUES ($1, $2, NULL)",
            params![&id, permission],
        )?;
        for (position, link) in (0_u32..).zip(proven.chain.links()) {
            tx.execute(
                "INSERT INTO grant_links (grant_id, permission, position, cid) VALUES ($1, $2, $3, $4)",
                params![&id, permission, position, link.cid().digest()],
            )?;
        }
    }
    Ok(())
}

/// Marks every action whose chain goes through `cid` as taken back.
pub fn revoke_through(tx: &mut Tx<'_>, cid: &TokenCid, in_epoch: u64) -> Result<u64, DbError> {
    let sql = "UPDATE grant_permissions SET revoked_epoch = $1 WHERE revoked_epoch IS NULL AND EXISTS \
               (SELECT 1 FROM grant_links l WHERE l.grant_id = grant_permissions.grant_id \
                AND l.permission = grant_permissions.permission AND l.cid = $2)";
    tx.execute(sql, params![column(in_epoch), cid.digest()])
}

/// Whether `issuer` signed a link at or above `cid` in a chain on record. Those below it hold nothing over it.
pub fn is_above(reader: &mut Reader<'_>, issuer: &Did, cid: &TokenCid) -> Result<bool, DbError> {
    let sql = "SELECT 1 FROM grant_links target JOIN grant_links other ON other.grant_id = target.grant_id \
               AND other.permission = target.permission AND other.position <= target.position JOIN delegations d ON d.cid = other.cid \
               WHERE target.cid = $1 AND d.issuer = $2 LIMIT 1";
    Ok(reader.query_opt(sql, params![cid.digest(), issuer])?.is_some())
}

/// Every grant, oldest first.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<StoredGrant>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM grants ORDER BY epoch");
    reader.query(&sql, params![])?.iter().map(read).collect()
}

fn read(row: &Row) -> Result<StoredGrant, DbError> {
    Ok(StoredGrant {
        grant_id: parsed(row, 0, "a grant id")?,
        resource: row.try_get(1)?,
        owner: parsed(row, 2, "a DID")?,
        identity: parsed(row, 3, "a DID")?,
        granted_by: parsed(row, 4, "a DID")?,
        granted_at: Timestamp::from_micros(row.try_get(5)?),
        expires_at: Timestamp::from_micros(row.try_get(6)?),
        epoch: epoch(row, 7)?,
    })
}
