//! The one place where a statement chooses its engine.

use crate::{Column, DbError, Row, Value, bulk, postgres::PgConnection, sqlite::SqliteConnection};

/// A connection with an open transaction.
pub(crate) enum Connection<'a> {
    Sqlite(&'a mut SqliteConnection),
    Postgres(&'a mut PgConnection),
}

impl Connection<'_> {
    pub fn query(
        &mut self,
        sql: &str,
        params: &[Value],
        each: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), DbError> {
        match self {
            Self::Sqlite(connection) => connection.query(sql, params, each),
            Self::Postgres(connection) => connection.query(sql, params, each),
        }
    }

    pub fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(connection) => connection.execute(sql, params),
            Self::Postgres(connection) => connection.execute(sql, params),
        }
    }

    pub fn insert_many<R: AsRef<[Value]>>(
        &mut self,
        table: &str,
        columns: &[Column],
        rows: &[R],
    ) -> Result<u64, DbError> {
        match self {
            Self::Sqlite(connection) => {
                connection.execute_many(&bulk::sqlite_insert(table, columns), columns, rows)
            }
            Self::Postgres(connection) => {
                connection.execute_many(&bulk::postgres_insert(table, columns), columns, rows)
            }
        }
    }

    pub fn update_many<R: AsRef<[Value]>>(
        &mut self,
        table: &str,
        keys: &[Column],
        sets: &[Column],
        rows: &[R],
    ) -> Result<u64, DbError> {
        let columns = [keys, sets].concat();
        match self {
            Self::Sqlite(connection) => {
                connection.execute_many(&bulk::sqlite_update(table, keys, sets), &columns, rows)
            }
            Self::Postgres(connection) => {
                connection.execute_many(&bulk::postgres_update(table, keys, sets), &columns, rows)
            }
        }
    }

    pub const fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}
