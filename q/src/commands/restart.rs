//! `q restart`: has each process of the instance, or those of some modules, start anew, one after another.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use bytes::Bytes;
use q_contract::{Client, HttpTransport};
use q_core::Timestamp;
use q_ops_api::incidents::EntryKind;
use serde::Serialize;
use serde_json::json;

use crate::{
    cli::Cli,
    commands::timeline,
    compose,
    control::{self, Restart, Restarted},
    layout::Layout,
    output::{self, exit, with_code},
    running::{self, Note},
    session,
};

/// How long a process may take from its start to being ready.
const HEALTHY_MAX: Duration = Duration::from_mins(2);
/// The pause before asking again.
const PAUSE: Duration = Duration::from_millis(20);

/// `q restart`.
#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// Restart the processes of these modules; all processes when none is given.
    #[arg(value_name = "MODULE")]
    pub modules: Vec<String>,
    /// Hand over without refusing a connection: the new process takes the listening sockets and the kept-alive
    /// connections while the old one still serves, and the old one serves on if the new one cannot.
    #[arg(long)]
    pub rolling: bool,
    /// Go on with this program; with the file the process was started from when not given.
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// One process that was restarted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// Its modules.
    pub modules: Vec<String>,
    /// The process before.
    pub old_pid: u32,
    /// The process now.
    pub new_pid: u32,
    /// When the process before accepted its last connection; not told by older programs.
    pub paused_at: Option<Timestamp>,
    /// Milliseconds in which nobody was answered; new connections waited.
    pub pause_ms: u64,
    /// Of these, milliseconds until what was open had been answered and the stores were closed.
    pub drain_ms: Option<u64>,
    /// Kept-alive connections that went along.
    pub connections: Option<usize>,
    /// Milliseconds until every module said that it is ready.
    pub ready_ms: u64,
}

pub async fn run(cli: &Cli, arguments: &RestartArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    for module in &arguments.modules {
        compose::entry(module)?;
    }
    let binary = arguments.binary.as_ref().map(std::path::absolute).transpose()?;
    let order = Restart { is_rolling: arguments.rolling, binary };
    let lines = restart(&layout, &arguments.modules, &order).await?;
    let programs = order.binary.as_ref().map(|path| format!(" with {}", path.display())).unwrap_or_default();
    let text = format!("restarted {} processes{programs}", lines.len());
    timeline::note_if_possible(&layout, EntryKind::Deployment, &text, &json!({"processes": lines})).await;
    output::show(arguments.json, &lines, |lines| {
        for line in lines {
            let drain = line.drain_ms.map(|drain| format!(", {drain} ms of it finishing requests"));
            let along = line.connections.map(|count| format!(", {count} kept-alive connections taken along"));
            output::line(format!(
                "{}: process {} follows {}; paused for {} ms{}{}, ready after {} ms",
                line.modules.join(", "),
                line.new_pid,
                line.old_pid,
                line.pause_ms,
                drain.unwrap_or_default(),
                along.unwrap_or_default(),
                line.ready_ms,
            ));
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Restarts the processes that run any of `modules`, or all, each when the one before it is ready.
pub async fn restart(layout: &Layout, modules: &[String], order: &Restart) -> anyhow::Result<Vec<Line>> {
    session::require_running(layout)?;
    let is_meant = |note: &Note| modules.is_empty() || note.modules.keys().any(|name| modules.contains(name));
    let notes: Vec<Note> = running::notes(layout)?.into_iter().filter(is_meant).collect();
    if notes.is_empty() {
        let what = format!("no process of this instance runs {}", modules.join(" or "));
        return Err(with_code(exit::UNREACHABLE, what));
    }
    let mut lines = Vec::new();
    for note in notes {
        let begun = Instant::now();
        let outcome = control::ask(layout, note.pid, order).await?;
        let (new_pid, figures) = match outcome {
            Restarted::Given { pid, paused_at, drain_ms, pause_ms, connections } => {
                (pid, Some((paused_at, pause_ms, drain_ms, connections)))
            }
            // It goes on under its number.
            Restarted::Stopped => (note.pid, None),
            Restarted::Kept { why } => {
                let what = format!("{why}\n   process {} serves on as before", note.pid);
                return Err(with_code(exit::FAILED, what));
            }
            Restarted::Lost { why } => return Err(with_code(exit::CANNOT_START, why)),
        };
        ready(layout, new_pid).await?;
        let ready_ms = millis(begun.elapsed());
        lines.push(Line {
            modules: note.modules.into_keys().collect(),
            old_pid: note.pid,
            new_pid,
            paused_at: figures.and_then(|(paused_at, ..)| paused_at),
            pause_ms: figures.map_or(ready_ms, |(_, pause, ..)| pause),
            drain_ms: figures.map(|(.., drain, _)| drain),
            connections: figures.map(|(.., connections)| connections),
            ready_ms,
        });
    }
    Ok(lines)
}

/// Waits until every module of process `pid` says that it is ready.
async fn ready(layout: &Layout, pid: u32) -> anyhow::Result<()> {
    let begun = Instant::now();
    loop {
        if !running::is_alive(pid) {
            let what =
                format!("process {pid} ended at its start; its log says why, `q doctor` says what to do");
            return Err(with_code(exit::CANNOT_START, what));
        }
        let note = running::notes(layout)?.into_iter().find(|note| note.pid == pid);
        if let Some(note) = note
            && all_ready(&note).await
        {
            return Ok(());
        }
        if begun.elapsed() > HEALTHY_MAX {
            let seconds = HEALTHY_MAX.as_secs();
            let what =
                format!("process {pid} is not ready after {seconds} s; `q call MODULE GET /health` says why");
            return Err(with_code(exit::UNREACHABLE, what));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn all_ready(note: &Note) -> bool {
    for url in note.modules.values() {
        let module = Client::new(std::sync::Arc::new(HttpTransport::new(url.clone())));
        let answer = module.send("GET", "/health/ready", Bytes::new(), "").await;
        if !answer.is_ok_and(|answer| answer.status().is_success()) {
            return false;
        }
    }
    true
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
