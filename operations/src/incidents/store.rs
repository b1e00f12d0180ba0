//! Incidents and their timelines.

use q_core::{AuditEntry, Did, Timestamp};
use q_db::{DbError, Reader, Row, Tx, params};
use q_ops_api::incidents::{EntryKind, Impact, Incident, IncidentId, TimelineEntry};
use serde_json::{Value, json};

use super::domain::{self, State};
use crate::words;

const COLUMNS: &str =
    "id, title, severity, status, modules, opened_at, updated_at, resolved_at, opened_by, impact";
/// The rows of one page.
pub const PAGE_ROWS: usize = 50;

/// What is to be added to a timeline.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// What it is.
    pub kind: EntryKind,
    /// Who: an operator's DID, or `automatic`.
    pub by: String,
    /// In words.
    pub text: String,
    /// Further facts.
    pub details: Value,
}

/// The incident.
pub fn find(reader: &mut Reader<'_>, id: IncidentId) -> Result<Option<Incident>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM incidents WHERE id = $1");
    reader.query_opt(&sql, params![id.to_string()])?.map(|row| incident(&row)).transpose()
}

/// The incident that `cause` opened, if it is not over.
pub fn find_by_cause(reader: &mut Reader<'_>, cause: &str) -> Result<Option<Incident>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM incidents WHERE cause = $1 AND status <> 'resolved'");
    reader.query_opt(&sql, params![cause])?.map(|row| incident(&row)).transpose()
}

/// Whether `cause` has ever opened an incident.
pub fn was_opened_by(reader: &mut Reader<'_>, cause: &str) -> Result<bool, DbError> {
    Ok(reader.query_opt("SELECT id FROM incidents WHERE cause = $1 LIMIT 1", params![cause])?.is_some())
}

/// Incidents, newest first, one more than a page holds.
pub fn list(
    reader: &mut Reader<'_>,
    is_open: bool,
    before: Option<(Timestamp, IncidentId)>,
) -> Result<Vec<Incident>, DbError> {
    let (at, id) =
        before.map_or((Timestamp::from_micros(i64::MAX), "~".to_owned()), |(at, id)| (at, id.to_string()));
    let open = if is_open { "AND status <> 'resolved'" } else { "" };
    let sql = format!(
        "SELECT {COLUMNS} FROM incidents WHERE (opened_at < $1 OR (opened_at = $1 AND id < $2)) {open} \
         ORDER BY opened_at DESC, id DESC LIMIT {}",
        PAGE_ROWS + 1
    );
    reader.query(&sql, params![at, id])?.iter().map(incident).collect()
}

/// Those that are not over, oldest first.
pub fn open(reader: &mut Reader<'_>) -> Result<Vec<Incident>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM incidents WHERE status <> 'resolved' ORDER BY opened_at, id");
    reader.query(&sql, &[])?.iter().map(incident).collect()
}

/// Those that were over after `since`, newest first; at most 200.
pub fn resolved_since(reader: &mut Reader<'_>, since: Timestamp) -> Result<Vec<Incident>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM incidents WHERE resolved_at >= $1 ORDER BY opened_at DESC, id DESC LIMIT 200"
    );
    reader.query(&sql, params![since])?.iter().map(incident).collect()
}

/// Adds an incident.
pub fn insert(tx: &mut Tx<'_>, incident: &Incident, cause: Option<&str>) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO incidents (id, title, severity, status, modules, opened_at, updated_at, resolved_at, opened_by, \
         impact, cause) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        params![
            incident.id.to_string(),
            &incident.title,
            words::word(incident.severity),
            words::word(incident.status),
            words::json(&incident.modules),
            incident.opened_at,
            incident.updated_at,
            incident.resolved_at,
            &incident.opened_by,
            words::json(&incident.impact),
            cause,
        ],
    )?;
    Ok(())
}

/// Keeps status, severity and impact of an incident.
pub fn update(tx: &mut Tx<'_>, incident: &Incident, state: State) -> Result<(), DbError> {
    tx.execute(
        "UPDATE incidents SET severity = $2, status = $3, resolved_at = $4, impact = $5, updated_at = $6 WHERE id = $1",
        params![
            incident.id.to_string(),
            words::word(incident.severity),
            words::word(state.status()),
            state.resolved_at(),
            words::json(&incident.impact),
            tx.now(),
        ],
    )?;
    Ok(())
}

/// The timeline, oldest first.
pub fn timeline(reader: &mut Reader<'_>, id: IncidentId) -> Result<Vec<TimelineEntry>, DbError> {
    Ok(links(reader, id)?.into_iter().map(|(entry, _)| entry).collect())
}

/// The timeline with the link of each entry, oldest first.
pub fn links(reader: &mut Reader<'_>, id: IncidentId) -> Result<Vec<(TimelineEntry, String)>, DbError> {
    let sql =
        "SELECT seq, at, kind, by_whom, text, details, link FROM timeline WHERE incident = $1 ORDER BY seq";
    let rows = reader.query(sql, params![id.to_string()])?;
    rows.iter().map(|row| Ok((entry(row)?, row.try_get(6)?))).collect()
}

/// Every incident there is, for the check of everything.
pub fn ids(reader: &mut Reader<'_>) -> Result<Vec<IncidentId>, DbError> {
    reader.query("SELECT id FROM incidents ORDER BY id", &[])?.iter().map(|row| row.parse(0)).collect()
}

/// Adds to a timeline, and to the audit trail in the same commit.
pub fn append(tx: &mut Tx<'_>, id: IncidentId, new: &NewEntry) -> Result<TimelineEntry, DbError> {
    let last = tx.query_opt(
        "SELECT seq, link FROM timeline WHERE incident = $1 ORDER BY seq DESC LIMIT 1",
        params![id.to_string()],
    )?;
    let (seq, before) = match last {
        Some(row) => (row.try_get::<i64>(0)?, row.try_get::<String>(1)?),
        None => (0, String::new()),
    };
    let entry = TimelineEntry {
        seq: seq + 1,
        at: tx.now(),
        kind: new.kind,
        by: new.by.clone(),
        text: new.text.clone(),
        details: new.details.clone(),
    };
    let link = domain::link(&before, &entry);
    tx.execute(
        "INSERT INTO timeline (incident, seq, at, kind, by_whom, text, details, link) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        params![
            id.to_string(),
            entry.seq,
            entry.at,
            words::word(entry.kind),
            &entry.by,
            &entry.text,
            words::json(&entry.details),
            &link,
        ],
    )?;
    tx.execute("UPDATE incidents SET updated_at = $2 WHERE id = $1", params![id.to_string(), entry.at])?;
    let actor: Option<Did> = new.by.parse().ok();
    let details = json!({"seq": entry.seq, "kind": entry.kind, "link": link});
    tx.audit(
        AuditEntry::change("incident.timeline", actor.as_ref(), id).family("operations").details(details),
    )?;
    Ok(entry)
}

fn incident(row: &Row) -> Result<Incident, DbError> {
    Ok(Incident {
        id: row.parse(0)?,
        title: row.try_get(1)?,
        severity: words::of_word(row.try_get(2)?)?,
        status: words::of_word(row.try_get(3)?)?,
        modules: words::of_json(&row.try_get::<String>(4)?)?,
        opened_at: row.try_get(5)?,
        updated_at: row.try_get(6)?,
        resolved_at: row.try_get(7)?,
        opened_by: row.try_get(8)?,
        impact: words::of_json::<Impact>(&row.try_get::<String>(9)?)?,
    })
}

fn entry(row: &Row) -> Result<TimelineEntry, DbError> {
    Ok(TimelineEntry {
        seq: row.try_get(0)?,
        at: row.try_get(1)?,
        kind: words::of_word(row.try_get(2)?)?,
        by: row.try_get(3)?,
        text: row.try_get(4)?,
        details: words::of_json(&row.try_get::<String>(5)?)?,
    })
}
