//! What can go wrong here, and the one place that says what a caller hears.

use q_contract::{Problem, codes};
use q_core::Timestamp;
use q_db::DbError;
use q_did::Refused;
use squid_api::{Status, errors as api};

use crate::domain::profile;

/// A refusal or a failure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log breaks a rule.
    #[error(transparent)]
    Log(Refused),
    /// The entry does not follow the newest one.
    #[error("the newest entry is {0}")]
    LogConflict(String),
    /// Registered already.
    #[error("the identity is registered already")]
    Exists,
    /// Not known, or not for this caller to know.
    #[error("there is no such identity")]
    NotFound,
    /// It has ended.
    #[error("the identity has ended")]
    Gone,
    /// Only the identity itself may.
    #[error("only the identity itself may do this")]
    NotItself,
    /// Changed meanwhile.
    #[error("the profile is at revision {0}")]
    Precondition(u64),
    /// The status does not allow it.
    #[error("the identity is {0}")]
    StatusConflict(squid_api::Status),
    /// Cut off, it could not let itself in again.
    #[error("nobody suspends the identity that acts")]
    SelfSuspension,
    /// Whoever asked was suspended while the request was on its way.
    #[error("the identity that acts is suspended")]
    ActorSuspended,
    /// The profile is not acceptable.
    #[error(transparent)]
    Profile(#[from] profile::Refusal),
    /// The reason is missing or too long.
    #[error("a reason has 1 to 500 characters")]
    Reason,
    /// This kind of identity is not made this way.
    #[error("this kind of identity is not made this way: {0}")]
    TypeForbidden(&'static str),
    /// A link is not what both sides signed.
    #[error("the link is not good: {0}")]
    Link(&'static str),
    /// As many sub-identities as there may be.
    #[error("at most {0} sub-identities")]
    SubIdentityLimit(u32),
    /// Sub-identities would be left.
    #[error("there are sub-identities that have not ended")]
    HasChildren,
    /// The login is not strong or not fresh enough.
    #[error("a step-up is needed")]
    StepUp(&'static str),
    /// No second key can be made of it.
    #[error("this is no second key: {0}")]
    SecondKey(&'static str),
    /// As many second keys as there may be.
    #[error("at most {0} second keys")]
    SecondKeyLimit(usize),
    /// No such second key.
    #[error("there is no such second key")]
    SecondKeyNotFound,
    /// The login was to be by two keys and is not.
    #[error("the second key was not proved")]
    Unmet,
    /// No such session.
    #[error("there is no such session")]
    SessionNotFound,
    /// The login does not hold. Why is not said: it would help to guess.
    #[error("the login does not hold")]
    Grant,
    /// The login is that of an identity that may not log in. Said only to whoever has its keys.
    #[error("the identity is {}", .0.as_str())]
    Inactive(Status),
    /// The grant type is not offered.
    #[error("the grant type is not offered")]
    UnsupportedGrant,
    /// The scope is malformed.
    #[error("the scope is malformed")]
    Scope,
    /// The proof of possession does not hold.
    #[error("the proof of possession does not hold")]
    Proof,
    /// The caller's clock is wrong.
    #[error("the clocks disagree")]
    ClockSkew(Timestamp),
    /// Not an identifier.
    #[error("not an identifier")]
    InvalidDid,
    /// An identifier nobody knows here.
    #[error("the identifier is not known here")]
    DidNotFound,
    /// One network has registered as many identities as may be within an hour.
    #[error("too many registrations from one network")]
    RegistrationsFull {
        /// How many that are.
        most: u32,
        /// Seconds to wait.
        retry_after: i64,
    },
    /// Too many from one address.
    #[error("too many requests")]
    RateLimited {
        /// Seconds to wait.
        retry_after: i64,
    },
    /// A sealed field does not open: damage, or the wrong key.
    #[error("a sealed field does not open")]
    Sealed(#[from] q_seal::OpenError),
    /// The store failed.
    #[error("the store failed")]
    Db(#[from] DbError),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match error {
            Error::Log(refused) => Self::new(&api::SQUID_LOG_INVALID)
                .detail(refused.to_string())
                .hint("the rules are those of did:webvh 1.0 and, with the prefix house-, of this instance")
                .with("rule", refused.rule.name())
                .with("version", refused.version),
            Error::LogConflict(head) => Self::new(&api::SQUID_LOG_CONFLICT)
                .hint("make the entry again on top of the newest one")
                .with("versionId", head),
            Error::Exists => Self::new(&api::SQUID_IDENTITY_EXISTS),
            Error::NotFound => Self::new(&api::SQUID_IDENTITY_NOT_FOUND),
            Error::Gone => {
                Self::new(&api::SQUID_IDENTITY_GONE).hint("older versions stay readable by versionId")
            }
            Error::NotItself => Self::new(&api::SQUID_INSUFFICIENT_PERMISSIONS),
            Error::Precondition(revision) => Self::new(&api::PRECONDITION_FAILED)
                .hint("read the identity again and repeat the change")
                .with("revision", revision),
            Error::StatusConflict(status) => {
                Self::new(&api::SQUID_STATUS_CONFLICT).with("identityStatus", status.as_str())
            }
            Error::SelfSuspension => Self::new(&api::SQUID_SELF_SUSPENSION).hint(
                "another operator suspends it: `q id new NAME`, then `q id appoint NAME` make one, who acts with --as NAME",
            ),
            Error::ActorSuspended => Self::new(&codes::FORBIDDEN).detail(error.to_string()),
            Error::Profile(refusal) => Self::new(&api::SQUID_PROFILE_INVALID).detail(refusal.to_string()),
            Error::Reason => Self::new(&codes::INVALID_REQUEST).detail(error.to_string()),
            Error::TypeForbidden(why) => Self::new(&api::SQUID_TYPE_FORBIDDEN).detail(why),
            Error::Link(why) => Self::new(&api::SQUID_LINK_INVALID).detail(why),
            Error::SubIdentityLimit(max) => Self::new(&api::SQUID_SUBIDENTITY_LIMIT)
                .detail(error.to_string())
                .hint("end one first: `q id sub end NAME`")
                .with("limit", max),
            Error::HasChildren => Self::new(&api::SQUID_HAS_CHILDREN)
                .hint("end them first; `q id sub list` shows them, `q id sub end NAME` ends one"),
            Error::StepUp(what) => q_contract::step_up_required(what),
            Error::SecondKey(why) => Self::new(&api::SQUID_SECOND_KEY_REFUSED).detail(why),
            Error::SecondKeyLimit(_) => {
                Self::new(&api::SQUID_SECOND_KEY_LIMIT).detail(error.to_string()).hint("remove one first")
            }
            Error::SecondKeyNotFound => Self::new(&api::SQUID_SECOND_KEY_NOT_FOUND),
            Error::Unmet => oauth(&api::UNMET_AUTHENTICATION_REQUIREMENTS)
                .hint("send second_assertion, signed by an enrolled second key: `q auth step-up`"),
            Error::SessionNotFound => Self::new(&api::SQUID_SESSION_NOT_FOUND),
            Error::Grant => oauth(&api::INVALID_GRANT).hint("make a fresh assertion with the current key"),
            Error::Inactive(status) => {
                let problem = oauth(&api::INVALID_GRANT)
                    .detail(format!("the identity is {}", status.as_str()))
                    .with("identityStatus", status.as_str());
                if status == Status::Suspended {
                    problem.hint("whoever suspended it lets it in again: its parent, or an operator of this instance")
                } else {
                    problem
                }
            }
            Error::UnsupportedGrant => oauth(&api::UNSUPPORTED_GRANT_TYPE)
                .hint("offered: urn:ietf:params:oauth:grant-type:jwt-bearer"),
            Error::Scope => oauth(&api::INVALID_SCOPE),
            Error::Proof => oauth(&api::INVALID_DPOP_PROOF)
                .hint("make a fresh proof for POST and the token endpoint's URL, without ath"),
            Error::ClockSkew(now) => {
                oauth(&api::SQUID_CLOCK_SKEW).hint("set the clock right").with("serverTime", now.to_string())
            }
            Error::InvalidDid => Self::new(&api::INVALID_DID),
            Error::DidNotFound => Self::new(&api::DID_NOT_FOUND),
            Error::RegistrationsFull { most, retry_after } => Self::new(&codes::RATE_LIMITED)
                .detail(format!("{most} identities were registered from this network within an hour, as many as may be"))
                .hint(format!(
                    "try again in {retry_after} s; the operator raises the number with SQUID_REGISTRATIONS_PER_HOUR \
                     (squid.registrations_per_hour)"
                ))
                .with("retryAfter", retry_after),
            Error::RateLimited { retry_after } => Self::new(&codes::RATE_LIMITED)
                .hint(format!("try again in {retry_after} s"))
                .with("retryAfter", retry_after),
            Error::Sealed(error) => {
                tracing::error!(%error, "a sealed field does not open");
                Self::new(&codes::INTERNAL)
            }
            Error::Db(error) => q_http::storage_problem(&error),
        }
    }
}

/// A problem that OAuth clients understand too: RFC 6749 section 5.2 has the code in `error`.
fn oauth(code: &q_contract::ErrorCode) -> Problem {
    let error = if code.code.starts_with("SQUID_") { "invalid_grant" } else { code.code };
    Problem::new(code).with("error", error).with("error_description", code.title)
}
