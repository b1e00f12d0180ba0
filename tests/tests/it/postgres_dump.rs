//! `pg_dump wallet_db > f`, `psql wallet_db < f`, as the runbook writes them: healthy afterwards, books balanced; and our
//! own backups of servers.

use std::{
    fs::File,
    path::PathBuf,
    process::{Command, Stdio},
};

use q_testkit::oracle;
use q_tests::{Instance, Payer};

/// The modules and the databases the runbook names for them.
const DATABASES: [(&str, &str); 6] = [
    ("SQUID", "squid_db"),
    ("QONSENT", "qonsent_db"),
    ("QLOCK", "qlock_db"),
    ("QERBEROS", "qerberos_db"),
    ("QWALLET", "wallet_db"),
    ("Q_OPS", "ops_db"),
];

/// A server, and this run's databases on it.
struct Server {
    base: String,
    query: String,
    run: u32,
}

impl Server {
    fn of_tests(offset: u32) -> Option<Self> {
        let Ok(server) = std::env::var("Q_TEST_POSTGRES") else {
            oracle::skip("PostgreSQL");
            return None;
        };
        let (base, query) = match server.split_once('?') {
            Some((base, query)) => (base.to_owned(), format!("?{query}")),
            None => (server, String::new()),
        };
        let base = base.rsplit_once('/').map_or(base.clone(), |(base, _)| base.to_owned());
        Some(Self { base, query, run: std::process::id() * 10 + offset })
    }

    fn url(&self, database: &str) -> String {
        format!("{}/{database}{}", self.base, self.query)
    }

    fn name(&self, database: &str) -> String {
        format!("{database}_{}", self.run)
    }

    fn settings(&self) -> Vec<(String, String)> {
        let url = |name: &str| self.url(&self.name(name));
        DATABASES.iter().map(|(module, name)| (format!("{module}_DATABASE_URL"), url(name))).collect()
    }

    fn psql(&self, sql: &str) {
        let done = program("psql")
            .args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url("postgres")])
            .output();
        let done = done.expect("psql starts");
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for (_, name) in DATABASES {
            let name = self.name(name);
            let sql = format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)");
            let _ = program("psql").args(["-Xq", "-c", &sql, &self.url("postgres")]).status();
        }
    }
}

/// A client program of the newest installation: Debian keeps them off the PATH.
fn program(name: &str) -> Command {
    let folders = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let found: Option<PathBuf> =
        folders.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.is_file()).max();
    Command::new(found.unwrap_or_else(|| name.into()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runbooks_own_commands_bring_the_wallet_back() {
    let Some(server) = Server::of_tests(1) else { return };
    let settings = server.settings();
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
    let Some(mut house) = Instance::demo(&settings) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    alice.pay(&alice.order(&bob, "2", "dumped-before"), "dumped-before").await.expect("a payment");
    let before = house.q(&["wallet", "trial-balance", "--json"]).json();
    house.stop();
    let wallet = server.name("wallet_db");
    let file = house.scratch().join("wallet_backup.sql");
    let dumped =
        program("pg_dump").arg(server.url(&wallet)).stdout(File::create(&file).unwrap()).status().unwrap();
    assert!(dumped.success());
    server.psql(&format!("DROP DATABASE {wallet}"));
    assert_eq!(house.q(&["verify"]).code, Some(3), "a vanished store is found");
    server.psql(&format!("CREATE DATABASE {wallet}"));
    let mut psql = program("psql");
    psql.args(["-Xq", "-v", "ON_ERROR_STOP=1"])
        .arg(server.url(&wallet))
        .stdin(Stdio::from(File::open(&file).unwrap()));
    assert!(psql.stdout(Stdio::null()).status().unwrap().success());
    house.start(&["up"]);
    let health = house.q(&["call", "qwallet", "GET", "/health", "--anonymous"]);
    assert!(health.said.contains("\"healthy\"") || health.said.contains("\"degraded\""), "{}", health.said);
    let after = house.q(&["wallet", "trial-balance", "--json"]).json();
    assert_eq!(after["items"], before["items"]);
    let alice = Payer::of(&house, "alice");
    alice.pay(&alice.order(&bob, "1", "dumped-after"), "dumped-after").await.expect("a payment");
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.said);
    house.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_on_a_server_are_backed_up_rehearsed_and_put_back() {
    let Some(server) = Server::of_tests(2) else { return };
    let settings = server.settings();
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
    let Some(mut house) = Instance::demo(&settings) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    alice.pay(&alice.order(&bob, "2", "on-a-server-before"), "on-a-server-before").await.expect("a payment");
    house.stop();
    let made = house.q(&["backup", "create", "--json"]).json();
    let report = house.q(&["drill", "restore", "--json"]).json();
    assert_eq!((&report["isMet"], &report["booksEqual"]), (&true.into(), &true.into()), "{report}");
    assert_eq!(report["modules"]["qwallet"]["engine"], "postgres");
    // Everything is lost, the databases too.
    for (_, name) in DATABASES {
        server.psql(&format!("DROP DATABASE {}", server.name(name)));
    }
    let gone = house.scratch().join("gone");
    std::fs::rename(house.data(), gone).unwrap();
    let restored = house.q(&["backup", "restore", made["id"].as_str().unwrap()]);
    assert_eq!(restored.code, Some(0), "{}{}", restored.said, restored.complained);
    house.start(&["up"]);
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "14.5");
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}", verified.said);
    house.stop();
}
