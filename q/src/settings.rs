//! Whether each setting can be what it means, judged before anything is made or opened.
//!
//! **Invariant:** refuses no value that a start would accept.

use std::{net::SocketAddr, str::FromStr};

use q_db::DbConfig;
use q_did::{WebName, entry::key_hash};
use q_jose::SecretKey;
use q_runtime::{Config, config::variable_name};

use crate::compose;

/// The settings that cannot be what they mean, each with its place and what is expected.
pub fn wrong(config: &Config) -> Vec<String> {
    let mut wrong = Wrong { config, found: Vec::new() };
    wrong.unless::<Origin>(
        "instance",
        "origin",
        "http:// or https:// and a lower-case DNS name of two labels or more, with a port where there is one, such as http://qnode.localhost:8080",
    );
    for (section, _) in compose::listen_addresses(config) {
        wrong.unless::<SocketAddr>(section, "listen", "an address with a port, such as 127.0.0.1:3000");
    }
    for key in ["per_address_per_minute", "per_identity_per_minute"] {
        wrong.unless::<u32>("limits", key, "a number of requests, or 0");
    }
    wrong.unless::<u32>("limits", "connections_per_address", "a number of connections, or 0");
    wrong.unless::<u64>("stop", "notice_seconds", "a number of seconds");
    wrong.unless::<u64>("backup", "every_minutes", "a number of minutes, or 0");
    wrong.unless::<u64>("backup", "ship_every_seconds", "a number of seconds");
    wrong.unless::<q_backup::Keep>("backup", "keep", "a rule such as hourly=48,daily=7,weekly=4,monthly=12");
    wrong.unless::<LogTo>("log", "to", "files, stderr or both");
    wrong.unless::<tracing::Level>("log", "level", "info, warn or error");
    wrong.unless::<u64>("log", "file_bytes", "a number of bytes");
    wrong.unless::<u32>("log", "files", "a number of files");
    wrong.unless::<f64>("telemetry", "sampling_ratio", "a number from 0 to 1");
    wrong.unless::<u32>("telemetry", "traces_per_second", "a number of traces, or 0");
    wrong.unless::<u32>("squid", "registrations_per_hour", "a number of identities");
    for key in ["fee_platform_basis_points", "fee_network_basis_points"] {
        wrong.unless::<u16>("qwallet", key, "a number from 0 to 65535");
    }
    for entry in &compose::MODULES {
        let settings = config.section(entry.name);
        if settings.optional("url").is_some() {
            wrong.unless::<BaseUrl>(entry.name, "url", "a URL such as http://127.0.0.1:3000");
        }
        // The value is not repeated: it may hold a password.
        if let Some(Err(error)) = settings.optional("database_url").map(str::parse::<DbConfig>) {
            let variable = variable_name(entry.name, "database_url");
            wrong.found.push(format!("{variable} (database_url under [{}]): {error}", entry.name));
        }
    }
    wrong.found
}

struct Wrong<'a> {
    config: &'a Config,
    found: Vec<String>,
}

impl Wrong<'_> {
    fn unless<T: FromStr>(&mut self, section: &str, key: &str, expected: &'static str) {
        if let Err(error) = self.config.section(section).parse::<T>(key, expected) {
            self.found.push(error.to_string());
        }
    }
}

/// Where a module in another process is reached.
struct BaseUrl;

impl FromStr for BaseUrl {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let url: http::Uri = text.parse().map_err(|_| ())?;
        let is_web = url.scheme_str().is_some_and(|scheme| ["http", "https"].contains(&scheme));
        if is_web { Ok(Self) } else { Err(()) }
    }
}

/// Where log lines go.
struct LogTo;

impl FromStr for LogTo {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        if ["files", "stderr", "both"].contains(&text) { Ok(Self) } else { Err(()) }
    }
}

/// The origin identities get their names from: its host has to be one a name can hold.
struct Origin;

impl FromStr for Origin {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let origin = text.trim_end_matches('/');
        let host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://")).ok_or(())?;
        // Any id of the right shape shows whether the host is one.
        let id = key_hash(&SecretKey::from_seed(&[0; 32]).public());
        WebName::at_host(&id, host).map(|_| Self).map_err(|_| ())
    }
}
