//! Reports that were written.

use q_core::Timestamp;
use q_db::{DbError, Reader, Row, Tx, params};
use q_ops_api::reports::{Report, ReportId, ReportKind};
use serde_json::Value;

use crate::words;

const COLUMNS: &str = "id, kind, from_at, to_at, created_at, is_scheduled, summary, text";
/// The rows of one page.
pub const PAGE_ROWS: usize = 50;

/// The report.
pub fn find(reader: &mut Reader<'_>, id: ReportId) -> Result<Option<Report>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM reports WHERE id = $1");
    reader.query_opt(&sql, params![id.to_string()])?.map(|row| report(&row)).transpose()
}

/// Reports, newest first, one more than a page holds.
pub fn list(
    reader: &mut Reader<'_>,
    kind: Option<ReportKind>,
    before: Option<(Timestamp, ReportId)>,
) -> Result<Vec<Report>, DbError> {
    let (at, id) =
        before.map_or((Timestamp::from_micros(i64::MAX), "~".to_owned()), |(at, id)| (at, id.to_string()));
    let sql = format!(
        "SELECT {COLUMNS} FROM reports WHERE (created_at < $1 OR (created_at = $1 AND id < $2)) \
         AND ($3 = '' OR kind = $3) ORDER BY created_at DESC, id DESC LIMIT {}",
        PAGE_ROWS + 1
    );
    let kind = kind.map(words::word).unwrap_or_default();
    reader.query(&sql, params![at, id, kind])?.iter().map(report).collect()
}

/// Whether the schedule has written the report of a task up to `to`.
pub fn is_written(reader: &mut Reader<'_>, kind: ReportKind, to: Timestamp) -> Result<bool, DbError> {
    let sql = "SELECT id FROM reports WHERE kind = $1 AND is_scheduled = 1 AND to_at >= $2 LIMIT 1";
    Ok(reader.query_opt(sql, params![words::word(kind), to])?.is_some())
}

/// What the newest report of a task was made from.
pub fn newest_data(reader: &mut Reader<'_>, kind: ReportKind) -> Result<Option<Value>, DbError> {
    let sql = "SELECT data FROM reports WHERE kind = $1 ORDER BY created_at DESC, id DESC LIMIT 1";
    let row = reader.query_opt(sql, params![words::word(kind)])?;
    row.map(|row| words::of_json(&row.try_get::<String>(0)?)).transpose()
}

/// Adds a report with what it was made from.
pub fn insert(tx: &mut Tx<'_>, report: &Report, data: &Value) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO reports (id, kind, from_at, to_at, created_at, is_scheduled, summary, text, data) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        params![
            report.id.to_string(),
            words::word(report.kind),
            report.from,
            report.to,
            report.created_at,
            report.is_scheduled,
            &report.summary,
            &report.text,
            words::json(data),
        ],
    )?;
    Ok(())
}

fn report(row: &Row) -> Result<Report, DbError> {
    Ok(Report {
        id: row.parse(0)?,
        kind: words::of_word(row.try_get(1)?)?,
        from: row.try_get(2)?,
        to: row.try_get(3)?,
        created_at: row.try_get(4)?,
        is_scheduled: row.try_get::<i64>(5)? != 0,
        summary: row.try_get(6)?,
        text: row.try_get(7)?,
    })
}
