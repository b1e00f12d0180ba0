//! Who is asking.

use crate::{Did, Timestamp};

/// The identity behind a request, after q-auth has checked its credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// The identity that acts.
    pub did: Did,
    /// What the credential allows, as OAuth scopes such as `wallet:read`; empty means every scope.
    pub scopes: Vec<String>,
    /// The client the token was issued to.
    pub client: Option<String>,
    /// The service that asks on the identity's behalf, if one does.
    pub actor: Option<Did>,
    /// Whether the credential is bound to a key of the sender (RFC 9449); sensitive commands insist.
    pub is_sender_bound: bool,
    /// When the identity last proved itself, for step-up.
    pub authenticated_at: Timestamp,
}

/// What a handler is told about the one who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Nobody in particular: allowed at public endpoints only.
    Anonymous,
    /// An identity, directly or through a service acting for it.
    Identity(Principal),
    /// A module of this instance, by name, acting for itself.
    Service(Principal, String),
}

impl Caller {
    /// The acting identity, unless anonymous.
    pub fn did(&self) -> Option<&Did> {
        match self {
            Self::Anonymous => None,
            Self::Identity(principal) | Self::Service(principal, _) => Some(&principal.did),
        }
    }

    /// The checked identity, unless anonymous.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Self::Anonymous => None,
            Self::Identity(principal) | Self::Service(principal, _) => Some(principal),
        }
    }

    /// Whether a module of this instance is asking for itself.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Service(..))
    }
}
