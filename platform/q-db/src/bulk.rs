//! Many rows at once: a prepared loop on SQLite, one statement over arrays on PostgreSQL.

use std::{fmt::Write, sync::Arc};

use crate::{DbError, Value};

/// The type of a column, as the arrays on PostgreSQL need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `INTEGER` / `BIGINT`.
    Integer,
    /// `TEXT`.
    Text,
    /// `BLOB` / `BYTEA`.
    Bytes,
}

/// A column of a bulk statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in the table.
    pub name: &'static str,
    /// Its type.
    pub kind: ColumnType,
}

impl Column {
    /// A column of integers.
    pub const fn integer(name: &'static str) -> Self {
        Self { name, kind: ColumnType::Integer }
    }

    /// A column of texts.
    pub const fn text(name: &'static str) -> Self {
        Self { name, kind: ColumnType::Text }
    }

    /// A column of bytes.
    pub const fn bytes(name: &'static str) -> Self {
        Self { name, kind: ColumnType::Bytes }
    }
}

/// The row has other values than its columns.
#[derive(Debug, thiserror::Error)]
#[error("a row of a bulk statement does not fit its columns")]
struct RowDoesNotFit;

/// Refuses a row that PostgreSQL would refuse, on SQLite too.
pub(crate) fn check_row(columns: &[Column], row: &[Value]) -> Result<(), DbError> {
    let fits = columns.len() == row.len()
        && columns.iter().zip(row).all(|(column, value)| {
            matches!(
                (column.kind, value),
                (_, Value::Null)
                    | (ColumnType::Integer, Value::Integer(_))
                    | (ColumnType::Text, Value::Text(_))
                    | (ColumnType::Bytes, Value::Bytes(_))
            )
        });
    if fits { Ok(()) } else { Err(DbError::Statement(Arc::new(RowDoesNotFit))) }
}

pub(crate) fn sqlite_insert(table: &str, columns: &[Column]) -> String {
    let places = join(columns.iter().zip(1..), ", ", |out, (_, number)| write!(out, "?{number}"));
    format!("INSERT INTO {table} ({}) VALUES ({places})", names(columns))
}

pub(crate) fn sqlite_update(table: &str, keys: &[Column], sets: &[Column]) -> String {
    let assign = join(sets.iter().zip(keys.len() + 1..), ", ", |out, (column, number)| {
        write!(out, "{} = ?{number}", column.name)
    });
    let find = join(keys.iter().zip(1..), " AND ", |out, (column, number)| {
        write!(out, "{} = ?{number}", column.name)
    });
    format!("UPDATE {table} SET {assign} WHERE {find}")
}

pub(crate) fn postgres_insert(table: &str, columns: &[Column]) -> String {
    format!("INSERT INTO {table} ({}) SELECT * FROM UNNEST({})", names(columns), arrays(columns))
}

pub(crate) fn postgres_update(table: &str, keys: &[Column], sets: &[Column]) -> String {
    let columns = [keys, sets].concat();
    let assign = join(sets.iter(), ", ", |out, column| write!(out, "{0} = given.{0}", column.name));
    let find = join(keys.iter(), " AND ", |out, column| write!(out, "target.{0} = given.{0}", column.name));
    format!(
        "UPDATE {table} AS target SET {assign} FROM UNNEST({}) AS given ({}) WHERE {find}",
        arrays(&columns),
        names(&columns)
    )
}

fn names(columns: &[Column]) -> String {
    join(columns.iter(), ", ", |out, column| out.write_str(column.name))
}

fn arrays(columns: &[Column]) -> String {
    join(columns.iter().zip(1..), ", ", |out, (column, number)| {
        let kind = match column.kind {
            ColumnType::Integer => "bigint",
            ColumnType::Text => "text",
            ColumnType::Bytes => "bytea",
        };
        write!(out, "${number}::{kind}[]")
    })
}

fn join<T>(
    items: impl Iterator<Item = T>,
    separator: &str,
    mut each: impl FnMut(&mut String, T) -> std::fmt::Result,
) -> String {
    let mut out = String::new();
    for item in items {
        if !out.is_empty() {
            out.push_str(separator);
        }
        each(&mut out, item).expect("writing to a String never fails");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_the_statements_of_both_engines() {
        let (id, amount) = (Column::bytes("id"), Column::integer("amount"));
        assert_eq!(sqlite_insert("t", &[id, amount]), "INSERT INTO t (id, amount) VALUES (?1, ?2)");
        assert_eq!(sqlite_update("t", &[id], &[amount]), "UPDATE t SET amount = ?2 WHERE id = ?1");
        assert_eq!(
            postgres_insert("t", &[id, amount]),
            "INSERT INTO t (id, amount) SELECT * FROM UNNEST($1::bytea[], $2::bigint[])"
        );
        assert_eq!(
            postgres_update("t", &[id], &[amount]),
            "UPDATE t AS target SET amount = given.amount FROM UNNEST($1::bytea[], $2::bigint[]) \
             AS given (id, amount) WHERE target.id = given.id"
        );
    }
}
