//! Uses of keys in minutes that are still being counted.

use q_core::{Did, Timestamp};
use q_db::{DbError, Reader, Tx, params};

/// One kind of use in one minute.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Use {
    /// The key, or what stands for an unknown one.
    pub target: String,
    /// What was done.
    pub operation: String,
    /// How it ended.
    pub outcome: String,
    /// Who did it.
    pub actor: Did,
    /// When the minute began.
    pub minute: Timestamp,
}

/// Notes that `process` counts a use. `false` when it did so before.
pub fn open(tx: &mut Tx<'_>, process: &str, one: &Use) -> Result<bool, DbError> {
    let added = tx.execute(
        "INSERT INTO key_uses (process, target, operation, outcome, actor, minute) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
        params![process, &one.target, &one.operation, &one.outcome, &one.actor, one.minute],
    )?;
    Ok(added == 1)
}

/// Ends the count of a use.
pub fn close(tx: &mut Tx<'_>, process: &str, one: &Use) -> Result<(), DbError> {
    tx.execute(
        "DELETE FROM key_uses WHERE process = $1 AND target = $2 AND operation = $3 AND outcome = $4 \
         AND actor = $5 AND minute = $6",
        params![process, &one.target, &one.operation, &one.outcome, &one.actor, one.minute],
    )?;
    Ok(())
}

/// Uses that a process other than `process` began to count before `before` and never ended: it died.
pub fn list_abandoned(
    reader: &mut Reader<'_>,
    process: &str,
    before: Timestamp,
) -> Result<Vec<(String, Use)>, DbError> {
    let rows = reader.query(
        "SELECT process, target, operation, outcome, actor, minute FROM key_uses \
         WHERE process <> $1 AND minute < $2 ORDER BY minute LIMIT 1000",
        params![process, before],
    )?;
    rows.iter()
        .map(|row| {
            let one = Use {
                target: row.try_get(1)?,
                operation: row.try_get(2)?,
                outcome: row.try_get(3)?,
                actor: row.parse(4)?,
                minute: row.try_get(5)?,
            };
            Ok((row.try_get(0)?, one))
        })
        .collect()
}
