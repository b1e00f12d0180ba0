//! `q verify`: everything the modules keep, checked; through the running instance, or offline on its folder.

use std::{collections::BTreeMap, process::ExitCode};

use bytes::Bytes;
use q_runtime::Finding;
use serde_json::Value;

use crate::{
    cli::{Cli, VerifyArgs},
    compose,
    layout::Layout,
    output::{self, exit},
    running,
    session::Session,
};

pub async fn run(cli: &Cli, arguments: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let names: Vec<&str> = match &arguments.module {
        Some(module) => vec![compose::entry(module)?.name],
        None => compose::MODULES.iter().map(|entry| entry.name).collect(),
    };
    let reports = if running::find(&layout)?.is_some() {
        online(cli, &names).await?
    } else {
        offline(&layout, &names).await?
    };
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

async fn online(cli: &Cli, names: &[&str]) -> anyhow::Result<BTreeMap<String, Value>> {
    let session = Session::open(&cli.data, "operator")?;
    let mut reports = BTreeMap::new();
    for name in names {
        output::progress(format!("verifying {name}"));
        let answer =
            session.client(name)?.send("POST", "/health/verify", Bytes::new(), "application/json").await?;
        let mut report: Value = serde_json::from_slice(answer.body())?;
        anyhow::ensure!(answer.status().is_success(), "{name} cannot be verified: {report}");
        reports.insert((*name).to_owned(), report["findings"].take());
    }
    Ok(reports)
}

async fn offline(layout: &Layout, names: &[&str]) -> anyhow::Result<BTreeMap<String, Value>> {
    let mut reports = BTreeMap::new();
    let house = match compose::assemble(layout, &compose::Options::offline()).await {
        Ok(built) => built.house,
        // A store so damaged that its module does not open is a finding, not a failure to look.
        Err(error) => {
            let finding =
                Finding::new("cannot_open", layout.data.display().to_string(), format!("{error:#}"));
            reports.insert("instance".to_owned(), serde_json::to_value([finding])?);
            return Ok(reports);
        }
    };
    for beam in house.beams().iter().filter(|beam| names.contains(&beam.module.name())) {
        output::progress(format!("verifying {}", beam.module.name()));
        let findings = q_runtime::verify(&*beam.module).await?;
        reports.insert(beam.module.name().to_owned(), serde_json::to_value(findings)?);
    }
    house.stop().await;
    Ok(reports)
}
