//! The bus between processes, where the settings name a NATS server.

use std::time::Duration;

use q_bus::{BusKey, Nats, NatsSettings};
use q_core::{Env, hash};
use q_runtime::{Config, Setting};

use crate::{
    layout::{InstanceFile, Layout},
    output::{exit, with_code},
};

/// The section `[bus]`.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        key: "url",
        default: "",
        about: "NATS server with JetStream that carries events between processes, such as \
                nats://user:password@10.0.0.7:4222 or tls://…, several with commas between them; empty: modules in \
                other processes are asked themselves.",
    },
    Setting { key: "credentials", default: "", about: "File with the NATS account's credentials (.creds)." },
    Setting { key: "copies", default: "1", about: "How many servers of a NATS cluster keep each stream." },
    Setting { key: "keep_days", default: "7", about: "How long NATS keeps what was carried." },
    Setting {
        key: "stream_mib",
        default: "1024",
        about: "How large one of the two streams of a module may grow; the oldest rows make room.",
    },
];

/// Begins to connect to the server of the settings, if they name one.
pub(super) async fn connect(
    config: &Config,
    layout: &Layout,
    instance: &InstanceFile,
) -> anyhow::Result<Option<Nats>> {
    let section = config.section("bus");
    let Some(url) = section.optional("url") else { return Ok(None) };
    let cannot_start = |error: String| with_code(exit::CANNOT_START, format!("the bus: {error}"));
    let number = |key, expected| -> anyhow::Result<u32> {
        section.parse::<u32>(key, expected).map_err(|error| with_code(exit::CANNOT_START, error))
    };
    let namespace = format!("q{}", &hash::hex(&hash::sha256(instance.did.to_string().as_bytes()))[..12]);
    let settings = NatsSettings {
        credentials: section.optional("credentials").map(Into::into),
        copies: number("copies", "a number of servers")? as usize,
        age_max: Duration::from_hours(24 * u64::from(number("keep_days", "a number of days")?)),
        bytes_max: i64::from(number("stream_mib", "a number of MiB")?) << 20,
        ..NatsSettings::new(url, &namespace, BusKey::new(layout.bus_key()?))
    };
    for server in url.split(',').map(str::trim).filter(|server| !server.starts_with("tls://")) {
        let host = server.rsplit(['/', '@']).next().unwrap_or_default();
        if !["127.", "localhost", "[::1]"].iter().any(|here| host.starts_with(here)) {
            tracing::warn!(
                host,
                "events go to the NATS server unencrypted; tls:// or a network that encrypts protects them"
            );
        }
    }
    let me = hash::hex(&Env::system().random::<8>());
    let nats = Nats::connect(settings, &me).await.map_err(cannot_start)?;
    Ok(Some(nats))
}
