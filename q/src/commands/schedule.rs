//! `q backup schedule`: how often, where to, how long; shown, or set in `q.toml`.

use std::{fs, process::ExitCode};

use clap::Args;
use q_backup::{Keep, Recipients, Target};
use q_core::Did;
use serde::Serialize;

use crate::{
    backups, compose,
    layout::{INSTANCE, Layout, write_private},
    output::{self, usage},
};

/// `q backup schedule`.
#[derive(Debug, Args)]
pub struct ScheduleArgs {
    /// Minutes between two whole backups; 0 switches backups off.
    #[arg(long, value_name = "MINUTES")]
    pub every: Option<u32>,
    /// Seconds between two shipments of changes.
    #[arg(long, value_name = "SECONDS")]
    pub ship_every: Option<u32>,
    /// The rule of retention, such as hourly=48,daily=7,weekly=4,monthly=12.
    #[arg(long, value_name = "RULE")]
    pub keep: Option<Keep>,
    /// Where to: a folder, or s3://bucket/prefix?endpoint=https://host&region=name.
    #[arg(long, value_name = "TARGET")]
    pub to: Option<String>,
    /// Age public keys (age1…) that open the backups.
    #[arg(long, value_name = "KEYS")]
    pub recipients: Option<String>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    is_on: bool,
    every_minutes: u64,
    ship_every_seconds: u64,
    keep: String,
    target: String,
    recipients: String,
    /// Whose signature a restore elsewhere has to expect.
    signer: Option<Did>,
    status: q_backup::Status,
}

pub fn run(layout: &Layout, arguments: &ScheduleArgs) -> anyhow::Result<ExitCode> {
    let mut changes = Vec::new();
    changes.extend(arguments.every.map(|minutes| ("every_minutes", minutes.to_string())));
    changes.extend(arguments.ship_every.map(|seconds| ("ship_every_seconds", seconds.to_string())));
    changes.extend(arguments.keep.map(|keep| ("keep", quoted(&keep.to_string()))));
    if let Some(to) = &arguments.to {
        Target::parse(to, |_| Some("set".into())).map_err(usage)?;
        changes.push(("target", quoted(to)));
    }
    if let Some(recipients) = &arguments.recipients {
        Recipients::parse(recipients).map_err(usage)?;
        changes.push(("recipients", quoted(recipients)));
    }
    if !changes.is_empty() {
        let path = layout.config();
        let text = fs::read_to_string(&path).unwrap_or_default();
        write_private(&path, with_settings(&text, &changes).as_bytes())?;
        output::progress(format!(
            "noted in {}; a running process follows it from its next start on",
            path.display()
        ));
    }
    let config = compose::config(layout)?;
    let schedule = backups::schedule(&config)?;
    let settings = config.section("backup");
    let number = |key: &str| settings.text(key).parse().unwrap_or_default();
    let shown = Shown {
        is_on: schedule.is_some(),
        every_minutes: number("every_minutes"),
        ship_every_seconds: number("ship_every_seconds"),
        keep: settings.text("keep").to_owned(),
        target: backups::target(layout, &config, None)
            .map_or_else(|error| error.to_string(), |place| place.to_string()),
        recipients: settings
            .optional("recipients")
            .map_or_else(|| format!("the key in {}", backups::key_file(layout).display()), str::to_owned),
        signer: layout.read_did(INSTANCE).ok(),
        status: q_backup::status(&layout.data),
    };
    output::show(arguments.json, &shown, |shown| {
        if shown.is_on {
            let (minutes, seconds) = (shown.every_minutes, shown.ship_every_seconds);
            output::line(format!(
                "a backup at each start and every {minutes} min; changes every {seconds} s (SQLite)"
            ));
        } else {
            output::line("no backups are made: every_minutes is 0");
        }
        output::line(format!("to       {}", shown.target));
        output::line(format!("opened by {}", shown.recipients));
        if let Some(signer) = &shown.signer {
            output::line(format!("signed by {signer}"));
        }
        output::line(format!("kept     {}", shown.keep));
        match (&shown.status.id, shown.status.last_success) {
            (Some(id), Some(at)) => output::line(format!("newest   {id} of {at}")),
            _ => output::line("newest   none yet"),
        }
        for error in [&shown.status.last_error, &shown.status.shipping_error].into_iter().flatten() {
            output::line(format!("trouble  {error}"));
        }
    });
    Ok(ExitCode::SUCCESS)
}

fn quoted(text: &str) -> String {
    // A JSON string is a TOML basic string.
    serde_json::Value::from(text).to_string()
}

/// `text` with these keys in its section `[backup]`; everything else, comments too, stays as it was.
fn with_settings(text: &str, changes: &[(&str, String)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let begin = lines.iter().position(|line| line.trim() == "[backup]").unwrap_or_else(|| {
        lines.push("[backup]".to_owned());
        lines.len() - 1
    });
    for (key, value) in changes {
        let end = lines.iter().skip(begin + 1).position(|line| line.trim_start().starts_with('['));
        let end = end.map_or(lines.len(), |at| begin + 1 + at);
        let is_key = |line: &String| line.split('=').next().is_some_and(|name| name.trim() == *key);
        let line = format!("{key} = {value}");
        match lines[begin + 1..end].iter().position(is_key) {
            Some(at) => lines[begin + 1 + at] = line,
            None => lines.insert(begin + 1, line),
        }
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_set_where_they_belong() {
        let text = "# mine\n[backup]\nkeep = \"daily=1\" # few\n\n[qwallet]\nlisten = \"127.0.0.1:1\"\n";
        let set = with_settings(text, &[("keep", "\"daily=2\"".into()), ("every_minutes", "5".into())]);
        let expected = "# mine\n[backup]\nevery_minutes = 5\nkeep = \"daily=2\"\n\n[qwallet]\nlisten = \"127.0.0.1:1\"\n";
        assert_eq!(set, expected);
        assert_eq!(with_settings("", &[("keep", "\"\"".into())]), "[backup]\nkeep = \"\"\n");
    }
}
