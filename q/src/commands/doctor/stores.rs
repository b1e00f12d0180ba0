//! The stores: there, of this program's shape, sound, and none older than what the audit trail has heard.

use std::time::Instant;

use q_runtime::{Config, config::variable_name};

use super::{Line, network::Clocks};
use crate::{
    commands::preflight,
    compose::{self, Options},
    layout::Layout,
    running::Running,
};

/// Looks at each store; while nothing runs, opens them as a start does.
pub async fn look(
    layout: &Layout,
    config: &Config,
    running: Option<&Running>,
    clocks: &mut Clocks,
) -> Vec<Line> {
    let mut lines = Vec::new();
    let here: Vec<_> = compose::MODULES
        .iter()
        .filter(|entry| config.section(entry.name).optional("url").is_none())
        .collect();
    for entry in &here {
        let what = format!("store of {}", entry.name);
        let begun = Instant::now();
        let looked = preflight::look(layout, config, entry, true).await;
        let ms = begun.elapsed().as_millis();
        lines.push(match looked {
            Err(error) => {
                let fix = if config.section(entry.name).optional("database_url").is_some() {
                    let variable = variable_name(entry.name, "database_url");
                    format!(
                        "start the database server, or correct {variable}; a backup replaces what is lost"
                    )
                } else {
                    "do what it says; a backup replaces what is lost or damaged".to_owned()
                };
                Line::bad(what, format!("{error:#}"), fix)
            }
            Ok(look) if !look.complaints.is_empty() => Line::bad(
                what,
                format!("damaged: {}", look.complaints.join("; ")),
                "`q verify` names what is damaged, `q backup list --clean` the newest copy without it",
            ),
            Ok(look) => {
                if let Some(clock) = look.clock {
                    clocks.note(&format!("the database of {}", entry.name), clock);
                }
                let pending = match look.pending {
                    0 => String::new(),
                    steps => format!(", {steps} steps to be run at the next start"),
                };
                Line::good(what, format!("sound, schema {}{pending}, looked at in {ms} ms", look.schema))
            }
        });
    }
    let is_sound = lines.iter().all(|line| line.state == super::State::Good);
    if running.is_none() && is_sound {
        let modules = here.iter().map(|entry| entry.name).collect();
        lines.extend(open(layout, modules).await);
    }
    lines
}

/// Opens the stores as a start does, without listening.
async fn open(layout: &Layout, modules: Vec<&'static str>) -> Vec<Line> {
    match compose::assemble(layout, &Options { modules, is_online: false }).await {
        Ok(built) => {
            built.house.stop().await;
            if built.rolled_back.is_empty() {
                return vec![Line::good("stores", "open together, none older than the audit trail")];
            }
            let line = |older: &qerberos::RolledBack| {
                Line::bad(
                    format!("store of {}", older.module),
                    older.to_string(),
                    "put the newest copy of it back, or restore every store from the same backup",
                )
            };
            built.rolled_back.iter().map(line).collect()
        }
        Err(error) => vec![Line::bad(
            "stores",
            format!("{error:#}"),
            "do what it says; `q verify` names what is damaged, a backup replaces it",
        )],
    }
}
