//! The composition root: the only file that names every module.
//!
//! One visible order: settings, sockets, stores, the shared knowledge of keys and permissions, modules in
//! the order they need each other, the front door. Stopping runs the other way (`House::stop`).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, OnceLock},
};

use anyhow::Context as _;
use q_auth::{Authenticator, DpopCredential};
use q_contract::{Client, Credential};
use q_core::{Caller, Did, Env, caller::Principal, hash};
use q_db::{Db, DbConfig, Migrations, OpenError};
use q_did::Keyring;
use q_http::{FrontDoor, IsOperator, RateLimits, Upstream};
use q_pdp::Resource;
use q_runtime::{Config, CredentialFor, Directory, Ground, House, Instance, Locate, Module, Peers, Setting};
use q_seal::Sealer;
use qerberos::{RolledBack, Trail};
use squid::{Squid, SquidModule, remote::Login};
use tokio::net::TcpListener;

use crate::{
    knowledge::{self, Knowledge},
    layout::{InstanceFile, Layout},
    output::{exit, usage, with_code},
    running::{self, Note, Running},
    stores::{self, Known},
    warnings,
};

/// The modules in the order they are raised: each needs only those before it to open.
pub const MODULES: [ModuleEntry; 5] = [
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
];

static ENTRIES: [ModuleEntry; MODULES.len()] = MODULES;

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

const PLATFORM_SETTINGS: [(&str, &[Setting]); 3] = [
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
        ],
    ),
];

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
    fn entries(&self, config: &Config) -> Vec<&'static ModuleEntry> {
        let is_wanted = |entry: &&ModuleEntry| match self.modules.as_slice() {
            [] => config.section(entry.name).optional("url").is_none(),
            modules => modules.contains(&entry.name),
        };
        ENTRIES.iter().filter(is_wanted).collect()
    }
}

/// A house with everything raised.
pub struct Assembled {
    /// The modules.
    pub house: House,
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

/// The entry of `module`, or an error that lists those there are.
pub fn entry(module: &str) -> anyhow::Result<&'static ModuleEntry> {
    ENTRIES.iter().find(|entry| entry.name == module).ok_or_else(|| {
        let names: Vec<_> = ENTRIES.iter().map(|entry| entry.name).collect();
        usage(format!("there is no module {module}; the modules are {}", names.join(", ")))
    })
}

/// The effective settings of the instance in `layout`.
pub fn config(layout: &Layout) -> anyhow::Result<Config> {
    let mut declared: Vec<(&'static str, Vec<Setting>)> =
        PLATFORM_SETTINGS.iter().map(|(section, settings)| (*section, settings.to_vec())).collect();
    for entry in MODULES {
        let mut settings = entry.common_settings();
        settings.extend_from_slice(entry.settings);
        declared.push((entry.name, settings));
    }
    let config = Config::load(&declared, &layout.config(), |name| std::env::var(name).ok());
    config.map_err(|error| with_code(exit::CANNOT_START, error))
}

/// The sections that listen, with their addresses.
pub fn listen_addresses(config: &Config) -> Vec<(&'static str, String)> {
    let sections = std::iter::once("front_door").chain(MODULES.iter().map(|entry| entry.name));
    sections.map(|section| (section, config.section(section).text("listen").to_owned())).collect()
}

impl ModuleEntry {
    /// The settings every module has. Their texts live as long as the program, like those of a declaration.
    fn common_settings(&self) -> Vec<Setting> {
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
                about: "Its base URL when it runs in another process; empty when it runs in this one.",
            },
        ]
    }
}

/// Sockets taken before anything is opened, so that a taken port is refused before work begins.
struct Sockets {
    front_door: Option<TcpListener>,
    modules: BTreeMap<&'static str, TcpListener>,
}

impl Sockets {
    async fn take(
        config: &Config,
        options: &Options,
        entries: &[&'static ModuleEntry],
    ) -> anyhow::Result<Self> {
        let mut sockets = Self { front_door: None, modules: BTreeMap::new() };
        if !options.is_online {
            return Ok(sockets);
        }
        for entry in entries {
            sockets.modules.insert(entry.name, bind(config, entry.name).await?);
        }
        if options.modules.is_empty() {
            sockets.front_door = Some(bind(config, "front_door").await?);
        }
        Ok(sockets)
    }
}

async fn bind(config: &Config, section: &str) -> anyhow::Result<TcpListener> {
    let settings = config.section(section);
    let address: SocketAddr = settings
        .parse("listen", "an address with a port, such as 127.0.0.1:3000")
        .map_err(|error| with_code(exit::CANNOT_START, error))?;
    TcpListener::bind(address).await.map_err(|error| {
        let variable = q_runtime::config::variable_name(section, "listen");
        with_code(
            exit::CANNOT_START,
            format!(
                "{section} cannot listen on {address}: {error}; stop what uses the port, or set {variable}"
            ),
        )
    })
}

/// Puts the modules of `options` together on the instance in `layout`.
pub async fn assemble(layout: &Layout, options: &Options) -> anyhow::Result<Assembled> {
    let instance = layout.read_instance()?;
    let config = config(layout)?;
    let entries = options.entries(&config);
    refuse_circle(&entries)?;
    let sockets = Sockets::take(&config, options, &entries).await?;
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
    let knowledge = Knowledge::new(&site.env, &site.identity, &site.directory, &site.qonsent_did()?);
    let mut house = site.house(&knowledge);
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
        Ok(()) => site.rolled_back(&heads).await,
        Err(error) => Err(error),
    };
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
        site.hear_others(&house, &knowledge)?;
        knowledge.follow(&house);
        house.start();
        // Where squid is, others cannot log in before it listens, and so cannot be waited for.
        if !site.directory.is_here("squid") || site.directory.is_here("qonsent") {
            knowledge::caught_up(&house).await;
        }
        listen(&mut house, sockets, &site);
    }
    let squid = site.squid.get().cloned();
    Ok(Assembled { house, note, directory: site.directory, squid, rolled_back })
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
    let elsewhere = ENTRIES.iter().filter(|entry| !is_here(entry.name)).map(|entry| entry.name.to_owned());
    let (urls, layout) = (remote_urls(config), layout.clone());
    let in_notes = move |module: &str| {
        let notes = running::notes(&layout).unwrap_or_default();
        notes.into_iter().find_map(|mut note| note.modules.remove(module))
    };
    let locate: Locate = Arc::new(move |module| urls.get(module).cloned().or_else(|| in_notes(module)));
    Directory::new(elsewhere.collect(), locate)
}

/// Modules whose settings name a URL are elsewhere.
pub fn remote_urls(config: &Config) -> BTreeMap<String, String> {
    let url = |name: &str| config.section(name).optional("url").map(str::to_owned);
    ENTRIES.iter().filter_map(|entry| Some((entry.name.to_owned(), url(entry.name)?))).collect()
}

fn listen(house: &mut House, sockets: Sockets, site: &Site) {
    let routers: BTreeMap<&'static str, _> =
        house.beams().iter().map(|beam| (beam.module.name(), beam.router.clone())).collect();
    for (name, listener) in sockets.modules {
        house.listen(listener, routers[name].clone());
    }
    if let Some(listener) = sockets.front_door {
        let local = routers.into_iter().map(|(name, router)| (name.to_owned(), Upstream::Local(router)));
        let remote = remote_urls(&site.config).into_iter().map(|(name, url)| (name, Upstream::Remote(url)));
        let fixed = FIXED_PATHS.iter().map(|(path, module)| (*path, (*module).to_owned())).collect();
        house.listen(listener, FrontDoor::new(remote.chain(local).collect(), fixed).router());
    }
}

/// Where modules are opened: what is the same for all of them.
struct Site {
    env: Env,
    layout: Layout,
    config: Config,
    directory: Directory,
    identity: Instance,
    instance: InstanceFile,
    squid: OnceLock<Arc<Squid>>,
    trail: OnceLock<Arc<Trail>>,
    known: Known,
}

impl Site {
    fn house(&self, knowledge: &Knowledge) -> House {
        let auth: Arc<Authenticator> = knowledge.authenticator.clone();
        House::new(self.env.clone(), auth, self.is_operator(knowledge), self.directory.clone())
    }

    /// An operator is whom the instance lets administer it.
    fn is_operator(&self, knowledge: &Knowledge) -> IsOperator {
        let (pdp, env) = (knowledge.pdp.clone(), self.env.clone());
        let resource = Resource::instance(&self.instance.did);
        Arc::new(move |caller: &Caller| {
            let may = |did| pdp.check(did, "admin", resource.as_str(), env.now()).allowed;
            caller.did().is_some_and(may)
        })
    }

    async fn open(
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
    async fn rolled_back(&self, heads: &[(Db, i64)]) -> anyhow::Result<Vec<RolledBack>> {
        match (self.trail.get(), heads.first()) {
            (Some(trail), _) => stores::compare(trail, heads).await,
            (None, Some((store, _))) => {
                Ok(stores::compare_elsewhere(&self.peers(store.module())?.client("qerberos"), heads).await)
            }
            (None, None) => Ok(Vec::new()),
        }
    }

    async fn open_on(
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
            other => anyhow::bail!("{other} is not composed"),
        })
    }

    async fn ground(&self, entry: &ModuleEntry) -> anyhow::Result<Ground> {
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
            settings,
        })
    }

    /// The other modules as seen by `module`, which proves itself to those in other processes with its service key.
    fn peers(&self, module: &str) -> anyhow::Result<Peers> {
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
    fn hear_others(&self, house: &House, knowledge: &Knowledge) -> anyhow::Result<()> {
        let Some(first) = house.beams().first() else { return Ok(()) };
        let peers = self.peers(first.module.name())?;
        for entry in ENTRIES.iter().filter(|entry| !self.directory.is_here(entry.name)) {
            house.bus().add_remote_producer(entry.name, peers.client(entry.name));
        }
        if !self.directory.is_here("qonsent") {
            knowledge.ask(peers.client("qonsent"));
        }
        Ok(())
    }

    fn qonsent_did(&self) -> anyhow::Result<q_core::Did> {
        Ok(self.layout.read_keyring(&service_name("qonsent"))?.did)
    }

    fn limits(&self) -> anyhow::Result<RateLimits> {
        let limits = self.config.section("limits");
        let number = |key| limits.parse(key, "a number of requests, or 0");
        let read = || -> Result<RateLimits, q_runtime::ConfigError> {
            Ok(RateLimits {
                per_address_per_minute: number("per_address_per_minute")?,
                per_identity_per_minute: number("per_identity_per_minute")?,
            })
        };
        read().map_err(|error| with_code(exit::CANNOT_START, error))
    }

    /// The URLs under which clients may know `module`: its own port, and its place behind the front door.
    fn bases(&self, module: &str, running: &Running) -> Vec<String> {
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
        bases
    }
}

/// Where the rows of `module` live.
fn store_of(layout: &Layout, config: &Config, module: &str) -> anyhow::Result<DbConfig> {
    let store = match config.section(module).optional("database_url") {
        Some(url) => url.parse::<DbConfig>(),
        None => Ok(DbConfig::sqlite(layout.store(module))),
    };
    store.map_err(|error| with_code(exit::CANNOT_START, error))
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

/// The sealer of a module's fields: its data key, released by qlock.
async fn sealer(ground: &Ground) -> anyhow::Result<Sealer> {
    Ok(qlock_api::sealer::open(&ground.db, &ground.peers.client("qlock")).await?)
}

/// Has the instance delegate its administration to `operator`.
pub async fn appoint(
    assembled: &Assembled,
    instance: &Keyring,
    operator: &Did,
    env: &Env,
) -> anyhow::Result<()> {
    let container = qonsent_api::operator_delegation(env, &instance.did, &instance.current, operator)?;
    let principal = Principal {
        did: instance.did.clone(),
        scopes: Vec::new(),
        client: None,
        actor: None,
        is_sender_bound: true,
        authenticated_at: env.now(),
    };
    let client = Client::new(assembled.directory.transport("qonsent")).as_caller(Caller::Identity(principal));
    // Each attempt signs a delegation of its own, so each is a request of its own.
    let key = format!("init-appoint-{}", hash::hex(&hash::sha256(container.as_bytes())[..16]));
    let request = qonsent_api::RegisterRequest { container };
    client.with_key(key).call::<qonsent_api::RegisterDelegations>(&request).await?;
    Ok(())
}

/// The keyring name of a module's service identity.
pub fn service_name(module: &str) -> String {
    format!("service-{module}")
}
