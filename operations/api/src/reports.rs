//! The regular tasks of the runbook, as reports that write themselves.

use q_contract::{Access, ErrorCode, endpoint, json_types};
use q_core::{Page, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

q_core::typed_id!(
    /// A report.
    ReportId,
    "rep_"
);

/// No such report.
pub const REPORT_NOT_FOUND: ErrorCode = ErrorCode::new("REPORT_NOT_FOUND", 404, "there is no such report");

/// Every code of this room, for the committed list.
pub const ERRORS: &[ErrorCode] = &[REPORT_NOT_FOUND];

/// Which regular task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// Every day: how the modules were.
    Health,
    /// Every week: errors and latency.
    Review,
    /// Every month: what the program is built from.
    Dependencies,
    /// Every quarter: who may do what.
    Access,
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Its id.
    pub id: ReportId,
    /// Which task.
    pub kind: ReportKind,
    /// The first instant it is about.
    pub from: Timestamp,
    /// The first instant it is not about any more.
    pub to: Timestamp,
    /// When it was written.
    pub created_at: Timestamp,
    /// Whether the schedule wrote it; otherwise an operator asked for it.
    pub is_scheduled: bool,
    /// One line.
    pub summary: String,
    /// The whole in Markdown; empty in lists.
    #[serde(default)]
    pub text: String,
}

/// Which reports.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListReportsRequest {
    /// Only of this task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ReportKind>,
    /// Where the page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Names a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ReportRequest {
    /// The report.
    pub id: ReportId,
}

/// Asks for a report now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RunReportRequest {
    /// Which task; its period ends now.
    pub kind: ReportKind,
}

json_types!(Report);

endpoint! {
    /// Lists reports without their texts, newest first.
    pub ListReports = GET "/reports" (ListReportsRequest) -> Page<Report>;
    access Access::Operator;
}

endpoint! {
    /// Shows a report.
    pub GetReport = GET "/reports/{id}" (ReportRequest) -> Report;
    access Access::Operator;
    errors [REPORT_NOT_FOUND];
}

endpoint! {
    /// Writes a report about the period that ends now.
    pub RunReport = POST "/reports" (RunReportRequest) -> Report;
    status 201;
    access Access::Operator;
}
