//! The same rules for people who run Prometheus: recording rules for the promises, alerting rules for the rest.
//!
//! The scrape job is called `q` and every target has a label `module` (`deploy/prometheus/prometheus.yml`).

use std::fmt::Write as _;

use q_core::Span;

use crate::{
    Classes, Objectives, Rule, Signal, Sli,
    book::RECENT,
    series::{BAD_MIN, EVENTS_MIN},
    span::text_of,
};

/// How often Prometheus evaluates the rules.
const INTERVAL: &str = "15s";
const INTERVAL_SECONDS: i64 = 15;
/// The first lines of every file made here.
const HEAD: &str = "# Made from the alert rules of q by `q slo --export`; changes belong into the rules.\n";

/// The rule file.
pub fn rule_file(rules: &[Rule], classes: &Classes, objectives: &Objectives) -> String {
    let mut text = format!("{HEAD}groups:\n  - name: q-promises\n    interval: {INTERVAL}\n    rules:\n");
    record(&mut text, "module:serving", None, SERVING);
    for window in windows(rules) {
        for class in names(classes) {
            for sli in [Sli::Errors, Sli::Latency] {
                let expression = bad_ratio(sli, classes, class, window, objectives);
                record(&mut text, &ratio_name(sli, window), Some(class), &expression);
            }
        }
        let name = text_of(window);
        let gaps = format!("1 - avg_over_time(module:serving[{name}])");
        record(&mut text, &ratio_name(Sli::Availability, window), None, &gaps);
    }
    for window in long_windows(rules) {
        for class in names(classes) {
            let sum = sum_of("increase", "http_requests_total", PROMISED, classes, class, window);
            record(&mut text, &events_name(Sli::Errors, window), Some(class), &sum);
            record(&mut text, &events_name(Sli::Latency, window), Some(class), &sum);
        }
        let looks = format!("count_over_time(module:serving[{}])", text_of(window));
        record(&mut text, &events_name(Sli::Availability, window), None, &looks);
    }
    let _ = write!(text, "  - name: q-alerts\n    interval: {INTERVAL}\n    rules:\n");
    for rule in rules {
        match rule.signal {
            Signal::Burn { long, short } => {
                for sli in Sli::ALL {
                    alert(&mut text, rule, Some(sli), &burn(rule, sli, objectives, long, short));
                }
            }
            signal => {
                alert(&mut text, rule, None, &format!("{} > {}", reading(signal), number(rule.threshold)));
            }
        }
    }
    text
}

/// What a rule other than a burn rule reads, as PromQL, with the label `module`.
pub(crate) fn reading(signal: Signal) -> String {
    let recent = text_of(RECENT);
    match signal {
        Signal::HealthFailing => "1 - module:serving".to_owned(),
        Signal::ErrorRatio => format!(
            "sum by (module) (rate(http_requests_total{{job=\"q\",{PROMISED},status=~\"5..\"}}[{recent}])) \
             / sum by (module) (rate(http_requests_total{{job=\"q\",{PROMISED}}}[{recent}]))"
        ),
        Signal::LatencyP99 => format!(
            "histogram_quantile(0.99, sum by (module, le) \
             (rate(http_request_duration_seconds_bucket{{job=\"q\"}}[{recent}])))"
        ),
        Signal::Memory => {
            "max by (module) (process_resident_memory_bytes{job=\"q\"} / q_memory_limit_bytes{job=\"q\"})"
                .to_owned()
        }
        Signal::Disk => {
            "max by (module) (1 - q_disk_free_bytes{job=\"q\"} / q_disk_size_bytes{job=\"q\"})".to_owned()
        }
        Signal::OutboxAge => "max by (module) (q_outbox_oldest_age_seconds{job=\"q\"})".to_owned(),
        Signal::BackupAge => {
            "time() - max by (module) (ops_backup_last_success_timestamp_seconds{job=\"q\"})".to_owned()
        }
        Signal::KeyAge => {
            "time() - min by (module) (q_signing_key_created_timestamp_seconds{job=\"q\"})".to_owned()
        }
        Signal::Findings => watched("ops_verification_findings"),
        Signal::ClockJump => watched("ops_clock_jump_seconds"),
        // Burn rules read recorded ratios.
        Signal::Burn { .. } => String::new(),
    }
}

/// What no promise covers, such as the refusals of announced maintenance, carries the label and is not counted.
pub(crate) const PROMISED: &str = "excused=\"\"";

/// 1 while any process of a module says that it can serve; 0 while none does, or none can be asked.
const SERVING: &str = "max by (module) (q_health{job=\"q\",status=~\"healthy|degraded\"} and on (job, instance) \
                       up{job=\"q\"} == 1) or max by (module) (up{job=\"q\"}) * 0";

/// A figure the operator desk has of each module it watches, under the module's name.
fn watched(metric: &str) -> String {
    format!(
        "max by (module) (label_replace({metric}{{job=\"q\"}}, \"module\", \"$1\", \"watched\", \"(.*)\"))"
    )
}

fn burn(rule: &Rule, sli: Sli, objectives: &Objectives, long: Span, short: Span) -> String {
    let limit = number(rule.threshold * objectives.allowed(sli));
    let (in_long, in_short) = (ratio_name(sli, long), ratio_name(sli, short));
    let events = events_name(sli, long);
    let is_telling = match sli {
        // Looks come by the clock: nearly all of the window's must be there before their share says something.
        Sli::Availability => format!("{events} >= {}", long.as_seconds() / INTERVAL_SECONDS * 9 / 10),
        Sli::Errors | Sli::Latency => {
            format!("{events} >= {EVENTS_MIN} and {in_long} * {events} >= {BAD_MIN}")
        }
    };
    format!("{in_long} > {limit} and {in_short} > {limit} and {is_telling}")
}

fn bad_ratio(sli: Sli, classes: &Classes, class: &str, window: Span, objectives: &Objectives) -> String {
    let count = |metric: &str, more: &str| sum_of("rate", metric, more, classes, class, window);
    if sli == Sli::Latency {
        let fast = format!("le=\"{}\"", number(objectives.fast_seconds));
        let (fast, all) = (
            count("http_request_duration_seconds_bucket", &fast),
            count("http_request_duration_seconds_bucket", "le=\"+Inf\""),
        );
        return format!("1 - {fast} / ({all} > 0)");
    }
    let failed = count("http_requests_total", &format!("{PROMISED},status=~\"5..\""));
    let all = count("http_requests_total", PROMISED);
    // Nobody counts failures before the first one: that is none, not nothing. Without requests there is no share.
    format!("({failed} or {all} * 0) / ({all} > 0)")
}

/// The requests of a class, summed by module: those its rules fit and no earlier rule of another class.
fn sum_of(function: &str, metric: &str, more: &str, classes: &Classes, class: &str, window: Span) -> String {
    let window = text_of(window);
    let select = |index: usize| {
        let rule = &classes.rules()[index];
        let mut matchers = vec!["job=\"q\"".to_owned()];
        if rule.method != "*" {
            matchers.push(format!("method=\"{}\"", rule.method.to_uppercase()));
        }
        match rule.route.strip_suffix('*') {
            Some("") => {}
            Some(head) => matchers.push(format!("route=~\"{}.*\"", escaped(head))),
            None => matchers.push(format!("route=\"{}\"", rule.route)),
        }
        if !more.is_empty() {
            matchers.push(more.to_owned());
        }
        format!("{function}({metric}{{{}}}[{window}])", matchers.join(","))
    };
    let rules = classes.rules();
    let own = (0..rules.len()).filter(|index| rules[*index].class == class).map(|index| {
        let earlier = (0..index).filter(|earlier| rules[*earlier].class != class);
        earlier.fold(select(index), |text, earlier| format!("{text} unless {}", select(earlier)))
    });
    // `unless` binds tighter than `or`, so no further parentheses are needed.
    format!("sum by (module) ({})", own.collect::<Vec<_>>().join(" or "))
}

fn escaped(route: &str) -> String {
    route
        .chars()
        .map(|c| if c.is_alphanumeric() || "/-_".contains(c) { c.to_string() } else { format!("[{c}]") })
        .collect()
}

/// The classes, each once, in order.
fn names(classes: &Classes) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for rule in classes.rules() {
        if !names.contains(&rule.class.as_str()) {
            names.push(&rule.class);
        }
    }
    names
}

fn windows(rules: &[Rule]) -> Vec<Span> {
    let pairs = rules.iter().filter_map(|rule| match rule.signal {
        Signal::Burn { long, short } => Some([long, short]),
        _ => None,
    });
    sorted(pairs.flatten().collect())
}

fn long_windows(rules: &[Rule]) -> Vec<Span> {
    let long = rules.iter().filter_map(|rule| match rule.signal {
        Signal::Burn { long, .. } => Some(long),
        _ => None,
    });
    sorted(long.collect())
}

fn sorted(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort_unstable();
    spans.dedup();
    spans
}

/// The name of a recorded share of bad events.
pub(crate) fn ratio_name(sli: Sli, window: Span) -> String {
    format!("slo:{}:bad_ratio_rate{}", sli.name(), text_of(window))
}

/// The name of a recorded number of events.
pub(crate) fn events_name(sli: Sli, window: Span) -> String {
    format!("slo:{}:events_{}", sli.name(), text_of(window))
}

fn record(text: &mut String, name: &str, class: Option<&str>, expression: &str) {
    let _ = write!(text, "      - record: {name}\n        expr: {}\n", quoted(expression));
    if let Some(class) = class {
        let _ = write!(text, "        labels:\n          class: {class}\n");
    }
}

fn alert(text: &mut String, rule: &Rule, sli: Option<Sli>, expression: &str) {
    let what = sli.map_or_else(String::new, |sli| format!(" ({})", sli.name()));
    let _ = write!(text, "      - alert: {}\n        expr: {}\n", rule.id, quoted(expression));
    if rule.lasting.as_micros() > 0 {
        let _ = writeln!(text, "        for: {}", text_of(rule.lasting));
    }
    if rule.calm.as_micros() > 0 {
        let _ = writeln!(text, "        keep_firing_for: {}", text_of(rule.calm));
    }
    let _ = write!(text, "        labels:\n          severity: {}\n", rule.severity.name());
    if let Some(sli) = sli {
        let _ = writeln!(text, "          sli: {}", sli.name());
    }
    let summary = format!("{{{{ $labels.module }}}} {}{what}", rule.title);
    let _ = write!(
        text,
        "        annotations:\n          summary: {}\n          description: {}\n          runbook: {}\n",
        quoted(&summary),
        quoted(&format!(
            "The figure is {{{{ printf \"%.6g\" $value }}}}, the limit {}.",
            rule.unit.text(rule.threshold)
        )),
        quoted(&format!("q runbook {}", rule.runbook)),
    );
}

/// A YAML scalar in single quotes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A float without the digits that binary fractions add.
fn number(value: f64) -> String {
    let text = format!("{value:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
