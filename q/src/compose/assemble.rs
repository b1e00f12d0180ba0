//! Puts the modules of one process together.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    sync::{Arc, OnceLock},
};

use anyhow::Context as _;
use q_contract::{Client, Replicas};
use q_core::{Caller, Did, Env, caller::Principal, hash};
use q_db::{Db, DbConfig, OpenError};
use q_did::Keyring;
use q_runtime::{Config, Directory, House, Instance, Locate};
use qerberos::RolledBack;
use squid::Squid;

use super::{
    MODULES, ModuleEntry, bus, config, entry, remote_urls,
    site::{Site, store_of},
    sockets::{Inherited, Sockets, listen},
    telemetry,
};
use crate::{
    backups,
    knowledge::{self, Knowledge},
    layout::Layout,
    output::{exit, with_code},
    running::{self, Note, Running},
    stores::{self, Known},
    warnings,
};

/// What to put together.
pub struct Options {
    /// The modules of this process; all when empty.
    pub modules: Vec<&'static str>,
    /// Whether to listen, deliver events and run jobs; without it the modules only answer calls from inside.
    pub is_online: bool,
}

impl Options {
    /// All modules, answering calls from inside only.
    pub fn offline() -> Self {
        Self { modules: Vec::new(), is_online: false }
    }

    /// The modules of this process, in the order they are raised. When all are wanted, those that the settings put
    /// elsewhere stay there.
    pub fn entries(&self, config: &Config) -> Vec<&'static ModuleEntry> {
        let is_wanted = |entry: &&ModuleEntry| match self.modules.as_slice() {
            [] => config.section(entry.name).optional("url").is_none(),
            modules => modules.contains(&entry.name),
        };
        MODULES.iter().filter(is_wanted).collect()
    }
}

/// A house with everything raised.
pub struct Assembled {
    /// The modules.
    pub house: House,
    /// Its sockets once more, by module, for whoever goes on with them.
    pub sockets: BTreeMap<String, TcpListener>,
    /// Where they listen, when they do.
    pub note: Note,
    /// How to reach them from inside.
    pub directory: Directory,
    /// squid itself, where the root of trust is made.
    pub squid: Option<Arc<Squid>>,
    /// The modules whose stores are older than the audit trail.
    pub rolled_back: Vec<RolledBack>,
}

impl Assembled {
    /// This process together with those that run beside it now.
    pub fn running(&self, layout: &Layout) -> anyhow::Result<Running> {
        let mut notes = running::notes(layout)?;
        notes.push(self.note.clone());
        Ok(Running::of(&notes))
    }
}

/// Puts the modules of `options` together on the instance in `layout`.
pub async fn assemble(layout: &Layout, options: &Options) -> anyhow::Result<Assembled> {
    assemble_on(layout, options, Inherited::default()).await
}

/// Like [`assemble`], going on with the sockets and connections of another process.
pub async fn assemble_on(
    layout: &Layout,
    options: &Options,
    inherited: Inherited,
) -> anyhow::Result<Assembled> {
    let instance = layout.read_instance()?;
    let config = config(layout)?;
    let entries = options.entries(&config);
    if options.is_online {
        telemetry::start(&config, layout, &Env::system())?;
    }
    refuse_circle(&entries)?;
    let sockets = Sockets::take(&config, options, &entries, inherited).await?;
    let again = sockets.again()?;
    if options.is_online {
        let front_door = sockets.front_door.as_ref().and_then(|door| door.local_addr().ok());
        warnings::tell(&config, layout, front_door);
    }
    let origin = config.section("instance").text("origin").trim_end_matches('/').to_owned();
    let note = Note::of_this(&origin, sockets.front_door.as_ref(), &sockets.modules, remote_urls(&config));
    let running = Running::of(std::slice::from_ref(&note));
    let site = Site {
        env: Env::system(),
        layout: layout.clone(),
        directory: directory(layout, &config, &entries),
        identity: Instance { did: instance.did.clone(), origin, is_demo: instance.is_demo },
        config,
        instance,
        squid: OnceLock::new(),
        trail: OnceLock::new(),
        known: Known::read(layout, options.is_online)?,
    };
    let first = entries.first().context("a process has a module")?;
    let as_module = site.peers(first.name)?.client("squid");
    let knowledge =
        Knowledge::new(&site.env, &site.identity, &site.directory, as_module, &site.qonsent_did()?);
    let mut house = site.house(&knowledge, telemetry::metrics(&site.config, layout)?);
    if options.is_online
        && let Some(nats) = bus::connect(&site.config, layout, &site.instance).await?
    {
        house.bus().use_nats(nats);
    }
    let told = site.told_by_the_trail(&entries).await?;
    let mut heads = Vec::new();
    for entry in &entries {
        let (module, head) = match site.open(entry, &knowledge, &running).await {
            Ok(opened) => opened,
            Err(error) => {
                // The stores opened so far are free again for a next attempt.
                house.stop().await;
                return Err(error);
            }
        };
        heads.push((module.db().clone(), head));
        house.raise(module, site.limits()?, site.bases(entry.name, &running));
    }
    let noted = site.known.add(layout, entries.iter().map(|entry| entry.name));
    let compared = match noted {
        Ok(()) => site.rolled_back(told.as_ref(), &heads).await,
        Err(error) => Err(error),
    };
    let compared = compared.and_then(|older| stores::accept(layout, older, options.is_online));
    let rolled_back = match compared {
        Ok(older) if older.is_empty() || !options.is_online => older,
        refused => {
            house.stop().await;
            return Err(match refused {
                Ok(older) => stores::refusal(&older),
                Err(error) => with_code(exit::CANNOT_START, format!("{error:#}")),
            });
        }
    };
    knowledge.prime().await;
    if options.is_online {
        site.hear_others(&mut house, &knowledge)?;
        knowledge.follow(&mut house);
        house.start();
        if let Err(error) = backups::start(&mut house, layout, &site.config, &site.env).await {
            house.stop().await;
            return Err(error);
        }
        // Where squid is, others cannot log in before it listens, and so cannot be waited for.
        let is_waited_for = !site.directory.is_here("squid") || site.directory.is_here("qonsent");
        knowledge::caught_up(&mut house, is_waited_for).await;
        house.give_notice(site.notice()?);
        listen(&mut house, sockets, &site)?;
    }
    let squid = site.squid.get().cloned();
    Ok(Assembled { house, sockets: again, note, directory: site.directory, squid, rolled_back })
}

/// squid seals its fields with a key that qlock releases, and proves to a qlock elsewhere who it is with a token that
/// it would have to issue first.
fn refuse_circle(entries: &[&'static ModuleEntry]) -> anyhow::Result<()> {
    let has = |name| entries.iter().any(|entry| entry.name == name);
    if has("squid") && !has("qlock") {
        let what =
            "squid cannot open without qlock in the same process; start both with `q serve qlock squid`";
        return Err(with_code(exit::CANNOT_START, what));
    }
    Ok(())
}

/// The modules of other processes are where the settings say, or where the notes in the data folder do.
fn directory(layout: &Layout, config: &Config, here: &[&'static ModuleEntry]) -> Directory {
    let is_here = |name: &str| here.iter().any(|entry| entry.name == name);
    let elsewhere = MODULES.iter().filter(|entry| !is_here(entry.name)).map(|entry| entry.name.to_owned());
    let (urls, layout) = (remote_urls(config), layout.clone());
    let in_notes = move |module: &str| {
        let notes = running::notes(&layout).unwrap_or_default();
        notes.into_iter().filter_map(|mut note| note.modules.remove(module)).collect()
    };
    let locate: Locate = Arc::new(move |module| match urls.get(module) {
        Some(urls) => Replicas::urls(urls),
        None => in_notes(module),
    });
    Directory::new(elsewhere.collect(), locate)
}

/// Whether several processes may run `module` on this instance: its store is a server that they share.
pub fn may_have_replicas(layout: &Layout, config: &Config, module: &str) -> anyhow::Result<bool> {
    Ok(matches!(store_of(layout, config, module)?, DbConfig::Postgres { .. }))
}

/// Why the store of `module` is not there, or `None`; opens it for a moment and makes nothing.
pub async fn missing_store(layout: &Layout, config: &Config, module: &str) -> anyhow::Result<Option<String>> {
    let store = store_of(layout, config, module)?;
    match Db::open_existing(&store, entry(module)?.migrations, &Env::system()).await {
        Ok(db) => db.close().await,
        Err(error @ OpenError::Missing { .. }) => return Ok(Some(error.to_string())),
        // Said by whoever opens it in earnest.
        Err(_) => {}
    }
    Ok(None)
}

/// Has the instance delegate its administration to `operator`.
pub async fn appoint(
    assembled: &Assembled,
    instance: &Keyring,
    operator: &Did,
    env: &Env,
) -> anyhow::Result<()> {
    let container = qonsent_api::operator_delegation(env, &instance.did, &instance.current, operator)?;
    let principal = Principal::new(instance.did.clone(), env.now());
    let client = Client::new(assembled.directory.transport("qonsent")).as_caller(Caller::Identity(principal));
    // Each attempt signs a delegation of its own, so each is a request of its own.
    let key = format!("init-appoint-{}", hash::hex(&hash::sha256(container.as_bytes())[..16]));
    let request = qonsent_api::RegisterRequest { container };
    client.with_key(key).call::<qonsent_api::RegisterDelegations>(&request).await?;
    Ok(())
}
