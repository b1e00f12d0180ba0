//! `q slo`: what was promised, what was kept, and the rules that watch it.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use q_ops_api::watch::{GetSlo, GetSloRequest, ModuleSlo};
use q_slo::{Classes, Objectives, Rule, grafana, prometheus, rules_with, text_of};
use serde_json::json;

use crate::{
    cli::{AsArgs, Cli},
    compose,
    layout::Layout,
    output::{self, exit, with_code},
    session::Session,
};

/// `q slo`.
#[derive(Debug, Args)]
pub struct SloArgs {
    /// The module; all when not given.
    pub module: Option<String>,
    /// List the alert rules as the settings have them, instead.
    #[arg(long, conflicts_with = "export")]
    pub rules: bool,
    /// Write the same rules for Prometheus and a dashboard for Grafana into this folder, instead.
    #[arg(long, value_name = "DIR")]
    pub export: Option<PathBuf>,
    /// Who asks.
    #[command(flatten)]
    pub acting: AsArgs,
}

pub async fn run(cli: &Cli, arguments: &SloArgs) -> anyhow::Result<ExitCode> {
    if arguments.rules || arguments.export.is_some() {
        let settings = compose::config(&Layout::of(&cli.data))?.section(q_ops::NAME);
        let wrong = |error: &dyn std::fmt::Display| with_code(exit::CANNOT_START, format!("ops: {error}"));
        let rules = rules_with(settings.text("rules")).map_err(|error| wrong(&error))?;
        let classes: Classes = settings.text("route_classes").parse().map_err(|error| wrong(&error))?;
        match &arguments.export {
            Some(folder) => export(folder, &rules, &classes)?,
            None => list(arguments.acting.json, &rules),
        }
        return Ok(ExitCode::SUCCESS);
    }
    let session = Session::open(&cli.data, &arguments.acting.name)?;
    let request = GetSloRequest { module: arguments.module.clone() };
    let report = session.client(q_ops::NAME)?.call::<GetSlo>(&request).await?;
    output::show(arguments.acting.json, &report, |report| {
        if report.modules.is_empty() {
            output::line("nothing was counted yet");
        }
        report.modules.iter().for_each(show);
    });
    Ok(ExitCode::SUCCESS)
}

fn show(module: &ModuleSlo) {
    let errors = module
        .error_ratio
        .map_or_else(|| "no requests".to_owned(), |it| format!("{:.2} % errors", it * 100.0));
    let p99 = module.p99_seconds.map_or_else(String::new, |it| format!(", p99 {:.0} ms", it * 1_000.0));
    output::line(format!("{}  last minute: {errors}{p99}", module.module));
    for promise in &module.promises {
        let kept = promise.total > 0;
        #[expect(clippy::cast_precision_loss, reason = "a share for people")]
        let share = if kept { promise.good as f64 / promise.total as f64 * 100.0 } else { 100.0 };
        let burn = |window: &str| promise.burn.iter().find(|burn| burn.window == window);
        let burn = ["1h", "6h"].iter().filter_map(|window| burn(window));
        let burn: Vec<String> =
            burn.map(|burn| format!("{} over {}", round(burn.rate), burn.window)).collect();
        output::line(format!(
            "  {:<8} {:<12} {share:.3} % of {} (promised {} %), budget left {}, burn {}",
            promise.class,
            promise.sli,
            promise.total,
            round(promise.target * 100.0),
            promise.budget_left.map_or_else(
                || format!("unknown ({} bad: too few to say)", promise.total - promise.good),
                |left| format!("{:.1} %", left * 100.0)
            ),
            if burn.is_empty() { "none".to_owned() } else { burn.join(", ") },
        ));
    }
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn list(as_json: bool, rules: &[Rule]) {
    let rows: Vec<_> = rules
        .iter()
        .map(|rule| {
            json!({
                "rule": rule.id, "title": rule.title, "severity": rule.severity.name(),
                "above": rule.unit.text(rule.threshold), "for": text_of(rule.lasting), "calm": text_of(rule.calm),
                "runbook": rule.runbook,
            })
        })
        .collect();
    output::show(as_json, &rows, |_| {
        for rule in rules {
            output::line(format!(
                "{:<20} {:<7} above {:<11} for {:<4} a module {}",
                rule.id,
                rule.severity.name(),
                rule.unit.text(rule.threshold),
                text_of(rule.lasting),
                rule.title
            ));
        }
    });
}

fn export(folder: &std::path::Path, rules: &[Rule], classes: &Classes) -> anyhow::Result<()> {
    let objectives = Objectives::default();
    let dashboard = serde_json::to_string_pretty(&grafana::dashboard(rules, &objectives))?;
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    for (name, text) in [
        ("q.rules.yml", prometheus::rule_file(rules, classes, &objectives)),
        ("q.json", format!("{dashboard}\n")),
    ] {
        let file = folder.join(name);
        std::fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
        output::line(file.display());
    }
    Ok(())
}
