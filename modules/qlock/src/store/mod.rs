//! The tables of qlock: one function per question.
//!
//! **Invariant:** nothing is wrapped, unwrapped or decided here.

pub mod keys;
pub mod roots;
pub mod uses;

use q_db::{DbError, FromValue, Reader, Row, Value};

/// Rows for the integrity check, each under its name; one that cannot be read is an error in its place.
pub type NamedRows<N, T> = Vec<(N, Result<T, DbError>)>;

/// Reads the rows one by one, so that a damaged one does not hide the others: `names` lists their keys,
/// `one` finds a row by its key, which is its last parameter.
fn one_by_one<N: FromValue + Clone + Into<Value>, T>(
    reader: &mut Reader<'_>,
    (names, one): (&str, &str),
    params: &[Value],
    read: impl Fn(&Row) -> Result<T, DbError>,
) -> Result<NamedRows<N, T>, DbError> {
    let found = reader.query(names, params)?;
    let mut rows = NamedRows::with_capacity(found.len());
    for name in found {
        let name: N = name.try_get(0)?;
        let mut params = params.to_vec();
        params.push(name.clone().into());
        match reader.query_one(one, &params) {
            Ok(row) => rows.push((name, read(&row))),
            Err(error @ DbError::BadRow { .. }) => rows.push((name, Err(error))),
            Err(other) => return Err(other),
        }
    }
    Ok(rows)
}
