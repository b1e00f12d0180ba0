//! A dashboard with what an operator looks at first, for people who run Grafana on the Prometheus of [`crate::prometheus`].

use q_core::Span;
use serde_json::{Value, json};

use crate::{
    Objectives, Rule, Signal, Sli, prometheus,
    series::{BAD_MIN, EVENTS_MIN},
};

const HOUR: Span = Span::seconds(3_600);

/// One panel: title, unit of Grafana, and queries with their legends.
struct Panel {
    title: &'static str,
    unit: &'static str,
    queries: Vec<(String, &'static str)>,
    /// A line at the promise or the alert's threshold.
    line: Option<f64>,
}

/// The dashboard as Grafana imports it.
pub fn dashboard(rules: &[Rule], objectives: &Objectives) -> Value {
    let panels: Vec<Value> = panels(rules, objectives).iter().enumerate().map(drawn).collect();
    json!({
        "uid": "q-overview",
        "title": "Q",
        "tags": ["q"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [
            {"name": "source", "type": "datasource", "query": "prometheus", "label": "Prometheus"},
            {
                "name": "module", "type": "query", "label": "Module", "multi": true, "includeAll": true,
                "datasource": {"type": "prometheus", "uid": "${source}"},
                "query": {"query": "label_values(up{job=\"q\"}, module)", "refId": "modules"},
                "refresh": 2, "sort": 1, "current": {"text": ["All"], "value": ["$__all"]},
            },
        ]},
        "panels": panels,
    })
}

/// The queries of the dashboard as plain PromQL, for a check by somebody else.
pub fn queries(rules: &[Rule], objectives: &Objectives) -> Vec<String> {
    let panels = panels(rules, objectives);
    let queries = panels.into_iter().flat_map(|panel| panel.queries).map(|(query, _)| query);
    queries.map(|query| query.replace("$module", ".*").replace("$__rate_interval", "5m")).collect()
}

#[expect(clippy::too_many_lines, reason = "a table of panels")]
fn panels(rules: &[Rule], objectives: &Objectives) -> Vec<Panel> {
    let limit =
        |wanted: fn(Signal) -> bool| rules.iter().find(|rule| wanted(rule.signal)).map(|rule| rule.threshold);
    let of_module = |query: String| query.replace("job=\"q\"", "job=\"q\",module=~\"$module\"");
    let rate = |status: &str| {
        of_module(format!(
            "sum by (module) (rate(http_requests_total{{job=\"q\"{status}}}[$__rate_interval]))"
        ))
    };
    let promised = |status: &str| rate(&format!(",{}{status}", prometheus::PROMISED));
    let quantile = |quantile: &str| {
        of_module(format!(
            "histogram_quantile({quantile}, sum by (module, le) \
             (rate(http_request_duration_seconds_bucket{{job=\"q\"}}[$__rate_interval])))"
        ))
    };
    let ratio =
        |sli: Sli, window: &str| format!("slo:{}:bad_ratio_rate{window}{{module=~\"$module\"}}", sli.name());
    // As the engine has it: bad events of the month over all of them, where there are enough to say so.
    let budget = |sli: Sli| {
        let events = format!("{}{{module=~\"$module\"}}", prometheus::events_name(sli, HOUR));
        let all = format!("sum_over_time({events}[30d:1h])");
        let bad = format!("sum_over_time(({} * {events})[30d:1h])", ratio(sli, "1h"));
        let allowed = format!("{:.6}", objectives.allowed(sli));
        let left = format!("1 - {bad} / ({all} > 0) / {allowed}");
        if sli == Sli::Availability {
            return left;
        }
        let is_alarming = format!("{bad} >= {BAD_MIN} and {all} >= {EVENTS_MIN}");
        format!("{left} and ({bad} == 0 or ({is_alarming}) or {all} >= {:.0})", 1.0 / objectives.allowed(sli))
    };
    let burn = |sli: Sli, window: &str| format!("{} / {:.6}", ratio(sli, window), objectives.allowed(sli));
    let named = |query: &str| of_module(query.to_owned());
    vec![
        Panel { title: "Requests", unit: "reqps", queries: vec![(rate(""), "{{module}}")], line: None },
        Panel {
            title: "Errors",
            unit: "percentunit",
            queries: vec![(format!("{} / {}", promised(",status=~\"5..\""), promised("")), "{{module}}")],
            line: limit(|signal| signal == Signal::ErrorRatio),
        },
        Panel {
            title: "Answer time",
            unit: "s",
            queries: vec![(quantile("0.5"), "{{module}} p50"), (quantile("0.99"), "{{module}} p99")],
            line: limit(|signal| signal == Signal::LatencyP99),
        },
        Panel {
            title: "Error budget left (30 days)",
            unit: "percentunit",
            queries: vec![
                (budget(Sli::Availability), "{{module}} availability"),
                (budget(Sli::Errors), "{{module}} {{class}} errors"),
                (budget(Sli::Latency), "{{module}} {{class}} latency"),
            ],
            line: Some(0.0),
        },
        Panel {
            title: "Burn rate (1 h and 6 h)",
            unit: "none",
            queries: vec![
                (burn(Sli::Errors, "1h"), "{{module}} {{class}} errors 1h"),
                (burn(Sli::Errors, "6h"), "{{module}} {{class}} errors 6h"),
                (burn(Sli::Latency, "1h"), "{{module}} {{class}} latency 1h"),
                (burn(Sli::Availability, "1h"), "{{module}} availability 1h"),
            ],
            line: Some(14.4),
        },
        Panel {
            title: "Health",
            unit: "bool_yes_no",
            queries: vec![("module:serving{module=~\"$module\"}".into(), "{{module}}")],
            line: None,
        },
        Panel {
            title: "Requests in flight",
            unit: "none",
            queries: vec![(named("sum by (module) (http_requests_in_flight{job=\"q\"})"), "{{module}}")],
            line: None,
        },
        Panel {
            title: "Outbox: waiting, and age of the oldest",
            unit: "none",
            queries: vec![
                (named("max by (module, stream) (q_outbox_depth{job=\"q\"})"), "{{module}} {{stream}}"),
                (
                    named("max by (module, stream) (q_outbox_oldest_age_seconds{job=\"q\"})"),
                    "{{module}} {{stream}} s",
                ),
            ],
            line: None,
        },
        Panel {
            title: "Memory",
            unit: "percentunit",
            queries: vec![(named(&prometheus::reading(Signal::Memory)), "{{module}}")],
            line: limit(|signal| signal == Signal::Memory),
        },
        Panel {
            title: "Disk",
            unit: "percentunit",
            queries: vec![(named(&prometheus::reading(Signal::Disk)), "{{module}}")],
            line: limit(|signal| signal == Signal::Disk),
        },
        Panel {
            title: "Refusals",
            unit: "reqps",
            queries: vec![(
                named(
                    "sum by (module, status) (rate(http_requests_total{job=\"q\",status=~\"4..|503\"}[$__rate_interval]))",
                ),
                "{{module}} {{status}}",
            )],
            line: None,
        },
        Panel {
            title: "Tasks started again",
            unit: "none",
            queries: vec![(
                named("sum by (module, task) (increase(q_task_restarts_total{job=\"q\"}[1h])) > 0"),
                "{{module}} {{task}}",
            )],
            line: None,
        },
    ]
}

fn drawn((index, panel): (usize, &Panel)) -> Value {
    let source = json!({"type": "prometheus", "uid": "${source}"});
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..)
        .map(|((query, legend), id)| {
            json!({"refId": id.to_string(), "expr": query, "legendFormat": legend, "datasource": source})
        })
        .collect();
    let mut steps = vec![json!({"color": "green", "value": null})];
    steps.extend(panel.line.map(|line| json!({"color": "red", "value": line})));
    let style = if panel.line.is_some() { "line" } else { "off" };
    json!({
        "id": index + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"h": 8, "w": 8, "x": index % 3 * 8, "y": index / 3 * 8},
        "targets": targets,
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": {"lineWidth": 1, "fillOpacity": 8, "thresholdsStyle": {"mode": style}},
            },
            "overrides": [],
        },
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    })
}
