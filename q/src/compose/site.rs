//! Where modules are opened: what is the same for all of them.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use q_auth::{Authenticator, DpopCredential};
use q_contract::Credential;
use q_core::{Caller, Env};
use q_db::{Db, DbConfig};
use q_http::{IsOperator, Proxies, RateLimits, metrics};
use q_pdp::Resource;
use q_runtime::{Config, CredentialFor, Directory, Ground, House, Instance, Module, Peers, Signer};
use q_seal::Sealer;
use qerberos::{RolledBack, Trail};
use qerberos_api::GapReport;
use squid::{Squid, remote::Login};

use super::{FIXED_PATHS, MODULES, ModuleEntry, service_name};
use crate::{
    knowledge::Knowledge,
    layout::{InstanceFile, Layout},
    output::{exit, with_code},
    running::Running,
    stores::{self, Known},
};

/// Where modules are opened: what is the same for all of them.
pub(super) struct Site {
    pub(super) env: Env,
    pub(super) layout: Layout,
    pub(super) config: Config,
    pub(super) directory: Directory,
    pub(super) identity: Instance,
    pub(super) instance: InstanceFile,
    pub(super) squid: OnceLock<Arc<Squid>>,
    pub(super) trail: OnceLock<Arc<Trail>>,
    pub(super) known: Known,
}

impl Site {
    pub(super) fn house(&self, knowledge: &Knowledge, metrics: metrics::Options) -> House {
        let auth: Arc<Authenticator> = knowledge.authenticator.clone();
        House::new(self.env.clone(), auth, self.is_operator(knowledge), self.directory.clone())
            .measured(metrics)
    }

    /// An operator is whom the instance lets administer it.
    pub(super) fn is_operator(&self, knowledge: &Knowledge) -> IsOperator {
        let (pdp, env) = (knowledge.pdp.clone(), self.env.clone());
        let resource = Resource::instance(&self.instance.did);
        Arc::new(move |caller: &Caller| {
            let may = |did| pdp.check(did, "admin", resource.as_str(), env.now()).allowed;
            caller.did().is_some_and(may)
        })
    }

    pub(super) async fn open(
        &self,
        entry: &ModuleEntry,
        knowledge: &Knowledge,
        running: &Running,
    ) -> anyhow::Result<(Arc<dyn Module>, i64)> {
        let ground = self.ground(entry).await?;
        // Before the module writes anything.
        let head = ground.db.audit_head().await;
        let opened = match head {
            Ok(head) => self.open_on(entry, ground, knowledge, running).await.map(|module| (module, head)),
            Err(error) => Err(error.into()),
        };
        opened
            .with_context(|| format!("{} does not open", entry.name))
            .map_err(|error| with_code(exit::CANNOT_START, format!("{error:#}")))
    }

    /// The modules whose stores are older than what the audit trail has heard of them.
    pub(super) async fn rolled_back(
        &self,
        told: Option<&GapReport>,
        heads: &[(Db, i64)],
    ) -> anyhow::Result<Vec<RolledBack>> {
        match self.trail.get() {
            Some(trail) => stores::compare(trail, heads).await,
            None => Ok(told.map_or_else(Vec::new, |told| stores::compare_with(told, heads))),
        }
    }

    /// What the trail has of every store, where it is in another process. Asked before the stores are looked at: other
    /// replicas write to them meanwhile, and what the trail hears of that would be missing in a store seen before.
    pub(super) async fn told_by_the_trail(
        &self,
        entries: &[&'static ModuleEntry],
    ) -> anyhow::Result<Option<GapReport>> {
        match entries.first() {
            Some(first) if entries.iter().all(|entry| entry.name != "qerberos") => {
                Ok(stores::ask_trail(&self.peers(first.name)?.client("qerberos")).await)
            }
            _ => Ok(None),
        }
    }

    pub(super) async fn ground(&self, entry: &ModuleEntry) -> anyhow::Result<Ground> {
        let settings = self.config.section(entry.name);
        let store = store_of(&self.layout, &self.config, entry.name)?;
        let db = if self.known.has(entry.name) {
            Db::open_existing(&store, entry.migrations, &self.env).await
        } else {
            Db::open(&store, entry.migrations, &self.env).await
        };
        let db =
            db.map_err(|error| with_code(exit::CANNOT_START, format!("{} at {store}: {error}", entry.name)))?;
        Ok(Ground {
            env: self.env.clone(),
            db,
            instance: self.identity.clone(),
            peers: self.peers(entry.name)?,
            signer: self.signer(entry.name)?,
            settings,
        })
    }

    /// What `module` signs with.
    fn signer(&self, module: &str) -> anyhow::Result<Signer> {
        let keyring = self.layout.read_keyring(&service_name(module))?;
        Ok(Signer::new(keyring.did, keyring.current))
    }

    /// The other modules as seen by `module`, which proves itself to those in other processes with its service key.
    pub(super) fn peers(&self, module: &str) -> anyhow::Result<Peers> {
        let keyring = self.layout.read_keyring(&service_name(module))?;
        let squid = self.directory.transport("squid");
        let origin = self.identity.origin.clone();
        let (key, env) = (keyring.current, self.env.clone());
        let login = Arc::new(Login::new(squid, &origin, keyring.did.clone(), key.clone(), env.clone()));
        let credential_for: CredentialFor = Arc::new(move |target| {
            // By the name it has behind the front door a module knows itself, at whatever address it is reached.
            let base = format!("{origin}/{target}");
            let credential = DpopCredential::new(key.clone(), &base, login.clone(), env.clone());
            Arc::new(credential) as Arc<dyn Credential>
        });
        Ok(Peers::new(module, keyring.did, self.env.now(), self.directory.clone(), Some(credential_for)))
    }

    /// Lets the modules of `house` hear those of other processes.
    pub(super) fn hear_others(&self, house: &mut House, knowledge: &Knowledge) -> anyhow::Result<()> {
        let Some(first) = house.beams().first() else { return Ok(()) };
        let peers = self.peers(first.module.name())?;
        for entry in MODULES.iter().filter(|entry| !self.directory.is_here(entry.name)) {
            house.bus().add_remote_producer(entry.name, peers.client(entry.name));
        }
        if !self.directory.is_here("qonsent") {
            knowledge.ask(house, peers.client("qonsent"));
        }
        Ok(())
    }

    pub(super) fn qonsent_did(&self) -> anyhow::Result<q_core::Did> {
        self.layout.read_did(&service_name("qonsent"))
    }

    pub(super) fn limits(&self) -> anyhow::Result<RateLimits> {
        let limits = self.config.section("limits");
        let number = |key| limits.parse(key, "a number of requests, or 0");
        let read = || -> Result<RateLimits, q_runtime::ConfigError> {
            Ok(RateLimits {
                per_address_per_minute: number("per_address_per_minute")?,
                per_identity_per_minute: number("per_identity_per_minute")?,
                per_sub_identity_per_minute: number("per_sub_identity_per_minute")?,
            })
        };
        read().map_err(|error| with_code(exit::CANNOT_START, error))
    }

    /// Who may say for whom it asks, besides this host.
    pub(super) fn proxies(&self) -> anyhow::Result<Proxies> {
        let setting = self.config.section("limits");
        Proxies::parse(setting.text("trusted_proxies")).map_err(|word| {
            let variable = q_runtime::config::variable_name("limits", "trusted_proxies");
            with_code(exit::CANNOT_START, format!("{variable}: {word} is no address and no network of some"))
        })
    }

    /// How many connections one network address may have open at one port.
    pub(super) fn connections_per_address(&self) -> anyhow::Result<u32> {
        let limits = self.config.section("limits");
        let read = limits.parse("connections_per_address", "a number of connections, or 0");
        read.map_err(|error| with_code(exit::CANNOT_START, error))
    }

    /// How long a stop is announced before connections are refused.
    pub(super) fn notice(&self) -> anyhow::Result<Duration> {
        let read = self.config.section("stop").parse("notice_seconds", "a number of seconds");
        read.map(Duration::from_secs).map_err(|error| with_code(exit::CANNOT_START, error))
    }

    /// The URLs under which clients may know `module`: its own port, and its place behind the front door.
    pub(super) fn bases(&self, module: &str, running: &Running) -> Vec<String> {
        let origin = &self.identity.origin;
        let mut bases = vec![format!("{origin}/{module}")];
        let mut doors = vec![origin.clone()];
        if let Some(door) = &running.front_door {
            bases.push(format!("{door}/{module}"));
            bases.push(format!("{}/{module}", door.replace("127.0.0.1", "localhost")));
            doors.push(door.clone());
        }
        if FIXED_PATHS.iter().any(|(_, owner)| *owner == module) {
            bases.extend(doors);
        }
        if let Some(own) = running.modules.get(module) {
            bases.push(own.clone());
            bases.push(own.replace("127.0.0.1", "localhost"));
        }
        // What stands before the replicas of a module, such as a load balancer, is a name of each of them.
        let settings = self.config.section(module);
        let before = settings.optional("url").unwrap_or_default();
        bases.extend(
            before
                .split(',')
                .map(|url| url.trim().trim_end_matches('/').to_owned())
                .filter(|url| !url.is_empty()),
        );
        bases
    }
}

/// Where the rows of `module` live.
pub fn store_of(layout: &Layout, config: &Config, module: &str) -> anyhow::Result<DbConfig> {
    let given = database(config, module).map_err(|error| with_code(exit::CANNOT_START, error))?;
    Ok(given.unwrap_or_else(|| DbConfig::sqlite(layout.store(module))))
}

/// The database that the settings name for `module`, if they name one.
///
/// # Errors
/// A sentence with the setting and what is allowed. The value is not repeated: it may hold a password.
pub fn database(config: &Config, module: &str) -> Result<Option<DbConfig>, String> {
    let settings = config.section(module);
    let read = settings.optional("database_url").map(str::parse::<DbConfig>).transpose();
    read.map_err(|error| {
        let variable = q_runtime::config::variable_name(module, "database_url");
        format!("{variable} (database_url under [{module}]): {error}")
    })
}

/// The sealer of a module's fields: its data key, released by qlock.
pub(super) async fn sealer(ground: &Ground) -> anyhow::Result<Sealer> {
    Ok(qlock_api::sealer::open(&ground.db, &ground.peers.client("qlock")).await?)
}
