//! Counting what may be done a number of times, in the commit of what is done.
//!
//! The row belongs to the store of whoever does it, so that a replica, a restart or a repeated attempt cannot count
//! apart from the effect.

use q_core::hash::Sha256;

use crate::{DbError, Reader, Tx, params};

/// Something that may be done a number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Allotment {
    /// What names it, such as the digest of a permission.
    pub name: Sha256,
    /// How often it may be done. The first word counts: a later one that differs changes nothing.
    pub most: u64,
}

/// Takes one of each of `allotments`; `false`, and nothing is taken, when one of them is used up.
///
/// Other writes of the same names wait for this one's commit, on every engine, in a body of `write` and of
/// `write_locked` alike.
pub fn take(tx: &mut Tx<'_>, allotments: &[Allotment]) -> Result<bool, DbError> {
    if !are_left(tx, allotments)? {
        return Ok(false);
    }
    for allotment in sorted(allotments) {
        tx.execute("UPDATE q_uses SET used = used + 1 WHERE name = $1", params![allotment.name])?;
    }
    Ok(true)
}

/// Whether one of each of `allotments` is left. Until this commit nobody else takes any, so that [`take`] takes what
/// this found.
pub fn are_left(tx: &mut Tx<'_>, allotments: &[Allotment]) -> Result<bool, DbError> {
    for allotment in sorted(allotments) {
        let most = i64::try_from(allotment.most).unwrap_or(i64::MAX);
        let sql = "INSERT INTO q_uses (name, used, most) VALUES ($1, 0, $2) ON CONFLICT (name) DO NOTHING";
        tx.execute(sql, params![allotment.name, most])?;
        let left =
            tx.query_for_update("SELECT most - used FROM q_uses WHERE name = $1", params![allotment.name])?;
        let left: i64 = left.first().map_or(Ok(0), |row| row.try_get(0))?;
        if left <= 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn sorted(allotments: &[Allotment]) -> Vec<Allotment> {
    let mut allotments = allotments.to_vec();
    // Everybody in one order, or two that share two of them would wait for each other.
    allotments.sort_unstable();
    allotments.dedup_by_key(|allotment| allotment.name);
    allotments
}

/// How often what `name` names was done.
pub fn used(reader: &mut Reader<'_>, name: &Sha256) -> Result<i64, DbError> {
    let row = reader.query_opt("SELECT used FROM q_uses WHERE name = $1", params![*name])?;
    row.map_or(Ok(0), |row| row.try_get(0))
}
