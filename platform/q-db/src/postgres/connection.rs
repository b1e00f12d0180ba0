//! One PostgreSQL connection: prepared statements, and its errors in our words.

use std::{collections::HashMap, error::Error as StdError, sync::Arc};

use postgres::{
    Client, NoTls, Statement, error::SqlState, fallible_iterator::FallibleIterator, types::ToSql,
};

use crate::{
    Column, DbError, Row, Value, bulk,
    error::{ConstraintKind, Source},
    postgres::values,
    sqlite::NulInText,
};

/// How many statements stay prepared per connection. A module has far fewer.
const STATEMENTS_MAX: usize = 512;
/// Rows per statement of a bulk insert or update; bounds the size of one message.
const BULK_ROWS_MAX: usize = 8_192;

/// A connection and its statements.
pub(crate) struct PgConnection {
    client: Client,
    statements: HashMap<Box<str>, Statement>,
}

impl PgConnection {
    /// Connects. An acknowledged commit is on the server's disk, whatever its defaults are.
    pub fn connect(config: &postgres::Config) -> Result<Self, DbError> {
        let mut client = config.connect(NoTls).map_err(classified)?;
        client
            .batch_execute(
                "SET synchronous_commit = on; SET statement_timeout = '5min'; SET lock_timeout = '20s'; \
                 SET idle_in_transaction_session_timeout = '60s'; SET client_min_messages = warning; \
                 SET TIME ZONE 'UTC'",
            )
            .map_err(classified)?;
        Ok(Self { client, statements: HashMap::new() })
    }

    /// Runs statements that take no parameters and answer nothing.
    pub fn run(&mut self, sql: &str) -> Result<(), DbError> {
        self.client.batch_execute(sql).map_err(classified)
    }

    /// Whether the server has hung up.
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Calls `each` with every row until it answers `false`.
    pub fn query(
        &mut self,
        sql: &str,
        params: &[Value],
        each: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), DbError> {
        let statement = self.prepared(sql, params)?;
        let mut rows = self.client.query_raw(&statement, params).map_err(classified)?;
        while let Some(row) = rows.next().map_err(classified)? {
            if !each(values::owned(&row)?) {
                break;
            }
        }
        Ok(())
    }

    /// Runs a statement and answers how many rows it touched.
    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        let statement = self.prepared(sql, params)?;
        let params: Vec<&(dyn ToSql + Sync)> =
            params.iter().map(|value| value as &(dyn ToSql + Sync)).collect();
        self.client.execute(&statement, &params).map_err(classified)
    }

    /// Runs `sql` over arrays of the rows' columns.
    pub fn execute_many<R: AsRef<[Value]>>(
        &mut self,
        sql: &str,
        columns: &[Column],
        rows: &[R],
    ) -> Result<u64, DbError> {
        let mut touched = 0;
        for chunk in rows.chunks(BULK_ROWS_MAX) {
            for row in chunk {
                bulk::check_row(columns, row.as_ref())?;
                refuse_nul(row.as_ref())?;
            }
            let statement = self.prepared(sql, &[])?;
            let arrays: Vec<_> = columns
                .iter()
                .enumerate()
                .map(|(index, column)| values::array(*column, index, chunk))
                .collect();
            let params: Vec<&(dyn ToSql + Sync)> = arrays.iter().map(|array| &**array).collect();
            touched += self.client.execute(&statement, &params).map_err(classified)?;
        }
        Ok(touched)
    }

    fn prepared(&mut self, sql: &str, params: &[Value]) -> Result<Statement, DbError> {
        refuse_nul(params)?;
        if let Some(statement) = self.statements.get(sql) {
            return Ok(statement.clone());
        }
        if self.statements.len() >= STATEMENTS_MAX {
            self.statements.clear();
        }
        let statement = self.client.prepare(sql).map_err(classified)?;
        self.statements.insert(sql.into(), statement.clone());
        Ok(statement)
    }
}

fn refuse_nul(params: &[Value]) -> Result<(), DbError> {
    let has_nul =
        params.iter().any(|value| matches!(value, Value::Text(text) if text.as_bytes().contains(&0)));
    if has_nul { Err(DbError::Statement(Arc::new(NulInText))) } else { Ok(()) }
}

/// The engine's error in our words.
pub(crate) fn classified(error: postgres::Error) -> DbError {
    let lost_connection = error.is_closed()
        || error.source().is_some_and(|source| source.downcast_ref::<std::io::Error>().is_some());
    let (code, name) = match error.as_db_error() {
        Some(refusal) => (refusal.code().clone(), constraint_name(refusal)),
        None if lost_connection => return DbError::Unavailable(Arc::new(error)),
        // Connecting failed without an answer, or a parameter could not be written.
        None if error.to_string().contains("connect") => return DbError::Unavailable(Arc::new(error)),
        None => return DbError::Statement(Arc::new(error)),
    };
    by_code(&code, name, Arc::new(error))
}

fn constraint_name(refusal: &postgres::error::DbError) -> String {
    match (refusal.constraint(), refusal.table(), refusal.column()) {
        (Some(name), _, _) => name.to_owned(),
        (None, Some(table), Some(column)) => format!("{table}_{column}_not_null"),
        _ => String::new(),
    }
}

fn by_code(code: &SqlState, name: String, source: Source) -> DbError {
    let constraint = |kind, source| DbError::Constraint { kind, name, source };
    match code.code() {
        "23505" => constraint(ConstraintKind::Unique, source),
        "23503" => DbError::Constraint {
            kind: ConstraintKind::ForeignKey,
            name: "foreign_key".into(), // SQLite does not tell which
            source,
        },
        "23514" => constraint(ConstraintKind::Check, source),
        "23502" => constraint(ConstraintKind::NotNull, source),
        "40001" | "40P01" => DbError::Conflict(source),
        "53100" => DbError::Full(source),
        "25006" => DbError::ReadOnly(source),
        "XX001" | "XX002" => DbError::Corrupt(source),
        "55P03" | "57014" => DbError::Busy(source),
        "25P02" => DbError::Aborted,
        code if code.starts_with("23") => constraint(ConstraintKind::Other, source),
        // 08: connection, 53: out of resources, 57P: shutting down or starting up.
        code if code.starts_with("08") || code.starts_with("53") || code.starts_with("57P") => {
            DbError::Unavailable(source)
        }
        _ => DbError::Statement(source),
    }
}
