//! The tables of qlock: one function per question.
//!
//! **Invariant:** nothing is wrapped, unwrapped or decided here.

use q_db::DbError;

/// Rows for the integrity check, each under its name; one that cannot be read is an error in its place.
pub type NamedRows<N, T> = Vec<(N, Result<T, DbError>)>;

pub mod keys;
pub mod roots;
pub mod uses;
