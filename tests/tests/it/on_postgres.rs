//! The same house on a PostgreSQL server, each module in a database of its own.

use q_testkit::oracle;
use q_tests::{Instance, Payer, sound};

/// The modules and the databases the runbook names for them.
const DATABASES: [(&str, &str); 5] = [
    ("SQUID", "squid_db"),
    ("QONSENT", "qonsent_db"),
    ("QLOCK", "qlock_db"),
    ("QERBEROS", "qerberos_db"),
    ("QWALLET", "wallet_db"),
];

#[tokio::test(flavor = "multi_thread")]
async fn pays_survives_a_kill_and_verifies() {
    let Some(server) = std::env::var("Q_TEST_POSTGRES").ok() else { return oracle::skip("PostgreSQL") };
    // Databases of this run, so that runs on one server never meet; they go with the throw-away server.
    let run = std::process::id();
    let (base, query) = match server.split_once('?') {
        Some((base, query)) => (base, format!("?{query}")),
        None => (server.as_str(), String::new()),
    };
    let base = base.rsplit_once('/').map_or(base, |(base, _)| base);
    let settings: Vec<(String, String)> = DATABASES
        .iter()
        .map(|(module, name)| (format!("{module}_DATABASE_URL"), format!("{base}/{name}_{run}{query}")))
        .collect();
    let settings: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let Some(mut house) = Instance::demo(&settings) else { return };
    assert!(!house.data().join("qwallet.sqlite").exists());
    let alice = Payer::of(&house, "alice");
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    let order = alice.order(&bob, "2", "on-postgres-1");
    let paid = alice.pay(&order, "on-postgres-1").await.expect("a payment");
    house.kill();
    house.start(&["up", "--demo"]);
    let again = Payer::of(&house, "alice").pay(&order, "on-postgres-1").await.expect("the same payment");
    assert_eq!(paid.transaction_id, again.transaction_id);
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "14.5");
    sound(&house, "kill -9 on PostgreSQL", "the payment is there, repeated it is the same one");
    house.stop();
}
