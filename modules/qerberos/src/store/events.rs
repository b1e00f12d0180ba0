//! The journal.

use q_core::{Timestamp, Verdict, audit::AuditId};
use q_db::{Column, DbError, Reader, Row, Tx, Value, params};
use qerberos_api::Severity;

use super::integer;
use crate::domain::{Commitment, Leaf};

/// A row of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place in the log.
    pub log_index: u64,
    /// The event.
    pub id: AuditId,
    /// Who counted it.
    pub producer: String,
    /// Its number there.
    pub seq: u64,
    /// When, by the producer's clock.
    pub happened_at: Timestamp,
    /// When it came.
    pub received_at: Timestamp,
    /// To its content.
    pub commitment: Commitment,
    /// Search copies of what the record says.
    pub terms: Terms,
    /// The sealed sections.
    pub record: Vec<u8>,
}

/// What events are searched by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// The family.
    pub family: String,
    /// The action.
    pub action: String,
    /// The module.
    pub layer: String,
    /// How much attention it asks for.
    pub severity: Severity,
    /// How it ended.
    pub verdict: Verdict,
    /// Keyed digest of who did it.
    pub actor_token: Option<i64>,
    /// Keyed digest of what it was done to.
    pub reference_token: Option<i64>,
}

/// A row to be appended.
#[derive(Debug, Clone)]
pub struct NewRow<'a> {
    /// Its place in the log.
    pub log_index: u64,
    /// The number of who counted it.
    pub producer: i64,
    /// Its number there.
    pub seq: u64,
    /// When it came.
    pub received_at: Timestamp,
    /// The rest.
    pub event: &'a Appendable,
}

/// An event with its record sealed, ready for a place in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appendable {
    /// The event.
    pub id: AuditId,
    /// When, by the producer's clock.
    pub happened_at: Timestamp,
    /// To its content.
    pub commitment: Commitment,
    /// Keyed digest of what was sent, to tell a repetition from another event.
    pub fingerprint: [u8; 16],
    /// Search copies.
    pub terms: Terms,
    /// The sealed sections.
    pub record: Vec<u8>,
}

/// What is known of an id that was used before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its place in the log.
    pub log_index: u64,
    /// When it came.
    pub received_at: Timestamp,
    /// What was sent.
    pub fingerprint: [u8; 16],
}

/// What a search asks for, already turned into columns.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// `column = value` for every pair.
    pub equal: Vec<(&'static str, Value)>,
    /// Happened at or after.
    pub from: Option<Timestamp>,
    /// Happened before.
    pub until: Option<Timestamp>,
    /// Only places below.
    pub below: Option<u64>,
    /// Only places at or above.
    pub at_least: Option<u64>,
}

impl Filter {
    /// Whether an index leads to the matches; otherwise every row in range is looked at.
    pub fn is_indexed(&self) -> bool {
        self.equal.iter().any(|(column, _)| ["actor_token", "reference_token"].contains(column))
    }
}

const COLUMNS: &str = "e.log_index, e.id, p.name, e.seq, e.happened_at, e.received_at, e.commitment, e.family, \
                       e.action, e.layer, e.severity, e.verdict, e.actor_token, e.reference_token, e.record";
const FROM: &str = "FROM events e JOIN producers p ON p.number = e.producer";

const INSERT: [Column; 16] = [
    Column::integer("log_index"),
    Column::bytes("id"),
    Column::integer("producer"),
    Column::integer("seq"),
    Column::integer("happened_at"),
    Column::integer("received_at"),
    Column::bytes("commitment"),
    Column::bytes("fingerprint"),
    Column::text("family"),
    Column::text("action"),
    Column::text("layer"),
    Column::integer("severity"),
    Column::integer("verdict"),
    Column::integer("actor_token"),
    Column::integer("reference_token"),
    Column::bytes("record"),
];

/// Appends rows.
pub fn insert_many(tx: &mut Tx<'_>, rows: &[NewRow<'_>]) -> Result<(), DbError> {
    let rows: Vec<[Value; 16]> = rows.iter().map(values).collect();
    tx.insert_many("events", &INSERT, &rows)?;
    Ok(())
}

fn values(row: &NewRow<'_>) -> [Value; 16] {
    let Appendable { id, happened_at, commitment, fingerprint, terms, record } = row.event;
    [
        integer(row.log_index).into(),
        id.bytes().into(),
        row.producer.into(),
        integer(row.seq).into(),
        (*happened_at).into(),
        row.received_at.into(),
        commitment.into(),
        fingerprint.into(),
        (&terms.family).into(),
        (&terms.action).into(),
        (&terms.layer).into(),
        severity_number(terms.severity).into(),
        verdict_number(terms.verdict).into(),
        terms.actor_token.into(),
        terms.reference_token.into(),
        record.into(),
    ]
}

/// Whether and as what `id` was used.
pub fn known(reader: &mut Reader<'_>, id: AuditId) -> Result<Option<Known>, DbError> {
    let sql = "SELECT log_index, received_at, fingerprint FROM events WHERE id = $1";
    let row = reader.query_opt(sql, params![id.bytes()])?;
    row.map(|row| {
        Ok(Known { log_index: row.try_get(0)?, received_at: row.try_get(1)?, fingerprint: row.try_get(2)? })
    })
    .transpose()
}

/// The event called `id`.
pub fn find(reader: &mut Reader<'_>, id: AuditId) -> Result<Option<StoredEvent>, DbError> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE e.id = $1");
    reader.query_opt(&sql, params![id.bytes()])?.map(|row| stored(&row)).transpose()
}

/// At most `limit` events that match, newest first.
pub fn search(reader: &mut Reader<'_>, filter: &Filter, limit: u32) -> Result<Vec<StoredEvent>, DbError> {
    let mut conditions = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &str, value: Value| {
        values.push(value);
        conditions.push(format!("{condition} ${}", values.len()));
    };
    for (column, value) in &filter.equal {
        add(&format!("e.{column} ="), value.clone());
    }
    if let Some(from) = filter.from {
        add("e.happened_at >=", from.into());
    }
    if let Some(until) = filter.until {
        add("e.happened_at <", until.into());
    }
    if let Some(below) = filter.below {
        add("e.log_index <", integer(below).into());
    }
    if let Some(at_least) = filter.at_least {
        add("e.log_index >=", integer(at_least).into());
    }
    let conditions = if conditions.is_empty() { "1 = 1".to_owned() } else { conditions.join(" AND ") };
    values.push(limit.into());
    let place = values.len();
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE {conditions} ORDER BY e.log_index DESC LIMIT ${place}");
    reader.query(&sql, &values)?.iter().map(stored).collect()
}

/// The log entries `first..first + count`, in order.
pub fn entries(reader: &mut Reader<'_>, first: u64, count: u16) -> Result<Vec<String>, DbError> {
    let sql = "SELECT e.commitment, p.name, e.seq, e.happened_at FROM events e \
               JOIN producers p ON p.number = e.producer \
               WHERE e.log_index >= $1 AND e.log_index < $2 ORDER BY e.log_index";
    let rows = reader.query(sql, params![integer(first), integer(first + u64::from(count))])?;
    let entry = |row: &Row| {
        let producer: String = row.try_get(1)?;
        let leaf = Leaf {
            commitment: row.try_get(0)?,
            producer: &producer,
            seq: row.try_get(2)?,
            happened_at: row.try_get(3)?,
        };
        Ok(leaf.entry())
    };
    rows.iter().map(entry).collect()
}

/// A row with its place, or why it cannot be read.
pub type Placed = (u64, Result<StoredEvent, DbError>);

/// At most `limit` rows from place `first` on, in the order of the log.
pub fn chunk(reader: &mut Reader<'_>, first: u64, limit: u32) -> Result<Vec<Placed>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM events e LEFT JOIN producers p ON p.number = e.producer \
         WHERE e.log_index >= $1 ORDER BY e.log_index LIMIT $2"
    );
    let rows = reader.query(&sql, params![integer(first), limit])?;
    rows.iter().map(|row| Ok((row.try_get(0)?, stored(row)))).collect()
}

fn stored(row: &Row) -> Result<StoredEvent, DbError> {
    Ok(StoredEvent {
        log_index: row.try_get(0)?,
        id: AuditId::from_bytes(row.try_get(1)?),
        producer: row.try_get(2)?,
        seq: row.try_get(3)?,
        happened_at: row.try_get(4)?,
        received_at: row.try_get(5)?,
        commitment: row.try_get(6)?,
        terms: Terms {
            family: row.try_get(7)?,
            action: row.try_get(8)?,
            layer: row.try_get(9)?,
            severity: severity_of(row.try_get(10)?)
                .ok_or(DbError::BadRow { column: 10, expected: "a severity from 0 to 3" })?,
            verdict: verdict_of(row.try_get(11)?)
                .ok_or(DbError::BadRow { column: 11, expected: "a verdict from 0 to 2" })?,
            actor_token: row.try_get(12)?,
            reference_token: row.try_get(13)?,
        },
        record: row.try_get(14)?,
    })
}

/// The number a severity is kept as.
pub fn severity_number(severity: Severity) -> i64 {
    match severity {
        Severity::Info => 0,
        Severity::Warning => 1,
        Severity::Error => 2,
        Severity::Critical => 3,
    }
}

/// The number a verdict is kept as.
pub fn verdict_number(verdict: Verdict) -> i64 {
    match verdict {
        Verdict::Allow => 0,
        Verdict::Deny => 1,
        Verdict::Warn => 2,
    }
}

fn severity_of(number: i64) -> Option<Severity> {
    [Severity::Info, Severity::Warning, Severity::Error, Severity::Critical]
        .into_iter()
        .find(|severity| severity_number(*severity) == number)
}

fn verdict_of(number: i64) -> Option<Verdict> {
    [Verdict::Allow, Verdict::Deny, Verdict::Warn]
        .into_iter()
        .find(|verdict| verdict_number(*verdict) == number)
}
