//! Why a credential is refused. Titles are constant, so that a refusal teaches an attacker nothing.

use q_contract::{ErrorCode, Problem};
use q_core::Timestamp;

/// The access token is not one of ours, or was tampered with.
pub const SQUID_TOKEN_INVALID: ErrorCode =
    ErrorCode::new("SQUID_TOKEN_INVALID", 401, "the access token is not valid");
/// The access token has run out.
pub const SQUID_TOKEN_EXPIRED: ErrorCode =
    ErrorCode::new("SQUID_TOKEN_EXPIRED", 401, "the access token has expired");
/// The access token, its session or its identity was revoked.
pub const SQUID_TOKEN_REVOKED: ErrorCode =
    ErrorCode::new("SQUID_TOKEN_REVOKED", 401, "the access token was revoked");
/// The two clocks disagree by more than a minute.
pub const SQUID_CLOCK_SKEW: ErrorCode =
    ErrorCode::new("SQUID_CLOCK_SKEW", 401, "the credential is dated more than 60 s away from this clock");
/// The proof of possession does not belong to this request, key and token (RFC 9449 section 7.1).
pub const INVALID_DPOP_PROOF: ErrorCode =
    ErrorCode::new("invalid_dpop_proof", 401, "the proof of possession does not hold for this request");

/// Every code of this crate, for the committed list.
pub const ALL: &[ErrorCode] =
    &[SQUID_TOKEN_INVALID, SQUID_TOKEN_EXPIRED, SQUID_TOKEN_REVOKED, SQUID_CLOCK_SKEW, INVALID_DPOP_PROOF];

/// The refusal of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// See [`SQUID_TOKEN_INVALID`].
    #[error("the access token is not valid")]
    Token,
    /// See [`SQUID_TOKEN_EXPIRED`].
    #[error("the access token has expired")]
    Expired,
    /// See [`SQUID_TOKEN_REVOKED`].
    #[error("the access token was revoked")]
    Revoked,
    /// See [`SQUID_CLOCK_SKEW`].
    #[error("the clocks disagree")]
    ClockSkew,
    /// See [`INVALID_DPOP_PROOF`].
    #[error("the proof of possession does not hold")]
    Proof,
    /// The set of used proofs is full: nothing new can be told from a replay.
    #[error("too many proofs in a minute")]
    Overloaded,
}

impl Refusal {
    /// The problem a caller hears at `now`.
    pub fn problem(self, now: Timestamp) -> Problem {
        let server_time = now.to_string();
        match self {
            Self::Token => Problem::new(&SQUID_TOKEN_INVALID).hint("`q auth token` gets a new one"),
            Self::Expired => Problem::new(&SQUID_TOKEN_EXPIRED)
                .hint("`q auth token` gets a new one")
                .with("serverTime", server_time),
            Self::Revoked => Problem::new(&SQUID_TOKEN_REVOKED).hint("log in again"),
            Self::ClockSkew => {
                Problem::new(&SQUID_CLOCK_SKEW).hint("set the clock right").with("serverTime", server_time)
            }
            Self::Proof => Problem::new(&INVALID_DPOP_PROOF)
                .hint("make a fresh proof for this method and URL: `q auth headers METHOD URL`")
                .with("serverTime", server_time),
            Self::Overloaded => Problem::new(&q_contract::codes::RATE_LIMITED)
                .hint("try again in 60 s")
                .with("retryAfter", 60),
        }
    }
}
