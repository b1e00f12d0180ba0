//! The same house on a PostgreSQL server, each module in a database of its own.

use q_testkit::oracle;
use q_tests::{Instance, Payer, databases_of_its_own, sound};

#[tokio::test(flavor = "multi_thread")]
async fn pays_survives_a_kill_and_verifies() {
    let Some(settings) = databases_of_its_own() else { return oracle::skip("PostgreSQL") };
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
