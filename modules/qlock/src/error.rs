//! What can go wrong in qlock, and the one place where it becomes an answer.

use q_contract::{Problem, codes};
use q_db::DbError;
use qlock_api::errors::{
    ALGORITHM_UNSUPPORTED, AUDIT_UNAVAILABLE, BAD_ENCODING, DECRYPT_FAILED, IDENTITY_MISMATCH, KEY_NOT_FOUND,
    KEY_USAGE_MISMATCH, PAYLOAD_TOO_LARGE, VALIDATION_FAILED,
};

use crate::domain::{envelope::DoesNotOpen, wrap::WrapError};

/// The most of a refused name that is repeated in an answer.
const NAME_CHARS_MAX: usize = 80;

/// A failure of this module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such key, or not one the caller may know of.
    #[error("no such key")]
    KeyNotFound,
    /// The key is of another type.
    #[error("the key is of type {0}")]
    KeyUsageMismatch(&'static str),
    /// The algorithm is not offered.
    #[error("{0} is not offered")]
    AlgorithmUnsupported(String),
    /// The field is not encoded as declared.
    #[error("the field {0} is not encoded as declared")]
    BadEncoding(&'static str),
    /// The field's value is out of bounds.
    #[error("{0}")]
    ValidationFailed(&'static str),
    /// The plaintext is too long.
    #[error("at most {} bytes in one request", qlock_api::PLAINTEXT_BYTES_MAX)]
    PayloadTooLarge,
    /// The sealed text does not open.
    #[error("the sealed text does not open")]
    DecryptFailed,
    /// The request names an identity that the caller is not.
    #[error("the request names another identity")]
    IdentityMismatch,
    /// The use of a key could not be audited.
    #[error("the use of the key could not be audited")]
    AuditUnavailable(#[source] DbError),
    /// A blob of our own store does not unwrap.
    #[error("{place} is damaged")]
    Damaged {
        /// The row.
        place: String,
        /// What is wrong with it.
        #[source]
        source: WrapError,
    },
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

impl Error {
    /// Refuses an algorithm by its name, of which no more is repeated than a name may be long.
    pub(crate) fn unsupported(name: &str) -> Self {
        Self::AlgorithmUnsupported(name.chars().take(NAME_CHARS_MAX).collect())
    }
}

impl From<DoesNotOpen> for Error {
    fn from(_: DoesNotOpen) -> Self {
        Self::DecryptFailed
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::KeyNotFound => {
                Self::new(&KEY_NOT_FOUND).hint("GET /keys lists the keys of the calling identity")
            }
            Error::KeyUsageMismatch(_) => Self::new(&KEY_USAGE_MISMATCH)
                .detail(error.to_string())
                .hint("aes-256 seals values and data keys, ed25519 signs, x25519 receives age files"),
            Error::AlgorithmUnsupported(_) => Self::new(&ALGORITHM_UNSUPPORTED)
                .detail(error.to_string())
                .hint("GET /algorithms lists what is offered"),
            Error::BadEncoding(_) => Self::new(&BAD_ENCODING)
                .detail(error.to_string())
                .hint("bytes are base64 with padding (RFC 4648 section 4), in the canonical spelling"),
            Error::ValidationFailed(_) => Self::new(&VALIDATION_FAILED).detail(error.to_string()),
            Error::PayloadTooLarge => Self::new(&PAYLOAD_TOO_LARGE)
                .detail(error.to_string())
                .hint("ask for a data key with POST /data-key and seal larger data yourself"),
            Error::DecryptFailed => Self::new(&DECRYPT_FAILED),
            Error::IdentityMismatch => Self::new(&IDENTITY_MISMATCH),
            Error::AuditUnavailable(source) => {
                tracing::error!(error = %source, "the use of a key could not be audited");
                Self::new(&AUDIT_UNAVAILABLE).with("retryAfter", 1)
            }
            Error::Damaged { place, source } => {
                tracing::error!(%place, error = %source, "a wrapped key is damaged");
                Self::new(&codes::INTERNAL).hint("the operator should run `q verify qlock`")
            }
            Error::Db(error) => q_http::storage_problem(&error),
        }
    }
}
