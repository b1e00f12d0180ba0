//! Maintenance windows: announced, entered and left by themselves, checked before their end is announced.

use q_contract::{Access, ErrorCode, endpoint, json_types};
use q_core::{Did, Page, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::incidents::IncidentId;

q_core::typed_id!(
    /// A maintenance window.
    MaintenanceId,
    "mnt_"
);

/// No such window.
pub const MAINTENANCE_NOT_FOUND: ErrorCode =
    ErrorCode::new("MAINTENANCE_NOT_FOUND", 404, "there is no such maintenance window");
/// The window is not in the state for this.
pub const MAINTENANCE_CONFLICT: ErrorCode =
    ErrorCode::new("MAINTENANCE_CONFLICT", 409, "the maintenance window is not in the state for this");
/// The plan cannot be kept like this.
pub const MAINTENANCE_INVALID: ErrorCode =
    ErrorCode::new("MAINTENANCE_INVALID", 422, "the maintenance window cannot be planned like this");
/// There is no rollback plan.
pub const ROLLBACK_PLAN_REQUIRED: ErrorCode =
    ErrorCode::new("ROLLBACK_PLAN_REQUIRED", 422, "a maintenance window needs a rollback plan");
/// Another window holds a module at the same time.
pub const MAINTENANCE_OVERLAPS: ErrorCode =
    ErrorCode::new("MAINTENANCE_OVERLAPS", 409, "another window holds one of these modules at that time");
/// The approval is missing, wrong, or by somebody who may not approve.
pub const APPROVAL_REFUSED: ErrorCode =
    ErrorCode::new("APPROVAL_REFUSED", 403, "emergency maintenance needs the signature of an approver");

/// Every code of this room, for the committed list.
pub const ERRORS: &[ErrorCode] = &[
    MAINTENANCE_NOT_FOUND,
    MAINTENANCE_CONFLICT,
    MAINTENANCE_INVALID,
    ROLLBACK_PLAN_REQUIRED,
    MAINTENANCE_OVERLAPS,
    APPROVAL_REFUSED,
];

/// What a module does during the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MaintenanceMode {
    /// Answers reads.
    ReadOnly,
    /// Answers nothing but its state.
    Full,
}

/// Where a window stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WindowStatus {
    /// It lies ahead.
    Scheduled,
    /// It is on.
    Active,
    /// The work is done; the modules answer reads while they are checked.
    Checking,
    /// It is over and every check passed.
    Completed,
    /// A check failed: the modules stay read-only until an operator says otherwise.
    Failed,
    /// It was called off.
    Cancelled,
    /// It passed while nobody was here to begin it.
    Missed,
}

/// What one check after the work found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CheckResult {
    /// The module.
    pub module: String,
    /// `health`, `verify`, `smoke` or `mode`.
    pub check: String,
    /// Whether it passed.
    pub is_passed: bool,
    /// What was found.
    pub detail: String,
}

/// A maintenance window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    /// Its id.
    pub id: MaintenanceId,
    /// One line for everybody: it stands on the status page.
    pub title: String,
    /// When it begins.
    pub from: Timestamp,
    /// When it ends.
    pub to: Timestamp,
    /// The modules; empty for all.
    pub modules: Vec<String>,
    /// What they do meanwhile.
    pub mode: MaintenanceMode,
    /// How long ahead it is announced, in seconds, longest first.
    pub notify_seconds: Vec<i64>,
    /// How to go back if it fails. For operators only.
    pub rollback_plan: String,
    /// Where it stands.
    pub status: WindowStatus,
    /// When its modules were paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When they served again, or when it was called off or missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// What the checks found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<CheckResult>,
    /// The incident that was opened because a check failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<IncidentId>,
    /// Who planned it.
    pub planned_by: Did,
    /// Who approved it, where it was an emergency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<Did>,
    /// When it was planned.
    pub created_at: Timestamp,
}

/// Plans a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScheduleRequest {
    /// One line for everybody, 1 to 200 characters.
    pub title: String,
    /// When it begins; not in the past.
    pub from: Timestamp,
    /// When it ends; at most a week later.
    pub to: Timestamp,
    /// The modules; empty for all.
    #[serde(default)]
    pub modules: Vec<String>,
    /// What they do meanwhile.
    pub mode: MaintenanceMode,
    /// How long ahead it is announced, such as `48h`, `24h`, `1h` or `30m`; those three hours when not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notify: Option<Vec<String>>,
    /// How to go back if it fails, 10 to 10,000 characters.
    #[serde(default)]
    pub rollback_plan: String,
}

/// Begins a window at once, under the signature of an approver.
///
/// The signature is a compact JWS of type `q-maintenance+jws` over the canonical JSON (RFC 8785) of
/// [`EmergencyOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmergencyRequest {
    /// One line for everybody, 1 to 200 characters.
    pub title: String,
    /// When it ends; at most a day ahead.
    pub to: Timestamp,
    /// The modules; empty for all.
    #[serde(default)]
    pub modules: Vec<String>,
    /// What they do meanwhile.
    pub mode: MaintenanceMode,
    /// How to go back if it fails, 10 to 10,000 characters.
    #[serde(default)]
    pub rollback_plan: String,
    /// Until when the approval may be used; at most an hour ahead.
    pub expires_at: Timestamp,
    /// Unique: an approval is used once.
    pub nonce: String,
    /// The approver's signature.
    #[serde(default)]
    pub approval: String,
}

/// The JOSE type of an approver's signature.
pub const MAINTENANCE_TYP: &str = "q-maintenance+jws";

/// What an approver signs. The members stand in canonical order, so that plain serialisation is canonical.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyOrder<'a> {
    /// The DID of the instance: another instance refuses it.
    pub aud: &'a str,
    /// RFC 3339, as in the request.
    pub expires_at: String,
    /// As in the request.
    pub mode: MaintenanceMode,
    /// As in the request.
    pub modules: &'a [String],
    /// As in the request.
    pub nonce: &'a str,
    /// As in the request.
    pub rollback_plan: &'a str,
    /// As in the request.
    pub title: &'a str,
    /// RFC 3339, as in the request.
    pub to: String,
    /// The version of this form, 1.
    pub v: u8,
}

impl<'a> EmergencyOrder<'a> {
    /// The order in `request`, for the instance `aud`.
    pub fn of(request: &'a EmergencyRequest, aud: &'a Did) -> Self {
        Self {
            aud: aud.as_str(),
            expires_at: request.expires_at.to_string(),
            mode: request.mode,
            modules: &request.modules,
            nonce: &request.nonce,
            rollback_plan: &request.rollback_plan,
            title: &request.title,
            to: request.to.to_string(),
            v: 1,
        }
    }

    /// The bytes to sign.
    ///
    /// # Panics
    /// Never: an order holds texts and one small number.
    pub fn signing_input(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an order holds texts and one small number")
    }
}

/// Which windows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListWindowsRequest {
    /// Only those that lie ahead or are on.
    #[serde(default)]
    pub open: bool,
    /// Where the page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Names a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WindowRequest {
    /// The window.
    pub id: MaintenanceId,
}

/// Moves the end of a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtendRequest {
    /// The window.
    pub id: MaintenanceId,
    /// The new end, later than the old one.
    pub to: Timestamp,
}

json_types!(Window);

endpoint! {
    /// Plans a maintenance window and announces it on the status page.
    pub ScheduleMaintenance = POST "/maintenance" (ScheduleRequest) -> Window;
    status 201;
    access Access::Operator;
    errors [ROLLBACK_PLAN_REQUIRED, MAINTENANCE_INVALID, MAINTENANCE_OVERLAPS];
}

endpoint! {
    /// Begins maintenance at once, under the signature of an approver who is an operator.
    pub EmergencyMaintenance = POST "/maintenance/emergency" (EmergencyRequest) -> Window;
    status 201;
    access Access::Operator;
    errors [APPROVAL_REFUSED, ROLLBACK_PLAN_REQUIRED, MAINTENANCE_INVALID, MAINTENANCE_OVERLAPS];
}

endpoint! {
    /// Lists windows, latest first.
    pub ListMaintenance = GET "/maintenance" (ListWindowsRequest) -> Page<Window>;
    access Access::Operator;
}

endpoint! {
    /// Shows a window.
    pub GetMaintenance = GET "/maintenance/{id}" (WindowRequest) -> Window;
    access Access::Operator;
    errors [MAINTENANCE_NOT_FOUND];
}

endpoint! {
    /// Calls a window off that has not begun.
    pub CancelMaintenance = POST "/maintenance/{id}/cancel" (WindowRequest) -> Window;
    access Access::Operator;
    errors [MAINTENANCE_NOT_FOUND, MAINTENANCE_CONFLICT];
    idempotent true;
}

endpoint! {
    /// Moves the end of a window to a later instant.
    pub ExtendMaintenance = POST "/maintenance/{id}/extend" (ExtendRequest) -> Window;
    access Access::Operator;
    errors [MAINTENANCE_NOT_FOUND, MAINTENANCE_CONFLICT, MAINTENANCE_INVALID, MAINTENANCE_OVERLAPS];
    idempotent true;
}

endpoint! {
    /// Begins a planned window now.
    pub StartMaintenance = POST "/maintenance/{id}/start" (WindowRequest) -> Window;
    access Access::Operator;
    errors [MAINTENANCE_NOT_FOUND, MAINTENANCE_CONFLICT, MAINTENANCE_OVERLAPS];
    idempotent true;
}

endpoint! {
    /// Says that the work is done: the checks run now, and when they pass the modules serve again.
    ///
    /// For a window whose checks had failed, runs them again.
    pub CompleteMaintenance = POST "/maintenance/{id}/complete" (WindowRequest) -> Window;
    access Access::Operator;
    errors [MAINTENANCE_NOT_FOUND, MAINTENANCE_CONFLICT];
    idempotent true;
}
