//! What may become of an incident, and what may be written down about it.

use q_core::{Timestamp, hash};
use q_ops_api::incidents::{EntryKind, IncidentStatus, Severity, TimelineEntry};

/// The longest title, in characters.
pub const TITLE_CHARS_MAX: usize = 200;
/// The longest text of an entry, in characters.
pub const TEXT_CHARS_MAX: usize = 4_000;
/// The largest details of an entry, in bytes of JSON.
pub const DETAILS_BYTES_MAX: usize = 16 << 10;
/// Who acted when nobody did.
pub const AUTOMATIC: &str = "automatic";

/// How far the handling has come. Only what is over has an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// The cause is being looked for.
    Investigating,
    /// The cause is known.
    Identified,
    /// It is mended, and being watched.
    Monitoring,
    /// It is over.
    Resolved {
        /// Since when.
        at: Timestamp,
    },
}

/// Why something is not written down.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The incident has ended.
    #[error("the incident is resolved")]
    Resolved,
    /// A text is empty or too long.
    #[error("{0} has 1 to {1} characters")]
    Length(&'static str, usize),
    /// The details are too large.
    #[error("details have at most {DETAILS_BYTES_MAX} bytes as JSON")]
    Details,
    /// A module is not looked after here.
    #[error("there is no module {0} here")]
    Module(String),
    /// The beginning lies ahead.
    #[error("an incident has begun by now, or has not happened")]
    Future,
    /// Nothing is changed.
    #[error("say a new status, a new severity or a text")]
    Nothing,
    /// Such entries come from changes, not from people.
    #[error("entries of this kind are made by what they are about")]
    Kind,
}

impl State {
    /// The state kept as `status`, resolved at `at`.
    pub fn kept(status: IncidentStatus, at: Option<Timestamp>) -> Self {
        match status {
            IncidentStatus::Investigating => Self::Investigating,
            IncidentStatus::Identified => Self::Identified,
            IncidentStatus::Monitoring => Self::Monitoring,
            IncidentStatus::Resolved => Self::Resolved { at: at.unwrap_or_default() },
        }
    }

    /// The state after somebody said `to`. Going back is allowed while it lasts: what seemed mended breaks again.
    pub const fn change(self, to: IncidentStatus, now: Timestamp) -> Result<Self, Refusal> {
        match (self, to) {
            (Self::Resolved { .. }, _) => Err(Refusal::Resolved),
            (_, IncidentStatus::Investigating) => Ok(Self::Investigating),
            (_, IncidentStatus::Identified) => Ok(Self::Identified),
            (_, IncidentStatus::Monitoring) => Ok(Self::Monitoring),
            (_, IncidentStatus::Resolved) => Ok(Self::Resolved { at: now }),
        }
    }

    /// The word for it.
    pub const fn status(self) -> IncidentStatus {
        match self {
            Self::Investigating => IncidentStatus::Investigating,
            Self::Identified => IncidentStatus::Identified,
            Self::Monitoring => IncidentStatus::Monitoring,
            Self::Resolved { .. } => IncidentStatus::Resolved,
        }
    }

    /// When it was over.
    pub const fn resolved_at(self) -> Option<Timestamp> {
        match self {
            Self::Resolved { at } => Some(at),
            _ => None,
        }
    }
}

/// A title: one line.
pub fn title(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let is_line = !text.is_empty() && text.chars().count() <= TITLE_CHARS_MAX;
    if is_line && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Length("a title of one line", TITLE_CHARS_MAX))
    }
}

/// The text of an entry; line breaks and tabs are its only control characters.
pub fn text(text: &str) -> Result<String, Refusal> {
    let text = text.trim();
    let is_plain = |letter: char| !letter.is_control() || matches!(letter, '\n' | '\t');
    if !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX && text.chars().all(is_plain) {
        Ok(text.to_owned())
    } else {
        Err(Refusal::Length("a text", TEXT_CHARS_MAX))
    }
}

/// A text of the house itself, cut to what an entry holds.
pub fn shortened(text: &str) -> String {
    let plain = text.chars().filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'));
    plain.take(TEXT_CHARS_MAX).collect()
}

/// Every one of `modules` is looked after.
pub fn modules(modules: &[String], watched: &[String]) -> Result<Vec<String>, Refusal> {
    if let Some(unknown) = modules.iter().find(|name| !watched.contains(name)) {
        return Err(Refusal::Module(unknown.clone()));
    }
    let mut modules = modules.to_vec();
    modules.sort();
    modules.dedup();
    Ok(modules)
}

/// What people and tools may add themselves. The rest follows from changes.
pub const fn may_be_added(kind: EntryKind) -> Result<(), Refusal> {
    match kind {
        EntryKind::Update
        | EntryKind::Note
        | EntryKind::Runbook
        | EntryKind::Deployment
        | EntryKind::Recovery
        | EntryKind::Mode
        | EntryKind::Isolation
        | EntryKind::Evidence => Ok(()),
        EntryKind::Opened
        | EntryKind::Status
        | EntryKind::Severity
        | EntryKind::Impact
        | EntryKind::Alert => Err(Refusal::Kind),
    }
}

/// The link of `entry` in the chain of its timeline: SHA-256 over the link before it and the entry's JSON, so that a
/// changed, missing or swapped entry is noticed.
pub fn link(before: &str, entry: &TimelineEntry) -> String {
    let mut bytes = before.as_bytes().to_vec();
    bytes.push(b'\n');
    bytes.extend(serde_json::to_vec(entry).expect("an entry has string keys and finite numbers"));
    hash::hex(&hash::sha256(&bytes))
}

/// The word for a status.
pub const fn status_word(status: IncidentStatus) -> &'static str {
    match status {
        IncidentStatus::Investigating => "investigating",
        IncidentStatus::Identified => "identified",
        IncidentStatus::Monitoring => "monitoring",
        IncidentStatus::Resolved => "resolved",
    }
}

/// The word for a severity.
pub const fn severity_word(severity: Severity) -> &'static str {
    match severity {
        Severity::Sev1 => "sev1",
        Severity::Sev2 => "sev2",
        Severity::Sev3 => "sev3",
        Severity::Sev4 => "sev4",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incident_goes_back_and_forth_until_it_is_resolved() {
        let now = Timestamp::from_seconds(1_795_251_600);
        let mended = State::Investigating.change(IncidentStatus::Monitoring, now).unwrap();
        let again = mended.change(IncidentStatus::Investigating, now).unwrap();
        let over = again.change(IncidentStatus::Resolved, now).unwrap();
        assert_eq!(over.resolved_at(), Some(now));
        assert_eq!(over.change(IncidentStatus::Investigating, now), Err(Refusal::Resolved));
    }

    #[test]
    fn titles_are_one_line_and_texts_are_plain() {
        assert_eq!(title("  Payments fail ").unwrap(), "Payments fail");
        for wrong in ["", "   ", "a\nb", "a\u{7}", &"x".repeat(201)] {
            assert!(title(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(text("a\nb").unwrap(), "a\nb");
        assert!(text("a\u{1b}[31m").is_err());
    }

    #[test]
    fn a_changed_entry_breaks_the_chain() {
        let entry = TimelineEntry {
            seq: 1,
            at: Timestamp::from_seconds(1),
            kind: EntryKind::Note,
            by: AUTOMATIC.into(),
            text: "one".into(),
            details: serde_json::Value::Null,
        };
        let changed = TimelineEntry { text: "two".into(), ..entry.clone() };
        assert_ne!(link("", &entry), link("", &changed));
        assert_ne!(link("", &entry), link("x", &entry));
    }
}
