//! `q status`: how every module of the running instance is, replica by replica.

use std::{process::ExitCode, time::Duration};

use bytes::Bytes;
use clap::Args;
use futures_util::future::join_all;
use q_contract::{Client, HttpTransport};
use q_core::Timestamp;
use q_db::ModeKind;
use serde::Serialize;
use serde_json::Value;

use crate::{
    cli::{AsArgs, Cli},
    commands::mode,
    layout::Layout,
    output::{self, exit},
    running,
    session::{Session, require_running},
};

/// How long a module may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// `q status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Who asks; without an operator's keys only what everybody may see is shown.
    #[command(flatten)]
    pub acting: AsArgs,
}

/// One process of one module.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    module: String,
    /// `healthy`, `degraded`, `unhealthy` or `unreachable`.
    status: String,
    /// What it lets through; nothing when only everybody's view was given.
    mode: Option<String>,
    version: Option<String>,
    /// Milliseconds, over the last five minutes.
    p99: Option<f64>,
    /// Share of requests that ended with a status of 500 or more, over the last five minutes.
    error_rate: Option<f64>,
    /// Since when the status is what it is.
    since: Option<Timestamp>,
    process: Option<u32>,
    address: String,
    /// Why it is not healthy, or not in mode normal.
    reasons: Vec<String>,
    /// What to do about its mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Prints the table.
pub async fn run(cli: &Cli, arguments: &StatusArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let running = require_running(&layout)?;
    let notes = running::notes(&layout)?;
    let session = Session::open(&cli.data, &arguments.acting.name).ok();
    let process_of = |module: &str, url: &str| {
        notes.iter().find(|note| note.modules.get(module).is_some_and(|own| own == url)).map(|note| note.pid)
    };
    let asked = running.replicas.iter().flat_map(|(module, urls)| {
        let (session, process_of) = (&session, &process_of);
        urls.iter().map(move |url| ask(session.as_ref(), module, url, process_of(module, url)))
    });
    let rows = join_all(asked).await;
    // Whoever takes no changes because something is damaged may answer well, and is not well.
    let is_bad = |row: &Row| {
        matches!(row.status.as_str(), "unhealthy" | "unreachable")
            || row.mode.as_deref() == Some(ModeKind::WriteStopped.name())
    };
    let code = if rows.iter().any(is_bad) { exit::FINDINGS } else { 0 };
    output::show(arguments.acting.json, &rows, |rows| print(rows));
    Ok(ExitCode::from(code))
}

async fn ask(session: Option<&Session>, module: &str, url: &str, process: Option<u32>) -> Row {
    let mut row = Row {
        module: module.to_owned(),
        status: "unreachable".to_owned(),
        mode: None,
        version: None,
        p99: None,
        error_rate: None,
        since: None,
        process,
        address: url.to_owned(),
        reasons: Vec::new(),
        next: None,
    };
    let as_operator = match session {
        Some(session) => get(&session.client_at(module, url), "/health/detailed").await.ok(),
        None => None,
    };
    let answer = match as_operator.filter(|(status, _)| *status == 200) {
        Some((_, body)) => Ok(body),
        None => get(&Client::new(std::sync::Arc::new(HttpTransport::new(url))), "/health")
            .await
            .map(|(_, body)| body),
    };
    match answer {
        Ok(body) => fill(&mut row, &body),
        Err(why) => row.reasons.push(why),
    }
    row
}

async fn get(client: &Client, path: &str) -> Result<(u16, Value), String> {
    let answer = client.clone().within(PATIENCE).send("GET", path, Bytes::new(), "").await;
    let answer = answer.map_err(|error| error.to_string())?;
    let body = serde_json::from_slice(answer.body()).map_err(|_| format!("{path} answers no JSON"))?;
    Ok((answer.status().as_u16(), body))
}

fn fill(row: &mut Row, body: &Value) {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    row.status = text(&body["status"]).unwrap_or_else(|| "unreachable".to_owned());
    row.mode = text(&body["mode"]["state"]);
    row.version = text(&body["version"]);
    row.p99 = body["requests"]["p99"].as_f64();
    row.error_rate = body["requests"]["errorRate"].as_f64();
    row.since = body["since"].as_str().and_then(|since| since.parse().ok());
    for (name, dependency) in body["dependencies"].as_object().into_iter().flatten() {
        let millis = dependency["latency"].as_u64().unwrap_or_default();
        match dependency["status"].as_str().unwrap_or_default() {
            "up" => {}
            "degraded" => row.reasons.push(format!("{name} is slow: {millis} ms")),
            _ => {
                let why = dependency["lastError"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
                row.reasons.push(format!("{name} is down{why}"));
            }
        }
    }
    row.next = mode::next(&row.module, &body["mode"]);
    if row.next.is_some() {
        row.reasons.push(mode::told(&body["mode"]));
    }
}

/// The status, unless the mode says more: a module that takes no changes answers, and is healthy to a load balancer.
fn said_of(row: &Row) -> String {
    match &row.mode {
        Some(mode) if row.next.is_some() => format!("{}, in mode {mode}", row.status),
        _ => row.status.clone(),
    }
}

const HEAD: [&str; 9] =
    ["MODULE", "STATUS", "MODE", "VERSION", "P99", "ERRORS", "SINCE", "PROCESS", "ADDRESS"];

fn print(rows: &[Row]) {
    let cells = |row: &Row| -> [String; 9] {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            row.module.clone(),
            row.status.clone(),
            or_dash(row.mode.clone()),
            or_dash(row.version.clone()),
            or_dash(row.p99.map(|millis| format!("{millis:.1} ms"))),
            or_dash(row.error_rate.map(|rate| format!("{:.2} %", rate * 100.0))),
            or_dash(row.since.map(|since| since.to_string())),
            or_dash(row.process.map(|process| process.to_string())),
            row.address.clone(),
        ]
    };
    let table: Vec<[String; 9]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(cells)).collect();
    let width =
        |column: usize| table.iter().map(|line| line[column].chars().count()).max().unwrap_or_default();
    let widths: [usize; 9] = std::array::from_fn(width);
    for line in &table {
        let padded = line.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        output::line(padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    for row in rows {
        for reason in &row.reasons {
            output::line(format!("{} is {}: {reason}", row.module, said_of(row)));
        }
        if let Some(next) = &row.next {
            output::line(format!("    next: {next}"));
        }
    }
}
