//! The signed lines.

use q_core::Did;
use q_db::{DbError, Reader, Tx, params};

/// The content of `did.jsonl`; `None` when there is no line.
pub fn text(reader: &mut Reader<'_>, did: &Did) -> Result<Option<String>, DbError> {
    let rows = reader.query("SELECT line FROM log_entries WHERE did = $1 ORDER BY version", params![did])?;
    let mut text = String::new();
    for row in &rows {
        text.push_str(&row.try_get::<String>(0)?);
        text.push('\n');
    }
    Ok((!rows.is_empty()).then_some(text))
}

/// The length of `did.jsonl`, in bytes.
pub fn bytes(reader: &mut Reader<'_>, did: &Did) -> Result<u64, DbError> {
    let sql = "SELECT COALESCE(SUM(OCTET_LENGTH(line) + 1), 0) FROM log_entries WHERE did = $1";
    let bytes: i64 = reader.query_one(sql, params![did])?.try_get(0)?;
    Ok(u64::try_from(bytes).unwrap_or_default())
}

/// The newest line.
pub fn newest(reader: &mut Reader<'_>, did: &Did) -> Result<Option<String>, DbError> {
    let sql = "SELECT line FROM log_entries WHERE did = $1 ORDER BY version DESC LIMIT 1";
    reader.query_opt(sql, params![did])?.map(|row| row.try_get(0)).transpose()
}

/// Adds a line.
pub fn insert(tx: &mut Tx<'_>, did: &Did, version: u32, line: &str) -> Result<(), DbError> {
    tx.execute(
        "INSERT INTO log_entries (did, version, line) VALUES ($1, $2, $3)",
        params![did, i64::from(version), line.to_owned()],
    )?;
    Ok(())
}
