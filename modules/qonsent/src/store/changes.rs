//! The order of all changes.

use q_core::Timestamp;
use q_db::{DbError, Reader, Row, Tx, params};
use q_pdp::{Change, Digest};

use super::{column, digest, epoch};

/// The end of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Head {
    /// The last epoch; 0 before the first change.
    pub epoch: u64,
    /// The digest over all changes.
    pub digest: Digest,
}

/// One change as it is kept.
#[derive(Debug, Clone)]
pub struct StoredChange {
    /// Its place.
    pub epoch: u64,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// The digest after it.
    pub digest: Digest,
}

/// The end of the order.
pub fn head(reader: &mut Reader<'_>) -> Result<Head, DbError> {
    let row = reader.query_one("SELECT epoch, digest FROM change_head WHERE name = 'head'", params![])?;
    Ok(Head { epoch: epoch(&row, 0)?, digest: Digest(digest(&row, 1)?) })
}

/// Waits until every other change is committed, and keeps further ones waiting until this one is.
pub fn lock(tx: &mut Tx<'_>) -> Result<(), DbError> {
    tx.query_for_update("SELECT epoch FROM change_head WHERE name = 'head'", params![]).map(|_| ())
}

/// The changes after `after`, at most `count`.
pub fn after(reader: &mut Reader<'_>, after: u64, count: u32) -> Result<Vec<StoredChange>, DbError> {
    let sql = "SELECT epoch, topic, payload, digest FROM changes WHERE epoch > $1 ORDER BY epoch LIMIT $2";
    reader.query(sql, params![column(after), count])?.iter().map(read).collect()
}

/// Calls `each` with every change, in order. A row that cannot be read is told by its error.
pub fn for_each(
    reader: &mut Reader<'_>,
    mut each: impl FnMut(Result<StoredChange, DbError>) -> Result<(), DbError>,
) -> Result<(), DbError> {
    let sql = "SELECT epoch, topic, payload, digest FROM changes ORDER BY epoch";
    reader.for_each(sql, params![], |row| each(read(&row)))
}

/// Appends a change that was made with the epoch after `head`, and writes its event.
pub fn append(tx: &mut Tx<'_>, head: Head, change: &Change) -> Result<Head, DbError> {
    let payload = change.canonical();
    let digest = head.digest.after_canonical(change.topic(), &payload);
    let payload = String::from_utf8(payload).expect("canonical JSON is UTF-8");
    let at: Timestamp = tx.now();
    let row = params![column(change.epoch()), change.topic(), payload, digest.0, at];
    tx.execute("INSERT INTO changes (epoch, topic, payload, digest, at) VALUES ($1, $2, $3, $4, $5)", row)?;
    let moved = params![column(change.epoch()), digest.0];
    tx.execute("UPDATE change_head SET epoch = $1, digest = $2 WHERE name = 'head'", moved)?;
    match change {
        Change::Issued(event) => tx.emit(event)?,
        Change::Revoked(event) => tx.emit(event)?,
        Change::Registered(event) => tx.emit(event)?,
    };
    Ok(Head { epoch: change.epoch(), digest })
}

fn read(row: &Row) -> Result<StoredChange, DbError> {
    Ok(StoredChange {
        epoch: epoch(row, 0)?,
        topic: row.try_get(1)?,
        payload: row.try_get(2)?,
        digest: Digest(digest(row, 3)?),
    })
}
