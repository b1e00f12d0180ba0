//! What qlock tells the others. Ids and counts only.

use std::collections::BTreeMap;

use q_core::{Did, EventPayload, Timestamp};
use serde::{Deserialize, Serialize};

use crate::types::{KeyId, KeyType};

/// A key was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyGenerated {
    /// The key.
    pub key_id: KeyId,
    /// What it is made of.
    pub algorithm: KeyType,
    /// Whose it is.
    pub identity_id: Did,
    /// Whether a quantum computer is expected to be of no help against it.
    pub quantum_resistant: bool,
}

impl EventPayload for KeyGenerated {
    const TOPIC: &'static str = "q.qlock.key.generated.v1";
    fn subject(&self) -> String {
        self.key_id.to_string()
    }
}

/// A key has a new version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRotated {
    /// The key.
    pub key_id: KeyId,
    /// The version that sealed and signed until now.
    pub previous_version: u32,
    /// The version that does from now on.
    pub version: u32,
    /// Why: `requested`.
    pub reason: String,
}

impl EventPayload for KeyRotated {
    const TOPIC: &'static str = "q.qlock.key.rotated.v1";
    fn subject(&self) -> String {
        self.key_id.to_string()
    }
}

/// How often a key was used in one minute; one event per key and minute, however often it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUsed {
    /// The key.
    pub key_id: KeyId,
    /// When the minute began.
    pub from: Timestamp,
    /// Counts by `operation:outcome`, such as `sign:done`.
    pub counts: BTreeMap<String, u64>,
}

impl EventPayload for KeyUsed {
    const TOPIC: &'static str = "q.qlock.key.used.v1";
    fn subject(&self) -> String {
        self.key_id.to_string()
    }
}
