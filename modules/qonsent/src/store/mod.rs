//! SQL: one file per noun, one function per question.
//!
//! **Invariant:** no decision is made here.

pub mod changes;
pub mod delegations;
pub mod grants;
pub mod revocations;

use q_db::{DbError, Row};
use q_ucan::TokenCid;

/// Reads a column of 32 bytes.
fn cid(row: &Row, column: usize) -> Result<TokenCid, DbError> {
    digest(row, column).map(TokenCid::from_digest)
}

fn digest(row: &Row, column: usize) -> Result<[u8; 32], DbError> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| DbError::BadRow { column, expected: "32 bytes" })
}

/// Reads a column that holds the text of a typed value.
fn parsed<T: std::str::FromStr>(row: &Row, column: usize, expected: &'static str) -> Result<T, DbError> {
    row.try_get::<String>(column)?.parse().map_err(|_| DbError::BadRow { column, expected })
}

fn epoch(row: &Row, column: usize) -> Result<u64, DbError> {
    u64::try_from(row.try_get::<i64>(column)?).map_err(|_| DbError::BadRow { column, expected: "an epoch" })
}

/// An epoch as a parameter.
fn column(epoch: u64) -> i64 {
    i64::try_from(epoch).unwrap_or(i64::MAX)
}
