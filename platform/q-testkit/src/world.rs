//! Modules of one process, as a test sees them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, request::Parts};
use q_bus::{BusKey, Nats, NatsSettings};
use q_contract::{
    Authenticate, CallError, Client, Credential, Declaration, HttpTransport, Problem, Target, codes,
};
use q_core::{Caller, Did, Env, Timestamp, caller::Principal};
use q_db::{Db, Migrations, testing::TestStores};
use q_http::RateLimits;
use q_jose::SecretKey;
use q_oracle::NatsServer;
use q_runtime::{Config, Directory, Ground, House, Instance, Module, Peers, Setting, Settings, Signer};

use crate::{FrozenClock, frozen_env};

/// Which engine keeps the rows of a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Files in a folder that is removed afterwards.
    Sqlite,
    /// Databases of the cluster in `Q_TEST_POSTGRES`, dropped afterwards.
    Postgres,
}

/// How a test reaches a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Through memory.
    InProcess,
    /// Over a socket on a free port.
    Http,
}

/// One process with some modules, its clock in the test's hands.
pub struct World {
    /// Clock and entropy of everything inside.
    pub env: Env,
    /// Moves the clock.
    pub clock: FrozenClock,
    /// Which instance the modules believe to be.
    pub instance: Instance,
    /// The engine under test.
    pub engine: Engine,
    /// The transport under test.
    pub way: Way,
    stores: TestStores,
    directory: Directory,
    house: House,
    addresses: BTreeMap<&'static str, std::net::SocketAddr>,
    operators: Arc<parking_lot::RwLock<Vec<Did>>>,
    /// Carries events from module to module where the world is that of an instance spread over processes.
    nats: Option<NatsServer>,
}

impl World {
    /// An empty world, or `None` after saying that its engine is not there.
    ///
    /// On PostgreSQL and over HTTP, as instances of several processes run, events go over a NATS server.
    pub async fn new(engine: Engine, way: Way) -> Option<Self> {
        let stores = match engine {
            Engine::Sqlite => TestStores::sqlite(),
            Engine::Postgres => TestStores::postgres()?,
        };
        let seed = std::env::var("Q_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
        say_seed(seed);
        let (env, clock) = frozen_env(seed);
        let (instance_did, _) = identity("instance");
        let directory = Directory::default();
        let operators = Arc::new(parking_lot::RwLock::new(Vec::<Did>::new()));
        let known = operators.clone();
        let is_operator = Arc::new(move |caller: &Caller| {
            caller.is_service() || caller.did().is_some_and(|did| known.read().contains(did))
        });
        let house = House::new(env.clone(), Arc::new(NamedCallers), is_operator, directory.clone());
        let nats = match (engine, way) {
            (Engine::Postgres, Way::Http) => Some(NatsServer::start()?),
            _ => None,
        };
        carry(&house, nats.as_ref()).await;
        Some(Self {
            instance: Instance {
                did: instance_did,
                origin: "http://qnode.localhost:8080".into(),
                is_demo: true,
            },
            env,
            clock,
            engine,
            way,
            stores,
            directory,
            house,
            addresses: BTreeMap::new(),
            operators,
            nats,
        })
    }

    /// Ground for `module`, on a fresh store of this world's engine.
    pub async fn ground(
        &self,
        module: &'static str,
        migrations: &Migrations,
        settings: &'static [Setting],
    ) -> Ground {
        let db = self.db(module, migrations).await;
        let (service, key) = identity(&format!("service-{module}"));
        let peers = Peers::new(module, service.clone(), self.env.now(), self.directory.clone(), None);
        let signer = Signer::new(service, key);
        let instance = self.instance.clone();
        Ground { env: self.env.clone(), db, instance, peers, signer, settings: defaults(module, settings) }
    }

    /// The store of `module`; opened again under the same name it is the same store.
    pub async fn db(&self, module: &'static str, migrations: &Migrations) -> Db {
        let config = self.stores.config(module);
        Db::open(&config, migrations, &self.env).await.expect("a test store opens")
    }

    /// Puts up a module: reachable for others and for the test.
    pub async fn raise(&mut self, module: Arc<dyn Module>) {
        let name = module.name();
        let unlimited = RateLimits::NONE;
        let router = self.house.raise(module, unlimited, vec![format!("http://{name}.test")]).router.clone();
        if self.nats.is_some() {
            // As if it ran in another process: heard over NATS, and asked itself for what is not there.
            let (did, _) = identity("service-world");
            let caller = Caller::Service(principal(&did, self.env.now()), "world".into());
            let client = Client::new(self.directory.transport(name)).as_caller(caller);
            self.house.bus().add_remote_producer(name, client);
        }
        if self.way == Way::Http {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            self.addresses.insert(name, listener.local_addr().expect("a bound socket has an address"));
            self.house.listen(listener, router);
        }
    }

    /// Starts events and jobs; called when every module is up.
    pub fn start(&mut self) {
        self.house.start();
    }

    /// Makes `did` an operator in the eyes of the frame.
    pub fn make_operator(&self, did: &Did) {
        self.operators.write().push(did.clone());
    }

    /// A client of `module` that asks as the identity `did`, over this world's transport.
    pub fn client(&self, module: &str, did: &Did) -> Client {
        self.client_as(module, Caller::Identity(principal(did, self.env.now())))
    }

    /// A client of `module` that asks as `caller`.
    pub fn client_as(&self, module: &str, caller: Caller) -> Client {
        match self.addresses.get(module) {
            None => Client::new(self.directory.transport(module)).as_caller(caller),
            Some(address) => Client::new(Arc::new(HttpTransport::new(format!("http://{address}"))))
                .with_credential(Arc::new(Name(caller))),
        }
    }

    /// The URL of `module`, for foreign programs; only when the world's way is HTTP.
    pub fn url(&self, module: &str) -> Option<String> {
        self.addresses.get(module).map(|address| format!("http://{address}"))
    }

    /// The endpoints of every module.
    pub fn declarations(&self) -> Vec<(&'static str, Vec<Declaration>)> {
        self.house.beams().iter().map(|beam| (beam.module.name(), beam.declarations.clone())).collect()
    }

    /// Waits until every event written so far has been reacted to.
    pub async fn settle(&self) {
        assert!(self.house.bus().settled().await, "the bus does not settle");
    }

    /// Stops everything after every module verified its store.
    ///
    /// # Panics
    /// When a module finds its store unsound.
    pub async fn close(self) {
        for beam in self.house.beams() {
            let name = beam.module.name();
            let findings = beam.module.verify().await.expect("a store that can be read");
            assert!(findings.is_empty(), "{name} ends unsound: {findings:?}");
        }
        self.house.stop().await;
    }

    /// Stops everything, as a process that ends well does, and hands back an empty world on the same stores, clock and
    /// chance: modules that are raised again find what they kept.
    pub async fn restart(self) -> Self {
        let Self { env, clock, instance, engine, way, stores, house, operators, nats, .. } = self;
        house.stop().await;
        let (directory, known) = (Directory::default(), operators.clone());
        let is_operator = Arc::new(move |caller: &Caller| {
            caller.is_service() || caller.did().is_some_and(|did| known.read().contains(did))
        });
        let house = House::new(env.clone(), Arc::new(NamedCallers), is_operator, directory.clone());
        carry(&house, nats.as_ref()).await;
        let addresses = BTreeMap::new();
        Self { env, clock, instance, engine, way, stores, directory, house, addresses, operators, nats }
    }

    /// Stops everything without looking, for tests that broke something on purpose.
    pub async fn abandon(self) {
        self.house.stop().await;
    }
}

/// Lets the events of `house` go over `nats`, if the world has it.
async fn carry(house: &House, nats: Option<&NatsServer>) {
    if let Some(nats) = nats {
        let connected =
            Nats::connect(NatsSettings::new(&nats.url(), "qworld", BusKey::new([7; 32])), "world").await;
        house.bus().use_nats(connected.expect("a URL of ours can be read"));
    }
}

/// A failing test shows what it wrote, and so how to repeat it.
#[expect(clippy::print_stderr, reason = "the output of a test is where its reader looks")]
fn say_seed(seed: u64) {
    eprintln!("seed {seed}: repeat with Q_TEST_SEED={seed}");
}

fn defaults(module: &'static str, settings: &'static [Setting]) -> Settings {
    let nowhere = std::path::Path::new("/nonexistent/q.toml");
    Config::load(&[(module, settings)], nowhere, |_| None).expect("defaults are valid").section(module)
}

/// The identity called `name`: the same DID and key in every test.
pub fn identity(name: &str) -> (Did, SecretKey) {
    let key = SecretKey::from_seed(&q_core::hash::sha256(name.as_bytes()));
    (key.public().to_did_key().parse().expect("a did:key is a DID"), key)
}

fn principal(did: &Did, now: Timestamp) -> Principal {
    Principal::new(did.clone(), now)
}

const NAME_HEADER: &str = "q-test-caller";

/// Says over HTTP who a test pretends to be.
struct Name(Caller);

impl Credential for Name {
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>> {
        Box::pin(async move {
            let text = match &self.0 {
                Caller::Anonymous => return Ok(()),
                Caller::Identity(principal) => {
                    let word = |word: Option<String>| word.unwrap_or_else(|| "-".to_owned());
                    let (kind, parent) = (
                        principal.kind.map(|kind| kind.to_string()),
                        principal.parent.as_ref().map(Did::to_string),
                    );
                    let (acr, kind, parent) = (word(principal.acr.clone()), word(kind), word(parent));
                    format!("identity {} {} {acr} {kind} {parent}", principal.did, principal.authenticated_at)
                }
                Caller::Service(principal, name) => {
                    format!("{name} {} {}", principal.did, principal.authenticated_at)
                }
            };
            let value =
                HeaderValue::from_str(&text).map_err(|error| CallError::NotReadable(error.to_string()))?;
            request.headers_mut().insert(NAME_HEADER, value);
            Ok(())
        })
    }
}

/// Believes the name a test gives; tokens have tests of their own.
struct NamedCallers;

impl Authenticate for NamedCallers {
    fn authenticate(&self, head: &Parts, _: Target<'_>) -> Result<Caller, Problem> {
        let Some(value) = head.headers.get(NAME_HEADER) else { return Ok(Caller::Anonymous) };
        let read = || {
            let mut words = value.to_str().ok()?.split(' ');
            let (kind, did, at) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let mut word = || words.next().filter(|word| *word != "-");
            let (acr, family) = (word().map(str::to_owned), word().and_then(|kind| kind.parse().ok()));
            let parent = word().and_then(|parent| parent.parse().ok());
            let principal = Principal { acr, kind: family, parent, ..principal(&did, at) };
            Some(match kind {
                "identity" => Caller::Identity(principal),
                module => Caller::Service(principal, module.to_owned()),
            })
        };
        read().ok_or_else(|| Problem::new(&codes::UNAUTHENTICATED))
    }
}
