//! One SQLite connection: statements by their common text, and its errors in our words.

use std::{collections::HashMap, path::Path, sync::Arc};

use rusqlite::{
    ErrorCode, OpenFlags, ToSql,
    config::DbConfig,
    ffi,
    types::{ToSqlOutput, ValueRef},
};

use crate::{
    Column, DbError, Row, Value,
    error::{ConstraintKind, Source},
    sqlite::numbered,
};

/// How many statements stay prepared per connection. A module has far fewer.
const STATEMENTS_MAX: usize = 512;

/// A connection and its statements.
pub(crate) struct SqliteConnection {
    pub(crate) raw: rusqlite::Connection,
    /// Common text → text with SQLite's own numbered parameters.
    numbered: HashMap<Box<str>, Arc<str>>,
}

impl SqliteConnection {
    /// Opens `path`; a writer makes it if need be.
    pub fn open(path: &Path, is_writer: bool) -> Result<Self, DbError> {
        let access = if is_writer {
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        let raw = rusqlite::Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
            .map_err(classified)?;
        raw.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        raw.busy_timeout(std::time::Duration::from_secs(10)).map_err(classified)?;
        // A statement keeps its plan whatever is bound to it (SQLite, "query planner stability guarantee"). Without this a
        // build with STAT4 parses and plans every statement that has a range or meets a partial index anew at each run,
        // which costs more than running it. The other side: an index with a condition is used only where the statement
        // itself spells that condition out.
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(classified)?;
        let connection = Self { raw, numbered: HashMap::new() };
        connection.run(
            "PRAGMA foreign_keys = ON; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF; \
             PRAGMA cell_size_check = ON;",
        )?;
        connection.run(if is_writer {
            "PRAGMA cache_size = -65536;"
        } else {
            "PRAGMA cache_size = -4096;"
        })?;
        Ok(connection)
    }

    /// Runs statements that take no parameters and answer nothing.
    pub fn run(&self, sql: &str) -> Result<(), DbError> {
        self.raw.execute_batch(sql).map_err(classified)
    }

    /// Runs one short statement of the transaction machinery, prepared once.
    pub fn step(&self, sql: &'static str) -> Result<(), DbError> {
        self.raw.prepare_cached(sql).and_then(|mut statement| statement.raw_execute()).map_err(classified)?;
        Ok(())
    }

    /// Calls `each` with every row until it answers `false`.
    pub fn query(
        &mut self,
        sql: &str,
        params: &[Value],
        each: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), DbError> {
        let sql = self.translated(sql);
        let mut statement = self.raw.prepare_cached(&sql).map_err(classified)?;
        bind(&mut statement, params)?;
        let width = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(classified)? {
            let values = (0..width)
                .map(|index| owned(row.get_ref(index).map_err(classified)?, index))
                .collect::<Result<Vec<_>, DbError>>()?;
            if !each(Row::new(values)) {
                break;
            }
        }
        Ok(())
    }

    /// Runs a statement and answers how many rows it touched.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let sql = self.translated(sql);
        let mut statement = self.raw.prepare_cached(&sql).map_err(classified)?;
        bind(&mut statement, params)?;
        let touched = if statement.column_count() == 0 {
            statement.raw_execute().map_err(classified)?
        } else {
            // `… RETURNING`: the rows are not wanted, but the statement has to run to its end.
            let mut rows = statement.raw_query();
            let mut count = 0;
            while rows.next().map_err(classified)?.is_some() {
                count += 1;
            }
            count
        };
        Ok(touched as u64)
    }

    /// Runs `sql` (with numbered parameters already) once per row.
    pub fn execute_many<R: AsRef<[Value]>>(
        &mut self,
        sql: &str,
        columns: &[Column],
        rows: &[R],
    ) -> Result<u64, DbError> {
        let mut statement = self.raw.prepare_cached(sql).map_err(classified)?;
        let mut touched = 0;
        for row in rows {
            let row = row.as_ref();
            crate::bulk::check_row(columns, row)?;
            bind(&mut statement, row)?;
            touched += statement.raw_execute().map_err(classified)? as u64;
        }
        Ok(touched)
    }

    /// Whether no transaction is open; SQLite ends one by itself after some errors.
    pub fn is_idle(&self) -> bool {
        self.raw.is_autocommit()
    }

    fn translated(&mut self, sql: &str) -> Arc<str> {
        if let Some(known) = self.numbered.get(sql) {
            return known.clone();
        }
        if self.numbered.len() >= STATEMENTS_MAX {
            self.numbered.clear();
        }
        let translated: Arc<str> = numbered::translate(sql).into();
        self.numbered.insert(sql.into(), translated.clone());
        translated
    }
}

fn bind(statement: &mut rusqlite::Statement<'_>, params: &[Value]) -> Result<(), DbError> {
    if statement.parameter_count() != params.len() {
        return Err(classified(rusqlite::Error::InvalidParameterCount(
            params.len(),
            statement.parameter_count(),
        )));
    }
    for (index, value) in params.iter().enumerate() {
        if matches!(value, Value::Text(text) if text.as_bytes().contains(&0)) {
            return Err(DbError::Statement(Arc::new(NulInText)));
        }
        statement.raw_bind_parameter(index + 1, value).map_err(classified)?;
    }
    Ok(())
}

/// PostgreSQL cannot store such a text, so neither engine does.
#[derive(Debug, thiserror::Error)]
#[error("a text holds a NUL character")]
pub(crate) struct NulInText;

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
            Self::Bytes(bytes) => ValueRef::Blob(bytes),
            Self::Null => ValueRef::Null,
        }))
    }
}

fn owned(value: ValueRef<'_>, index: usize) -> Result<Value, DbError> {
    Ok(match value {
        ValueRef::Integer(number) => Value::Integer(number),
        // Damaged text reads as bytes: whoever asks for a text is told which column is bad, and a check of the
        // whole table can go on to the next row.
        ValueRef::Text(text) => match std::str::from_utf8(text) {
            Ok(text) => Value::Text(text.to_owned()),
            Err(_) => Value::Bytes(text.to_vec()),
        },
        ValueRef::Blob(bytes) => Value::Bytes(bytes.to_vec()),
        ValueRef::Null => Value::Null,
        ValueRef::Real(_) => {
            return Err(DbError::BadRow { column: index, expected: "an integer, a text or bytes" });
        }
    })
}

/// The engine's error in our words.
pub(crate) fn classified(error: rusqlite::Error) -> DbError {
    let (code, extended, message) = match &error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            (failure.code, failure.extended_code, message.clone().unwrap_or_default())
        }
        _ => return DbError::Statement(Arc::new(error)),
    };
    let source: Source = Arc::new(error);
    match code {
        ErrorCode::ConstraintViolation => constraint(extended, &message, source),
        ErrorCode::DiskFull => DbError::Full(source),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => DbError::ReadOnly(source),
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => DbError::Corrupt(source),
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => DbError::Busy(source),
        ErrorCode::SystemIoFailure
        | ErrorCode::CannotOpen
        | ErrorCode::OutOfMemory
        | ErrorCode::NoLargeFileSupport
        | ErrorCode::FileLockingProtocolFailed => DbError::Unavailable(source),
        _ => DbError::Statement(source),
    }
}

/// Whether `error` means that what the engine handed to the disk may not be there: a sync or a write behind it failed.
pub(crate) fn is_failed_sync(error: &DbError) -> bool {
    let DbError::Unavailable(source) = error else { return false };
    let Some(rusqlite::Error::SqliteFailure(failure, _)) = source.downcast_ref() else { return false };
    matches!(
        failure.extended_code,
        ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC | ffi::SQLITE_IOERR_WRITE
    )
}

fn constraint(extended: i32, message: &str, source: Source) -> DbError {
    // "UNIQUE constraint failed: accounts.owner, accounts.currency"
    let place = message.split_once("constraint failed: ").map_or("", |(_, place)| place);
    let table = place.split('.').next().unwrap_or_default();
    let columns: Vec<&str> =
        place.split(", ").filter_map(|column| column.split_once('.').map(|(_, name)| name)).collect();
    let (kind, name) = match extended {
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_ROWID => {
            (ConstraintKind::Unique, format!("{table}_pkey"))
        }
        ffi::SQLITE_CONSTRAINT_UNIQUE if columns.is_empty() => {
            (ConstraintKind::Unique, place.trim_start_matches("index ").trim_matches('\'').to_owned())
        }
        ffi::SQLITE_CONSTRAINT_UNIQUE => {
            (ConstraintKind::Unique, format!("{table}_{}_key", columns.join("_")))
        }
        ffi::SQLITE_CONSTRAINT_NOTNULL => {
            (ConstraintKind::NotNull, format!("{table}_{}_not_null", columns.join("_")))
        }
        ffi::SQLITE_CONSTRAINT_CHECK => (ConstraintKind::Check, place.to_owned()),
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => (ConstraintKind::ForeignKey, "foreign_key".to_owned()),
        _ => (ConstraintKind::Other, place.to_owned()),
    };
    DbError::Constraint { kind, name, source }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::params;

    #[test]
    fn a_statement_is_planned_once() {
        let mut connection = SqliteConnection::open(Path::new(":memory:"), true).unwrap();
        connection
            .run(
                "CREATE TABLE entries (account INTEGER, at INTEGER, kind INTEGER, PRIMARY KEY (account, at)); \
                 CREATE INDEX entries_kind ON entries (at) WHERE kind = 0;",
            )
            .unwrap();
        let sql =
            "SELECT at FROM entries WHERE account = $1 AND at <= $2 AND kind = $3 ORDER BY at DESC LIMIT 1";
        for at in 1..=5 {
            connection.execute("INSERT INTO entries VALUES (1, $1, 0)", params![at]).unwrap();
            connection
                .query(sql, params![1, at, 0], &mut |row| row.try_get::<i64>(0).unwrap() == i64::from(at))
                .unwrap();
        }
        let statement = connection.raw.prepare_cached(&numbered::translate(sql)).unwrap();
        assert_eq!(statement.get_status(StatementStatus::Run), 5);
        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
