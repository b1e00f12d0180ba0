//! Three replicas of qwallet on one PostgreSQL and one NATS server, behind a load balancer that is not ours.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use q_contract::{Client, HttpTransport};
use q_testkit::{Proxy, oracle, oracle::NatsServer};

use crate::{Instance, Process, postgres::with_database};

const GROUND: [&str; 5] = ["serve", "qlock", "squid", "qonsent", "qerberos"];
/// How long the balancer may take to find a replica ready.
const READY_MAX: Duration = Duration::from_mins(1);

/// One replica, with wires of its own to the store and to the bus.
pub struct Replica {
    /// The process.
    pub process: Process,
    /// Its base URL.
    pub url: String,
    /// The way to PostgreSQL.
    pub to_store: Proxy,
    /// The way to NATS.
    pub to_bus: Proxy,
}

/// A replica that was stopped, with its address and its wires.
pub struct Stopped {
    url: String,
    to_store: Proxy,
    to_bus: Proxy,
}

impl Replica {
    /// Stops it as an operator or a service manager would, and returns when it has ended.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(self) -> Stopped {
        let Self { process, url, to_store, to_bus } = self;
        process.ask_to_stop();
        process.ended();
        Stopped { url, to_store, to_bus }
    }
}

/// The whole of it.
pub struct Replicas {
    /// The balancer, which goes first.
    pub balancer: Balancer,
    /// qwallet, three times.
    pub replicas: Vec<Replica>,
    /// The process with the other modules.
    pub ground: Process,
    /// The folder they share.
    pub house: Instance,
    /// The bus.
    pub nats: NatsServer,
    database: String,
}

impl Replicas {
    /// Starts everything, or says what the machine lacks.
    ///
    /// # Panics
    /// When something is there and does not start.
    pub async fn start(settings: &[(&str, &str)]) -> Option<Self> {
        let Ok(server) = std::env::var("Q_TEST_POSTGRES") else {
            oracle::skip("PostgreSQL");
            return None;
        };
        oracle::program("haproxy")?;
        let nats = NatsServer::start()?;
        let bus = nats.url();
        // A database of this run; it goes with the throw-away server.
        let database = format!("wallet_db_{}", u32::from_be_bytes(q_core::Env::system().random()));
        let database = with_database(&server, &database);
        let mut all = settings.to_vec();
        all.extend([("Q_BUS_URL", bus.as_str()), ("QWALLET_DATABASE_URL", database.as_str())]);
        let house = Instance::unstarted(&all)?;
        let made = house.q(&["init", "--demo"]);
        assert_eq!(made.code, Some(0), "{}", made.complained);
        let ground = house.beside(&GROUND);
        let mut started =
            Self { balancer: Balancer::none(), replicas: Vec::new(), ground, house, nats, database };
        for number in 0..3 {
            let verb: &[&str] =
                if number == 0 { &["serve", "qwallet", "--demo"] } else { &["serve", "qwallet"] };
            let replica = started.replica(verb).await;
            started.replicas.push(replica);
        }
        let urls: Vec<_> = started.replicas.iter().map(|replica| replica.url.clone()).collect();
        started.balancer = Balancer::start(&started.house, &urls);
        Some(started)
    }

    /// Starts one more replica with `verb`.
    pub async fn replica(&self, verb: &[&str]) -> Replica {
        let (_, place) = self.store();
        let to_store = Proxy::to(place.to_owned()).await;
        let to_bus = Proxy::to(self.nats.address().to_string()).await;
        let process = self.process(self.house.program(), verb, &to_store, &to_bus, "127.0.0.1:0");
        let url = self.house.url_in(process.pid(), "qwallet");
        Replica { process, url, to_store, to_bus }
    }

    /// The replica `at` once more, which was stopped: at the same address, running `program`.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn again(&self, program: &Path, stopped: Stopped) -> Replica {
        let Stopped { url, to_store, to_bus } = stopped;
        let listen = url.trim_start_matches("http://");
        let process = self.process(program, &["serve", "qwallet"], &to_store, &to_bus, listen);
        Replica { process, url, to_store, to_bus }
    }

    fn process(
        &self,
        program: &Path,
        verb: &[&str],
        to_store: &Proxy,
        to_bus: &Proxy,
        listen: &str,
    ) -> Process {
        let (store, place) = self.store();
        let store = store.replace(place, &to_store.address().to_string());
        let bus = format!("nats://{}", to_bus.address());
        let settings = [("QWALLET_DATABASE_URL", &*store), ("Q_BUS_URL", &*bus), ("QWALLET_LISTEN", listen)];
        self.house.beside_of(program, verb, &settings)
    }

    /// The store's URL, and which part of it is host and port.
    fn store(&self) -> (&str, &str) {
        let (_, rest) = self.database.split_once("://").expect("a URL");
        let (authority, _) = rest.split_once('/').expect("a database");
        (&self.database, authority.rsplit_once('@').map_or(authority, |(_, place)| place))
    }

    /// Stops everything as an operator would, with the books in order.
    ///
    /// # Panics
    /// When something is not in order.
    pub fn end_well(self) {
        let books = self.house.q(&["wallet", "trial-balance", "--json"]).json();
        for line in books["currencies"].as_array().into_iter().flatten() {
            assert_eq!(line["difference"], "0", "{books}");
        }
        let verified = self.house.q(&["verify"]);
        assert_eq!(verified.code, Some(0), "{}{}", verified.said, verified.complained);
        drop(self.balancer);
        let stopped = self.house.q(&["stop"]);
        assert_eq!(stopped.code, Some(0), "{}", stopped.complained);
        self.replicas.into_iter().for_each(|replica| replica.process.ended());
        self.ground.ended();
    }
}

/// A running haproxy, with the configuration that is shipped.
pub struct Balancer {
    process: Option<Child>,
    /// Its base URL.
    pub url: String,
    /// Where it tells what it thinks of the replicas.
    view: String,
}

impl Balancer {
    const SHIPPED: &str = include_str!("../../deploy/haproxy.cfg");
    const DOOR: &str = "bind :3000";
    const SERVERS: &str = "server-template replica 1-10 qwallet:3000";

    const fn none() -> Self {
        Self { process: None, url: String::new(), view: String::new() }
    }

    /// The shipped configuration, but for where it listens and where the replicas are.
    fn configuration(address: SocketAddr, view: SocketAddr, urls: &[String]) -> String {
        let servers = urls.iter().enumerate();
        let servers = servers.map(|(at, url)| format!("server q{at} {}", url.trim_start_matches("http://")));
        let servers: Vec<_> = servers.collect();
        for part in [Self::DOOR, Self::SERVERS] {
            assert!(Self::SHIPPED.contains(part), "the shipped configuration has no `{part}` any more");
        }
        let placed = Self::SHIPPED.replace(Self::DOOR, &format!("bind {address}"));
        let placed = placed.replace(Self::SERVERS, &servers.join("\n    "));
        format!("{placed}\nlisten view\n    bind {view}\n    stats enable\n    stats uri /\n")
    }

    fn start(house: &Instance, urls: &[String]) -> Self {
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let (door, view) = (free(), free());
        let place = |socket: &TcpListener| socket.local_addr().expect("a bound socket");
        let (address, view_address) = (place(&door), place(&view));
        drop((door, view));
        let file = house.scratch().join("haproxy.cfg");
        fs::write(&file, Self::configuration(address, view_address, urls)).expect("a file of the test");
        let mut command = oracle::program("haproxy").expect("it was there before");
        command
            .arg("-db")
            .arg("-f")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = command.spawn().expect("haproxy starts");
        let patience_ends_at = Instant::now() + READY_MAX;
        while TcpStream::connect(address).is_err() {
            assert!(process.try_wait().is_ok_and(|ended| ended.is_none()), "haproxy ended");
            assert!(Instant::now() < patience_ends_at, "haproxy does not listen");
        }
        let (url, view) = (format!("http://{address}"), format!("http://{view_address}"));
        Self { process: Some(process), url, view }
    }

    /// How many replicas it sends requests to now.
    ///
    /// # Panics
    /// When it does not tell.
    pub async fn serving(&self) -> usize {
        let client = Client::new(Arc::new(HttpTransport::new(&self.view)));
        let told = client.send("GET", "/;csv", Bytes::new(), "").await.expect("haproxy tells");
        let told = String::from_utf8_lossy(told.body()).into_owned();
        let mut lines = told.lines().map(|line| line.trim_start_matches("# ").split(',').collect::<Vec<_>>());
        let names = lines.next().expect("a line of names");
        let status = names.iter().position(|name| *name == "status").expect("a status");
        // Such as `UP`, `UP 1/2` while it wavers, `DOWN 1/2` while it comes back.
        let is_up = |line: &Vec<&str>| {
            line.first() == Some(&"replicas")
                && line.get(1).is_some_and(|name| name.starts_with('q'))
                && line.get(status).is_some_and(|status| status.starts_with("UP"))
        };
        lines.filter(is_up).count()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
