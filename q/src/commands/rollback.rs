//! `q rollback` and `q releases`: back to the program and the settings that ran before.

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use q_core::{Env, Timestamp, hash};
use q_ops_api::incidents::EntryKind;
use serde_json::json;

use crate::{
    cli::{Cli, ReadArgs},
    commands::{preflight, restart, smoke, timeline},
    compose,
    control::Restart,
    layout::{Layout, OPERATOR, write_private},
    output::{self, exit, with_code},
    releases::{self, Event, PLATFORM, Release},
    running,
};

/// `q rollback`.
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The release to go back to, as `q releases` numbers them; the one before the present when not given.
    pub release: Option<u32>,
    /// Do not walk the critical path afterwards.
    #[arg(long)]
    pub no_smoke: bool,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// How much of a hash people compare.
const HASH_SHOWN: usize = 12;

/// Lists the releases.
pub fn list(cli: &Cli, arguments: &ReadArgs) -> ExitCode {
    let layout = Layout::of(&cli.data);
    let all = releases::all(&layout);
    let current = releases::current(&all).map(|release| release.number);
    let shown = json!({"current": current, "releases": all, "history": releases::history(&layout)});
    output::show(arguments.json, &shown, |_| {
        if all.is_empty() {
            output::line("nothing has started here yet");
        }
        for release in &all {
            let mark = if Some(release.number) == current { '*' } else { ' ' };
            let config = release.config_hash.as_deref().map_or("no q.toml", |hash| &hash[..HASH_SHOWN]);
            output::line(format!(
                "{mark} {:>4}  version {}  program {}  settings {config}  last started {}  from {}",
                release.number,
                release.version,
                &release.program_hash[..HASH_SHOWN],
                release.last_started,
                release.started_from.display(),
            ));
        }
        for event in releases::history(&layout) {
            let from = event.from.map_or_else(|| "?".to_owned(), |from| from.to_string());
            output::line(format!(
                "{}  {} went from {from} to {}: {}",
                event.at, event.by, event.to, event.outcome
            ));
        }
    });
    ExitCode::SUCCESS
}

pub async fn run(cli: &Cli, arguments: &RollbackArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let all = releases::all(&layout);
    let current =
        releases::current(&all).context("nothing has started here yet, so there is nothing to go back to")?;
    let target = target(&all, current, arguments.release)?;
    if !target.is_whole(&layout)? {
        let program = target.program(&layout);
        let what = format!(
            "{} is not the program that ran as release {} any more; choose another with `q rollback NUMBER`",
            program.display(),
            target.number
        );
        return Err(with_code(exit::FAILED, what));
    }
    refuse_newer_stores(&layout, target).await?;
    let record = |outcome: &str| {
        let event = Event {
            at: Env::system().now(),
            from: Some(current.number),
            to: target.number,
            by: who(),
            outcome: outcome.to_owned(),
        };
        releases::record(&layout, &event)
    };
    let before = fs::read(layout.config()).ok();
    keep_edited(&layout, &all, before.as_deref())?;
    put_config(&layout, target.config(&layout)?.as_deref())?;
    if running::find(&layout)?.is_none() {
        record("settings put back; nothing ran")?;
        let program = target.program(&layout);
        output::line(format!(
            "the settings of release {} are back; nothing runs now: start its program with\n  {} --data {} up",
            target.number,
            program.display(),
            layout.data.display()
        ));
        return Ok(ExitCode::SUCCESS);
    }
    let order = Restart { is_rolling: true, binary: Some(target.program(&layout)) };
    let lines = match restart::restart(&layout, &[], &order).await {
        Ok(lines) => lines,
        Err(error) => {
            put_config(&layout, before.as_deref())?;
            record("refused; everything is as before")?;
            return Err(error.context(format!("release {} does not start", target.number)));
        }
    };
    let report = if arguments.no_smoke { None } else { Some(smoke::walk(&layout, OPERATOR).await?) };
    let passed = report.as_ref().is_none_or(|report| report.passed);
    record(match &report {
        None => "done",
        Some(report) if report.passed => "done; the critical path works",
        Some(_) => "done; the critical path is broken",
    })?;
    let text = format!("rolled back from release {} to release {}", current.number, target.number);
    let details = json!({"from": current.number, "to": target.number, "smoke": passed});
    timeline::note_if_possible(&layout, EntryKind::Deployment, &text, &details).await;
    let shown = json!({"from": current.number, "to": target.number, "restarted": lines, "smoke": report});
    output::show(arguments.json, &shown, |_| {
        for line in &lines {
            output::line(format!("{}: paused for {} ms", line.modules.join(", "), line.pause_ms));
        }
        output::line(format!("release {} runs again, with its settings", target.number));
        if target.program_hash != current.program_hash {
            output::line(format!(
                "a service manager still starts what lies at {}; put the program there that should stay:\n  cp {} {0}",
                current.started_from.display(),
                target.program(&layout).display(),
            ));
        }
        report.iter().for_each(smoke::show);
    });
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

/// The person at the keyboard, as far as the machine knows.
fn who() -> String {
    let named = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok());
    named.unwrap_or_else(|| format!("user {}", rustix::process::getuid().as_raw()))
}

fn target<'a>(all: &'a [Release], current: &Release, wanted: Option<u32>) -> anyhow::Result<&'a Release> {
    let found = match wanted {
        Some(number) => all.iter().find(|release| release.number == number),
        None => all.iter().rfind(|release| release.number < current.number),
    };
    found.ok_or_else(|| {
        let numbers: Vec<_> = all.iter().map(|release| release.number.to_string()).collect();
        let what = match wanted {
            Some(number) => format!("release {number} is not kept; there are {}", numbers.join(", ")),
            None => format!("release {} is the oldest that is kept", current.number),
        };
        with_code(exit::FAILED, what)
    })
}

/// An older program does not open what a newer one has changed the shape of.
async fn refuse_newer_stores(layout: &Layout, target: &Release) -> anyhow::Result<()> {
    let config = compose::config(layout)?;
    let mut newer = Vec::new();
    for entry in &compose::MODULES {
        if config.section(entry.name).optional("url").is_some() {
            continue;
        }
        let look = match preflight::look(layout, &config, entry, false).await {
            Ok(look) => look,
            // A module that the older program does not know, and that has never started here.
            Err(_) if !target.schemas.contains_key(entry.name) => continue,
            Err(error) => {
                return Err(error.context(format!("the store of {} cannot be looked at", entry.name)));
            }
        };
        let knows = |part: &str| target.schemas.get(part).copied();
        for (part, has) in [(entry.name, look.schema), (PLATFORM, look.platform)] {
            if let Some(known) = knows(part)
                && has > known
            {
                newer
                    .push(format!("the store of {} is at {part} schema {has}, it knows {known}", entry.name));
            }
        }
    }
    if newer.is_empty() {
        return Ok(());
    }
    let what = format!(
        "release {} cannot open what has been migrated since: {}. Go forward instead, or restore a backup made before \
         {}: `q backup list`, then `q backup restore ID --into FOLDER`, then start {}",
        target.number,
        newer.join("; "),
        target.last_started,
        target.program(layout).display()
    );
    Err(with_code(exit::FAILED, what))
}

/// Puts settings that no kept release ran with aside: nothing else would know them any more.
fn keep_edited(layout: &Layout, all: &[Release], text: Option<&[u8]>) -> anyhow::Result<()> {
    let Some(text) = text else { return Ok(()) };
    let hash = hash::hex(&hash::sha256(text));
    if all.iter().any(|release| release.config_hash.as_deref() == Some(&hash)) {
        return Ok(());
    }
    let now = Timestamp::from_seconds(Env::system().now().seconds()).to_string().replace(['-', ':'], "");
    let mut aside = layout.config().into_os_string();
    aside.push(format!(".before-rollback-{now}"));
    let aside = PathBuf::from(aside);
    write_private(&aside, text)?;
    output::progress(format!(
        "the settings were edited since they were last started with; as they were they are kept in {}",
        aside.display()
    ));
    Ok(())
}

fn put_config(layout: &Layout, text: Option<&[u8]>) -> anyhow::Result<()> {
    match text {
        Some(text) => write_private(&layout.config(), text),
        None => match fs::remove_file(layout.config()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        },
    }
}
