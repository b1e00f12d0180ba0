//! What can go wrong at the desk, and its one mapping to codes.

use q_contract::Problem;
use q_db::DbError;

/// Why the desk does not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(error) => q_http::storage_problem(&error),
        }
    }
}
