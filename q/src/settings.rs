//! Whether each setting can be what it means, judged before anything is made or opened.
//!
//! **Invariant:** refuses no value that a start would accept.

use std::{net::SocketAddr, str::FromStr};

use q_core::Env;
use q_did::{WebName, entry::key_hash};
use q_http::Proxies;
use q_jose::SecretKey;
use q_runtime::{Config, config::variable_name};

use crate::{
    compose,
    output::{exit, with_code},
};

/// A setting that cannot be what it means.
#[derive(Debug)]
pub struct Finding {
    /// The setting, such as `qwallet.listen`.
    pub setting: String,
    /// Where it was said, and what is expected.
    pub text: String,
}

/// Refuses to go on with settings that cannot be what they mean: all of them are named.
pub fn refuse_wrong(config: &Config) -> anyhow::Result<()> {
    let wrong: Vec<String> = wrong(config).into_iter().map(|finding| finding.text).collect();
    if wrong.is_empty() { Ok(()) } else { Err(with_code(exit::CANNOT_START, wrong.join("; "))) }
}

/// The settings that cannot be what they mean.
pub fn wrong(config: &Config) -> Vec<Finding> {
    let mut wrong = Wrong { config, found: Vec::new() };
    wrong.unless::<Origin>(
        "instance",
        "origin",
        "http:// or https:// and a lower-case DNS name of two labels or more, with a port where there is one, such as http://qnode.localhost:8080",
    );
    for (section, _) in compose::listen_addresses(config) {
        wrong.unless::<SocketAddr>(section, "listen", "an address with a port, such as 127.0.0.1:3000");
    }
    for key in ["per_address_per_minute", "per_identity_per_minute", "per_sub_identity_per_minute"] {
        wrong.unless::<u32>("limits", key, "a number of requests, or 0");
    }
    wrong.unless::<Trusted>(
        "limits",
        "trusted_proxies",
        "addresses or networks with commas between them, such as 10.0.0.7, 10.1.0.0/16",
    );
    wrong.unless::<u32>("limits", "connections_per_address", "a number of connections, or 0");
    wrong.unless::<u64>("stop", "notice_seconds", "a number of seconds");
    wrong.unless::<u64>("backup", "every_minutes", "a number of minutes, or 0");
    wrong.unless::<u64>("backup", "ship_every_seconds", "a number of seconds");
    wrong.unless::<q_backup::Keep>("backup", "keep", "a rule such as hourly=48,daily=7,weekly=4,monthly=12");
    for (key, expected) in [
        ("copies", "a number of servers"),
        ("keep_days", "a number of days"),
        ("stream_mib", "a number of MiB"),
    ] {
        wrong.unless::<u32>("bus", key, expected);
    }
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
    wrong.unless::<qwallet::AmountsSetting>("qwallet", "step_up", qwallet::AmountsSetting::EXPECTED);
    for entry in &compose::MODULES {
        let settings = config.section(entry.name);
        if settings.optional("url").is_some() {
            wrong.unless::<BaseUrl>(entry.name, "url", "a URL such as http://127.0.0.1:3000");
        }
        if let Err(error) = compose::database(config, entry.name) {
            wrong.note(entry.name, "database_url", error);
        }
    }
    if let Some(error) = q_ops::watch::judge(&config.section(q_ops::NAME), &Env::system()) {
        let text = format!("{} (ops.{}): {}", variable_name(q_ops::NAME, &error.key), error.key, error.why);
        wrong.note(q_ops::NAME, &error.key, text);
    }
    wrong.found
}

struct Wrong<'a> {
    config: &'a Config,
    found: Vec<Finding>,
}

impl Wrong<'_> {
    fn unless<T: FromStr>(&mut self, section: &str, key: &str, expected: &'static str) {
        if let Err(error) = self.config.section(section).parse::<T>(key, expected) {
            self.note(section, key, error.to_string());
        }
    }

    fn note(&mut self, section: &str, key: &str, text: String) {
        self.found.push(Finding { setting: format!("{section}.{key}"), text });
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

/// Whom the `Forwarded` field is believed of.
struct Trusted;

impl FromStr for Trusted {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Proxies::parse(text).map(|_| Self).map_err(|_| ())
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
