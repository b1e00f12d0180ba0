//! The composition root: the only place that names every module.
//!
//! One visible order: settings, sockets, stores, the shared knowledge of keys and permissions, modules in
//! the order they need each other, the front door (`assemble.rs`). Stopping runs the other way (`House::stop`).
//!
//! **Invariant:** puts together and decides nothing; no other room of the program names more than it talks to.

mod assemble;
mod bus;
mod settings;
mod site;
mod sockets;
mod telemetry;

use std::sync::Arc;

use q_db::Migrations;
use q_runtime::{Ground, Module, Setting};
use squid::SquidModule;

use crate::{knowledge::Knowledge, output::usage, restored::Restored, running::Running};

use site::{Site, sealer};

pub use site::{database, store_of};

pub use assemble::{Assembled, Options, appoint, assemble, assemble_on, may_have_replicas, missing_store};
pub use settings::{config, config_with_unknown, database_of, listen_addresses, remote_urls, variables_of};
pub use sockets::{Inherited, cannot, check_sockets};
pub use telemetry::{keeps_files, log_folder};

/// The modules in the order they are raised: each needs only those before it to open.
pub static MODULES: [ModuleEntry; 6] = [
    ModuleEntry {
        name: "qlock",
        purpose: "Keys and encryption: makes, keeps, rotates and uses keys that never leave it.",
        port: 3020,
        settings: qlock::SETTINGS,
        migrations: &qlock::MIGRATIONS,
    },
    ModuleEntry {
        name: "squid",
        purpose: "Identity: who people, services and the instance are, and the tokens that prove it.",
        port: 3010,
        settings: squid::SETTINGS,
        migrations: &squid::MIGRATIONS,
    },
    ModuleEntry {
        name: "qonsent",
        purpose: "Permissions: who let whom do what, signed by those who may say so, and taken back at once.",
        port: 3030,
        settings: qonsent::SETTINGS,
        migrations: &qonsent::MIGRATIONS,
    },
    ModuleEntry {
        name: "qerberos",
        purpose: "Audit and security: every change of every module in a log that strangers can check.",
        port: 3050,
        settings: qerberos::SETTINGS,
        migrations: &qerberos::MIGRATIONS,
    },
    ModuleEntry {
        name: "qwallet",
        purpose: "Payments and fees: balances, payments and books that balance to the last digit.",
        port: 3000,
        settings: qwallet::SETTINGS,
        migrations: &qwallet::MIGRATIONS,
    },
    ModuleEntry {
        name: q_ops::NAME,
        purpose: "The operator's desk: objectives, alerts, incidents, maintenance, reports and the status page.",
        port: 8090,
        settings: q_ops::SETTINGS,
        migrations: &q_ops::MIGRATIONS,
    },
];

/// Paths that standards fix at the origin, and the module that owns them.
const FIXED_PATHS: [(&str, &str); 9] = [
    ("/.well-known", "squid"),
    ("/oauth2", "squid"),
    ("/id", "squid"),
    ("/1.0", "squid"),
    ("/login", "squid"),
    ("/status", q_ops::NAME),
    ("/status.json", q_ops::NAME),
    ("/status.atom", q_ops::NAME),
    ("/status.ics", q_ops::NAME),
];

/// What the composition knows of a module before it is opened.
pub struct ModuleEntry {
    /// Its name.
    pub name: &'static str,
    /// What it is for, in one sentence.
    pub purpose: &'static str,
    /// Its default port.
    pub port: u16,
    settings: &'static [Setting],
    /// The steps of its schema.
    pub migrations: &'static Migrations,
}

impl ModuleEntry {
    /// The newest step of its schema.
    pub fn schema(&self) -> u32 {
        self.migrations.version()
    }
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
                    restored: Restored::of(&self.layout, entry.name)?,
                };
                let qerberos = qerberos::open(ground, handles).await?;
                let _ = self.trail.set(qerberos.trail().clone());
                qerberos
            }
            "qwallet" => {
                let sealer = sealer(&ground).await?;
                let wallets = qwallet::open(ground, pdp, Arc::new(keys), sealer).await?;
                // What went out after the backup was made must not go out twice.
                if let Some(backup) = Restored::of(&self.layout, entry.name)? {
                    wallets.service().pause_restored_rails(&backup).await?;
                }
                wallets
            }
            q_ops::NAME => {
                let handles = q_ops::Handles {
                    is_operator: self.is_operator(knowledge),
                    identities: keys,
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
