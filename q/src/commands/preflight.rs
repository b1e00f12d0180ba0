//! What a start would refuse, found out without opening a store: a process that takes over does this while the one
//! before it still serves.

use std::{collections::BTreeMap, net::TcpListener};

use anyhow::Context as _;
use q_runtime::Config;

use crate::{
    commands::init,
    compose::{self, ModuleEntry, Options, service_name},
    layout::Layout,
    output::{exit, with_code},
    settings,
};

/// Refuses what would keep the modules of `options` from serving on `sockets`.
pub async fn check(
    layout: &Layout,
    options: &Options,
    sockets: &BTreeMap<String, TcpListener>,
) -> anyhow::Result<()> {
    layout.read_instance()?;
    // Services that this version adds get their identities from stores that nobody else has open.
    init::complete(layout).await?;
    let config = compose::config(layout)?;
    settings::refuse_wrong(&config)?;
    let entries = options.entries(&config);
    for entry in &entries {
        layout.read_keyring(&service_name(entry.name))?;
        if entry.name == "qlock" {
            qlock::KeyFile::load(&layout.unseal_key())
                .with_context(|| format!("{}", layout.unseal_key().display()))
                .map_err(|error| with_code(exit::CANNOT_START, format!("{error:#}")))?;
        }
        look(layout, &config, entry, false)
            .await
            .map_err(|error| with_code(exit::CANNOT_START, format!("{}: {error:#}", entry.name)))?;
    }
    compose::check_sockets(&config, options, sockets).await
}

/// Looks at the store of a module without opening it.
pub async fn look(
    layout: &Layout,
    config: &Config,
    entry: &ModuleEntry,
    is_thorough: bool,
) -> anyhow::Result<q_db::Look> {
    let store = compose::store_of(layout, config, entry.name)?;
    Ok(q_db::look(&store, entry.migrations, is_thorough).await?)
}
