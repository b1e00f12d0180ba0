//! Who is asking.

use crate::{Did, IdentityKind, Span, Timestamp};

/// The `acr` of a login by one key (RFC 9470 leaves the names to the house).
pub const ACR_ONE_KEY: &str = "urn:q:acr:one-key";
/// The `acr` of a login by the identity's key and a second one that is kept apart from it.
pub const ACR_TWO_KEYS: &str = "urn:q:acr:two-keys";
/// How long ago a step-up may be at what asks for one.
pub const STEP_UP_FRESH: Span = Span::seconds(300);

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
    /// How it proved itself then, such as [`ACR_TWO_KEYS`].
    pub acr: Option<String>,
    /// What kind of identity it is, as its token says.
    pub kind: Option<IdentityKind>,
    /// Whose sub-identity it is, as its token says.
    pub parent: Option<Did>,
}

impl Principal {
    /// `did` itself, with every scope, its credential bound to its key, proved by one key at `authenticated_at`.
    pub const fn new(did: Did, authenticated_at: Timestamp) -> Self {
        Self {
            did,
            scopes: Vec::new(),
            client: None,
            actor: None,
            is_sender_bound: true,
            authenticated_at,
            acr: None,
            kind: None,
            parent: None,
        }
    }
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

    /// Whether this is `did` itself, nobody in between, who proved two keys within the last five minutes and whose
    /// credential is of no use to a thief.
    pub fn has_stepped_up(&self, did: &Did, now: Timestamp) -> bool {
        let Self::Identity(principal) = self else { return false };
        principal.did == *did
            && principal.actor.is_none()
            && principal.is_sender_bound
            && principal.acr.as_deref() == Some(ACR_TWO_KEYS)
            && now.since(principal.authenticated_at) <= STEP_UP_FRESH
    }

    /// Whether a module of this instance is asking for itself.
    pub fn is_service(&self) -> bool {
        matches!(self, Self::Service(..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_up_is_fresh_bound_and_ones_own() {
        let did: Did = "did:squid:QmA".parse().unwrap();
        let at = Timestamp::from_seconds(1_000);
        let good = Principal { acr: Some(ACR_TWO_KEYS.into()), ..Principal::new(did.clone(), at) };
        let holds = |principal: Principal, seconds| {
            Caller::Identity(principal).has_stepped_up(&did, Timestamp::from_seconds(seconds))
        };
        assert!(holds(good.clone(), 1_000) && holds(good.clone(), 1_300));
        assert!(!holds(good.clone(), 1_301), "stale");
        let other: Did = "did:squid:QmB".parse().unwrap();
        for bent in [
            Principal { acr: Some(ACR_ONE_KEY.into()), ..good.clone() },
            Principal { acr: None, ..good.clone() },
            Principal { is_sender_bound: false, ..good.clone() },
            Principal { actor: Some(other.clone()), ..good.clone() },
            Principal { did: other, ..good.clone() },
        ] {
            assert!(!holds(bent.clone(), 1_000), "{bent:?}");
        }
        assert!(!Caller::Anonymous.has_stepped_up(&did, at));
        assert!(!Caller::Service(good, "qwallet".into()).has_stepped_up(&did, at));
    }
}
