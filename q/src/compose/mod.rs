//! The composition root: the only place that names every module.
//!
//! One visible order: settings, sockets, stores, the shared knowledge of keys and permissions, modules in
//! the order they need each other, the front door (`assemble.rs`). Stopping runs the other way (`House::stop`).

mod assemble;
mod settings;
mod site;
mod sockets;

use std::sync::Arc;

use q_db::Migrations;
use q_runtime::{Ground, Module, Setting};
use squid::SquidModule;

use crate::{knowledge::Knowledge, output::usage, running::Running};

use site::{Site, sealer};

pub use assemble::{Assembled, Options, appoint, assemble, missing_store};
pub use settings::{config, listen_addresses, remote_urls};

/// The modules in the order they are raised: each needs only those before it to open.
pub static MODULES: [ModuleEntry; 6] = [
    ModuleEntry { name: "qlock", port: 3020, settings: qlock::SETTINGS, migrations: &qlock::MIGRATIONS },
    ModuleEntry { name: "squid", port: 3010, settings: squid::SETTINGS, migrations: &squid::MIGRATIONS },
    ModuleEntry {
        name: "qonsent",
        port: 3030,
        settings: qonsent::SETTINGS,
        migrations: &qonsent::MIGRATIONS,
    },
    ModuleEntry {
        name: "qerberos",
        port: 3050,
        settings: qerberos::SETTINGS,
        migrations: &qerberos::MIGRATIONS,
    },
    ModuleEntry {
        name: "qwallet",
        port: 3000,
        settings: qwallet::SETTINGS,
        migrations: &qwallet::MIGRATIONS,
    },
    ModuleEntry { name: q_ops::NAME, port: 8090, settings: q_ops::SETTINGS, migrations: &q_ops::MIGRATIONS },
];

/// Paths that standards fix at the origin, and the module that owns them.
const FIXED_PATHS: [(&str, &str); 5] = [
    ("/.well-known", "squid"),
    ("/oauth2", "squid"),
    ("/id", "squid"),
    ("/1.0", "squid"),
    ("/login", "squid"),
];

/// What the composition knows of a module before it is opened.
pub struct ModuleEntry {
    /// Its name.
    pub name: &'static str,
    /// Its default port.
    pub port: u16,
    settings: &'static [Setting],
    migrations: &'static Migrations,
}

/// The entry of `module`, or an error that lists those there are.
pub fn entry(module: &str) -> anyhow::Result<&'static ModuleEntry> {
    MODULES.iter().find(|entry| entry.name == module).ok_or_else(|| {
        let names: Vec<_> = MODULES.iter().map(|entry| entry.name).collect();
        usage(format!("there is no module {module}; the modules are {}", names.join(", ")))
    })
}

/// The keyring name of a module's service identity.
pub fn service_name(module: &str) -> String {
    format!("service-{module}")
}

impl Site {
    /// Opens a module on its ground.
    pub(super) async fn open_on(
        &self,
        entry: &ModuleEntry,
        ground: Ground,
        knowledge: &Knowledge,
        running: &Running,
    ) -> anyhow::Result<Arc<dyn Module>> {
        let (pdp, keys) = (knowledge.pdp.clone(), knowledge.keys.clone());
        Ok(match entry.name {
            "qlock" => qlock::open(ground, pdp, &self.layout.unseal_key()).await?,
            "squid" => {
                let sealer = sealer(&ground).await?;
                let squid = squid::open(ground, sealer, self.bases(entry.name, running)).await?;
                let _ = self.squid.set(squid.clone());
                Arc::new(SquidModule(squid))
            }
            "qonsent" => qonsent::open(ground, pdp, keys).await?,
            "qerberos" => {
                let handles = qerberos::Handles {
                    sealer: sealer(&ground).await?,
                    is_operator: self.is_operator(knowledge),
                    checkpoint_file: Some(self.layout.keys.join("qerberos.checkpoint")),
                };
                let qerberos = qerberos::open(ground, handles).await?;
                let _ = self.trail.set(qerberos.trail().clone());
                qerberos
            }
            "qwallet" => {
                let sealer = sealer(&ground).await?;
                qwallet::open(ground, pdp, Arc::new(keys), sealer).await?
            }
            q_ops::NAME => {
                let handles = q_ops::Handles {
                    is_operator: self.is_operator(knowledge),
                    watched: MODULES.iter().map(|entry| entry.name.to_owned()).collect(),
                    data: self.layout.data.clone(),
                    keys: self.layout.keys.clone(),
                };
                q_ops::open(ground, handles).await?
            }
            other => anyhow::bail!("{other} is not composed"),
        })
    }
}
