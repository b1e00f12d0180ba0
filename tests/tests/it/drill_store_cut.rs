//! The way to the database server breaks and heals: health says so, nothing is lost, nobody restarts anything.

use std::time::Duration;

use q_testkit::{Proxy, oracle};
use q_tests::{Instance, Payer, Reader, UNLIMITED, sound, until};

/// The wallet on PostgreSQL behind a wire; the rest on files.
async fn house() -> Option<(Instance, Proxy)> {
    let Ok(server) = std::env::var("Q_TEST_POSTGRES") else {
        oracle::skip("PostgreSQL");
        return None;
    };
    let (head, query) =
        server.split_once('?').map_or((server.as_str(), None), |(head, query)| (head, Some(query)));
    let rest = head.split_once("://").expect("a URL").1;
    let authority = rest.split('/').next().expect("an authority");
    let (user, place) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
    let wire = Proxy::to(if place.contains(':') { place.to_owned() } else { format!("{place}:5432") }).await;
    let query = query.map_or_else(String::new, |query| format!("?{query}"));
    // A database of this run; it goes with the throw-away server.
    let number = u32::from_be_bytes(q_core::Env::system().random());
    let url = format!("postgres://{user}@{}/wallet_db_{number}{query}", wire.address());
    let settings = [UNLIMITED[0], UNLIMITED[1], ("QWALLET_DATABASE_URL", url.as_str())];
    Some((Instance::demo(&settings)?, wire))
}

async fn health(house: &Instance) -> u16 {
    house.get("qwallet", "/health").await.map_or(0, |(status, _)| status)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_cut_off_is_taken_up_again() {
    let Some((mut house, wire)) = house().await else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let reader = Reader::of(&house, "bob");
    assert_eq!(health(&house).await, 200);
    let order = alice.order(&bob, "0.5", "store-cut-1");
    for round in 0..3 {
        wire.cut();
        until("an unhealthy wallet", async || health(&house).await == 503).await;
        assert_eq!(house.get("qwallet", "/health/live").await.expect("it lives").0, 200);
        assert_eq!(house.get("squid", "/health").await.expect("others go on").0, 200);
        if round == 0 {
            let refused = alice.pay(&order, "store-cut-1").await.expect_err("there is no store");
            let problem = refused.problem().expect("a problem, not a broken connection");
            assert_eq!((problem.status, problem.code.as_str()), (503, "STORAGE_UNAVAILABLE"), "{problem}");
        }
        wire.heal();
        until("a healthy wallet", async || health(&house).await == 200).await;
        assert_eq!(reader.look().await.expect("an answer").0, 200);
    }
    let first = alice.pay(&order, "store-cut-1").await.expect("a healed store");
    let again = alice.pay(&order, "store-cut-1").await.expect("the same payment");
    assert_eq!(first.transaction_id, again.transaction_id);
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "13");
    sound(&house, "store cut and healed", "/health 503 then 200, reconnected by itself three times");
    house.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_in_the_middle_of_payments_loses_and_doubles_nothing() {
    let Some((house, wire)) = house().await else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let orders: Vec<_> = (0..60)
        .map(|number| format!("store-mid-{number}"))
        .map(|key| (alice.order(&bob, "0.1", &key), key))
        .collect();
    let mut answered = vec![None; orders.len()];
    for (number, (order, key)) in orders.iter().enumerate() {
        if number % 12 == 5 {
            wire.cut();
        }
        answered[number] = alice.pay(order, key).await.ok().map(|paid| paid.transaction_id);
        if number % 12 == 7 {
            wire.heal();
        }
    }
    assert!(answered.iter().any(Option::is_none) && answered.iter().any(Option::is_some), "{answered:?}");
    until("a healthy wallet", async || health(&house).await == 200).await;
    for ((order, key), first) in orders.iter().zip(&answered) {
        let paid = alice.pay(order, key).await.expect("a healed store");
        assert!(first.as_ref().is_none_or(|first| *first == paid.transaction_id), "{key} was paid twice");
    }
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "18.5");
    sound(&house, "store cut between payments", "answered payments kept, repeated ones not doubled");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_store_is_unhealthy_and_holds_nobody_else_up() {
    let Some((house, wire)) = house().await else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    wire.silence();
    until("an unhealthy wallet", async || health(&house).await == 503).await;
    let started = tokio::time::Instant::now();
    assert_eq!(house.get("squid", "/health").await.expect("others go on").0, 200);
    assert!(started.elapsed() < Duration::from_secs(3), "squid waited for the wallet's store");
    wire.heal();
    until("a healthy wallet", async || health(&house).await == 200).await;
    alice.pay(&alice.order(&bob, "0.5", "store-silent-1"), "store-silent-1").await.expect("a healed store");
    sound(&house, "store partitioned", "/health 503 while silent, other modules answered at once");
}
