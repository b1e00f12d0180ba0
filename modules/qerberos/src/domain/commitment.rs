//! What a leaf commits to: every section under its own random salt, so that one can be erased and the rest
//! still proved (the idea of SD-JWT, RFC 9901).

use q_core::{
    Env, Timestamp, Verdict,
    audit::AuditId,
    hash::{Sha256, sha256_of},
};
use qerberos_api::{Details, Network, Severity, Subject};
use serde::{Deserialize, Serialize};

/// Separates this commitment from every other use of the hash.
const DOMAIN: &[u8] = b"q-audit-v1";

/// A salt.
pub type Nonce = [u8; 32];

/// SHA-256 over the section hashes.
pub type Commitment = Sha256;

/// One part of an event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Section {
    /// What happened; no personal data.
    Core(Box<Core>),
    /// Who did it.
    Actor(Subject),
    /// Whom it was done to.
    Target(Subject),
    /// Where the request came from.
    Network(Network),
}

/// The facts that are about nobody.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Core {
    /// The event.
    pub id: AuditId,
    /// When, by the producer's clock.
    pub timestamp: Timestamp,
    /// The family.
    #[serde(rename = "type")]
    pub family: String,
    /// The action.
    #[serde(rename = "subtype")]
    pub action: String,
    /// How much attention it asks for.
    pub severity: Severity,
    /// The module.
    pub layer: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What it was done to.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Details::is_null")]
    pub details: Details,
    /// A content identifier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
}

/// A section as the bytes that are committed to, under its salt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Salted {
    /// Makes the hash of a guessable section unguessable.
    pub nonce: Nonce,
    /// The section as JSON.
    pub content: Vec<u8>,
}

impl Salted {
    /// Salts the bytes of `section` freshly.
    pub fn new(section: &Section, env: &Env) -> Self {
        let content = serde_json::to_vec(section).expect("sections have string keys and finite numbers");
        Self { nonce: env.random(), content }
    }

    /// What stands for the section in the commitment, and stays when the section is erased.
    pub fn hash(&self) -> Sha256 {
        sha256_of(&[&self.nonce, &self.content])
    }
}

/// The commitment of the sections with these hashes.
pub fn commit<'a>(hashes: impl IntoIterator<Item = &'a Sha256>) -> Commitment {
    let mut parts: Vec<&[u8]> = vec![DOMAIN];
    parts.extend(hashes.into_iter().map(Sha256::as_slice));
    sha256_of(&parts)
}
