//! What happened, for the audit trail: written in the commit it describes, appended by qerberos to its log.

use serde::{Deserialize, Serialize};

use crate::Did;

crate::typed_id!(
    /// An audit event, named by its producer so that a second delivery is recognised.
    AuditId,
    "aud_"
);

/// The outcome the entry records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// It was done.
    Allow,
    /// It was refused.
    Deny,
    /// It was done, and somebody should look.
    Warn,
}

/// One audited action. Carries ids and states; never secrets, and never personal data in `details`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// The family, such as `authentication` or `data_modification`.
    pub family: String,
    /// The action, such as `wallet.create`.
    pub action: String,
    /// Who did it; absent for the module itself.
    pub actor: Option<Did>,
    /// What it was done to, as a resource or id.
    pub target: String,
    /// How it ended.
    pub verdict: Verdict,
    /// Further facts, at most 64 KiB as JSON.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub details: serde_json::Value,
}

impl AuditEntry {
    /// A change of data that was made.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "ids are Copy; a reference at every call would be noise"
    )]
    pub fn change(action: &str, actor: Option<&Did>, target: impl ToString) -> Self {
        Self {
            family: "data_modification".into(),
            action: action.into(),
            actor: actor.cloned(),
            target: target.to_string(),
            verdict: Verdict::Allow,
            details: serde_json::Value::Null,
        }
    }

    /// The same entry in another family, such as `authentication`.
    #[must_use]
    pub fn family(mut self, family: &str) -> Self {
        self.family = family.into();
        self
    }

    /// The same entry with another outcome.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// The same entry with further facts.
    #[must_use]
    pub fn details(mut self, details: serde_json::Value) -> Self {
        self.details = details;
        self
    }
}
