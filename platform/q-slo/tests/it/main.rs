//! What is made for Prometheus and Grafana, judged by the tools of Prometheus.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by stopping")]

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use q_slo::{Classes, Objectives, grafana, prometheus, rules};

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

/// The committed file is what is made now; `Q_WRITE=1` writes it.
fn is_committed(name: &str, made: &str) {
    if std::env::var_os("Q_WRITE").is_some() {
        std::fs::write(deploy(name), made).unwrap();
    }
    let committed = std::fs::read_to_string(deploy(name)).unwrap_or_default();
    assert!(
        committed == made,
        "deploy/{name} is not what the rules say; `Q_WRITE=1 cargo test -p q-slo` writes it"
    );
}

fn promtool(arguments: &[&str]) {
    let Some(mut command) = q_oracle::program("promtool") else { return };
    let output = command.args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_rule_file_is_committed_and_passes_its_tests() {
    let made = prometheus::rule_file(&rules(), &Classes::default(), &Objectives::default());
    is_committed("prometheus/q.rules.yml", &made);
    promtool(&["check", "rules", deploy("prometheus/q.rules.yml").to_str().unwrap()]);
    promtool(&["test", "rules", deploy("prometheus/q.rules.test.yml").to_str().unwrap()]);
}

#[test]
fn the_example_configuration_is_one() {
    promtool(&["check", "config", deploy("prometheus/prometheus.yml").to_str().unwrap()]);
}

#[test]
fn rules_that_were_changed_by_settings_are_valid_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("q.rules.yml");
    let changed =
        q_slo::rules_with("error_rate 2% for 10m; latency_p99 800ms; memory off; disk 95%").unwrap();
    let classes: Classes = "slow=POST /imports/{id}/execute; slow=POST /a.b*; fast=* *".parse().unwrap();
    std::fs::write(&file, prometheus::rule_file(&changed, &classes, &Objectives::default())).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}

#[test]
fn the_dashboard_is_committed_and_every_query_is_one() {
    let made = grafana::dashboard(&rules(), &Objectives::default());
    is_committed("grafana/q.json", &format!("{}\n", serde_json::to_string_pretty(&made).unwrap()));
    let panels = made["panels"].as_array().unwrap();
    let titles: Vec<&str> = panels.iter().map(|panel| panel["title"].as_str().unwrap()).collect();
    for wanted in ["Requests", "Errors", "Answer time", "Memory", "Disk", "Refusals", "Requests in flight"] {
        assert!(titles.contains(&wanted), "{wanted}");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("queries.yml");
    let mut text = "groups:\n  - name: queries\n    rules:\n".to_owned();
    for (number, query) in grafana::queries(&rules(), &Objectives::default()).iter().enumerate() {
        let query = query.replace('\'', "''");
        writeln!(text, "      - record: query{number}\n        expr: '{query}'").unwrap();
    }
    std::fs::write(&file, text).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()]);
}
