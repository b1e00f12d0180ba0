//! `q doctor`: what would keep the instance from starting or serving, with a fix for each line.

use std::{fs, net::TcpListener, process::ExitCode};

use serde::Serialize;

use crate::{
    cli::{Cli, ReadArgs},
    commands::init,
    compose::{self, Options},
    layout::Layout,
    output::{self, exit},
    running::{self, Running},
    settings,
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

pub async fn run(cli: &Cli, arguments: &ReadArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let mut lines = vec![data_folder(&layout), secrets(&layout)];
    match compose::config(&layout) {
        Ok(config) => {
            let wrong = settings::wrong(&config);
            lines.extend(
                wrong.iter().map(|wrong| Line::bad("settings", wrong, "correct the setting it names")),
            );
            if wrong.is_empty() {
                lines.push(Line::good("settings", "valid"));
            }
            let running = running::find(&layout)?;
            lines.extend(ports(running.as_ref(), &config));
            let is_fit = lines.iter().all(|line| line.is_good || line.what.starts_with("port "));
            if running.is_none() && is_fit && init::is_done(&layout) {
                lines.extend(stores(&layout, &config).await);
            }
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
        Ok(_) if !init::is_done(layout) && layout.has_data() => Line::bad(
            "data folder",
            format!("{place} holds an instance whose making was cut off"),
            format!("q init --data {place}"),
        ),
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
    if !path.exists() && !layout.has_data() {
        return Line::good("unseal key", "made together with the instance");
    }
    match qlock::KeyFile::load(&path) {
        Ok(_) => Line::good("unseal key", format!("{} can be read", path.display())),
        Err(error) => {
            let fix = match &error {
                qlock::KeyFileError::TooOpen { .. } => format!("chmod 600 {}", path.display()),
                _ => "put the key file back from where you keep it apart from the data".to_owned(),
            };
            Line::bad("unseal key", error.to_string(), fix)
        }
    }
}

/// Opens the stores as a start does, without listening.
async fn stores(layout: &Layout, config: &q_runtime::Config) -> Vec<Line> {
    let setting = |name: &str, key: &str| config.section(name).optional(key).is_some();
    let here: Vec<_> =
        compose::MODULES.iter().map(|entry| entry.name).filter(|name| !setting(name, "url")).collect();
    // Opening would make an empty store in the place of one that is gone.
    let is_gone = |name: &&&str| !setting(name, "database_url") && !layout.store(name).exists();
    let gone: Vec<_> = here.iter().filter(is_gone).collect();
    if !gone.is_empty() {
        let line = |name: &&&str| {
            let finding = format!("{} is missing", layout.store(name).display());
            Line::bad(format!("store of {name}"), finding, "restore the data folder from a backup")
        };
        return gone.iter().map(line).collect();
    }
    match compose::assemble(layout, &Options { modules: here.clone(), is_online: false }).await {
        Ok(built) => {
            built.house.stop().await;
            let older = |name: &&str| built.rolled_back.iter().find(|older| older.module == **name);
            let line = |name: &&str| match older(name) {
                Some(older) => Line::bad(
                    format!("store of {name}"),
                    older.to_string(),
                    "put the newest copy of it back, or restore every store from the same backup",
                ),
                None => Line::good(format!("store of {name}"), "opens"),
            };
            here.iter().map(line).collect()
        }
        Err(error) => vec![Line::bad(
            "stores",
            format!("{error:#}"),
            "do what it says; `q verify` names what is damaged, a backup replaces it",
        )],
    }
}

fn ports(running: Option<&Running>, config: &q_runtime::Config) -> Vec<Line> {
    if let Some(running) = running {
        let finding = format!("in use by the running instance, process {}", running.pids());
        return vec![Line::good("ports", finding)];
    }
    let elsewhere = compose::remote_urls(config);
    let addresses = compose::listen_addresses(config).into_iter();
    let here = addresses.filter(|(section, _)| !elsewhere.contains_key(*section));
    here.map(|(section, address)| {
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
    .collect()
}
