//! What was taken back, for good.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Tx, params};
use q_ucan::TokenCid;

use super::{cid, column, epoch};

/// A revocation as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredRevocation {
    /// When.
    pub revoked_at: Timestamp,
    /// The state that includes it.
    pub epoch: u64,
}

/// The revocation of `cid`, if it was revoked.
pub fn find(reader: &mut Reader<'_>, cid: &TokenCid) -> Result<Option<StoredRevocation>, DbError> {
    let sql = "SELECT revoked_at, epoch FROM revocations WHERE cid = $1";
    let row = reader.query_opt(sql, params![cid.digest()])?;
    row.map(|row| {
        Ok(StoredRevocation { revoked_at: Timestamp::from_micros(row.try_get(0)?), epoch: epoch(&row, 1)? })
    })
    .transpose()
}

/// Keeps a revocation. Revoking twice changes nothing: the first one counts.
pub fn insert(tx: &mut Tx<'_>, cid: &TokenCid, by: &Did, reason: &str, in_epoch: u64) -> Result<(), DbError> {
    let row = params![cid.digest(), by, reason, tx.now(), column(in_epoch)];
    let sql = "INSERT INTO revocations (cid, revoked_by, reason, revoked_at, epoch) VALUES ($1, $2, $3, $4, $5) \
               ON CONFLICT DO NOTHING";
    tx.execute(sql, row)?;
    Ok(())
}

/// Every revocation with its epoch, by epoch.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<(TokenCid, u64)>, DbError> {
    let rows = reader.query("SELECT cid, epoch FROM revocations ORDER BY epoch, cid", params![])?;
    rows.iter().map(|row| Ok((cid(row, 0)?, epoch(row, 1)?))).collect()
}
