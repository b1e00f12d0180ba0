//! The post-incident review: what the timeline shows, with room for what it cannot show.
//!
//! Facts come from the timeline alone; where it has none, the review says so.

use std::fmt::Write as _;

use q_core::{Span, Timestamp};
use q_ops_api::incidents::{EntryKind, Impact, Incident, IncidentStatus, TimelineEntry};
use q_slo::Severity;

use super::domain::{AUTOMATIC, severity_word, status_word};

/// The instants a review counts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moments {
    /// When it began, as far as anybody knows.
    pub began: Timestamp,
    /// When the house or a person noticed.
    pub detected: Timestamp,
    /// When a person first acted.
    pub acknowledged: Option<Timestamp>,
    /// When it was first said to be mended.
    pub mitigated: Option<Timestamp>,
    /// When it was over.
    pub resolved: Option<Timestamp>,
}

impl Moments {
    /// What `timeline` shows.
    pub fn of(incident: &Incident, timeline: &[TimelineEntry]) -> Self {
        let began = timeline
            .iter()
            .find(|entry| entry.kind == EntryKind::Opened)
            .and_then(|entry| entry.details["beganAt"].as_str()?.parse().ok())
            .unwrap_or(incident.opened_at);
        let acknowledged = timeline.iter().find(|entry| entry.by != AUTOMATIC).map(|entry| entry.at);
        let said = |words: &[&str]| {
            timeline
                .iter()
                .find(|entry| {
                    entry.kind == EntryKind::Status
                        && entry.details["to"].as_str().is_some_and(|to| words.contains(&to))
                })
                .map(|entry| entry.at)
        };
        // A ticket that stood for days, such as an old key, is nothing that began this.
        let is_page = |entry: &&TimelineEntry| entry.details["severity"] != Severity::Ticket.name();
        let noticed = timeline
            .iter()
            .filter(is_page)
            .filter_map(|entry| entry.details["firedAt"].as_str()?.parse().ok());
        let detected = noticed.chain([incident.opened_at]).min().unwrap_or(incident.opened_at);
        Self {
            began: began.min(detected),
            detected,
            acknowledged,
            mitigated: said(&["monitoring", "resolved"]),
            resolved: incident.resolved_at,
        }
    }
}

/// The review of `incident`, in Markdown, as of `now`.
pub fn review(incident: &Incident, timeline: &[TimelineEntry], now: Timestamp) -> String {
    let moments = Moments::of(incident, timeline);
    let mut page = String::new();
    head(&mut page, incident, &moments, now);
    figures(&mut page, &moments);
    impact(&mut page, timeline);
    section(&mut page, "What everybody was told", timeline, &[EntryKind::Update]);
    section(&mut page, "What the house did by itself", timeline, &[EntryKind::Recovery]);
    section(
        &mut page,
        "What people and tools did",
        timeline,
        &[EntryKind::Runbook, EntryKind::Deployment, EntryKind::Isolation, EntryKind::Evidence],
    );
    page.push_str("## Timeline\n\nAll times are UTC.\n\n| Time | What | Who | |\n|---|---|---|---|\n");
    for entry in timeline {
        let (at, text) = (clock(entry.at), cell(&entry.text));
        let _ = writeln!(page, "| {at} | {} | {} | {text} |", kind_word(entry.kind), cell(&entry.by));
    }
    page.push_str(
        "\n## Cause\n\n_To be written by the people who handled it: what failed, and why nothing caught it \
         earlier._\n\n## What went well, what did not\n\n- \n\n## Actions\n\n| Action | Owner | Due |\n|---|---|---|\n\
         | | | |\n",
    );
    page
}

fn head(page: &mut String, incident: &Incident, moments: &Moments, now: Timestamp) {
    let modules = if incident.modules.is_empty() {
        "the whole instance".to_owned()
    } else {
        incident.modules.join(", ")
    };
    let end = moments.resolved.map_or("is not over".to_owned(), |at| format!("ended {}", clock(at)));
    let lasted = span(moments.resolved.unwrap_or(now).since(moments.began));
    let _ = write!(
        page,
        "# Review: {}\n\n{} · {} · {}\n\n## Summary\n\nBegan {}, {end}; {} {lasted}. It was about {modules}, \
         and its severity was {} at the end.\n\n",
        line(&incident.title),
        incident.id,
        severity_word(incident.severity),
        status_word(incident.status),
        clock(moments.began),
        if moments.resolved.is_some() { "lasted" } else { "has lasted" },
        severity_word(incident.severity),
    );
    if incident.status != IncidentStatus::Resolved {
        page.push_str("This is a draft: the incident is still open.\n\n");
    }
}

fn figures(page: &mut String, moments: &Moments) {
    let after = |at: Option<Timestamp>| {
        at.map_or("not in the timeline".to_owned(), |at| span(at.since(moments.began)))
    };
    let _ = write!(
        page,
        "## Figures\n\nCounted from the beginning.\n\n| | |\n|---|---|\n| Time to detect | {} |\n\
         | Time to acknowledge | {} |\n| Time to mitigate | {} |\n| Time to resolve | {} |\n\n",
        after(Some(moments.detected)),
        after(moments.acknowledged),
        after(moments.mitigated),
        after(moments.resolved),
    );
}

/// How the modules were, each time somebody looked.
fn impact(page: &mut String, timeline: &[TimelineEntry]) {
    page.push_str("## Impact\n\n");
    let looks = timeline.iter().filter_map(|entry| {
        let impact = serde_json::from_value::<Impact>(entry.details.get("impact")?.clone()).ok()?;
        Some((entry.at, impact))
    });
    let mut has_looked = false;
    for (at, Impact(modules)) in looks {
        has_looked = true;
        let troubled: Vec<String> = modules
            .iter()
            .filter(|(_, state)| {
                state.status != "healthy" || state.mode.as_deref().is_some_and(|mode| mode != "normal")
            })
            .map(|(name, state)| {
                let lacks = if state.lacks.is_empty() {
                    String::new()
                } else {
                    format!(", without {}", state.lacks.join(" and "))
                };
                let mode = state.mode.as_deref().filter(|mode| *mode != "normal");
                format!(
                    "{name} {}{}{lacks}",
                    state.status,
                    mode.map(|mode| format!(" ({mode})")).unwrap_or_default()
                )
            })
            .collect();
        let found = if troubled.is_empty() {
            format!("all {} modules healthy", modules.len())
        } else {
            format!("{} of {} modules affected: {}", troubled.len(), modules.len(), troubled.join("; "))
        };
        let _ = writeln!(page, "- {}: {found}", clock(at));
    }
    page.push_str(if has_looked { "\n" } else { "The timeline holds no look at the modules.\n\n" });
}

fn section(page: &mut String, title: &str, timeline: &[TimelineEntry], kinds: &[EntryKind]) {
    let _ = write!(page, "## {title}\n\n");
    let mut has_any = false;
    for entry in timeline.iter().filter(|entry| kinds.contains(&entry.kind)) {
        has_any = true;
        let _ = writeln!(page, "- {}: {}", clock(entry.at), line(&entry.text));
    }
    page.push_str(if has_any { "\n" } else { "Nothing is in the timeline.\n\n" });
}

/// The word for a kind of entry.
pub const fn kind_word(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::Opened => "opened",
        EntryKind::Update => "update",
        EntryKind::Note => "note",
        EntryKind::Status => "status",
        EntryKind::Severity => "severity",
        EntryKind::Impact => "impact",
        EntryKind::Alert => "alert",
        EntryKind::Mode => "mode",
        EntryKind::Runbook => "runbook",
        EntryKind::Deployment => "deployment",
        EntryKind::Recovery => "recovery",
        EntryKind::Isolation => "isolation",
        EntryKind::Evidence => "evidence",
    }
}

/// An instant to the second, such as `2026-11-21 09:00:00`.
pub fn clock(at: Timestamp) -> String {
    let text = Timestamp::from_seconds(at.seconds()).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

/// A span in the two largest units that are not zero.
pub fn span(span: Span) -> String {
    let seconds = span.as_seconds().max(0);
    let parts = [
        (seconds / 86_400, "d"),
        (seconds % 86_400 / 3_600, "h"),
        (seconds % 3_600 / 60, "min"),
        (seconds % 60, "s"),
    ];
    let words: Vec<String> = parts
        .iter()
        .skip_while(|(count, _)| *count == 0)
        .take(2)
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}"))
        .collect();
    if words.is_empty() { "0 s".to_owned() } else { words.join(" ") }
}

/// Text as one line that begins no Markdown of its own.
fn line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if matches!(letter, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|') {
            plain.push('\\');
        }
        plain.push(letter);
    }
    plain
}

fn cell(text: &str) -> String {
    line(text)
}

#[cfg(test)]
mod tests {
    use q_ops_api::incidents::{IncidentId, Severity as IncidentSeverity};
    use serde_json::json;

    use super::*;

    fn entry(seq: i64, at: i64, kind: EntryKind, by: &str, text: &str) -> TimelineEntry {
        TimelineEntry {
            seq,
            at: Timestamp::from_seconds(at),
            kind,
            by: by.into(),
            text: text.into(),
            details: serde_json::Value::Null,
        }
    }

    #[test]
    fn the_review_counts_from_the_timeline_and_says_what_it_lacks() {
        let t0 = 1_795_251_600;
        let mut incident = Incident {
            id: IncidentId::from_bytes([1; 16]),
            title: "Payments | fail".into(),
            severity: IncidentSeverity::Sev2,
            status: IncidentStatus::Resolved,
            modules: vec!["wallet".into()],
            opened_at: Timestamp::from_seconds(t0 + 120),
            updated_at: Timestamp::from_seconds(t0 + 4_000),
            resolved_at: Some(Timestamp::from_seconds(t0 + 3_720)),
            opened_by: AUTOMATIC.into(),
            impact: Impact::default(),
        };
        let mut opened = entry(1, t0 + 120, EntryKind::Opened, AUTOMATIC, "opened");
        opened.details = json!({"beganAt": Timestamp::from_seconds(t0).to_string(),
            "impact": {"wallet": {"status": "unhealthy", "lacks": ["store"]}, "log": {"status": "healthy"}}});
        let mut mended = entry(4, t0 + 1_800, EntryKind::Status, "did:example:op", "monitoring");
        mended.details = json!({"to": "monitoring"});
        let timeline = [
            opened,
            entry(2, t0 + 130, EntryKind::Recovery, AUTOMATIC, "restarted the tasks of wallet"),
            entry(3, t0 + 300, EntryKind::Note, "did:example:op", "looking"),
            mended,
        ];
        let page = review(&incident, &timeline, Timestamp::from_seconds(t0 + 9_000));
        for line in [
            "# Review: Payments \\| fail",
            "lasted 1 h 2 min",
            "| Time to detect | 2 min |",
            "| Time to acknowledge | 5 min |",
            "| Time to mitigate | 30 min |",
            "| Time to resolve | 1 h 2 min |",
            "- 2026-11-21 09:02:00: 1 of 2 modules affected: wallet unhealthy, without store",
            "- 2026-11-21 09:02:10: restarted the tasks of wallet",
            "## Actions",
        ] {
            assert!(page.contains(line), "{line}\n---\n{page}");
        }
        // What fired before it was opened says when it began, if it got somebody up.
        let fired = |seq, severity: &str, at| {
            let mut fired = entry(seq, t0 + 120, EntryKind::Alert, AUTOMATIC, "fires");
            fired.details = json!({"severity": severity, "firedAt": Timestamp::from_seconds(at).to_string()});
            fired
        };
        let mut with_alerts = timeline.to_vec();
        with_alerts.insert(1, fired(5, "ticket", t0 - 3 * 86_400));
        let began = |timeline: &[TimelineEntry]| Moments::of(&incident, timeline).began.seconds();
        assert_eq!(began(&with_alerts), t0, "an old key did not begin it");
        with_alerts.insert(2, fired(6, "page", t0 - 60));
        assert_eq!(began(&with_alerts), t0 - 60);
        incident.status = IncidentStatus::Investigating;
        incident.resolved_at = None;
        let draft = review(&incident, &timeline[..1], Timestamp::from_seconds(t0 + 3_600));
        assert!(draft.contains("This is a draft"), "{draft}");
        assert!(draft.contains("| Time to acknowledge | not in the timeline |"), "{draft}");
    }
}
