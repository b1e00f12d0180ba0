//! `q config`: every setting, its value and where it comes from; and what is wrong with it.

use std::{collections::BTreeMap, process::ExitCode};

use q_runtime::{
    Config,
    config::{Effective, variable_name},
};
use serde_json::{Value, json};

use crate::{
    cli::{Cli, ReadArgs},
    compose,
    layout::Layout,
    output::{self, exit},
    settings,
};

pub fn run(cli: &Cli, arguments: &ReadArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let (config, unknown) = compose::config_with_unknown(&layout)?;
    let wrong = settings::wrong(&config);
    let mut shown = listed(&config);
    for finding in &wrong {
        if let Some(setting) = shown.get_mut(&finding.setting) {
            setting["wrong"] = json!(finding.text);
        }
    }
    output::show(arguments.json, &shown, |shown| {
        for (name, setting) in shown {
            let text = |key: &str| setting[key].as_str().unwrap_or_default().to_owned();
            let (value, origin, variable) = (text("value"), text("origin"), text("variable"));
            let origin = if origin == variable { origin } else { format!("{origin}; {variable} sets it") };
            output::line(format!("{name} = {value:?}   ({origin})"));
            output::line(format!("    {}", text("about")));
        }
    });
    let findings: Vec<&String> = unknown.iter().chain(wrong.iter().map(|finding| &finding.text)).collect();
    if findings.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for finding in &findings {
        output::progress(format!("wrong: {finding}"));
    }
    output::progress(format!("q: nothing starts with these settings: {} to correct", findings.len()));
    Ok(ExitCode::from(exit::CANNOT_START))
}

/// Every setting with its value, where it comes from and the variable that sets it; secrets are not shown.
pub fn effective(layout: &Layout) -> anyhow::Result<BTreeMap<String, Value>> {
    Ok(listed(&compose::config(layout)?))
}

fn listed(config: &Config) -> BTreeMap<String, Value> {
    let described = |(name, setting): (String, &Effective)| {
        let variable = name.split_once('.').map(|(section, key)| variable_name(section, key));
        let described = json!({
            "value": shown(&name, &setting.value),
            "origin": setting.origin,
            "variable": variable,
            "about": setting.about,
        });
        (name, described)
    };
    config.all().map(described).collect()
}

/// The value, unless it is a secret that stands in the settings themselves and not in a file they name.
fn shown(name: &str, value: &str) -> String {
    let is_secret = name.ends_with("token") && !value.is_empty() && !value.starts_with("file:");
    if is_secret { "(set)".to_owned() } else { redacted(value) }
}

/// A value without what its URLs hold that opens something: passwords, tokens, and the paths of webhooks, which are all
/// that keeps strangers from calling them.
fn redacted(value: &str) -> String {
    value
        .split_inclusive([',', ';', ' '])
        .scan(false, |after_webhook, piece| {
            let word = piece.trim_end_matches([',', ';', ' ']);
            let is_webhook =
                std::mem::replace(after_webhook, word == "webhook" || word.is_empty() && *after_webhook);
            Some(format!("{}{}", redacted_url(word, is_webhook), &piece[word.len()..]))
        })
        .collect()
}

fn redacted_url(word: &str, is_webhook: bool) -> String {
    let Some((scheme, rest)) = word.split_once("://") else { return word.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // A password with a bare slash ends the authority too early, and an `@` behind it gives that away.
    let (authority, path) = match path.rfind('@') {
        Some(_) if !authority.contains('@') => ("…", "/…"),
        _ => (authority, path),
    };
    let shown = match authority.rsplit_once('@') {
        // With no password beside it, it is the token of a NATS server.
        Some((user, host)) if user.contains(':') || !matches!(scheme, "nats" | "tls") => {
            format!("{}@{host}", user.split(':').next().unwrap_or_default())
        }
        Some((_, host)) => format!("…@{host}"),
        None => authority.to_owned(),
    };
    let path = match path.split_once('?') {
        _ if is_webhook && path.len() > 1 => "/…".to_owned(),
        Some((path, _)) => format!("{path}?…"),
        None => path.to_owned(),
    };
    format!("{scheme}://{shown}{path}")
}

#[cfg(test)]
mod tests {
    use super::redacted;

    #[test]
    fn what_opens_something_is_not_shown() {
        for (value, shown) in [
            ("postgres://q:pa@ss@db:5432/wallet_db", "postgres://q@db:5432/wallet_db"),
            ("postgres://q@db/wallet_db?password=pass", "postgres://q@db/wallet_db?…"),
            ("postgres://q:pa/ss@db/wallet_db", "postgres://…/…"),
            ("nats://u:pass@one:4222, tls://u:pass@two:4222", "nats://u@one:4222, tls://u@two:4222"),
            ("nats://pass@one:4222", "nats://…@one:4222"),
            (
                "email a@example.org; webhook https://hooks.example.org/T0/pass; command /usr/bin/page a",
                "email a@example.org; webhook https://hooks.example.org/…; command /usr/bin/page a",
            ),
            ("webhook  https://hooks.example.org/?key=pass", "webhook  https://hooks.example.org/…"),
            ("s3://bucket/folder", "s3://bucket/folder"),
            ("http://qnode.localhost:8080", "http://qnode.localhost:8080"),
            ("127.0.0.1:8080", "127.0.0.1:8080"),
        ] {
            assert_eq!(redacted(value), shown);
        }
    }
}
