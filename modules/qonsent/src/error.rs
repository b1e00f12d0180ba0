//! What can go wrong in qonsent, and the one place where it becomes an answer.

use q_contract::{Problem, codes};
use q_db::DbError;
use q_pdp::{KeysUnavailable, NotConditions};
use q_ucan::Refusal;
use qonsent_api::errors::{
    DELEGATION_NOT_FOUND, DELEGATION_REVOKED, GRANT_LIMIT, GRANT_NOT_FOUND, INSUFFICIENT_PERMISSIONS,
    INVALID_ACTION, INVALID_IDENTITY_FORMAT, INVALID_PERMISSIONS, INVALID_RESOURCE_FORMAT, MISSING_PROOFS,
    QONSENT_STALE, STANDING_DELEGATION_REQUIRED, UCAN_BAD_SIGNATURE, UCAN_EXPIRED, UCAN_INVALID,
    UCAN_REVOKED, UCAN_TOO_EARLY, UCAN_TOO_LARGE, VALIDATION_ERROR,
};

/// A failure of this module.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The resource cannot be read.
    #[error("the resource is not module:type:id")]
    Resource,
    /// The identity cannot be read.
    #[error("the identity is not a DID")]
    Identity,
    /// The action cannot be read.
    #[error("the action is not a lower-case word of at most 32 characters")]
    Action,
    /// The permissions cannot be read.
    #[error("1 to 32 lower-case actions")]
    Permissions,
    /// A field is out of bounds.
    #[error("{0}")]
    Validation(&'static str),
    /// The caller may not ask or do this.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The owner's signature is missing.
    #[error("only the owner's own signature shares a {0}")]
    DelegationRequired(String),
    /// The caller's name is not at the end of the chain.
    #[error("the last delegation of the chain is not signed by the caller")]
    Insufficient,
    /// No chain leads from the owner to the identity for this action.
    #[error("no chain of delegations from the owner to the identity covers {0}")]
    MissingProofs(String),
    /// A token or chain is refused.
    #[error(transparent)]
    Ucan(#[from] Refusal),
    /// A delegation asks for what cannot be kept.
    #[error(transparent)]
    Conditions(#[from] NotConditions),
    /// Too many grants.
    #[error("{0}")]
    GrantLimit(&'static str),
    /// No such grant for this caller.
    #[error("no live grant that the caller may revoke")]
    GrantNotFound,
    /// No such delegation on record.
    #[error("no such delegation on record")]
    DelegationNotFound,
    /// The delegation was revoked.
    #[error("the delegation was revoked")]
    DelegationRevoked,
    /// The epoch asked for was not reached in time.
    #[error("the permissions stand at epoch {0}")]
    Stale(u64),
    /// The keys of an issuer cannot be had now.
    #[error(transparent)]
    Keys(#[from] KeysUnavailable),
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let detail = error.to_string();
        match error {
            Error::Resource => Self::new(&INVALID_RESOURCE_FORMAT).hint("write module:type:id, such as qdrive:file:01J…"),
            Error::Identity => Self::new(&INVALID_IDENTITY_FORMAT)
                .hint("name one identity by its DID; groups and * are not offered yet"),
            Error::Action => Self::new(&INVALID_ACTION).detail(detail),
            Error::Permissions => Self::new(&INVALID_PERMISSIONS).detail(detail),
            Error::Validation(_) => Self::new(&VALIDATION_ERROR).detail(detail),
            Error::Forbidden(_) => Self::new(&codes::FORBIDDEN).detail(detail),
            Error::DelegationRequired(_) => Self::new(&STANDING_DELEGATION_REQUIRED)
                .detail(detail)
                .hint("sign a UCAN delegation for each action and hand them in as `delegation`, as `q grant` does"),
            Error::Insufficient => Self::new(&INSUFFICIENT_PERMISSIONS)
                .detail(detail)
                .hint("the granter signs the delegation to the identity and hands it in"),
            Error::MissingProofs(_) => Self::new(&MISSING_PROOFS)
                .detail(detail)
                .hint("each action needs a delegation /<module>/<type>/<action> whose policy holds for the resource"),
            Error::Ucan(refusal) => refused(&refusal),
            Error::Conditions(_) => Self::new(&UCAN_INVALID).detail(detail).with("rule", "Conditions"),
            Error::GrantLimit(_) => Self::new(&GRANT_LIMIT).detail(detail),
            Error::GrantNotFound => Self::new(&GRANT_NOT_FOUND).detail(detail),
            Error::DelegationNotFound => Self::new(&DELEGATION_NOT_FOUND),
            Error::DelegationRevoked => Self::new(&DELEGATION_REVOKED),
            Error::Stale(epoch) => Self::new(&QONSENT_STALE).detail(detail).with("epoch", epoch).with("retryAfter", 1),
            Error::Keys(_) => Self::new(&codes::DEPENDENCY_UNAVAILABLE).detail(detail).with("retryAfter", 1),
            Error::Db(error) => q_http::storage_problem(&error),
        }
    }
}

fn refused(refusal: &Refusal) -> Problem {
    let code = match refusal {
        Refusal::Malformed(_)
        | Refusal::InvalidClaim(_)
        | Refusal::InvalidAudience
        | Refusal::InvalidSubject
        | Refusal::InvalidCommand
        | Refusal::MatchError => &UCAN_INVALID,
        Refusal::TooLarge(_) => &UCAN_TOO_LARGE,
        Refusal::InvalidSignature | Refusal::UnknownIssuer => &UCAN_BAD_SIGNATURE,
        Refusal::Expired => &UCAN_EXPIRED,
        Refusal::TooEarly => &UCAN_TOO_EARLY,
        Refusal::UnavailableProof(_) => &MISSING_PROOFS,
        Refusal::Revoked(_) => &UCAN_REVOKED,
    };
    Problem::new(code).detail(refusal.to_string()).with("rule", refusal.name())
}
