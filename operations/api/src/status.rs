//! What everybody may know of the state of the instance, and who is told of changes.

use std::collections::BTreeMap;

use q_contract::{Access, ErrorCode, Text, endpoint, json_types};
use q_core::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    incidents::{IncidentId, IncidentStatus, Severity},
    maintenance::{MaintenanceId, MaintenanceMode, WindowStatus},
};

q_core::typed_id!(
    /// Somebody who is told of incidents and maintenance.
    SubscriberId,
    "sub_"
);

/// No such subscriber.
pub const SUBSCRIBER_NOT_FOUND: ErrorCode =
    ErrorCode::new("SUBSCRIBER_NOT_FOUND", 404, "there is no such subscriber");
/// The address is none that can be written to.
pub const SUBSCRIBER_INVALID: ErrorCode =
    ErrorCode::new("SUBSCRIBER_INVALID", 422, "the address is none that can be told");
/// The address is subscribed already.
pub const SUBSCRIBER_EXISTS: ErrorCode =
    ErrorCode::new("SUBSCRIBER_EXISTS", 409, "the address is subscribed already");

/// Every code of this room, for the committed list.
pub const ERRORS: &[ErrorCode] = &[SUBSCRIBER_NOT_FOUND, SUBSCRIBER_INVALID, SUBSCRIBER_EXISTS];

/// How something is, in a word for everybody; the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum PublicState {
    /// It works.
    Operational,
    /// It is paused on purpose.
    Maintenance,
    /// It works in part, or slowly.
    Degraded,
    /// Nobody has looked lately.
    Unknown,
    /// It does not work.
    Outage,
}

/// One day of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DayUptime {
    /// The day, in UTC, such as `2026-11-21`.
    pub date: String,
    /// The share of looks that found it serving, in hundredths of a percent; absent where nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_basis_points: Option<u32>,
}

/// One module, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicModule {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub about: String,
    /// How it is.
    pub state: PublicState,
    /// The share of looks of the last 90 days that found it serving, in hundredths of a percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_basis_points: Option<u32>,
    /// The last 90 days, oldest first.
    pub days: Vec<DayUptime>,
}

/// What everybody was told about an incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicUpdate {
    /// When.
    pub at: Timestamp,
    /// How far its handling had come.
    pub status: IncidentStatus,
    /// What.
    pub text: String,
}

/// An incident, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicIncident {
    /// Its id.
    pub id: IncidentId,
    /// One line.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// How far its handling has come.
    pub status: IncidentStatus,
    /// The modules it is about; empty for the whole instance.
    pub modules: Vec<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// What was said, newest first.
    pub updates: Vec<PublicUpdate>,
}

/// A maintenance window, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicWindow {
    /// Its id.
    pub id: MaintenanceId,
    /// One line.
    pub title: String,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// The modules; empty for all.
    pub modules: Vec<String>,
    /// What they do meanwhile.
    pub mode: MaintenanceMode,
    /// Where it stands.
    pub status: WindowStatus,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The state of the instance, as everybody may see it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicStatus {
    /// How the instance is: the worst of its modules.
    pub state: PublicState,
    /// When this was put together.
    pub at: Timestamp,
    /// The modules.
    pub modules: Vec<PublicModule>,
    /// Incidents that are not over, newest first.
    pub incidents: Vec<PublicIncident>,
    /// Windows that are on or lie ahead, soonest first.
    pub maintenance: Vec<PublicWindow>,
    /// Incidents of the last 90 days that are over, newest first.
    pub past_incidents: Vec<PublicIncident>,
    /// Windows of the last 90 days that are over, newest first.
    pub past_maintenance: Vec<PublicWindow>,
}

/// Asks for the state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StatusRequest {}

/// How somebody is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SubscriberKind {
    /// A signed POST to a URL.
    Webhook,
    /// A mail.
    Email,
}

/// What somebody is told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Incidents and maintenance, as the status page shows them.
    #[default]
    Status,
    /// The regular reports, which are for operators.
    Reports,
}

/// Adds somebody.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscribeRequest {
    /// How they are told.
    pub kind: SubscriberKind,
    /// The URL or mail address.
    pub address: String,
    /// What they are told; incidents and maintenance when not said.
    #[serde(default)]
    pub topic: Topic,
}

impl std::fmt::Debug for SubscribeRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SubscribeRequest({:?})", self.kind)
    }
}

/// Somebody who is told. The address is shown in part only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscriber {
    /// The id.
    pub id: SubscriberId,
    /// How they are told.
    pub kind: SubscriberKind,
    /// What they are told.
    pub topic: Topic,
    /// The host of the URL, or the mail address without most of its name.
    pub address_hint: String,
    /// Since when.
    pub created_at: Timestamp,
    /// How many notices wait to be delivered.
    pub waiting: i64,
}

/// Everybody who is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Subscribers {
    /// In the order they were added.
    pub items: Vec<Subscriber>,
    /// Deliveries that were given up, by subscriber.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub given_up: BTreeMap<String, i64>,
}

/// Names a subscriber.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SubscriberRequest {
    /// The subscriber.
    pub id: SubscriberId,
}

/// Which subscribers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ListSubscribersRequest {}

json_types!(PublicStatus, Subscriber, Subscribers);

/// Why the status page asks for no credential.
const FOR_EVERYBODY: &str = "people must see the state of the instance when signing in does not work";

endpoint! {
    /// The public status page, readable without scripts.
    pub GetStatusPage = GET "/status" (StatusRequest) -> Text;
    access Access::Public(FOR_EVERYBODY);
    produces "text/html; charset=utf-8";
    cached_seconds 15;
}

endpoint! {
    /// The public state as JSON.
    pub GetStatus = GET "/status.json" (StatusRequest) -> PublicStatus;
    access Access::Public(FOR_EVERYBODY);
    cached_seconds 15;
}

endpoint! {
    /// Incidents and maintenance as an Atom feed (RFC 4287).
    pub GetStatusFeed = GET "/status.atom" (StatusRequest) -> Text;
    access Access::Public(FOR_EVERYBODY);
    produces "application/atom+xml; charset=utf-8";
    cached_seconds 15;
}

endpoint! {
    /// Maintenance windows as a calendar (RFC 5545).
    pub GetStatusCalendar = GET "/status.ics" (StatusRequest) -> Text;
    access Access::Public(FOR_EVERYBODY);
    produces "text/calendar; charset=utf-8";
    cached_seconds 15;
}

endpoint! {
    /// Adds somebody who is told of incidents and maintenance.
    pub Subscribe = POST "/subscribers" (SubscribeRequest) -> Subscriber;
    status 201;
    access Access::Operator;
    errors [SUBSCRIBER_INVALID, SUBSCRIBER_EXISTS];
}

endpoint! {
    /// Lists who is told; addresses are shown in part.
    pub ListSubscribers = GET "/subscribers" (ListSubscribersRequest) -> Subscribers;
    access Access::Operator;
}

endpoint! {
    /// Removes somebody and whatever waits for them.
    pub Unsubscribe = DELETE "/subscribers/{id}" (SubscriberRequest) -> ();
    status 204;
    access Access::Operator;
    errors [SUBSCRIBER_NOT_FOUND];
    idempotent true;
}
