//! What people read: one line, then what is wrong, what was tried, and what to do next.

use std::fmt::Write as _;

use q_core::Timestamp;
use q_ops_api::watch::{Alert, PageEntry};
use q_slo::{RUNGS, Rule, Step, StepKind};
use serde_json::json;

use super::{domain::OpenPage, store::MessageText};

/// One alert in a line, with its figure.
pub(super) fn summary(rule: &Rule, module: &str, class: &str, value: f64, cause: Option<&str>) -> String {
    let mut line = format!("{module} {}", rule.title);
    let _ = match (rule.signal, cause) {
        (_, Some(cause)) => write!(line, ": {cause}"),
        (q_slo::Signal::HealthFailing, None) => Ok(()),
        (_, None) => {
            let limit = rule.unit.text(rule.threshold);
            write!(line, ": {} where {limit} is the limit", rule.unit.text(value))
        }
    };
    if !class.is_empty() {
        let _ = write!(line, " ({class})");
    }
    line
}

/// What is said about `step` of a page.
pub(super) fn message(
    page: &OpenPage,
    step: Step,
    alerts: &[Alert],
    entries: &[PageEntry],
    origin: &str,
    now: Timestamp,
) -> MessageText {
    let firing: Vec<&Alert> = alerts.iter().filter(|alert| alert.resolved_at.is_none()).collect();
    let rung = usize::from(step.rung.clamp(1, 4)) - 1;
    let about = if step.kind == StepKind::Resolve { alerts.iter().collect() } else { firing };
    let first = about.first().map_or_else(|| page.name.clone(), |alert| alert.summary.clone());
    let more = if about.len() > 1 { format!(" and {} more", about.len() - 1) } else { String::new() };
    let word = match (step.kind, step.number) {
        (StepKind::Tell, 0) => "",
        (StepKind::Tell, _) => "still: ",
        (StepKind::Update, _) => "more: ",
        (StepKind::Resolve, _) => "over: ",
    };
    let subject = format!("[Q] {word}{first}{more}");
    let mut text = format!("Level {}, {}. {origin}\n", step.rung, RUNGS[rung]);
    let minutes = now.since(page.ladder.opened_at).as_seconds() / 60;
    let _ = match step.kind {
        StepKind::Resolve => writeln!(text, "It is over after {minutes} min.\n"),
        _ if minutes > 0 => writeln!(text, "Since {} ({minutes} min).\n", page.ladder.opened_at),
        _ => writeln!(text, "Since {}.\n", page.ladder.opened_at),
    };
    for alert in &about {
        let _ = writeln!(text, "- {}", alert.summary);
    }
    if !entries.is_empty() {
        text.push_str("\nWhat happened:\n");
        for entry in entries {
            let _ = writeln!(text, "  {} {}: {}", entry.at, entry.kind, entry.text);
        }
    }
    if let Some(alert) = about.first().filter(|_| step.kind != StepKind::Resolve) {
        let _ = write!(
            text,
            "\nNext: `q alerts acknowledge {}` stops this ladder; `q runbook {}` helps; `q alerts show {}` says all.\n",
            alert.id, alert.runbook, alert.id
        );
    }
    let kind = match step.kind {
        StepKind::Tell => "q.ops.page.told",
        StepKind::Update => "q.ops.page.updated",
        StepKind::Resolve => "q.ops.page.resolved",
    };
    let data = json!({
        "page": page.id.to_string(),
        "name": page.name,
        "level": step.rung,
        "number": step.number,
        "origin": origin,
        "openedAt": page.ladder.opened_at,
        "alerts": about,
    });
    MessageText { kind: kind.to_owned(), subject, text, data }
}
