//! Why a token or a chain is refused.

use crate::TokenCid;

/// The answer "no" with its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The bytes are not a well-formed token; the text names the broken rule.
    #[error("the token is not a valid UCAN: {0}")]
    Malformed(&'static str),
    /// A claim is missing, has the wrong type, or is one that may never be granted; the text names the rule.
    #[error("the token makes a claim that cannot hold: {0}")]
    InvalidClaim(&'static str),
    /// A limit of size, depth or count was passed.
    #[error("the token passes a limit: {0}")]
    TooLarge(&'static str),
    /// The signature does not hold for any delegating key of the issuer.
    #[error("the signature does not hold for the issuer")]
    InvalidSignature,
    /// The issuer's keys could not be found.
    #[error("the keys of the issuer cannot be resolved")]
    UnknownIssuer,
    /// The validity ended.
    #[error("the token has expired")]
    Expired,
    /// The validity has not begun.
    #[error("the token is not valid yet")]
    TooEarly,
    /// An audience does not match the issuer that follows, or the executor.
    #[error("an audience does not match the next issuer or the executor")]
    InvalidAudience,
    /// The subjects differ along the chain.
    #[error("the subject changes along the chain")]
    InvalidSubject,
    /// A command is not proved by the one before it.
    #[error("a command is not covered by the delegation before it")]
    InvalidCommand,
    /// The policy of a link does not hold on the arguments.
    #[error("the arguments do not satisfy the policy of a delegation")]
    MatchError,
    /// A proof was named but not found.
    #[error("the proof {0} is not available")]
    UnavailableProof(TokenCid),
    /// A token of the chain was withdrawn.
    #[error("the token {0} was revoked")]
    Revoked(TokenCid),
}

impl Refusal {
    /// The refusal of a token that is of another kind: a delegation read as an invocation, or the other way round.
    pub const OTHER_KIND: Self = Self::Malformed("the payload tag names the expected kind and version 1.0.0");

    /// The name that the official fixtures use for this class of error.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "InvalidEnvelope",
            Self::InvalidClaim(_) => "InvalidClaim",
            Self::TooLarge(_) => "TooLarge",
            Self::InvalidSignature => "InvalidSignature",
            Self::UnknownIssuer => "UnknownIssuer",
            Self::Expired => "Expired",
            Self::TooEarly => "TooEarly",
            Self::InvalidAudience => "InvalidAudience",
            Self::InvalidSubject => "InvalidSubject",
            Self::InvalidCommand => "InvalidCommand",
            Self::MatchError => "MatchError",
            Self::UnavailableProof(_) => "UnavailableProof",
            Self::Revoked(_) => "Revoked",
        }
    }

    /// The stable code of the house, as problem bodies carry it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) | Self::InvalidClaim(_) => "UCAN_INVALID",
            Self::TooLarge(_) => "UCAN_TOO_LARGE",
            Self::InvalidSignature => "UCAN_BAD_SIGNATURE",
            Self::UnknownIssuer => "UCAN_UNKNOWN_ISSUER",
            Self::Expired => "UCAN_EXPIRED",
            Self::TooEarly => "UCAN_TOO_EARLY",
            Self::InvalidAudience => "UCAN_INVALID_AUDIENCE",
            Self::InvalidSubject => "UCAN_INVALID_SUBJECT",
            Self::InvalidCommand => "UCAN_INVALID_COMMAND",
            Self::MatchError => "UCAN_POLICY_VIOLATION",
            Self::UnavailableProof(_) => "MISSING_PROOFS",
            Self::Revoked(_) => "UCAN_REVOKED",
        }
    }

    /// The rule that was broken, where one is named.
    pub const fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Malformed(rule) | Self::InvalidClaim(rule) | Self::TooLarge(rule) => Some(rule),
            _ => None,
        }
    }
}
