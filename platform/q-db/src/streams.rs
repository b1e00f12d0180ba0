//! What others follow: the outbox and the audit rows, by dense positions in commit order.

use q_core::{AuditEntry, Event, Timestamp, audit::AuditId, event::EventId};
use serde::{Deserialize, Serialize};

use crate::{
    Db, DbError, Row, params,
    tx::{Reader, Tx},
};

/// An event in the outbox.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// 1, 2, 3, … in commit order, without gaps.
    pub position: i64,
    /// The event.
    pub event: Event,
    /// The W3C `traceparent` of the request that caused it.
    pub trace: Option<String>,
    /// What the event stands for, where it is a marker and somebody asked (see [`crate::Derive`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub derived: Vec<Event>,
}

/// An audit row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRow {
    /// 1, 2, 3, … in commit order, without gaps.
    pub position: i64,
    /// Unique per row.
    pub id: AuditId,
    /// When it happened, by the module's clock.
    pub at: Timestamp,
    /// What happened.
    pub entry: AuditEntry,
    /// The trace id of the request that caused it.
    pub trace: Option<String>,
}

/// The two streams of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Stream {
    Outbox,
    Audit,
}

impl Stream {
    const fn table(self) -> &'static str {
        match self {
            Self::Outbox => "q_outbox",
            Self::Audit => "q_audit",
        }
    }
}

const OUTBOX: &str = "SELECT position, id, topic, subject, at, data, trace FROM q_outbox \
                      WHERE position > $1 ORDER BY position LIMIT $2";
const AUDIT: &str = "SELECT position, id, at, family, action, actor, target, verdict, details, trace \
                     FROM q_audit WHERE position > $1 ORDER BY position LIMIT $2";

impl Db {
    /// At most `limit` events after `position`.
    pub async fn outbox_after(&self, position: i64, limit: u32) -> Result<Vec<OutboxRow>, DbError> {
        self.follow(Stream::Outbox, move |reader| {
            let rows = reader.query(OUTBOX, params![position, limit])?;
            let module = reader.module().to_owned();
            rows.iter().map(|row| outbox_row(row, &module)).collect()
        })
        .await
    }

    /// At most `limit` audit rows after `position`.
    pub async fn audit_after(&self, position: i64, limit: u32) -> Result<Vec<AuditRow>, DbError> {
        self.follow(Stream::Audit, move |reader| {
            reader.query(AUDIT, params![position, limit])?.iter().map(audit_row).collect()
        })
        .await
    }

    /// The position of the newest event; 0 when there is none.
    pub async fn outbox_head(&self) -> Result<i64, DbError> {
        self.follow(Stream::Outbox, |reader| head(reader, Stream::Outbox)).await
    }

    /// The position of the newest audit row; 0 when there is none.
    pub async fn audit_head(&self) -> Result<i64, DbError> {
        self.follow(Stream::Audit, |reader| head(reader, Stream::Audit)).await
    }

    /// How far the follower called `name` has come; 0 before its first step.
    pub async fn cursor(&self, name: &str) -> Result<i64, DbError> {
        let name = name.to_owned();
        self.read(move |reader| reader.cursor(&name)).await
    }

    /// Runs `read` after every committed row has its position.
    async fn follow<T: Send + 'static>(
        &self,
        stream: Stream,
        read: impl Fn(&mut Reader<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        if !self.is_postgres() {
            return self.read(move |reader| read(reader)).await;
        }
        self.sequence(move |tx| {
            give_positions(tx, stream)?;
            read(tx)
        })
        .await
    }
}

fn head(reader: &mut Reader<'_>, stream: Stream) -> Result<i64, DbError> {
    let sql = format!("SELECT COALESCE(MAX(position), 0) FROM {}", stream.table());
    reader.query_one(&sql, &[])?.try_get(0)
}

/// The newest positions of events and audit rows.
pub(crate) fn heads(reader: &mut Reader<'_>) -> Result<(i64, i64), DbError> {
    Ok((head(reader, Stream::Outbox)?, head(reader, Stream::Audit)?))
}

/// Lets the next event and the next audit row come after these positions.
pub(crate) fn skip(tx: &mut Tx<'_>, events: i64, audit: i64) -> Result<(), DbError> {
    for (stream, beyond) in [(Stream::Outbox, events), (Stream::Audit, audit)] {
        if head(tx, stream)? >= beyond {
            continue;
        }
        if tx.is_postgres() {
            let sql = "UPDATE q_heads SET position = $1 WHERE name = $2 AND position < $1";
            tx.execute(sql, params![beyond, stream.table()])?;
            continue;
        }
        // A file counts on from its newest row: one that says why stands at the last number others have heard.
        let now = tx.now();
        match stream {
            Stream::Outbox => tx.execute(
                "INSERT INTO q_outbox (position, id, topic, subject, at, data) VALUES ($1, $2, $3, 'store', $4, '{}')",
                params![beyond, EventId::new(tx.env()).to_string(), "q.platform.restored", now],
            )?,
            Stream::Audit => tx.execute(
                "INSERT INTO q_audit (position, id, at, family, action, target, verdict, details) \
                 VALUES ($1, $2, $3, 'platform', 'store.resumed', 'store', 'WARN', '{}')",
                params![beyond, AuditId::new(tx.env()).to_string(), now],
            )?,
        };
    }
    Ok(())
}

/// Gives the next positions to the rows that have none yet (PostgreSQL).
///
/// The lock on the head row lets one sequencer work at a time, in whatever process; the statement
/// after it sees everything committed before. A row is visible only if everything it depends on is
/// too, and has a smaller `seq`, so a cause always comes before its effect.
fn give_positions(tx: &mut Tx<'_>, stream: Stream) -> Result<(), DbError> {
    let table = stream.table();
    let fresh = format!("SELECT 1 FROM {table} WHERE position IS NULL LIMIT 1");
    if tx.query_opt(&fresh, &[])?.is_none() {
        return Ok(());
    }
    let head = tx.query_one("SELECT position FROM q_heads WHERE name = $1 FOR UPDATE", params![table])?;
    let given = tx.execute(
        &format!(
            "UPDATE {table} AS target SET position = $1 + fresh.number \
             FROM (SELECT seq, row_number() OVER (ORDER BY seq) AS number FROM {table} \
             WHERE position IS NULL) AS fresh WHERE target.seq = fresh.seq"
        ),
        params![head.try_get::<i64>(0)?],
    )?;
    let given = i64::try_from(given).unwrap_or(i64::MAX);
    tx.execute("UPDATE q_heads SET position = position + $1 WHERE name = $2", params![given, table])?;
    Ok(())
}

fn outbox_row(row: &Row, module: &str) -> Result<OutboxRow, DbError> {
    let event = Event {
        id: row.parse::<EventId>(1)?,
        source: module.to_owned(),
        topic: row.try_get(2)?,
        subject: row.try_get(3)?,
        time: row.try_get(4)?,
        data: serde_json::from_str(&row.try_get::<String>(5)?)?,
    };
    Ok(OutboxRow { position: row.try_get(0)?, event, trace: row.try_get(6)?, derived: Vec::new() })
}

fn audit_row(row: &Row) -> Result<AuditRow, DbError> {
    let entry = AuditEntry {
        family: row.try_get(3)?,
        action: row.try_get(4)?,
        actor: row.try_get(5)?,
        target: row.try_get(6)?,
        verdict: serde_json::from_value(row.try_get::<String>(7)?.into())?,
        details: serde_json::from_str(&row.try_get::<String>(8)?)?,
    };
    Ok(AuditRow {
        position: row.try_get(0)?,
        id: row.parse(1)?,
        at: row.try_get(2)?,
        entry,
        trace: row.try_get(9)?,
    })
}
