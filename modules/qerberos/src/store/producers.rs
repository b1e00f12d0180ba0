//! Producers and what is missing of them.

use q_core::Timestamp;
use q_db::{DbError, Reader, Row, Tx, params};

use super::integer;
use crate::domain::{Missing, ProducerHead};

/// A producer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer {
    /// What the journal calls it.
    pub number: i64,
    /// What the log calls it.
    pub name: String,
    /// How far the log is with it.
    pub head: ProducerHead,
    /// Events of it in the log.
    pub seen: u64,
    /// Events of it that were refused because their number or id was taken.
    pub conflicts: u64,
    /// When the newest one came.
    pub last_received_at: Timestamp,
}

const COLUMNS: &str = "number, name, next_seq, seen, conflicts, last_received_at";

/// The producer called `name`.
pub fn find(reader: &mut Reader<'_>, name: &str) -> Result<Option<Producer>, DbError> {
    let row = reader.query_opt(&format!("SELECT {COLUMNS} FROM producers WHERE name = $1"), params![name])?;
    row.map(|row| with_missing(reader, &row)).transpose()
}

/// Every producer, by name.
pub fn all(reader: &mut Reader<'_>) -> Result<Vec<Producer>, DbError> {
    let rows = reader.query(&format!("SELECT {COLUMNS} FROM producers ORDER BY name"), &[])?;
    rows.iter().map(|row| with_missing(reader, row)).collect()
}

/// Adds a producer whose first event has number 1.
pub fn insert(tx: &mut Tx<'_>, name: &str) -> Result<Producer, DbError> {
    let now = tx.now();
    let row = tx.query_one("SELECT COALESCE(MAX(number), 0) + 1 FROM producers", &[])?;
    let number: i64 = row.try_get(0)?;
    tx.execute(
        "INSERT INTO producers (number, name, next_seq, seen, conflicts, last_received_at) VALUES ($1, $2, 1, 0, 0, $3)",
        params![number, name, now],
    )?;
    let head = ProducerHead { next_seq: 1, missing: Vec::new() };
    Ok(Producer { number, name: name.to_owned(), head, seen: 0, conflicts: 0, last_received_at: now })
}

/// Keeps what has changed since `before`.
pub fn update(tx: &mut Tx<'_>, before: &Producer, after: &Producer) -> Result<(), DbError> {
    if before == after {
        return Ok(());
    }
    tx.execute(
        "UPDATE producers SET next_seq = $1, seen = $2, conflicts = $3, last_received_at = $4 WHERE number = $5",
        params![
            integer(after.head.next_seq),
            integer(after.seen),
            integer(after.conflicts),
            after.last_received_at,
            after.number
        ],
    )?;
    if before.head.missing != after.head.missing {
        tx.execute("DELETE FROM missing WHERE producer = $1", params![after.number])?;
        for gap in &after.head.missing {
            tx.execute(
                "INSERT INTO missing (producer, first_seq, last_seq, noticed_at) VALUES ($1, $2, $3, $4)",
                params![after.number, integer(gap.from), integer(gap.to), gap.noticed_at],
            )?;
        }
    }
    Ok(())
}

fn with_missing(reader: &mut Reader<'_>, row: &Row) -> Result<Producer, DbError> {
    let number: i64 = row.try_get(0)?;
    let sql = "SELECT first_seq, last_seq, noticed_at FROM missing WHERE producer = $1 ORDER BY first_seq";
    let missing = reader.query(sql, params![number])?;
    let missing = missing
        .iter()
        .map(|gap| Ok(Missing { from: gap.try_get(0)?, to: gap.try_get(1)?, noticed_at: gap.try_get(2)? }))
        .collect::<Result<Vec<_>, DbError>>()?;
    Ok(Producer {
        number,
        name: row.try_get(1)?,
        head: ProducerHead { next_seq: row.try_get(2)?, missing },
        seen: row.try_get(3)?,
        conflicts: row.try_get(4)?,
        last_received_at: row.try_get(5)?,
    })
}
