//! What squid tells the others. Ids and states only: never a name, an address or a profile.

use q_core::{Did, EventPayload, Timestamp};
use serde::{Deserialize, Serialize};

use crate::types::{Custody, IdentityType, PrivacyLevel, VerificationLevel};

/// An identity was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityCreated {
    /// The identity.
    pub did: Did,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// Who holds its keys.
    pub custody: Custody,
    /// How well it is known.
    pub verification_level: VerificationLevel,
    /// Who may see its profile.
    pub privacy_level: PrivacyLevel,
    /// The first entry of its log.
    pub version_id: String,
}

/// A sub-identity was registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubIdentityCreated {
    /// The sub-identity.
    pub did: Did,
    /// What kind it is.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// Whose it is.
    pub parent_id: Did,
    /// The top of the tree.
    pub root_id: Did,
}

/// A parent took a token of a sub-identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySwitched {
    /// The top of the tree.
    pub root: Did,
    /// Who asked.
    pub from: Did,
    /// Whose token it is.
    pub to: Did,
}

/// An identity's log grew: keys or place have changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityUpdated {
    /// The identity.
    pub did: Did,
    /// The newest entry.
    pub version_id: String,
    /// Keys it holds from now on.
    pub keys_added: Vec<String>,
    /// Keys it no longer holds.
    pub keys_removed: Vec<RemovedKey>,
}

/// A key an identity no longer holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RemovedKey {
    /// The key, `did:squid:…#z6Mk…`.
    pub kid: String,
    /// Whether its owner says that somebody else has it.
    pub compromised: bool,
}

/// An identity may not act until further notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentitySuspended {
    /// The identity.
    pub did: Did,
    /// Why, for operators.
    pub reason: String,
    /// Who decided.
    pub by: Option<Did>,
}

/// An identity may act again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityReactivated {
    /// The identity.
    pub did: Did,
    /// Why, for operators.
    pub reason: String,
    /// Who decided.
    pub by: Option<Did>,
}

/// An identity has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IdentityDeleted {
    /// The identity.
    pub did: Did,
    /// Why.
    pub reason: String,
    /// Who decided: the identity itself.
    pub by: Option<Did>,
}

/// Tokens are dead: one, those of a session, those of an identity or of a signing key up to an instant.
///
/// q-auth reads it as `Revocation`; every module hears it from the first one on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRevoked {
    /// Every token of this session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
    /// This token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<String>,
    /// Tokens of this identity made before `not_before`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<Did>,
    /// Every token signed with this key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kid: Option<String>,
    /// Tokens made before this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// Counts the revocations of the instance.
    pub epoch: u64,
}

macro_rules! about_an_identity {
    ($($payload:ty => $topic:literal),+ $(,)?) => {$(
        impl EventPayload for $payload {
            const TOPIC: &'static str = $topic;
            fn subject(&self) -> String {
                self.did.to_string()
            }
        }
    )+};
}

about_an_identity! {
    IdentityCreated => "q.squid.identity.created.v1",
    SubIdentityCreated => "q.squid.subidentity.created.v1",
    IdentityUpdated => "q.squid.identity.updated.v1",
    IdentitySuspended => "q.squid.identity.suspended.v1",
    IdentityReactivated => "q.squid.identity.reactivated.v1",
    IdentityDeleted => "q.squid.identity.deleted.v1",
}

impl EventPayload for SessionRevoked {
    const TOPIC: &'static str = "q.squid.session.revoked.v1";
    fn subject(&self) -> String {
        // One subject for all: revocations are counted, and heard in the order of their epochs.
        "revocations".into()
    }
}

impl EventPayload for IdentitySwitched {
    const TOPIC: &'static str = "q.squid.identity.switched.v1";
    fn subject(&self) -> String {
        self.to.to_string()
    }
}
