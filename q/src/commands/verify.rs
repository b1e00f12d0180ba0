//! `q verify`: everything the modules keep, checked; through the running instance, and offline in the stores of
//! modules that do not run.

use std::{collections::BTreeMap, process::ExitCode};

use anyhow::Context as _;
use bytes::Bytes;
use q_runtime::Finding;
use serde_json::Value;

use crate::{
    cli::{Cli, VerifyArgs},
    commands::init,
    compose,
    layout::Layout,
    output::{self, exit, with_code},
    running,
    session::Session,
    stores,
};

pub async fn run(cli: &Cli, arguments: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let names: Vec<&'static str> = match &arguments.module {
        Some(module) => vec![compose::entry(module)?.name],
        None => compose::MODULES.iter().map(|entry| entry.name).collect(),
    };
    if layout.unfinished().exists() && !init::is_done(&layout) {
        let what =
            format!("the making of {} was cut off; `q init` or `q up` finishes it", layout.data.display());
        return Err(with_code(exit::CANNOT_START, what));
    }
    let running = running::find(&layout)?.unwrap_or_default();
    let (here, stopped): (Vec<_>, Vec<_>) =
        names.into_iter().partition(|name| running.modules.contains_key(*name));
    let mut reports =
        if here.is_empty() { BTreeMap::new() } else { online(cli, &here, arguments.since).await? };
    if !stopped.is_empty() {
        // All are opened when nothing runs: they need each other.
        let modules = if running.processes.is_empty() { Vec::new() } else { stopped.clone() };
        reports.extend(offline(&layout, modules, &stopped, arguments.since).await?);
    }
    let count: usize = reports.values().map(|findings| findings.as_array().map_or(0, Vec::len)).sum();
    output::show(arguments.json, &reports, |reports| {
        for (module, findings) in reports {
            let findings = findings.as_array().map_or(&[][..], Vec::as_slice);
            output::line(format!("{module}: {}", if findings.is_empty() { "sound" } else { "DAMAGED" }));
            for finding in findings {
                let text = |key: &str| finding[key].as_str().unwrap_or_default();
                output::line(format!("  {} at {}: {}", text("code"), text("place"), text("detail")));
            }
        }
    });
    Ok(if count == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

async fn online(cli: &Cli, names: &[&str], since: Option<i64>) -> anyhow::Result<BTreeMap<String, Value>> {
    let session = Session::open(&cli.data, "operator")?;
    let mut reports = BTreeMap::new();
    let path =
        since.map_or_else(|| "/health/verify".to_owned(), |since| format!("/health/verify?since={since}"));
    for name in names {
        output::progress(format!("verifying {name}"));
        let answer = session.client(name)?.send("POST", &path, Bytes::new(), "application/json").await?;
        let mut report: Value = serde_json::from_slice(answer.body())?;
        anyhow::ensure!(answer.status().is_success(), "{name} cannot be verified: {report}");
        reports.insert((*name).to_owned(), report["findings"].take());
    }
    Ok(reports)
}

pub async fn offline(
    layout: &Layout,
    modules: Vec<&'static str>,
    names: &[&str],
    since: Option<i64>,
) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut reports = BTreeMap::new();
    let config = compose::config(layout)?;
    let elsewhere = compose::remote_urls(&config);
    for name in names.iter().filter(|name| elsewhere.contains_key(**name)) {
        output::progress(format!("{name} is elsewhere by its setting url and is not verified from here"));
    }
    let mut openable: Vec<_> = compose::MODULES
        .iter()
        .map(|entry| entry.name)
        .filter(|name| modules.is_empty() || modules.contains(name))
        .filter(|name| !elsewhere.contains_key(*name))
        .collect();
    let missing = take_missing(layout, &config, &mut openable).await?;
    for (name, finding) in &missing {
        reports.insert((*name).to_owned(), serde_json::to_value([finding])?);
    }
    if openable.is_empty() {
        return Ok(reports);
    }
    // A store so damaged that its module, or one that needs it, does not open is a finding, not a failure to
    // look: what comes before it is still verified, and there the cause is named.
    let assembled = loop {
        let options = compose::Options { modules: openable.clone(), is_online: false };
        match compose::assemble(layout, &options).await {
            Ok(built) => break built,
            Err(error) => {
                let Some(closed) = openable.pop() else { return Ok(reports) };
                let place = layout.store(closed).display().to_string();
                let mut why = format!("{error:#}");
                if !missing.is_empty() {
                    let names: Vec<_> = missing.iter().map(|(name, _)| *name).collect();
                    why = format!("not looked at while the store of {} is missing: {why}", names.join(", "));
                }
                let finding = Finding::new("cannot_open", place, why);
                reports.insert(closed.to_owned(), serde_json::to_value([finding])?);
                if openable.is_empty() {
                    return Ok(reports);
                }
            }
        }
    };
    let compose::Assembled { house, rolled_back, .. } = assembled;
    for beam in house.beams().iter().filter(|beam| names.contains(&beam.module.name())) {
        output::progress(format!("verifying {}", beam.module.name()));
        let mut findings = match since {
            None => q_runtime::verify(&*beam.module).await?,
            Some(commit) => q_runtime::verify_since(&*beam.module, commit).await?.with_context(|| {
                format!("{} is verified as a whole; leave --since out", beam.module.name())
            })?,
        };
        let older = rolled_back.iter().filter(|older| older.module == beam.module.name());
        findings.extend(older.map(stores::finding));
        reports.insert(beam.module.name().to_owned(), serde_json::to_value(findings)?);
    }
    house.stop().await;
    Ok(reports)
}

/// The modules of `names` whose stores are gone, taken out of it.
async fn take_missing(
    layout: &Layout,
    config: &q_runtime::Config,
    names: &mut Vec<&'static str>,
) -> anyhow::Result<Vec<(&'static str, Finding)>> {
    let (known, mut missing) = (stores::Known::read(layout, false)?, Vec::new());
    for name in std::mem::take(names) {
        match compose::missing_store(layout, config, name).await? {
            Some(_) if !known.is_listed(name) => {
                output::progress(format!("{name} has no store yet; `q up` makes it"));
            }
            Some(why) => missing.push((name, Finding::new("store_missing", format!("{name} store"), why))),
            None => names.push(name),
        }
    }
    Ok(missing)
}
