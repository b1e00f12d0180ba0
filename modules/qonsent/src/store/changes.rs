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
    let row = reader.query_opt("SELECT epoch, digest FROM changes ORDER BY epoch DESC LIMIT 1", params![])?;
    row.map_or(Ok(Head::default()), |row| {
        Ok(Head { epoch: epoch(&row, 0)?, digest: Digest(digest(&row, 1)?) })
    })
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
