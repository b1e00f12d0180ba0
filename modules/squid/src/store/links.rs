//! Kinship.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use squid_api::Link;

/// A link as it stands in its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The sub-identity.
    pub child: Did,
    /// Parent, guardian or owner.
    pub parent: Did,
    /// The top of the tree.
    pub root: Did,
    /// The parent's signature.
    pub by_parent: String,
    /// The child's signature.
    pub by_child: String,
}

const COLUMNS: &str = "child, parent, root, by_parent, by_child";

/// The links of a sub-identity, its parent's first; none for anybody else.
pub fn of_child(reader: &mut Reader<'_>, child: &Did) -> Result<Vec<Stored>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM links WHERE child = $1 ORDER BY position");
    reader.query(&sql, params![child])?.iter().map(stored).collect()
}

/// The sub-identities that have not ended and whose parent `parent` is, oldest first; those in its care or owned by
/// it beside others too when `is_any` is said.
pub fn children(reader: &mut Reader<'_>, parent: &Did, is_any: bool) -> Result<Vec<Did>, DbError> {
    let last = if is_any { i64::MAX } else { 0 };
    let sql = "SELECT l.child FROM links l JOIN identities i ON i.did = l.child \
               WHERE l.parent = $1 AND l.position <= $2 AND i.status <> 'DELETED' ORDER BY l.created_at, l.child";
    reader.query(sql, params![parent, last])?.iter().map(|row| row.try_get(0)).collect()
}

/// How many sub-identities are in the tree of `root` that have not ended, or were made after `since`.
pub fn count_below(reader: &mut Reader<'_>, root: &Did, since: Timestamp) -> Result<i64, DbError> {
    let sql = "SELECT COUNT(*) FROM links l JOIN identities i ON i.did = l.child \
               WHERE l.root = $1 AND l.position = 0 AND (i.status <> 'DELETED' OR l.created_at > $2)";
    reader.query_one(sql, params![root, since])?.try_get(0)
}

/// Keeps the links of a new sub-identity, in their order.
pub fn insert(tx: &mut Tx<'_>, child: &Did, root: &Did, links: &[Link]) -> Result<(), DbError> {
    let now: Timestamp = tx.now();
    for (position, link) in (0_i64..).zip(links) {
        tx.execute(
            "INSERT INTO links (child, position, parent, root, by_parent, by_child, created_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7)",
            params![child, position, &link.parent, root, &link.by_parent, &link.by_child, now],
        )?;
    }
    Ok(())
}

/// Every link.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<Stored>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM links ORDER BY child, position");
    reader.query(&sql, &[])?.iter().map(stored).collect()
}

fn stored(row: &Row) -> Result<Stored, DbError> {
    Ok(Stored {
        child: row.try_get(0)?,
        parent: row.try_get(1)?,
        root: row.try_get(2)?,
        by_parent: row.try_get(3)?,
        by_child: row.try_get(4)?,
    })
}
