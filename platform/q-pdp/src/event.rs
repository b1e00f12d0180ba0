//! What qonsent tells every module, in one order that can be checked.
//!
//! Each change carries the next epoch. A hash chain over the changes lets a module that heard all of them compute
//! the same digest as qonsent, and notice that it did not.

use q_core::{Did, Event, EventPayload, Timestamp, hash};
use q_ucan::TokenCid;
use serde::{Deserialize, Serialize};

q_core::typed_id!(
    /// A grant.
    GrantId,
    "grant_"
);

/// The head of the hash chain over all changes, as lower-case hexadecimal on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest(pub hash::Sha256);

/// Rights were handed on. `q.qonsent.grant.issued.v1`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantIssued {
    /// The grant.
    pub grant_id: GrantId,
    /// On what.
    pub resource: String,
    /// Whose resource it is: the subject of the chains.
    pub owner: Did,
    /// To whom.
    pub identity: Did,
    /// What may be done, literally.
    pub permissions: Vec<String>,
    /// By whom.
    pub granted_by: Did,
    /// When it was registered; keys are judged as of then.
    pub granted_at: Timestamp,
    /// Until when.
    pub expires_at: Timestamp,
    /// The delegations made to the identity.
    pub cids: Vec<TokenCid>,
    /// All delegations of the proving chains, as a container.
    pub ucan: String,
    /// The place in the order of changes.
    pub epoch: u64,
}

/// Rights were taken back. `q.qonsent.grant.revoked.v1`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GrantRevoked {
    /// On what, when the revocation is of a grant.
    pub resource: Option<String>,
    /// From whom, when the revocation is of a grant.
    pub identity: Option<Did>,
    /// What may no longer be done.
    pub revoked_permissions: Vec<String>,
    /// By whom.
    pub revoked_by: Did,
    /// Why, as a short stable word; never free text about a person.
    pub reason: String,
    /// The delegations that no longer count. Chains through them are dead.
    pub cids: Vec<TokenCid>,
    /// The place in the order of changes.
    pub epoch: u64,
}

/// Delegations were put on record that are no grant by themselves. `q.qonsent.delegation.registered.v1`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DelegationRegistered {
    /// Which.
    pub cids: Vec<TokenCid>,
    /// The place in the order of changes.
    pub epoch: u64,
}

/// How far the order of changes has come. `q.qonsent.revocation.head.v1`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RevocationHead {
    /// The last epoch.
    pub epoch: u64,
    /// The head of the hash chain.
    pub digest: Digest,
    /// When that was so.
    pub at: Timestamp,
}

impl EventPayload for GrantIssued {
    const TOPIC: &'static str = "q.qonsent.grant.issued.v1";
    fn subject(&self) -> String {
        self.resource.clone()
    }
}

impl EventPayload for GrantRevoked {
    const TOPIC: &'static str = "q.qonsent.grant.revoked.v1";
    fn subject(&self) -> String {
        self.resource.clone().unwrap_or_else(|| "delegations".to_owned())
    }
}

impl EventPayload for DelegationRegistered {
    const TOPIC: &'static str = "q.qonsent.delegation.registered.v1";
    fn subject(&self) -> String {
        "delegations".to_owned()
    }
}

impl EventPayload for RevocationHead {
    const TOPIC: &'static str = "q.qonsent.revocation.head.v1";
    fn subject(&self) -> String {
        "head".to_owned()
    }
}

/// One change of the order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Rights were handed on.
    Issued(GrantIssued),
    /// Rights were taken back.
    Revoked(GrantRevoked),
    /// Delegations were put on record.
    Registered(DelegationRegistered),
}

impl Change {
    /// The change an event tells of, if it tells of one.
    pub fn of(event: &Event) -> Option<Self> {
        event
            .payload()
            .map(Self::Issued)
            .or_else(|| event.payload().map(Self::Revoked))
            .or_else(|| event.payload().map(Self::Registered))
    }

    /// Its place in the order.
    pub const fn epoch(&self) -> u64 {
        match self {
            Self::Issued(change) => change.epoch,
            Self::Revoked(change) => change.epoch,
            Self::Registered(change) => change.epoch,
        }
    }

    /// The topic of its event.
    pub const fn topic(&self) -> &'static str {
        match self {
            Self::Issued(_) => GrantIssued::TOPIC,
            Self::Revoked(_) => GrantRevoked::TOPIC,
            Self::Registered(_) => DelegationRegistered::TOPIC,
        }
    }

    /// The payload of its event, as canonical JSON: what the digest is over.
    pub fn canonical(&self) -> Vec<u8> {
        let canonical = match self {
            Self::Issued(change) => hash::canonical_json(change),
            Self::Revoked(change) => hash::canonical_json(change),
            Self::Registered(change) => hash::canonical_json(change),
        };
        canonical.expect("changes hold texts, whole numbers and lists only")
    }

    /// Reads a change back from topic and payload, as they are kept in a store.
    pub fn read(topic: &str, payload: &str) -> Option<Self> {
        match topic {
            GrantIssued::TOPIC => serde_json::from_str(payload).ok().map(Self::Issued),
            GrantRevoked::TOPIC => serde_json::from_str(payload).ok().map(Self::Revoked),
            DelegationRegistered::TOPIC => serde_json::from_str(payload).ok().map(Self::Registered),
            _ => None,
        }
    }
}

impl Digest {
    /// The digest after `change`.
    #[must_use]
    pub fn after(self, change: &Change) -> Self {
        self.after_canonical(change.topic(), &change.canonical())
    }

    /// The digest after the change with this topic and canonical payload.
    #[must_use]
    pub fn after_canonical(self, topic: &str, canonical: &[u8]) -> Self {
        // Fixed lengths first, then one delimiter that a topic cannot hold.
        Self(hash::sha256_of(&[&self.0, topic.as_bytes(), b"\n", canonical]))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hash::hex(&self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let refused = || serde::de::Error::custom("a digest is 64 lower-case hexadecimal digits");
        if text.len() != 64 {
            return Err(refused());
        }
        let mut digest = Self::default();
        for (byte, digits) in digest.0.iter_mut().zip(text.as_bytes().chunks(2)) {
            let digit = |at: usize| match digits[at] {
                digit @ b'0'..=b'9' => Ok(digit - b'0'),
                digit @ b'a'..=b'f' => Ok(digit - b'a' + 10),
                _ => Err(refused()),
            };
            *byte = digit(0)? << 4 | digit(1)?;
        }
        Ok(digest)
    }
}

impl schemars::JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[0-9a-f]{64}$"})
    }
}
