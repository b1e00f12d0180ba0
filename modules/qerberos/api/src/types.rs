//! The shapes on the wire.

use q_contract::json_types;
use q_core::{Did, Timestamp, Verdict, audit::AuditId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Details;

/// How much attention an event asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Ordinary.
    #[default]
    Info,
    /// Refused or unusual.
    Warning,
    /// Something failed.
    Error,
    /// Somebody must act.
    Critical,
}

/// Somebody an event is about. Kept apart from the other facts, so that a person can be erased from the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subject {
    /// The identity.
    pub squid_id: Did,
    /// The sub-identity, if it acted as one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_id: Option<String>,
    /// The organisation, if it acted for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dao_id: Option<String>,
}

/// Where a request came from. A record of its own, kept shorter than the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Network {
    /// The address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ip: Option<String>,
    /// What the client said it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// When `POST /audit` answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ack {
    /// When the event is on disk and in the log.
    #[default]
    Durable,
    /// When a signed checkpoint covers it, or after 1.5 s without the proof.
    Included,
}

/// An event to record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordEventRequest {
    /// Made by the producer; the idempotency key.
    pub id: AuditId,
    /// The family, such as `authentication`; 1 to 100 characters.
    #[serde(rename = "type")]
    pub family: String,
    /// The action, such as `wallet.create`; 1 to 100 characters.
    #[serde(rename = "subtype")]
    pub action: String,
    /// How much attention it asks for; `info` when not said.
    #[serde(default)]
    pub severity: Severity,
    /// The module it happened in.
    pub layer: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What it was done to; at most 500 characters, no personal data.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Subject>,
    /// Whom it was done to; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Subject>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Further facts, at most 64 KiB as canonical JSON; no personal data, no secrets.
    #[serde(default, skip_serializing_if = "Details::is_null")]
    pub details: Details,
    /// A content identifier the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    /// When it happened, by the producer's clock; now when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Timestamp>,
    /// When to answer.
    #[serde(default)]
    pub ack: Ack,
}

/// Where a recorded event stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedEvent {
    /// The event.
    pub id: AuditId,
    /// When it was received.
    pub timestamp: Timestamp,
    /// Its place in the log, from 0.
    pub log_index: u64,
    /// The hash of its leaf, in hexadecimal.
    pub leaf_hash: String,
    /// The proof, where it was asked for and a checkpoint came in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof: Option<Proof>,
}

/// Events to record, one JSON object per line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RecordBatchRequest {
    /// The lines.
    pub document: String,
}

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LineResult {
    /// The number of the line, from 1.
    pub line: usize,
    /// The status `POST /audit` would have answered with.
    pub status: u16,
    /// Where the event stands, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<RecordedEvent>,
    /// The code of the refusal, if it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What became of each line of a batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedBatch {
    /// In the order of the lines; empty lines have no result.
    pub results: Vec<LineResult>,
}

/// The rows of a search page: between 1 and 1,000, 100 when not said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct SearchLimit(u32);

impl SearchLimit {
    /// The most rows of a page.
    pub const MAX: u32 = 1_000;

    /// The number of rows.
    pub const fn rows(self) -> u32 {
        self.0
    }
}

impl Default for SearchLimit {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u32> for SearchLimit {
    type Error = String;
    fn try_from(rows: u32) -> Result<Self, String> {
        let is_bounded = (1..=Self::MAX).contains(&rows);
        if is_bounded { Ok(Self(rows)) } else { Err(format!("limit must be between 1 and {}", Self::MAX)) }
    }
}

impl From<SearchLimit> for u32 {
    fn from(limit: SearchLimit) -> Self {
        limit.0
    }
}

impl JsonSchema for SearchLimit {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SearchLimit".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "minimum": 1, "maximum": Self::MAX})
    }
}

/// What to look for; every filter that is given must match.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SearchEventsRequest {
    /// The family.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The action.
    #[serde(rename = "subtype", default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Did>,
    /// The module it happened in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// How much attention it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What it was done to, exactly.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Happened at or after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_date: Option<Timestamp>,
    /// Happened before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_date: Option<Timestamp>,
    /// Rows of the page.
    #[serde(default)]
    pub limit: SearchLimit,
    /// Where the page begins: `nextCursor` of the one before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An event as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditEvent {
    /// The event.
    pub id: AuditId,
    /// Who counted it: a module, or `qerberos.post` for what came in over HTTP.
    pub producer: String,
    /// Its number at the producer, without gaps.
    pub seq: u64,
    /// When it happened, by the producer's clock.
    pub timestamp: Timestamp,
    /// When it was received.
    pub received_at: Timestamp,
    /// Whether the two lie more than five minutes apart.
    #[serde(default)]
    pub is_clock_skewed: bool,
    /// The family.
    #[serde(rename = "type")]
    pub family: String,
    /// The action.
    #[serde(rename = "subtype")]
    pub action: String,
    /// How much attention it asks for.
    pub severity: Severity,
    /// The module it happened in.
    pub layer: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What it was done to.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Who did it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Subject>,
    /// Whom it was done to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<Subject>,
    /// Where the request came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Details::is_null")]
    pub details: Details,
    /// A content identifier the event is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cid: Option<String>,
    /// Its place in the log, from 0.
    pub log_index: u64,
    /// The hash of its leaf, in hexadecimal.
    pub leaf_hash: String,
}

/// One page of a search.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The events, newest first.
    pub events: Vec<AuditEvent>,
    /// Where the next page begins; absent on the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// How many events the trail held when the page was read.
    pub tree_size: u64,
}

/// Names an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetEventRequest {
    /// The event.
    pub id: AuditId,
}

/// Asks for a proof.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetProofRequest {
    /// The event.
    pub id: AuditId,
    /// The size of a checkpoint that was published; the newest when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// One part of an event's commitment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SectionOpening {
    /// SHA-256 of nonce and content, in hexadecimal.
    pub hash: String,
    /// 32 random bytes in hexadecimal; gone when the section was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// The canonical JSON text that was committed to; gone when the section was erased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}

/// That an event is in the log, and what it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proof {
    /// The event.
    pub id: AuditId,
    /// Its place in the log, from 0.
    pub log_index: u64,
    /// The log entry: canonical JSON whose `c` is the commitment.
    pub leaf: String,
    /// The hash of the leaf, in hexadecimal.
    pub leaf_hash: String,
    /// The leaves the checkpoint covers.
    pub tree_size: u64,
    /// Their root, in hexadecimal.
    pub root_hash: String,
    /// The audit path, leaf's sibling first, in hexadecimal.
    pub hashes: Vec<String>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
    /// `c` is SHA-256 of `q-audit-v1` and the section hashes, in this order.
    pub sections: Vec<SectionOpening>,
}

/// Asks for the state of every producer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GapsRequest {}

/// Events that are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gap {
    /// The first missing number.
    pub from: u64,
    /// The last missing number.
    pub to: u64,
    /// When it was noticed.
    pub noticed_at: Timestamp,
}

/// How complete the trail of one producer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProducerState {
    /// Who counts.
    pub producer: String,
    /// The number the next event will have.
    pub expected_seq: u64,
    /// How many events of it are in the log.
    pub seen: u64,
    /// What is missing before `expectedSeq`.
    pub missing: Vec<Gap>,
    /// Events refused because their number or id names another event already.
    pub conflicts: u64,
    /// When the newest one was received.
    pub last_received_at: Timestamp,
    /// The number of its newest event, when its store was found to end before what is in the log: an older copy of
    /// the store was put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rolled_back_to: Option<u64>,
}

/// How complete the trail is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GapReport {
    /// By name.
    pub producers: Vec<ProducerState>,
}

/// Asks for the newest checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogCheckpointRequest {}

/// Asks for the keys.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogPolicyRequest {}

/// Names an entry bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogEntriesRequest {
    /// `x001/x234/067`, or `x001/x234/067.p/8` for a partial one.
    pub position: String,
}

/// Names a tile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogTileRequest {
    /// 0 for leaf hashes.
    pub level: String,
    /// `x001/x234/067`, or `x001/x234/067.p/8` for a partial one.
    pub position: String,
}

json_types!(RecordedEvent, RecordedBatch, EventPage, AuditEvent, Proof, GapReport);
