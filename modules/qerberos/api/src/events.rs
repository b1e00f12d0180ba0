//! What qerberos tells the others.

use q_core::{EventPayload, Verdict, audit::AuditId};
use serde::{Deserialize, Serialize};

/// A new signed tree head is public.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointPublished {
    /// The name of the log.
    pub origin: String,
    /// How many leaves it covers.
    pub size: u64,
    /// Their root, in hexadecimal.
    pub root: String,
}

impl EventPayload for CheckpointPublished {
    const TOPIC: &'static str = "q.qerberos.checkpoint.published.v1";
    fn subject(&self) -> String {
        self.origin.clone()
    }
}

/// An event of severity `error` or `critical` was recorded. One per event would double the bus.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditLogged {
    /// The event.
    pub audit_event_id: AuditId,
    /// Its family.
    #[serde(rename = "type")]
    pub family: String,
    /// The module it is about.
    pub layer: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Its place in the log.
    pub log_index: u64,
}

impl EventPayload for AuditLogged {
    const TOPIC: &'static str = "q.qerberos.audit.logged.v1";
    fn subject(&self) -> String {
        self.audit_event_id.to_string()
    }
}
