//! What can be set: the platform's sections, what every module has, and each module's own.

use std::collections::BTreeMap;

use q_runtime::{Config, Setting, config::variable_name};

use super::{MODULES, ModuleEntry, bus, telemetry};
use crate::{
    backups,
    layout::Layout,
    output::{exit, with_code},
};

const PLATFORM_SETTINGS: [(&str, &[Setting]); 9] = [
    ("backup", backups::SETTINGS),
    ("bus", bus::SETTINGS),
    ("log", telemetry::LOG),
    ("metrics", telemetry::METRICS),
    ("telemetry", telemetry::TELEMETRY),
    (
        "instance",
        &[Setting {
            key: "origin",
            default: "http://qnode.localhost:8080",
            about: "The origin under which people reach the front door; issuer and audience of every token.",
        }],
    ),
    (
        "front_door",
        &[Setting { key: "listen", default: "127.0.0.1:8080", about: "Address and port of the front door." }],
    ),
    (
        "stop",
        &[Setting {
            key: "notice_seconds",
            default: "0",
            about: "How long /health/ready says no before a stop refuses connections, for load balancers to look away.",
        }],
    ),
    (
        "limits",
        &[
            Setting {
                key: "per_address_per_minute",
                default: "6000",
                about: "Requests a minute allowed to one network address, per module; 0 switches the limit off.",
            },
            Setting {
                key: "per_identity_per_minute",
                default: "600",
                about: "Requests a minute allowed to one identity, per module; 0 switches the limit off.",
            },
            Setting {
                key: "per_sub_identity_per_minute",
                default: "50",
                about: "Requests a minute allowed to one sub-identity, such as a program's; 0 switches the limit off.",
            },
            Setting {
                key: "trusted_proxies",
                default: "",
                about: "Addresses or networks (such as 10.1.0.0/16) of proxies on other hosts, with commas between them, \
                        whose Forwarded header says for whom they ask; those on this host are believed anyway. A proxy \
                        must overwrite the header that it was sent, or its clients choose the address they are counted by.",
            },
            Setting {
                key: "connections_per_address",
                default: "1000",
                about: "Connections one network address may have open at each port; 0 switches the limit off.",
            },
        ],
    ),
];

/// How many identities one address may register in an hour on a demonstration: whoever tries it out is one address.
const DEMO_REGISTRATIONS: &str = "100";

/// The effective settings of the instance in `layout`.
pub fn config(layout: &Layout) -> anyhow::Result<Config> {
    let config = Config::load(&declared(layout), &layout.config(), |name| std::env::var(name).ok());
    config.map_err(|error| with_code(exit::CANNOT_START, error))
}

/// The same to look at, with what in `q.toml` is no setting.
pub fn config_with_unknown(layout: &Layout) -> anyhow::Result<(Config, Vec<String>)> {
    let config = Config::read(&declared(layout), &layout.config(), |name| std::env::var(name).ok());
    config.map_err(|error| with_code(exit::CANNOT_START, error))
}

/// The settings with their defaults, of which a demonstration has one of its own.
fn declared(layout: &Layout) -> Vec<(&'static str, Vec<Setting>)> {
    let mut declared: Vec<(&'static str, Vec<Setting>)> =
        PLATFORM_SETTINGS.iter().map(|(section, settings)| (*section, settings.to_vec())).collect();
    let is_demo = layout.read_instance().is_ok_and(|instance| instance.is_demo);
    for entry in &MODULES {
        let mut settings = entry.common_settings();
        settings.extend_from_slice(entry.settings);
        if is_demo && let Some(setting) = settings.iter_mut().find(|s| s.key == "registrations_per_hour") {
            setting.default = DEMO_REGISTRATIONS;
        }
        declared.push((entry.name, settings));
    }
    declared
}

/// The sections that listen, with their addresses.
pub fn listen_addresses(config: &Config) -> Vec<(&'static str, String)> {
    let sections = std::iter::once("front_door").chain(MODULES.iter().map(|entry| entry.name));
    sections.map(|section| (section, config.section(section).text("listen").to_owned())).collect()
}

/// Modules whose settings name a URL are elsewhere.
pub fn remote_urls(config: &Config) -> BTreeMap<String, String> {
    let url = |name: &str| config.section(name).optional("url").map(str::to_owned);
    MODULES.iter().filter_map(|entry| Some((entry.name.to_owned(), url(entry.name)?))).collect()
}

impl ModuleEntry {
    /// The settings every module has. Their texts live as long as the program, like those of a declaration.
    pub(super) fn common_settings(&self) -> Vec<Setting> {
        let listen: &'static str = Box::leak(format!("127.0.0.1:{}", self.port).into_boxed_str());
        vec![
            Setting { key: "listen", default: listen, about: "Address and port of this module." },
            Setting {
                key: "database_url",
                default: "",
                about: "Where its rows live: empty for a file in the data folder, or postgres://user@host/database.",
            },
            Setting {
                key: "url",
                default: "",
                about: "Its base URL when it runs in another process, or several with commas between them; empty when it \
                        runs in this one.",
            },
        ]
    }
}

/// The variables that set a module, each with what it means.
pub fn variables_of(entry: &ModuleEntry) -> Vec<(String, &'static str)> {
    let settings = entry.common_settings().into_iter().chain(entry.settings.iter().copied());
    settings.map(|setting| (variable_name(entry.name, setting.key), setting.about)).collect()
}

/// The database of a module's rows on PostgreSQL, as its runbook names it.
pub fn database_of(module: &str) -> String {
    // The runbook of qwallet says `pg_dump wallet_db`; the others are named after their module.
    let name = if module == "qwallet" { "wallet" } else { module };
    format!("{name}_db")
}
