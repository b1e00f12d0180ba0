//! Three replicas of qwallet behind haproxy: what one of them decides holds for all, and one that dies takes nothing
//! along.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use q_contract::CallError;
use q_tests::{Payer, Reader, Replicas, UNLIMITED, passed, until};
use tokio::task::JoinSet;

/// From a revocation's answer until no replica lets anybody in by it.
const REVOKED_WITHIN: Duration = Duration::from_secs(1);

fn available(replicas: &Replicas, who: &str) -> String {
    let balance = replicas.house.q(&["wallet", "balance", "--as", who, "--json"]).json();
    balance["balances"]["QToken"]["available"].as_str().expect("an amount").to_owned()
}

/// Pays until answered, under the same key: a refusal is an answer too.
async fn settled(payer: &Payer, order: &qwallet_api::PaymentRequest, key: &str) -> Result<String, String> {
    let ends_at = Instant::now() + Duration::from_mins(1);
    loop {
        match payer.pay(order, key).await {
            Ok(paid) => return Ok(paid.transaction_id.to_string()),
            Err(CallError::Problem(problem)) if problem.status < 500 => return Err(problem.code),
            Err(error) => assert!(Instant::now() < ends_at, "{key} is not answered: {error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_unit_is_spent_once_and_one_key_is_one_payment() {
    let Some(replicas) = Replicas::start(&UNLIMITED).await else { return };
    let door = replicas.balancer.url.clone();
    let bob = Arc::new(Payer::of(&replicas.house, "bob").at(&door));
    let alice = Arc::new(Payer::of(&replicas.house, "alice").at(&door));

    // 64 at once want more than half of what bob has: the first of them takes the last of it.
    assert_eq!(available(&replicas, "bob"), "12.5");
    let mut spending = JoinSet::new();
    for number in 0..64 {
        let (bob, to) = (bob.clone(), alice.wallet().to_owned());
        spending.spawn(async move {
            let key = format!("last-unit-{number}");
            settled(&bob, &bob.order(&to, "12.4", &key), &key).await
        });
    }
    let outcomes = spending.join_all().await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(refused.len(), 63, "{outcomes:?}");
    assert!(refused.iter().all(|code| *code == "INSUFFICIENT_FUNDS"), "{refused:?}");
    let left = available(&replicas, "bob");
    assert!(left.starts_with("0.0"), "{left}");

    // 1,000 times the same key at once, at every replica.
    let at: Vec<_> = replicas
        .replicas
        .iter()
        .map(|replica| Arc::new(Payer::of(&replicas.house, "alice").at(&replica.url)))
        .collect();
    let order = Arc::new(alice.order(bob.wallet(), "1", "thousand-times"));
    let mut asking = JoinSet::new();
    for number in 0..1_000 {
        let (alice, order) = (at[number % at.len()].clone(), order.clone());
        asking.spawn(async move { settled(&alice, &order, "thousand-times").await });
    }
    let answers: BTreeSet<_> = asking.join_all().await.into_iter().collect();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(available(&replicas, "bob"), left.replacen("0.0", "1.0", 1));
    passed("last unit", "64 spenders through the balancer, one payment; one key 1,000 times, one payment");
    replicas.end_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_killed_under_load_takes_no_payment_along() {
    let Some(mut replicas) = Replicas::start(&UNLIMITED).await else { return };
    let alice = Arc::new(Payer::of(&replicas.house, "alice").at(&replicas.balancer.url));
    let bob = Payer::of(&replicas.house, "bob").wallet().to_owned();
    let keys: Vec<_> = (0..400).map(|number| format!("killed-{number}")).collect();
    let orders: BTreeMap<_, _> =
        keys.iter().map(|key| (key.clone(), alice.order(&bob, "0.01", key))).collect();
    let (orders, next) = (Arc::new(orders), Arc::new(AtomicUsize::new(0)));
    let paid = Arc::new(Mutex::new(BTreeMap::new()));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (alice, orders, next, paid) = (alice.clone(), orders.clone(), next.clone(), paid.clone());
        clients.spawn(async move {
            let all: Vec<_> = orders.iter().collect();
            while let Some((key, order)) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                let transaction = settled(&alice, order, key).await.expect("alice can pay");
                paid.lock().insert((*key).clone(), transaction);
            }
        });
    }
    until("half of the payments", async || paid.lock().len() > 150).await;
    let victim = replicas.replicas.remove(1);
    victim.process.kill();
    let at_the_kill = paid.lock().clone();
    clients.join_all().await;
    assert!(at_the_kill.len() < orders.len(), "the kill came too late");
    // Each order again, at whichever replica: answered alike.
    for (key, order) in orders.iter() {
        let again = settled(&alice, order, key).await.expect("a repeated payment succeeds");
        assert_eq!(paid.lock().get(key), Some(&again), "{key} was paid twice");
    }
    assert_eq!(available(&replicas, "bob"), "16.5", "400 times 0.01, each once");
    passed("replica killed", "400 payments through the balancer, each once");
    replicas.end_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_cut_from_the_bus_or_the_store_and_healed_agree() {
    let Some(mut replicas) = Replicas::start(&UNLIMITED).await else { return };
    let alice = Payer::of(&replicas.house, "alice").at(&replicas.balancer.url);
    let bob = Payer::of(&replicas.house, "bob").wallet().to_owned();
    let pay = async |key: &str| {
        settled(&alice, &alice.order(&bob, "0.5", key), key).await.expect("alice can pay");
    };
    // The first replica hears no bus, the second one reaches no store.
    replicas.replicas[0].to_bus.cut();
    replicas.replicas[1].to_store.cut();
    for number in 0..10 {
        pay(&format!("partition-{number}")).await;
    }
    // The bus is gone for everybody, with what it kept.
    replicas.nats.kill();
    replicas.nats.forget();
    for number in 10..20 {
        pay(&format!("partition-{number}")).await;
    }
    assert!(replicas.nats.start_again());
    replicas.replicas[0].to_bus.heal();
    replicas.replicas[1].to_store.heal();
    let ready = async |url: String| {
        let client = q_contract::Client::new(Arc::new(q_contract::HttpTransport::new(url)));
        let answer = client.send("GET", "/health/ready", bytes::Bytes::new(), "").await;
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    for replica in &replicas.replicas {
        until("a ready replica", async || ready(replica.url.clone()).await).await;
    }
    for number in 20..30 {
        pay(&format!("partition-{number}")).await;
    }
    assert_eq!(available(&replicas, "bob"), "27.5");
    let told = || {
        let page = replicas.house.q(&["call", "qerberos", "GET", "/audit?layer=qwallet&limit=100"]).json();
        let rows = page["events"].as_array().expect("events").clone();
        rows.iter().filter_map(|row| row["details"]["payments"].as_u64()).sum::<u64>()
    };
    until("every payment in the trail, once", async || told() >= 31).await;
    let gaps = replicas.house.q(&["call", "qerberos", "GET", "/audit/gaps"]).json();
    for producer in gaps["producers"].as_array().expect("producers") {
        assert!(producer["missing"] == serde_json::json!([]) && producer["conflicts"] == 0, "{producer}");
    }
    passed(
        "replica partition",
        "one cut from the bus, one from the store, the bus emptied: the books and the trail agree",
    );
    replicas.end_well();
}

/// Whether every replica answers with this status.
async fn all(readers: &[Reader], status: u16) -> bool {
    for reader in readers {
        if reader.look().await.is_none_or(|(seen, _)| seen != status) {
            return false;
        }
    }
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_revoked_is_revoked_at_every_replica_within_a_second() {
    let Some(replicas) = Replicas::start(&UNLIMITED).await else { return };
    let house = &replicas.house;
    let did = Payer::of(house, "bob").did().to_string();
    let alices = Payer::of(house, "alice").did().to_string();
    let token = house.q(&["auth", "token", "--as", "bob", "--json"]).json();
    let token = token["accessToken"].as_str().expect("a token").to_owned();
    let at_each = |who: &str| -> Vec<_> {
        replicas.replicas.iter().map(|replica| Reader::with(&replica.url, token.clone(), who)).collect()
    };
    let (own, alices) = (at_each(&did), at_each(&alices));
    assert!(all(&own, 200).await && all(&alices, 404).await);
    // A grant, and its revocation.
    assert_eq!(house.q(&["grant", "wallet", "bob", "--as", "alice"]).code, Some(0));
    until("the grant", async || all(&alices, 200).await).await;
    assert_eq!(house.q(&["grant", "revoke", "bob", "--as", "alice"]).code, Some(0));
    let revoked_at = Instant::now();
    until("the revocation", async || all(&alices, 404).await).await;
    let grant_took = revoked_at.elapsed();
    assert!(grant_took < REVOKED_WITHIN, "{grant_took:?}");
    // Every token of an identity.
    let suspend = format!("/identity/{did}/suspend");
    let suspended = house.q(&["call", "squid", "POST", &suspend, "-d", r#"{"reason":"a lost laptop"}"#]);
    assert_eq!(suspended.code, Some(0), "{}{}", suspended.said, suspended.complained);
    let suspended_at = Instant::now();
    until("the suspension", async || all(&own, 401).await).await;
    let token_took = suspended_at.elapsed();
    assert!(token_took < REVOKED_WITHIN, "{token_took:?}");
    let held =
        format!("a grant after {} ms, tokens after {} ms", grant_took.as_millis(), token_took.as_millis());
    passed("revocation across replicas", &held);
    replicas.end_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_alice_may_spend_in_a_day_she_may_spend_once_not_at_each_replica() {
    let Some(replicas) = Replicas::start(&UNLIMITED).await else { return };
    let alice = Payer::of(&replicas.house, "alice");
    let path = format!("/wallets/{}/limits", alice.did());
    let wanted = r#"{"limits":[{"kind":"daily","currency":"QToken","amount":"20"}]}"#;
    let set = replicas.house.q(&["call", "qwallet", "PUT", &path, "-d", wanted, "--as", "alice"]);
    assert_eq!(set.code, Some(0), "{}{}", set.said, set.complained);
    let spent = replicas.house.q(&["call", "qwallet", "GET", &path, "--as", "alice"]).json();
    let bob = Payer::of(&replicas.house, "bob").wallet().to_owned();
    let mut spending = JoinSet::new();
    for number in 0..60 {
        let url = &replicas.replicas[number % replicas.replicas.len()].url;
        let (alice, to) = (Payer::of(&replicas.house, "alice").at(url), bob.clone());
        spending.spawn(async move {
            let key = format!("daily-limit-{number}");
            settled(&alice, &alice.order(&to, "1", &key), &key).await
        });
    }
    let outcomes = spending.join_all().await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert!(refused.iter().all(|code| *code == "DAILY_LIMIT_EXCEEDED"), "{refused:?}");
    // She has paid bob 12.5 before today's limit was set.
    let paid = outcomes.len() - refused.len();
    assert_eq!(paid, 7, "{spent}");
    passed("spending limit across replicas", "60 orders at three replicas, as many paid as one day allows");
    replicas.end_well();
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_hold_for_all_replicas_together() {
    let settings = [("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"), ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "300")];
    let Some(replicas) = Replicas::start(&settings).await else { return };
    // Until replicas know of each other each may count alone, for up to 3 s: somebody else's requests fill them.
    hammered(&replicas, "alice", Duration::from_secs(4)).await;
    let (let_in, refused) = hammered(&replicas, "bob", Duration::from_secs(8)).await;
    // The burst of 300 and 5 a second for 8 seconds; a tenth more for what was not told yet.
    assert!(refused > 0 && (250..=374).contains(&let_in), "{let_in} let in, {refused} refused");
    passed("limits across replicas", &format!("{let_in} let in of 340 that one replica would have"));
    replicas.end_well();
}

/// How many requests of `who`, made at every replica as fast as it answers, were let in and refused.
async fn hammered(replicas: &Replicas, who: &str, span: Duration) -> (usize, usize) {
    let did = Payer::of(&replicas.house, who).did().to_string();
    let token = replicas.house.q(&["auth", "token", "--as", who, "--json"]).json();
    let token = token["accessToken"].as_str().expect("a token").to_owned();
    let (let_in, began_at) = (Arc::new(AtomicUsize::new(0)), Instant::now());
    let mut asking = JoinSet::new();
    for replica in &replicas.replicas {
        for _ in 0..4 {
            let (reader, let_in) = (Reader::with(&replica.url, token.clone(), &did), let_in.clone());
            asking.spawn(async move {
                let mut refused = 0_usize;
                while began_at.elapsed() < span {
                    match reader.look().await {
                        Some((200, _)) => {
                            let_in.fetch_add(1, Ordering::Relaxed);
                        }
                        answer => {
                            assert!(answer.is_some_and(|(status, _)| status == 429));
                            refused += 1;
                        }
                    }
                }
                refused
            });
        }
    }
    let refused: usize = asking.join_all().await.into_iter().sum();
    (let_in.load(Ordering::Relaxed), refused)
}
