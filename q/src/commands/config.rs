//! `q config`: every setting, its value and where it comes from.

use std::{collections::BTreeMap, process::ExitCode};

use q_runtime::config::variable_name;
use serde_json::json;

use crate::{
    cli::{Cli, ReadArgs},
    compose,
    layout::Layout,
    output,
};

pub fn run(cli: &Cli, arguments: &ReadArgs) -> anyhow::Result<ExitCode> {
    let settings = effective(&Layout::of(&cli.data))?;
    output::show(arguments.json, &settings, |settings| {
        for (name, setting) in settings {
            let text = |key: &str| setting[key].as_str().unwrap_or_default().to_owned();
            let (value, origin, variable) = (text("value"), text("origin"), text("variable"));
            let origin = if origin == variable { origin } else { format!("{origin}; {variable} sets it") };
            output::line(format!("{name} = {value:?}   ({origin})"));
            output::line(format!("    {}", text("about")));
        }
    });
    Ok(ExitCode::SUCCESS)
}

/// Every setting with its value, where it comes from and the variable that sets it; secrets are not shown.
pub fn effective(layout: &Layout) -> anyhow::Result<BTreeMap<String, serde_json::Value>> {
    let config = compose::config(layout)?;
    let settings = config
        .all()
        .map(|(name, setting)| {
            let variable = name.split_once('.').map(|(section, key)| variable_name(section, key));
            (
                name.clone(),
                json!({
                    "value": shown(&name, &setting.value),
                    "origin": setting.origin,
                    "variable": variable,
                    "about": setting.about,
                }),
            )
        })
        .collect();
    Ok(settings)
}

/// The value, unless it is a secret that stands in the settings themselves and not in a file they name.
fn shown(name: &str, value: &str) -> String {
    let is_secret = name.ends_with("token") && !value.is_empty() && !value.starts_with("file:");
    if is_secret { "(set)".to_owned() } else { redacted(value) }
}

/// A database URL without its password.
fn redacted(value: &str) -> String {
    match value.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?))) {
        Some((scheme, (user, host))) => {
            format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default())
        }
        None => value.to_owned(),
    }
}
