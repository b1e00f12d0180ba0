//! What can go wrong, and its one mapping to codes.

use std::sync::Arc;

use q_contract::{Problem, codes};
use q_db::DbError;
use q_tlog::{CheckpointError, ReadError};
use qerberos_api::errors;

use crate::domain::{RecordError, Refusal};

/// Why a request of this module is not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The event breaks a rule of its form.
    #[error("the event is refused")]
    Refused(#[from] Refusal),
    /// The id names another event.
    #[error("the id names another event")]
    DuplicateConflict,
    /// A service spoke for another module.
    #[error("a service spoke for another module")]
    ProducerMismatch,
    /// The caller may not do this.
    #[error("the caller may not do this")]
    Forbidden,
    /// No such event.
    #[error("no such event")]
    EventNotFound,
    /// No checkpoint covers the event.
    #[error("no checkpoint covers the event yet")]
    NotYetIncluded,
    /// No such tile, bundle or checkpoint.
    #[error("no such resource of the log")]
    ResourceNotFound,
    /// The request is not what the endpoint declares.
    #[error("{0}")]
    Invalid(String),
    /// The store holds less than was published before.
    #[error("the store is older than the last published checkpoint")]
    RollbackDetected,
    /// A stored record cannot be read.
    #[error("a stored record cannot be read")]
    Record(#[from] RecordError),
    /// Head and tiles are of two trees: nothing is appended to, and nothing signed of, a damaged log.
    #[error("the head of the log is not that of its tiles")]
    HeadDamaged,
    /// The tiles are damaged.
    #[error("the tree is damaged: {0}")]
    Tree(Arc<ReadError<DbError>>),
    /// A stored or kept checkpoint is damaged.
    #[error("a checkpoint is damaged")]
    Checkpoint(#[from] CheckpointError),
    /// The file beside the store cannot be written.
    #[error("the newest checkpoint cannot be kept beside the store")]
    File(#[source] Arc<std::io::Error>),
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

impl From<ReadError<DbError>> for Error {
    fn from(error: ReadError<DbError>) -> Self {
        match error {
            ReadError::Store(error) => Self::Db(error),
            other => Self::Tree(Arc::new(other)),
        }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => Self::new(&errors::INVALID_EVENT).detail(refusal.to_string()),
            Error::DuplicateConflict => Self::new(&errors::DUPLICATE_CONFLICT)
                .hint("make a fresh id for a new event, or send the first one unchanged"),
            Error::ProducerMismatch => Self::new(&errors::PRODUCER_MISMATCH),
            Error::Forbidden => Self::new(&codes::FORBIDDEN)
                .hint("operators see the whole trail; to see what you did, name yourself as actor"),
            Error::EventNotFound => Self::new(&errors::EVENT_NOT_FOUND),
            Error::NotYetIncluded => Self::new(&errors::NOT_YET_INCLUDED)
                .hint("a checkpoint follows within a second")
                .with("retryAfter", 1),
            Error::ResourceNotFound => Self::new(&errors::RESOURCE_NOT_FOUND),
            Error::Invalid(detail) => Self::new(&codes::INVALID_REQUEST).detail(detail),
            Error::Db(error) => q_http::storage_problem(&error),
            internal @ (Error::RollbackDetected
            | Error::HeadDamaged
            | Error::Record(_)
            | Error::Tree(_)
            | Error::Checkpoint(_)
            | Error::File(_)) => {
                tracing::error!(error = %internal, chain = ?internal, "the trail failed a request");
                Self::new(&codes::INTERNAL).hint("run q verify qerberos")
            }
        }
    }
}
