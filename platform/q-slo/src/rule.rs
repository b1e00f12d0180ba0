//! Alert rules as data, with the runbook's thresholds as defaults.
//!
//! The engine of this crate and the Prometheus files are made from the same list, so they cannot drift apart.

use q_core::Span;

use crate::span::parse_span;

/// What a rule reads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// The share of a module's requests answered with a 5xx status during the last minute.
    ErrorRatio,
    /// The 99th percentile of a module's answer times during the last minute, in seconds.
    LatencyP99,
    /// 1 while a module answers that it cannot serve, or does not answer; else 0.
    HealthFailing,
    /// The memory of a module's process, as a share of what it may take.
    Memory,
    /// The used share of the disk its data is on.
    Disk,
    /// The age, in seconds, of the oldest event that somebody has not been told yet.
    OutboxAge,
    /// The seconds since a module's newest backup.
    BackupAge,
    /// The age, in seconds, of the oldest key that is still signed with.
    KeyAge,
    /// How much the newest verification of a module's store found wrong.
    Findings,
    /// By how many seconds a clock was moved, or differs from that of another process.
    ClockJump,
    /// How many times as fast as allowed an error budget is used up, in a long and in a short window.
    Burn {
        /// Says that it matters.
        long: Span,
        /// Says that it goes on.
        short: Span,
    },
}

/// How urgent an alert is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Somebody looks during working hours; level 2 is told once.
    Ticket,
    /// Somebody gets up; the whole ladder.
    Page,
}

impl Severity {
    /// The name in labels and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::Page => "page",
        }
    }
}

/// What level 1 may try by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovery {
    /// Start tasks again that ended by a fault.
    RestartTasks,
    /// Let go of connections to the store and the bus, and make new ones.
    Reconnect,
    /// Refuse what exceeds a bound for a while, so that the rest is answered in time.
    ShedLoad,
}

impl Recovery {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RestartTasks => "restartTasks",
            Self::Reconnect => "reconnect",
            Self::ShedLoad => "shedLoad",
        }
    }
}

/// How a value is written for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A share, shown in percent.
    Ratio,
    /// Seconds, shown as seconds, minutes, hours or days.
    Seconds,
    /// A number.
    Count,
    /// A multiple.
    Times,
}

impl Unit {
    /// `value` in words of its unit.
    pub fn text(self, value: f64) -> String {
        match self {
            Self::Ratio => format!("{:.2} %", value * 100.0),
            Self::Count => format!("{value:.0}"),
            Self::Times => format!("{value:.1} times"),
            Self::Seconds if value < 1.0 => format!("{:.0} ms", value * 1_000.0),
            Self::Seconds if value < 120.0 => format!("{value:.1} s"),
            Self::Seconds if value < 7_200.0 => format!("{:.0} min", value / 60.0),
            Self::Seconds if value < 172_800.0 => format!("{:.1} h", value / 3_600.0),
            Self::Seconds => format!("{:.1} d", value / 86_400.0),
        }
    }
}

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// Its stable name.
    pub id: &'static str,
    /// What is wrong, as a phrase behind the module's name.
    pub title: &'static str,
    /// What it reads.
    pub signal: Signal,
    /// Above this it is wrong.
    pub threshold: f64,
    /// At or below this it is right again; between the two nothing changes.
    pub clear: f64,
    /// How long it must be wrong without interruption.
    pub lasting: Span,
    /// How long it must be right without interruption.
    pub calm: Span,
    /// How urgent it is.
    pub severity: Severity,
    /// How its value is written.
    pub unit: Unit,
    /// What level 1 tries.
    pub recovery: &'static [Recovery],
    /// Whether announced maintenance explains it. Damage is never explained.
    pub is_muted_by_maintenance: bool,
    /// The procedure that helps: `q runbook …`.
    pub runbook: &'static str,
}

const DAY: Span = Span::seconds(86_400);
const HOUR: Span = Span::seconds(3_600);
const MINUTE: Span = Span::seconds(60);

const fn minutes(count: i64) -> Span {
    Span::seconds(count * 60)
}

const RESTART: &[Recovery] = &[Recovery::RestartTasks, Recovery::Reconnect];
const UNLOAD: &[Recovery] = &[Recovery::RestartTasks, Recovery::ShedLoad];

const BASE: Rule = Rule {
    id: "",
    title: "",
    signal: Signal::HealthFailing,
    threshold: 0.5,
    clear: 0.5,
    lasting: Span::seconds(0),
    calm: MINUTE,
    severity: Severity::Page,
    unit: Unit::Count,
    recovery: RESTART,
    is_muted_by_maintenance: true,
    runbook: "service-wont-start",
};

/// A burn-rate rule of the SRE Workbook, chapter 5: `times` the allowed speed in both windows.
const fn burn(
    id: &'static str,
    title: &'static str,
    times: f64,
    windows: (Span, Span),
    severity: Severity,
) -> Rule {
    Rule {
        id,
        title,
        signal: Signal::Burn { long: windows.0, short: windows.1 },
        threshold: times,
        clear: times,
        // The short window already says that it goes on.
        lasting: Span::seconds(0),
        calm: windows.1,
        severity,
        unit: Unit::Times,
        recovery: UNLOAD,
        runbook: "high-error-rate",
        ..BASE
    }
}

/// Every rule with its defaults, the most telling first.
pub const RULES: [Rule; 14] = [
    Rule { id: "health_failing", title: "cannot serve", lasting: minutes(2), ..BASE },
    Rule {
        id: "verification_failed",
        title: "keeps something that does not verify",
        signal: Signal::Findings,
        threshold: 0.0,
        clear: 0.0,
        calm: Span::seconds(0),
        // Nothing is restarted over damage: whatever runs next could spread it.
        recovery: &[],
        is_muted_by_maintenance: false,
        runbook: "data-corruption",
        ..BASE
    },
    Rule {
        id: "clock_jump",
        title: "has a clock that jumped",
        signal: Signal::ClockJump,
        threshold: 5.0,
        clear: 1.0,
        calm: minutes(5),
        unit: Unit::Seconds,
        recovery: &[],
        is_muted_by_maintenance: false,
        runbook: "performance",
        ..BASE
    },
    Rule {
        id: "error_rate",
        title: "answers with errors",
        signal: Signal::ErrorRatio,
        threshold: 0.01,
        clear: 0.005,
        lasting: minutes(5),
        calm: minutes(2),
        unit: Unit::Ratio,
        runbook: "high-error-rate",
        ..BASE
    },
    Rule {
        id: "latency_p99",
        title: "answers slowly",
        signal: Signal::LatencyP99,
        threshold: 0.5,
        clear: 0.3,
        lasting: minutes(5),
        calm: minutes(2),
        unit: Unit::Seconds,
        recovery: UNLOAD,
        runbook: "performance",
        ..BASE
    },
    Rule {
        id: "memory",
        title: "takes too much memory",
        signal: Signal::Memory,
        threshold: 0.8,
        clear: 0.75,
        lasting: minutes(10),
        calm: minutes(5),
        unit: Unit::Ratio,
        recovery: UNLOAD,
        runbook: "performance",
        ..BASE
    },
    Rule {
        id: "disk",
        title: "runs out of disk",
        signal: Signal::Disk,
        threshold: 0.9,
        clear: 0.85,
        lasting: minutes(5),
        calm: minutes(5),
        unit: Unit::Ratio,
        recovery: &[],
        runbook: "performance",
        ..BASE
    },
    Rule {
        id: "outbox_age",
        title: "is not heard by others",
        signal: Signal::OutboxAge,
        threshold: 300.0,
        clear: 60.0,
        lasting: minutes(2),
        calm: MINUTE,
        unit: Unit::Seconds,
        runbook: "high-error-rate",
        ..BASE
    },
    burn(
        "budget_burn_fast",
        "uses up its error budget in two days",
        14.4,
        (HOUR, minutes(5)),
        Severity::Page,
    ),
    burn(
        "budget_burn",
        "uses up its error budget in five days",
        6.0,
        (Span::seconds(6 * 3_600), minutes(30)),
        Severity::Page,
    ),
    burn(
        "budget_burn_slow",
        "uses up its error budget in ten days",
        3.0,
        (DAY, Span::seconds(2 * 3_600)),
        Severity::Ticket,
    ),
    burn(
        "budget_burn_even",
        "uses up its whole error budget",
        1.0,
        (Span::seconds(3 * 86_400), Span::seconds(6 * 3_600)),
        Severity::Ticket,
    ),
    Rule {
        id: "backup_age",
        title: "has no recent backup",
        signal: Signal::BackupAge,
        threshold: 26.0 * 3_600.0,
        clear: 25.0 * 3_600.0,
        lasting: minutes(5),
        severity: Severity::Ticket,
        unit: Unit::Seconds,
        recovery: &[],
        runbook: "backup",
        ..BASE
    },
    Rule {
        id: "key_age",
        title: "signs with an old key",
        signal: Signal::KeyAge,
        threshold: 100.0 * 86_400.0,
        clear: 95.0 * 86_400.0,
        lasting: minutes(5),
        severity: Severity::Ticket,
        unit: Unit::Seconds,
        recovery: &[],
        runbook: "security-incident",
        ..BASE
    },
];

/// Every rule with its defaults.
pub fn rules() -> Vec<Rule> {
    RULES.to_vec()
}

/// The text does not change rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part:?}: {why}")]
pub struct NotRules {
    /// The part that cannot be read.
    pub part: String,
    /// Why.
    pub why: String,
}

/// The rules with what `text` says about some of them: `error_rate 2% for 10m; latency_p99 800ms; memory off`.
///
/// Shares are written in percent, times as `500ms` or a span, all else as a number. Where right begins keeps its
/// distance to where wrong begins, in proportion.
pub fn rules_with(text: &str) -> Result<Vec<Rule>, NotRules> {
    let mut rules = rules();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let refused = |why: String| NotRules { part: part.to_owned(), why };
        let mut words = part.split_whitespace();
        let id = words.next().unwrap_or_default();
        let at = rules.iter().position(|rule| rule.id == id).ok_or_else(|| {
            let known: Vec<_> = RULES.iter().map(|rule| rule.id).collect();
            refused(format!("there is no rule {id}; the rules are {}", known.join(", ")))
        })?;
        let value = words.next().ok_or_else(|| refused("a threshold or `off` is missing".into()))?;
        if value == "off" {
            rules.remove(at);
            continue;
        }
        let rule = &mut rules[at];
        let threshold = number(value, rule.unit).ok_or_else(|| {
            let example = match rule.unit {
                Unit::Ratio => "a share such as 2%",
                Unit::Seconds => "a time such as 500ms or 5m",
                Unit::Count | Unit::Times => "a number",
            };
            refused(format!("{value} is not {example}"))
        })?;
        rule.clear = if rule.threshold > 0.0 { rule.clear / rule.threshold * threshold } else { threshold };
        rule.threshold = threshold;
        match (words.next(), words.next(), words.next()) {
            (None, None, None) => {}
            (Some("for"), Some(span), None) => {
                rule.lasting = parse_span(span).map_err(|error| refused(error.to_string()))?;
            }
            _ => return Err(refused("only `for SPAN` may follow the threshold".into())),
        }
    }
    Ok(rules)
}

#[expect(clippy::cast_precision_loss, reason = "spans of thresholds are far below 2^52 seconds")]
fn number(text: &str, unit: Unit) -> Option<f64> {
    let number = match unit {
        Unit::Ratio => text.strip_suffix('%')?.parse::<f64>().ok()? / 100.0,
        Unit::Seconds => parse_span(text).ok()?.as_micros() as f64 / 1e6,
        Unit::Count | Unit::Times => text.parse().ok()?,
    };
    (number.is_finite() && number >= 0.0).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runbooks_thresholds_are_the_defaults() {
        let rule = |id: &str| rules().into_iter().find(|rule| rule.id == id).unwrap();
        for (id, threshold, lasting) in [
            ("error_rate", 0.01, 5),
            ("latency_p99", 0.5, 5),
            ("health_failing", 0.5, 2),
            ("memory", 0.8, 10),
        ] {
            let rule = rule(id);
            assert!((rule.threshold - threshold).abs() < 1e-12, "{id}");
            assert_eq!((rule.lasting, rule.severity), (minutes(lasting), Severity::Page), "{id}");
        }
        for rule in rules() {
            assert!(rule.clear <= rule.threshold, "{}", rule.id);
            assert_eq!(rules().iter().filter(|other| other.id == rule.id).count(), 1, "{}", rule.id);
        }
    }

    #[test]
    fn settings_change_rules_and_nonsense_is_refused() {
        let changed =
            rules_with("error_rate 2% for 10m; latency_p99 800ms; memory off; budget_burn 8").unwrap();
        let rule = |id: &str| changed.iter().find(|rule| rule.id == id);
        let errors = rule("error_rate").unwrap();
        assert!((errors.threshold - 0.02).abs() < 1e-12 && (errors.clear - 0.01).abs() < 1e-12);
        assert_eq!(errors.lasting, minutes(10));
        assert!((rule("latency_p99").unwrap().threshold - 0.8).abs() < 1e-12);
        assert!((rule("budget_burn").unwrap().threshold - 8.0).abs() < 1e-12);
        assert!(rule("memory").is_none());
        assert_eq!(rules_with("").unwrap(), rules());
        for (text, why) in [
            ("errors 2%", "there is no rule errors"),
            ("error_rate", "missing"),
            ("error_rate 2", "not a share"),
            ("error_rate -2%", "not a share"),
            ("latency_p99 fast", "not a time"),
            ("memory 80% for", "only `for SPAN`"),
            ("memory 80% for ever", "not a span"),
            ("memory 80% in 5m", "only `for SPAN`"),
        ] {
            let error = rules_with(text).unwrap_err().to_string();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
