//! `q mode`: what modules let through, shown and set; through the running instance, or in the stores of modules that
//! do not run.

use std::{collections::BTreeMap, fmt::Write as _, process::ExitCode};

use bytes::Bytes;
use clap::{Args, Subcommand};
use q_core::{Did, Timestamp};
use q_db::{Mode, ModeKind, ModeOrder};
use serde_json::{Value, json};

use crate::{
    cli::Cli,
    compose,
    layout::Layout,
    output::{self, exit, usage, with_code},
    running,
    session::Session,
};

/// Who it is that sets a mode in the store of a module that does not run.
const OFFLINE: &str = "q mode";
/// The operator desk keeps its own counsel: closing it would keep it from opening the others.
const DESK: &str = "ops";

/// `q mode`.
#[derive(Debug, Args)]
pub struct ModeArgs {
    /// The module; all when not given (all but the operator desk when setting).
    pub module: Option<String>,
    /// What to do; without it the modes are shown.
    #[command(subcommand)]
    pub verb: Option<ModeVerb>,
    /// Print JSON.
    #[arg(long, global = true)]
    pub json: bool,
}

/// `q mode … set`.
#[derive(Debug, Subcommand)]
pub enum ModeVerb {
    /// Let through from now on: normal, read-only, maintenance, isolated, write-stopped.
    Set(SetArgs),
}

/// The arguments of `q mode … set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// normal, read-only, maintenance, isolated or write-stopped.
    pub mode: ModeKind,
    /// Why; those who are refused are told it.
    #[arg(long, default_value = "")]
    pub reason: String,
    /// When it is expected to end (RFC 3339); told to those who are refused. Nothing ends by itself.
    #[arg(long, value_name = "INSTANT")]
    pub until: Option<Timestamp>,
    /// Who may write all the same in read-only mode and maintenance: a DID or a keyring name; several by repeating.
    #[arg(long = "canary", value_name = "WHO")]
    pub canaries: Vec<String>,
    /// End a write stop although no verification has passed.
    #[arg(long)]
    pub overrule: bool,
}

pub async fn run(cli: &Cli, arguments: &ModeArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let order = match &arguments.verb {
        Some(ModeVerb::Set(set)) => Some(order(&layout, set)?),
        None => None,
    };
    let names: Vec<&'static str> = match &arguments.module {
        Some(module) => vec![compose::entry(module)?.name],
        None => compose::MODULES
            .iter()
            .map(|entry| entry.name)
            .filter(|name| order.is_none() || *name != DESK)
            .collect(),
    };
    let running = running::find(&layout)?.unwrap_or_default();
    let (here, stopped): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| running.modules.contains_key(*name));
    let mut modes =
        if here.is_empty() { BTreeMap::new() } else { online(cli, &here, order.as_ref()).await? };
    if running.processes.is_empty() {
        modes.extend(offline(&layout, &stopped, order.as_ref()).await?);
    } else if arguments.module.is_some() && !stopped.is_empty() {
        let what = format!("{} does not run here; `q serve {}` starts it", stopped[0], stopped[0]);
        return Err(with_code(exit::UNREACHABLE, what));
    }
    output::show(arguments.json, &modes, |modes| {
        for (module, mode) in modes {
            output::line(format!("{module}: {}", told(mode)));
        }
    });
    let opens = order.is_some_and(|order| order.kind != ModeKind::WriteStopped);
    let still: Vec<_> = modes.iter().filter(|(_, mode)| mode["writeStop"].is_object()).collect();
    if let (true, Some((module, _))) = (opens, still.first()) {
        output::progress(format!(
            "the write stop stays: `q verify {module}` ends it when nothing is wrong any more, --overrule ends it by \
             your word"
        ));
        return Ok(ExitCode::from(exit::REFUSED));
    }
    Ok(ExitCode::SUCCESS)
}

/// What ends the state of `module`, for those who see it; nothing while everything is let through.
pub fn next(module: &str, mode: &Value) -> Option<String> {
    let is_window = mode["by"] == q_ops::NAME;
    match mode["state"].as_str()? {
        "write-stopped" => Some(format!(
            "`q verify {module}` checks what it keeps, and writes go on when it is sound; else `q runbook data-corruption`"
        )),
        "isolated" => Some(format!("`q isolate {module} --lift` lets everybody in again")),
        "read-only" | "maintenance" if is_window => {
            Some("the window ends by itself, or with `q maintenance complete latest`".to_owned())
        }
        "read-only" | "maintenance" => Some(format!("`q mode {module} set normal` ends it")),
        _ => None,
    }
}

/// The state in a sentence: what, why, by whom and since when.
pub fn told(mode: &Value) -> String {
    let text = |value: &Value| value.as_str().map(str::to_owned).unwrap_or_default();
    let mut told = text(&mode["state"]);
    let stop = &mode["writeStop"];
    if stop.is_object() {
        let _ = write!(told, ": {} (since {})", text(&stop["reason"]), text(&stop["since"]));
    }
    if mode["mode"] != "normal" {
        let (reason, by, since) = (text(&mode["reason"]), text(&mode["by"]), text(&mode["since"]));
        let _ = write!(told, ": {reason} (by {by} since {since})");
        if let Some(until) = mode["until"].as_str() {
            let _ = write!(told, ", expected until {until}");
        }
        let canaries: Vec<_> = mode["canaries"].as_array().into_iter().flatten().map(text).collect();
        if !canaries.is_empty() {
            let _ = write!(told, ", writes of {}", canaries.join(", "));
        }
    }
    told
}

fn order(layout: &Layout, set: &SetArgs) -> anyhow::Result<ModeOrder> {
    if set.mode != ModeKind::Normal && set.reason.trim().is_empty() {
        return Err(usage("say why with --reason: those who are refused are told it"));
    }
    let who = |name: &String| -> anyhow::Result<Did> {
        match name.parse() {
            Ok(did) => Ok(did),
            Err(_) => Ok(layout.read_keyring(name)?.did),
        }
    };
    Ok(ModeOrder {
        kind: set.mode,
        reason: set.reason.clone(),
        until: set.until,
        canaries: set.canaries.iter().map(who).collect::<anyhow::Result<_>>()?,
        overrule: set.overrule,
    })
}

async fn online(
    cli: &Cli,
    names: &[&str],
    order: Option<&ModeOrder>,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let session = Session::open(&cli.data, "operator")?;
    let mut modes = BTreeMap::new();
    for name in names {
        let client = session.client(name)?;
        let answer = match order {
            Some(order) => {
                let body = Bytes::from(serde_json::to_vec(order)?);
                client.send("POST", "/mode", body, "application/json").await?
            }
            None => client.send("GET", "/mode", Bytes::new(), "").await?,
        };
        let mode: Value = serde_json::from_slice(answer.body())?;
        if !answer.status().is_success() {
            return Err(with_code(exit::REFUSED, format!("{name} refuses: {}", mode["detail"])));
        }
        modes.insert((*name).to_owned(), mode);
    }
    Ok(modes)
}

/// A mode as modules show it.
pub fn shown(mode: &Mode) -> Value {
    let mut shown = json!(mode);
    shown["state"] = json!(mode.state());
    shown
}

/// Looks into the stores themselves: the way out when nobody can sign in any more.
async fn offline(
    layout: &Layout,
    names: &[&str],
    order: Option<&ModeOrder>,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let built = compose::assemble(layout, &compose::Options::offline()).await?;
    let mut modes = BTreeMap::new();
    for beam in built.house.beams().iter().filter(|beam| names.contains(&beam.module.name())) {
        let (db, name) = (beam.module.db(), beam.module.name());
        if let Some(order) = order {
            db.set_mode(order, OFFLINE).await?;
        }
        modes.insert(name.to_owned(), shown(&db.mode()));
    }
    built.house.stop().await;
    Ok(modes)
}
