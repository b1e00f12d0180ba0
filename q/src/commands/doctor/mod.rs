//! `q doctor`: what would keep the instance from starting or serving, with a fix for each line.
//!
//! **Invariant:** looks and changes nothing; works while the instance runs and while it does not.

mod folders;
mod network;
mod stores;

use std::process::ExitCode;

use serde::Serialize;

use crate::{
    cli::{Cli, ReadArgs},
    commands::init,
    compose,
    layout::Layout,
    output::{self, exit},
    running, settings, warnings,
};

/// What a look came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// As it should be.
    Good,
    /// It serves, and somebody should look at it.
    Doubtful,
    /// It keeps the instance from starting or serving.
    Bad,
    /// There was nothing to judge it by.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    what: String,
    state: State,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Line {
    fn good(what: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Good, finding: finding.into(), fix: None }
    }

    fn unknown(what: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Unknown, finding: finding.into(), fix: None }
    }

    fn doubtful(what: impl Into<String>, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Doubtful, finding: finding.into(), fix: Some(fix.into()) }
    }

    fn bad(what: impl Into<String>, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), state: State::Bad, finding: finding.into(), fix: Some(fix.into()) }
    }
}

pub async fn run(cli: &Cli, arguments: &ReadArgs) -> anyhow::Result<ExitCode> {
    let lines = look(&Layout::of(&cli.data)).await?;
    output::show(arguments.json, &lines, |lines| lines.iter().for_each(show));
    let is_healthy = lines.iter().all(|line| line.state != State::Bad);
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

fn show(line: &Line) {
    let word = match line.state {
        State::Good => "ok ",
        State::Doubtful => "!  ",
        State::Bad => "BAD",
        State::Unknown => "?  ",
    };
    output::line(format!("{word} {:<20} {}", line.what, line.finding));
    if let Some(fix) = &line.fix {
        output::line(format!("    fix: {fix}"));
    }
}

async fn look(layout: &Layout) -> anyhow::Result<Vec<Line>> {
    let mut lines = vec![folders::data(layout), folders::secrets(layout)];
    lines.extend(folders::permissions(layout));
    lines.extend(folders::space(layout));
    lines.extend(folders::descriptors());
    let config = match compose::config(layout) {
        Ok(config) => config,
        Err(error) => {
            lines.push(Line::bad("settings", format!("{error:#}"), "correct the setting it names"));
            return Ok(lines);
        }
    };
    let wrong = settings::wrong(&config);
    lines
        .extend(wrong.iter().map(|wrong| Line::bad("settings", &wrong.text, "correct the setting it names")));
    if wrong.is_empty() {
        lines.push(Line::good("settings", "valid; `q config` shows them"));
    }
    let door = config.section("front_door").parse("listen", "an address with a port").ok();
    for text in warnings::texts(&config, layout, door) {
        lines.push(Line::doubtful("settings", text, "correct the variable or the setting it names"));
    }
    let running = running::find(layout)?;
    lines.extend(network::ports(running.as_ref(), &config));
    lines.extend(network::versions(running.as_ref()).await);
    let mut clocks = network::Clocks::default();
    lines.extend(network::dependencies(&config, &mut clocks).await);
    let is_fit = lines.iter().all(|line| line.state != State::Bad || line.what.starts_with("port "));
    if is_fit && init::is_done(layout) {
        lines.extend(stores::look(layout, &config, running.as_ref(), &mut clocks).await);
    }
    lines.push(clocks.line());
    Ok(lines)
}
