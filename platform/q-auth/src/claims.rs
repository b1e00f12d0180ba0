//! What an access token says (RFC 9068 section 2.2).

use q_core::{Did, Span, Timestamp};
use serde::{Deserialize, Serialize};

/// How far two clocks may disagree.
pub const SKEW_MAX: Span = Span::seconds(60);
/// The longest an access token lives.
pub const LIFETIME_MAX: Span = Span::seconds(600);
/// The `typ` of an access token (RFC 9068 section 2.1).
pub const ACCESS_TOKEN_TYP: &str = "at+jwt";

/// The claims of an access token. Times are seconds since the epoch (RFC 7519 section 2).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Claims {
    /// Who issued it: the instance's origin.
    pub iss: String,
    /// The acting identity.
    pub sub: Did,
    /// Whom it is for.
    pub aud: Audience,
    /// When it ends.
    pub exp: i64,
    /// When it was made.
    pub iat: i64,
    /// When it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<i64>,
    /// Its own name.
    pub jti: String,
    /// The client it was issued to.
    pub client_id: String,
    /// What it allows, separated by spaces; every scope when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The session it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// When the identity last proved itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth_time: Option<i64>,
    /// How well it proved itself then (RFC 9470), such as [`q_core::caller::ACR_TWO_KEYS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acr: Option<String>,
    /// How it proved itself (RFC 8176).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub amr: Vec<String>,
    /// The key the sender must prove to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cnf: Option<Confirmation>,
    /// What this house adds.
    #[serde(default)]
    pub q: House,
}

/// The key a token is bound to (RFC 9449 section 6.1).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confirmation {
    /// The SHA-256 thumbprint of the key.
    pub jkt: String,
}

/// The claims of this house.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct House {
    /// The type of the identity, such as `ROOT` or `SERVICE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub typ: Option<String>,
    /// The level of verification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lvl: Option<String>,
    /// The parent, for a sub-identity that does not hide it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub par: Option<Did>,
    /// The name of the module, for its service identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub svc: Option<String>,
}

/// One recipient or several (RFC 7519 section 4.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Audience {
    /// Whether the token is for `recipient`.
    pub fn includes(&self, recipient: &str) -> bool {
        match self {
            Self::One(one) => one == recipient,
            Self::Several(several) => several.iter().any(|one| one == recipient),
        }
    }
}

impl Claims {
    /// When it was made.
    pub const fn issued_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.iat)
    }

    /// When it ends.
    pub const fn expires_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.exp)
    }

    /// When the identity last proved itself.
    pub fn authenticated_at(&self) -> Timestamp {
        Timestamp::from_seconds(self.auth_time.unwrap_or(self.iat))
    }
}
