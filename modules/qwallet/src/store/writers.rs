//! Writer numbers: who may continue which chain.

use q_core::{Span, Timestamp};
use q_db::{DbError, Tx, params};

/// How long a number stays with a writer that is not heard of. Taking it over earlier would harm nobody, because a
/// commit under an older epoch is refused; it would only move the writer to another number.
pub const LEASE: Span = Span::seconds(60);

/// The right to continue one chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The writer's number, from 1.
    pub writer: i64,
    /// How often the number has changed hands; 0 where a store has one writer for ever.
    pub epoch: i64,
}

impl Lease {
    /// The lease of the only writer of a file.
    pub const SOLE: Self = Self { writer: 1, epoch: 0 };
}

/// Takes the lowest number that nobody holds. For `write_locked`: takers take turns.
pub fn take(tx: &mut Tx<'_>) -> Result<Lease, DbError> {
    tx.lock("qwallet.writers")?;
    let now = tx.now();
    let rows = tx.query("SELECT number, seen_at FROM writers ORDER BY number", params![])?;
    let mut next = 1;
    for row in rows {
        let (number, seen_at): (i64, Timestamp) = (row.try_get(0)?, row.try_get(1)?);
        if number > next {
            break;
        }
        if seen_at + LEASE < now {
            // Waits for a commit that its last holder may still be making.
            let sql = "UPDATE writers SET epoch = epoch + 1, seen_at = $1 WHERE number = $2";
            tx.execute(sql, params![now, number])?;
            let row = tx.query_one("SELECT epoch FROM writers WHERE number = $1", params![number])?;
            return Ok(Lease { writer: number, epoch: row.try_get(0)? });
        }
        next = number + 1;
    }
    tx.execute("INSERT INTO writers (number, epoch, seen_at) VALUES ($1, 1, $2)", params![next, now])?;
    Ok(Lease { writer: next, epoch: 1 })
}

/// Whether the lease still holds; if so nobody takes it over before this commit is over.
pub fn hold(tx: &mut Tx<'_>, lease: Lease) -> Result<bool, DbError> {
    let rows = tx.query_for_update("SELECT epoch FROM writers WHERE number = $1", params![lease.writer])?;
    let epoch: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(epoch == Some(lease.epoch))
}

/// Says that the writer is still there; answers whether the lease still holds.
pub fn keep(tx: &mut Tx<'_>, lease: Lease) -> Result<bool, DbError> {
    let row = params![tx.now(), lease.writer, lease.epoch];
    Ok(tx.execute("UPDATE writers SET seen_at = $1 WHERE number = $2 AND epoch = $3", row)? == 1)
}

/// Gives the number back at once, at an orderly end.
pub fn release(tx: &mut Tx<'_>, lease: Lease) -> Result<(), DbError> {
    let row = params![lease.writer, lease.epoch];
    tx.execute("UPDATE writers SET seen_at = 0, epoch = epoch + 1 WHERE number = $1 AND epoch = $2", row)?;
    Ok(())
}
