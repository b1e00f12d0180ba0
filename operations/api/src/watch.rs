//! Objectives, alerts and who is told.

use q_contract::{Access, ErrorCode, endpoint, json_types};
use q_core::{EventPayload, Page, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

q_core::typed_id!(
    /// An alert that fired.
    AlertId,
    "alert_"
);

q_core::typed_id!(
    /// A ladder of people that was begun for one cause.
    PageId,
    "page_"
);

/// No such alert.
pub const ALERT_NOT_FOUND: ErrorCode = ErrorCode::new("ALERT_NOT_FOUND", 404, "there is no such alert");
/// The alert has ended.
pub const ALERT_RESOLVED: ErrorCode =
    ErrorCode::new("ALERT_RESOLVED", 409, "the alert is resolved and takes no more words");
/// The note is too long.
pub const ALERT_NOTE_INVALID: ErrorCode =
    ErrorCode::new("ALERT_NOTE_INVALID", 422, "the note is longer than 2,000 characters");

/// Every code of this room, for the committed list.
pub const ERRORS: &[ErrorCode] = &[ALERT_NOT_FOUND, ALERT_RESOLVED, ALERT_NOTE_INVALID];

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AlertState {
    /// It is wrong, and nobody has taken it.
    Firing,
    /// It is wrong, and somebody has taken it.
    Acknowledged,
    /// It is right again.
    Resolved,
}

/// An alert that fired.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Alert {
    /// Its id.
    pub id: AlertId,
    /// The rule that fired, such as `error_rate`.
    pub rule: String,
    /// The module.
    pub module: String,
    /// The class of routes, where the rule is about one, with what was promised, such as `payment errors`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// `page` or `ticket`.
    pub severity: String,
    /// Where it stands.
    pub state: AlertState,
    /// In one line, with the figure.
    pub summary: String,
    /// When it began to fire.
    pub fired_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// Who ended it, when it did not end by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_by: Option<String>,
    /// The newest figure.
    pub value: f64,
    /// The worst figure.
    pub peak: f64,
    /// Above this it is wrong.
    pub threshold: f64,
    /// What the module says is behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Why nobody is told of it by itself: another module's failure, or maintenance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiet: Option<String>,
    /// The page it belongs to, where people are told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub page: Option<PageId>,
    /// The procedure that helps.
    pub runbook: String,
}

/// One thing that happened to a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageEntry {
    /// When.
    pub at: Timestamp,
    /// `opened`, `joined`, `recovery`, `told`, `failed`, `acknowledged`, `note` or `resolved`.
    pub kind: String,
    /// Who: an operator's DID, or `automatic`.
    pub by: String,
    /// In words.
    pub text: String,
}

/// Something that is or was told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Telling {
    /// What the receiver recognises it by.
    pub id: String,
    /// The step of the ladder, such as `tell-2-0`.
    pub step: String,
    /// By which way.
    pub channel: String,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, while it is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_at: Option<Timestamp>,
    /// When it was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Timestamp>,
    /// What the other side said at last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}

/// A ladder of people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PageView {
    /// Its id.
    pub id: PageId,
    /// What it is about.
    pub name: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// The level that was told last, 1 to 4; 0 before the first.
    pub level: u8,
    /// Who took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_by: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// What happened, oldest first.
    pub entries: Vec<PageEntry>,
    /// What was told, oldest first.
    pub tellings: Vec<Telling>,
}

/// An alert with its page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AlertWithPage {
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
    /// Who was told what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ladder: Option<PageView>,
}

/// Which alerts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListAlertsRequest {
    /// Also those that are resolved.
    #[serde(default)]
    pub all: bool,
    /// Where the page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Names an alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertRequest {
    /// The alert.
    pub id: AlertId,
}

/// Takes an alert, or ends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AlertNoteRequest {
    /// The alert.
    pub id: AlertId,
    /// A word for the others, at most 2,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Which module's promises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GetSloRequest {
    /// The module; all when not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
}

/// How fast a budget is used up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Burn {
    /// Over how long, such as `1h`.
    pub window: String,
    /// How many times as fast as allowed.
    pub rate: f64,
}

/// How well one promise is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Promise {
    /// The class of routes; empty for all of the module.
    pub class: String,
    /// `availability`, `errors` or `latency`.
    pub sli: String,
    /// The promised share of good events.
    pub target: f64,
    /// Events in the window.
    pub total: u64,
    /// Good ones among them.
    pub good: u64,
    /// The share of the error budget that is left; negative when it is overdrawn. Absent while too little happened to say
    /// so: something bad among fewer than 20 events, or fewer than 5 bad ones of a budget smaller than one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget_left: Option<f64>,
    /// Burn rates, shortest window first, of the windows in which enough happened to say so.
    pub burn: Vec<Burn>,
}

/// How well a module keeps its promises.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ModuleSlo {
    /// The module.
    pub module: String,
    /// The share of requests of the last minute that failed; absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_ratio: Option<f64>,
    /// The 99th percentile of the last minute, in seconds; absent without requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_seconds: Option<f64>,
    /// Each promise.
    pub promises: Vec<Promise>,
}

/// How well every promise is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SloReport {
    /// When it was read.
    pub at: Timestamp,
    /// Over how many days promises are kept.
    pub window_days: i64,
    /// The modules.
    pub modules: Vec<ModuleSlo>,
}

json_types!(Alert, AlertWithPage, SloReport);

endpoint! {
    /// Lists alerts, newest first: those that are not resolved, or all.
    pub ListAlerts = GET "/alerts" (ListAlertsRequest) -> Page<Alert>;
    access Access::Operator;
}

endpoint! {
    /// Shows an alert, who was told of it, and what was tried.
    pub GetAlert = GET "/alerts/{id}" (AlertRequest) -> AlertWithPage;
    access Access::Operator;
    errors [ALERT_NOT_FOUND];
}

endpoint! {
    /// Takes an alert: nobody else is told, but for its end.
    pub AcknowledgeAlert = POST "/alerts/{id}/acknowledge" (AlertNoteRequest) -> AlertWithPage;
    access Access::Operator;
    errors [ALERT_NOT_FOUND, ALERT_RESOLVED, ALERT_NOTE_INVALID];
    idempotent true;
}

endpoint! {
    /// Ends an alert by hand; what is still wrong fires anew after its time.
    pub ResolveAlert = POST "/alerts/{id}/resolve" (AlertNoteRequest) -> AlertWithPage;
    access Access::Operator;
    errors [ALERT_NOT_FOUND, ALERT_RESOLVED, ALERT_NOTE_INVALID];
    idempotent true;
}

endpoint! {
    /// How well each promise is kept: error budgets and burn rates.
    pub GetSlo = GET "/slo" (GetSloRequest) -> SloReport;
    access Access::Operator;
}

macro_rules! events {
    ($($(#[doc = $doc:literal])* $name:ident $topic:literal;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $name {
            /// The alert.
            pub alert: AlertId,
            /// Its rule.
            pub rule: String,
            /// The module.
            pub module: String,
            /// `page` or `ticket`.
            pub severity: String,
        }

        impl EventPayload for $name {
            const TOPIC: &'static str = $topic;
            fn subject(&self) -> String {
                self.alert.to_string()
            }
        }
    )*};
}

events! {
    /// An alert began to fire.
    AlertFired "q.ops.alert.fired.v1";
    /// Somebody took an alert.
    AlertAcknowledged "q.ops.alert.acknowledged.v1";
    /// An alert ended.
    AlertResolved "q.ops.alert.resolved.v1";
}
