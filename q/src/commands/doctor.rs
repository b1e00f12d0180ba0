//! `q doctor`: what would keep the instance from starting or serving, with a fix for each line.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, process::ExitCode};

use serde::Serialize;

use crate::{
    cli::{Cli, ReadArgs},
    compose,
    layout::Layout,
    output::{self, exit},
    running,
};

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Line {
    what: String,
    is_good: bool,
    finding: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Line {
    fn good(what: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { what: what.into(), is_good: true, finding: finding.into(), fix: None }
    }

    fn bad(what: impl Into<String>, finding: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { what: what.into(), is_good: false, finding: finding.into(), fix: Some(fix.into()) }
    }
}

pub fn run(cli: &Cli, arguments: &ReadArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let mut lines = vec![data_folder(&layout), secrets(&layout)];
    match compose::config(&layout) {
        Ok(config) => {
            lines.push(Line::good("settings", "valid"));
            lines.extend(ports(&layout, &config)?);
        }
        Err(error) => lines.push(Line::bad("settings", format!("{error:#}"), "correct the setting it names")),
    }
    let is_healthy = lines.iter().all(|line| line.is_good);
    output::show(arguments.json, &lines, |lines| {
        for line in lines {
            output::line(format!(
                "{} {:<18} {}",
                if line.is_good { "ok " } else { "BAD" },
                line.what,
                line.finding
            ));
            if let Some(fix) = &line.fix {
                output::line(format!("    fix: {fix}"));
            }
        }
    });
    Ok(if is_healthy { ExitCode::SUCCESS } else { ExitCode::from(exit::FINDINGS) })
}

fn data_folder(layout: &Layout) -> Line {
    let place = layout.data.display().to_string();
    match fs::metadata(&layout.data) {
        Err(_) => Line::good("data folder", format!("{place} does not exist yet; `q up` makes it")),
        Ok(folder) if !folder.is_dir() => {
            Line::bad("data folder", format!("{place} is not a folder"), "choose another with --data")
        }
        Ok(folder) if folder.permissions().readonly() => {
            Line::bad("data folder", format!("{place} is read-only"), "make it writable for this user")
        }
        Ok(_) if !layout.instance().exists() => {
            Line::good("data folder", format!("{place} holds no instance yet"))
        }
        Ok(_) => match layout.read_instance() {
            Ok(instance) => Line::good("data folder", format!("{place} holds {}", instance.did)),
            Err(error) => {
                Line::bad("data folder", format!("{error:#}"), "restore instance.json from a backup")
            }
        },
    }
}

fn secrets(layout: &Layout) -> Line {
    let path = layout.unseal_key();
    match fs::metadata(&path) {
        Err(_) if layout.instance().exists() => Line::bad(
            "unseal key",
            format!("{} is missing: what qlock sealed cannot be opened", path.display()),
            "put the key file back from where you keep it apart from the data",
        ),
        Err(_) => Line::good("unseal key", "made together with the instance"),
        Ok(file) if file.permissions().mode() & 0o077 != 0 => Line::bad(
            "unseal key",
            format!("{} is readable by others", path.display()),
            format!("chmod 600 {}", path.display()),
        ),
        Ok(_) => Line::good("unseal key", path.display().to_string()),
    }
}

fn ports(layout: &Layout, config: &q_runtime::Config) -> anyhow::Result<Vec<Line>> {
    if let Some(running) = running::find(layout)? {
        return Ok(vec![Line::good(
            "ports",
            format!("in use by the running instance, process {}", running.pids()),
        )]);
    }
    Ok(compose::listen_addresses(config)
        .into_iter()
        .map(|(section, address)| {
            let what = format!("port of {section}");
            match TcpListener::bind(&address) {
                Ok(_) => Line::good(what, format!("{address} is free")),
                Err(error) => {
                    let variable = q_runtime::config::variable_name(section, "listen");
                    Line::bad(
                        what,
                        format!("{address}: {error}"),
                        format!("stop what uses it, or set {variable}"),
                    )
                }
            }
        })
        .collect())
}
