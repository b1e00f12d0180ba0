//! Incidents: what is wrong, how bad, who was told what, and the record that the review is made from.

use std::collections::BTreeMap;

use q_contract::{Access, ErrorCode, Text, endpoint, json_types};
use q_core::{Page, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

q_core::typed_id!(
    /// An incident.
    IncidentId,
    "inc_"
);

/// No such incident.
pub const INCIDENT_NOT_FOUND: ErrorCode =
    ErrorCode::new("INCIDENT_NOT_FOUND", 404, "there is no such incident");
/// The incident has ended.
pub const INCIDENT_RESOLVED: ErrorCode = ErrorCode::new(
    "INCIDENT_RESOLVED",
    409,
    "the incident is resolved and its state does not change any more",
);
/// A field is empty, too long, or names a module that is not watched.
pub const INCIDENT_INVALID: ErrorCode =
    ErrorCode::new("INCIDENT_INVALID", 422, "the incident cannot be recorded like this");

/// Every code of this room, for the committed list.
pub const ERRORS: &[ErrorCode] = &[INCIDENT_NOT_FOUND, INCIDENT_RESOLVED, INCIDENT_INVALID];

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Everything, or money or keys, is affected.
    Sev1,
    /// A module is down for everybody.
    Sev2,
    /// A part fails or is slow.
    Sev3,
    /// Hardly anybody notices.
    Sev4,
}

/// How far its handling has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IncidentStatus {
    /// The cause is being looked for.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is mended, and being watched.
    Monitoring,
    /// It is over.
    Resolved,
}

/// What an entry of the timeline is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntryKind {
    /// The incident began.
    Opened,
    /// Said to everybody: stands on the status page and goes to subscribers.
    Update,
    /// For the operators.
    Note,
    /// Another status.
    Status,
    /// Another severity.
    Severity,
    /// How the modules were.
    Impact,
    /// An alert began or ended.
    Alert,
    /// A module changed its mode.
    Mode,
    /// A runbook was run.
    Runbook,
    /// Another version or configuration went live, or an earlier one came back.
    Deployment,
    /// The house helped itself.
    Recovery,
    /// Something was cut off, or let in again.
    Isolation,
    /// Evidence was secured.
    Evidence,
}

/// How one module was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleState {
    /// `healthy`, `degraded`, `unhealthy` or `unreachable`.
    pub status: String,
    /// `normal`, `read-only`, `maintenance`, `isolated` or `write-stopped`, where the module said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// What it depends on and lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
}

/// How every watched module was at one instant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Impact(pub BTreeMap<String, ModuleState>);

/// An incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Incident {
    /// Its id.
    pub id: IncidentId,
    /// One line for everybody: it stands on the status page.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// How far its handling has come.
    pub status: IncidentStatus,
    /// The modules it is about; empty for the whole instance.
    pub modules: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When its newest entry was made.
    pub updated_at: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// Who opened it: an operator's DID, or `automatic`.
    pub opened_by: String,
    /// How the modules were at the newest look.
    pub impact: Impact,
}

/// One entry of a timeline. Never changed and never removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineEntry {
    /// Its place in the timeline, from 1.
    pub seq: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is.
    pub kind: EntryKind,
    /// Who: an operator's DID, or `automatic`.
    pub by: String,
    /// In words.
    pub text: String,
    /// Further facts.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// Opens an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenIncidentRequest {
    /// One line for everybody, 1 to 200 characters: no names of people, no internals.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// The modules it is about; empty for the whole instance.
    #[serde(default)]
    pub modules: Vec<String>,
    /// The first update for everybody, at most 4,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// When it began, where that is known to be earlier than now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_at: Option<Timestamp>,
}

/// Which incidents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListIncidentsRequest {
    /// Only those that are not resolved.
    #[serde(default)]
    pub open: bool,
    /// Where the page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Names an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IncidentRequest {
    /// The incident.
    pub id: IncidentId,
}

/// An incident with everything that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IncidentWithTimeline {
    /// The incident.
    #[serde(flatten)]
    pub incident: Incident,
    /// What happened, oldest first.
    pub timeline: Vec<TimelineEntry>,
}

/// Adds to a timeline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddEntryRequest {
    /// The incident.
    pub id: IncidentId,
    /// What it is; `update` is said to everybody.
    pub kind: EntryKind,
    /// In words, 1 to 4,000 characters.
    pub text: String,
    /// Further facts, at most 16 KiB as JSON; no secrets.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// Adds to the timeline of every open incident, for what is known without knowing which.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddToOpenRequest {
    /// What it is; not `update`, which is said to everybody about one incident.
    pub kind: EntryKind,
    /// In words, 1 to 4,000 characters.
    pub text: String,
    /// Further facts, at most 16 KiB as JSON; no secrets.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub details: Value,
}

/// Where it was noted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Noted {
    /// The open incidents.
    pub incidents: Vec<IncidentId>,
}

/// Changes how far the handling has come, or how bad it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChangeIncidentRequest {
    /// The incident.
    pub id: IncidentId,
    /// The new status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<IncidentStatus>,
    /// The new severity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// What everybody is told, at most 4,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

json_types!(Incident, IncidentWithTimeline, TimelineEntry, Noted);

endpoint! {
    /// Opens an incident: looks at all modules, tells the subscribers, begins the timeline.
    pub OpenIncident = POST "/incidents" (OpenIncidentRequest) -> Incident;
    status 201;
    access Access::Operator;
    errors [INCIDENT_INVALID];
    example { "title": "Payments are slow", "severity": "sev3", "modules": ["qwallet"] };
}

endpoint! {
    /// Lists incidents, newest first.
    pub ListIncidents = GET "/incidents" (ListIncidentsRequest) -> Page<Incident>;
    access Access::Operator;
}

endpoint! {
    /// Shows an incident with its timeline.
    pub GetIncident = GET "/incidents/{id}" (IncidentRequest) -> IncidentWithTimeline;
    access Access::Operator;
    errors [INCIDENT_NOT_FOUND];
}

endpoint! {
    /// Adds to the timeline; `update` is also said on the status page and to the subscribers.
    pub AddEntry = POST "/incidents/{id}/timeline" (AddEntryRequest) -> TimelineEntry;
    status 201;
    access Access::Operator;
    errors [INCIDENT_NOT_FOUND, INCIDENT_INVALID];
}

endpoint! {
    /// Adds to the timeline of every open incident: what a tool did, by whomever it was run.
    pub AddToOpen = POST "/incidents/open/timeline" (AddToOpenRequest) -> Noted;
    status 201;
    access Access::Operator;
    errors [INCIDENT_INVALID];
}

endpoint! {
    /// Changes status or severity, looks at all modules again, and tells the subscribers.
    pub ChangeIncident = PATCH "/incidents/{id}" (ChangeIncidentRequest) -> Incident;
    access Access::Operator;
    errors [INCIDENT_NOT_FOUND, INCIDENT_RESOLVED, INCIDENT_INVALID];
}

endpoint! {
    /// The post-incident review, in Markdown, from the timeline as it stands.
    pub ReviewIncident = GET "/incidents/{id}/review" (IncidentRequest) -> Text;
    access Access::Operator;
    errors [INCIDENT_NOT_FOUND];
    produces "text/markdown; charset=utf-8";
}
