//! Three replicas of qwallet on one PostgreSQL and one NATS server, behind a load balancer that is not ours.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use q_testkit::{Proxy, oracle, oracle::NatsServer};

use crate::{Instance, Process};

const GROUND: [&str; 5] = ["serve", "qlock", "squid", "qonsent", "qerberos"];
/// How long the balancer may take to find a replica ready.
const READY_MAX: Duration = Duration::from_secs(20);

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
        assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
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
        let (head, query) = self.database.split_once('?').unwrap_or((&self.database, ""));
        let (scheme, rest) = head.split_once("://").expect("a URL");
        let (authority, name) = rest.split_once('/').expect("a database");
        let (user, place) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
        let to_store = Proxy::to(place.to_owned()).await;
        let to_bus = Proxy::to(self.nats.address().to_string()).await;
        let store = format!("{scheme}://{user}@{}/{name}?{query}", to_store.address());
        let bus = format!("nats://{}", to_bus.address());
        let settings = [("QWALLET_DATABASE_URL", store.trim_end_matches('?')), ("Q_BUS_URL", bus.as_str())];
        let process = self.house.beside_with(verb, &settings);
        let url = self.house.url_in(process.pid(), "qwallet");
        Replica { process, url, to_store, to_bus }
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

/// `server` with another database.
fn with_database(server: &str, database: &str) -> String {
    let (head, query) = server.split_once('?').map_or((server, None), |(head, rest)| (head, Some(rest)));
    let head = head.rsplit_once('/').map_or(head, |(head, _)| head);
    query.map_or_else(|| format!("{head}/{database}"), |query| format!("{head}/{database}?{query}"))
}

/// A running haproxy.
pub struct Balancer {
    process: Option<Child>,
    /// Its base URL.
    pub url: String,
}

impl Balancer {
    const fn none() -> Self {
        Self { process: None, url: String::new() }
    }

    fn start(house: &Instance, urls: &[String]) -> Self {
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|socket| socket.local_addr());
        let address = address.expect("a free port");
        let servers: Vec<_> = urls
            .iter()
            .enumerate()
            .map(|(at, url)| format!("  server q{at} {} check", url.trim_start_matches("http://")))
            .collect();
        let file = house.scratch().join("haproxy.cfg");
        let text = format!(
            "defaults\n  mode http\n  timeout connect 1s\n  timeout client 60s\n  timeout server 60s\n  \
             retries 2\n  option redispatch\n  retry-on conn-failure\n\
             frontend door\n  bind {address}\n  http-request set-header Forwarded for=%[src]\n  \
             default_backend wallet\n\
             backend wallet\n  balance roundrobin\n  option httpchk GET /health/ready\n  \
             default-server inter 200ms fastinter 100ms fall 2 rise 1 observe layer4\n{}\n",
            servers.join("\n")
        );
        fs::write(&file, text).expect("a file of the test");
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
        Self { process: Some(process), url: format!("http://{address}") }
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
