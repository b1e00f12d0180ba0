//! What a refused request hears: RFC 9457 problem details with a stable code and the next step.

use q_core::caller::{ACR_TWO_KEYS, STEP_UP_FRESH};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A stable, documented reason for refusing a request. Texts may change, codes may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErrorCode {
    /// The code, such as `WALLET_NOT_FOUND`.
    pub code: &'static str,
    /// The HTTP status it is answered with.
    pub status: u16,
    /// One lower-case phrase for every occurrence.
    pub title: &'static str,
}

impl ErrorCode {
    /// Declares a code.
    pub const fn new(code: &'static str, status: u16, title: &'static str) -> Self {
        Self { code, status, title }
    }
}

/// The body of a refusal, `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// `urn:q:problem:<code>`.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// The phrase of the code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What was wrong this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Finds the request in logs and events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Further members of this code.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Problem {
    /// A refusal for the reason `code`.
    pub fn new(code: &ErrorCode) -> Self {
        Self {
            type_uri: format!("urn:q:problem:{}", code.code),
            title: code.title.to_owned(),
            status: code.status,
            code: code.code.to_owned(),
            detail: None,
            hint: None,
            trace_id: None,
            extra: Map::new(),
        }
    }

    /// Says what was wrong this time.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a member of this code, such as `retryAfter`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.extra.insert(name.to_owned(), value.into());
        self
    }

    /// Whether this is a refusal for the reason `code`.
    pub fn is(&self, code: &ErrorCode) -> bool {
        self.code == code.code
    }
}

/// The refusal of what needs a step-up: a token of the one who acts, by two keys and fresh (RFC 9470 section 3).
///
/// `what` says what needs it. The response also carries the challenge that the RFC defines.
pub fn step_up_required(what: &str) -> Problem {
    Problem::new(&crate::codes::MFA_REQUIRED)
        .detail(format!("{what} need a login with two keys, at most {} s ago", STEP_UP_FRESH.as_seconds()))
        .hint("`q auth step-up` proves the second key (`q auth second-key add` makes one); then repeat the request")
        .with("error", INSUFFICIENT_USER_AUTHENTICATION)
        .with("acrValues", ACR_TWO_KEYS)
        .with("maxAge", STEP_UP_FRESH.as_seconds())
}

/// The error of a challenge to step up (RFC 9470 section 3).
pub const INSUFFICIENT_USER_AUTHENTICATION: &str = "insufficient_user_authentication";

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.title, self.code)?;
        if let Some(detail) = self.detail.as_ref().filter(|detail| **detail != self.title) {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}
