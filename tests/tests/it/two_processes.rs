//! One instance in two processes: payments in one, everything they rest on in the other.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use q_contract::{CallError, Client, Credential, HttpTransport};
use q_tests::{Instance, Payer, Process};
use serde_json::Value;

const GROUND: [&str; 5] = ["serve", "qlock", "squid", "qonsent", "qerberos"];
const UNLIMITED: [(&str, &str); 2] =
    [("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"), ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0")];
const PAYMENTS: usize = 40;

/// The processes, the second one with a first payment made.
fn both() -> Option<(Instance, Process)> {
    let mut house = Instance::unstarted(&UNLIMITED)?;
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    house.start(&GROUND);
    let purse = house.beside(&["serve", "qwallet", "--demo"]);
    assert!(purse.greeting.contains("alice pays bob 12.5 QToken"), "{}", purse.greeting);
    Some((house, purse))
}

/// Asks until `is_so`; each question takes a process or a request its time.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let asking_ends_at = Instant::now() + Duration::from_mins(1);
    while !is_so().await {
        assert!(Instant::now() < asking_ends_at, "{what} does not come to pass");
    }
}

struct Bearer(String);

impl Credential for Bearer {
    fn attach<'a>(
        &'a self,
        request: &'a mut Request<Bytes>,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), CallError>> + Send + 'a>> {
        let value = HeaderValue::from_str(&format!("Bearer {}", self.0)).expect("a token is ASCII");
        request.headers_mut().insert(header::AUTHORIZATION, value);
        Box::pin(async { Ok(()) })
    }
}

fn reads_alices_wallet(house: &Instance) -> bool {
    let read = house.q(&["wallet", "balance", "alice", "--as", "bob", "--json"]);
    assert!(read.code == Some(0) || read.complained.contains("WALLET_NOT_FOUND"), "{}", read.complained);
    read.code == Some(0)
}

/// The rows of the trail that qwallet wrote, newest first.
fn trail_of_qwallet(house: &Instance) -> Vec<Value> {
    let page = house.q(&["call", "qerberos", "GET", "/audit?layer=qwallet&limit=100"]).json();
    page["events"].as_array().expect("events").clone()
}

fn payments(trail: &[Value]) -> u64 {
    trail.iter().filter_map(|row| row["details"]["payments"].as_u64()).sum()
}

/// What qerberos says of its way to qwallet.
fn way_to_qwallet(house: &Instance) -> Value {
    let health = house.q(&["call", "qerberos", "GET", "/health/detailed"]).json();
    let ways = health["bus"].as_array().expect("subscriptions");
    ways.iter().find(|way| way["producer"] == "qwallet").expect("qerberos follows qwallet").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_decides_holds_in_the_other() {
    let Some((mut house, purse)) = both() else { return };
    let second = house.q(&["serve", "qwallet"]);
    assert_eq!(second.code, Some(4));
    assert!(second.complained.contains("qwallet already runs"), "{}", second.complained);

    assert!(!reads_alices_wallet(&house));
    assert_eq!(house.q(&["grant", "wallet", "bob", "--as", "alice"]).code, Some(0));
    until("the grant", async || reads_alices_wallet(&house)).await;
    assert_eq!(house.q(&["grant", "revoke", "bob", "--as", "alice"]).code, Some(0));
    until("the revocation", async || !reads_alices_wallet(&house)).await;

    let qonsent = Client::new(Arc::new(HttpTransport::new(house.url("qonsent"))));
    let asked = r#"http_requests_total{method="GET",route="/revocations",status="200"} "#;
    until("a proof that the permissions of qwallet's process are current, more than once", async || {
        let figures = qonsent.send("GET", "/metrics", Bytes::new(), "").await.expect("figures");
        let figures = String::from_utf8_lossy(figures.body()).into_owned();
        let count = figures.lines().find_map(|line| line.strip_prefix(asked)?.parse::<u32>().ok());
        count.is_some_and(|count| count >= 2)
    })
    .await;

    let token = house.q(&["auth", "token", "--as", "bob", "--json"]).json();
    let bob = Client::new(Arc::new(HttpTransport::new(house.url("qwallet"))))
        .with_credential(Arc::new(Bearer(token["accessToken"].as_str().expect("a token").to_owned())));
    let did = Payer::of(&house, "bob").did().to_string();
    let path = format!("/wallets/{did}");
    let status = async || {
        let answer = bob.send("GET", &path, Bytes::new(), "application/json").await.expect("an answer");
        answer.status().as_u16()
    };
    assert_eq!(status().await, 200);
    let suspend = format!("/identity/{did}/suspend");
    let suspended = house.q(&["call", "squid", "POST", &suspend, "-d", r#"{"reason":"a lost laptop"}"#]);
    assert_eq!(suspended.code, Some(0), "{}{}", suspended.said, suspended.complained);
    until("the suspension", async || status().await == 401).await;

    until("the trail", async || trail_of_qwallet(&house).len() >= 4).await;
    let newest = &trail_of_qwallet(&house)[0];
    assert_eq!(newest["subtype"], "ledger.commit");
    let place = format!("/audit/{}/proof", newest["id"].as_str().expect("an id"));
    until("a checkpoint over it", async || house.q(&["call", "qerberos", "GET", &place]).code == Some(0))
        .await;
    let proof = house.q(&["call", "qerberos", "GET", &place]).json();
    assert_eq!(proof["leafHash"], newest["leafHash"]);
    assert_eq!(house.q(&["verify"]).code, Some(0));

    house.stop();
    purse.ended();
    let offline = house.q(&["verify"]);
    assert_eq!(offline.code, Some(0), "{}{}", offline.said, offline.complained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_and_started_again_has_lost_and_missed_nothing() {
    let Some((mut house, purse)) = both() else { return };
    until("the trail of the demonstration", async || trail_of_qwallet(&house).len() >= 4).await;
    let paid_before = payments(&trail_of_qwallet(&house));
    assert_eq!(house.q(&["grant", "wallet", "bob", "--as", "alice"]).code, Some(0));
    until("the grant", async || reads_alices_wallet(&house)).await;
    let bob = Payer::of(&house, "bob");
    let recipient = bob.wallet().to_owned();
    let alice = Arc::new(Payer::of(&house, "alice"));
    let orders: Vec<_> =
        (0..PAYMENTS).map(|at| alice.order(&recipient, "0.5", &format!("two-processes-{at}"))).collect();
    let (answered, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let paying = {
        let (alice, orders) = (alice.clone(), orders.clone());
        tokio::spawn(async move {
            let mut paid = Vec::new();
            for order in &orders {
                let Ok(transaction) = alice.pay(order, &order.nonce).await else { break };
                paid.push(transaction.transaction_id);
                let _ = answered.send(());
            }
            paid
        })
    };
    for _ in 0..7 {
        answers.recv().await.expect("payments are answered");
    }
    purse.kill();
    let paid = paying.await.expect("the client ends");
    assert!(paid.len() >= 7);

    // Decided while the other process is away: it must know before it answers anybody.
    assert_eq!(way_to_qwallet(&house)["isConnected"], false, "the trail says that it hears nothing");
    let alone = house.q(&["verify", "qwallet"]);
    assert_eq!(alone.code, Some(0), "a stopped module is verified beside running ones: {}", alone.complained);
    let grants = house.q(&["grant", "list", "--as", "alice", "--json"]).json();
    let resource = grants["items"][0]["resource"].as_str().expect("a resource");
    let body = serde_json::json!({"resource": resource, "identity": bob.did()}).to_string();
    let revoked = house.q(&["call", "qonsent", "POST", "/revoke", "-d", &body, "--as", "alice"]);
    assert_eq!(revoked.code, Some(0), "{}{}", revoked.said, revoked.complained);

    let purse = house.beside(&["serve", "qwallet"]);
    assert!(!reads_alices_wallet(&house), "the first answer knows the revocation");
    let alice = Payer::of(&house, "alice");
    for (at, order) in orders.iter().enumerate() {
        let again = alice.pay(order, &order.nonce).await.expect("a repeated payment succeeds");
        assert!(paid.get(at).is_none_or(|first| *first == again.transaction_id), "{at} was paid twice");
    }
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "32.5");

    // Each order is in the trail once, in as many commits as it took.
    let expected = paid_before + u64::try_from(PAYMENTS).expect("few");
    until("the trail", async || payments(&trail_of_qwallet(&house)) == expected).await;
    let way = way_to_qwallet(&house);
    assert!(way["isConnected"] == true && way["head"] == way["position"] && way["parked"] == 0, "{way}");
    let gaps = house.q(&["call", "qerberos", "GET", "/audit/gaps"]).json();
    for producer in gaps["producers"].as_array().expect("producers") {
        assert!(producer["missing"] == serde_json::json!([]) && producer["conflicts"] == 0, "{producer}");
    }
    assert_eq!(house.q(&["verify"]).code, Some(0));
    house.stop();
    purse.ended();
    assert_eq!(house.q(&["verify"]).code, Some(0));
}

#[test]
fn squid_alone_is_refused_with_what_to_do() {
    let Some(house) = Instance::unstarted(&[]) else { return };
    assert_eq!(house.q(&["init"]).code, Some(0));
    let refused = house.q(&["serve", "squid"]);
    assert_eq!(refused.code, Some(4));
    assert!(refused.complained.contains("q serve qlock squid"), "{}", refused.complained);
}

#[test]
fn three_processes_started_at_once_find_each_other() {
    let Some(house) = Instance::unstarted(&UNLIMITED) else { return };
    assert_eq!(house.q(&["init", "--demo"]).code, Some(0));
    let verbs: [&[&str]; 3] =
        [&["serve", "qwallet", "--demo"], &["serve", "qonsent", "qerberos"], &["serve", "qlock", "squid"]];
    let processes: Vec<_> = std::thread::scope(|scope| {
        let starting = verbs.map(|verb| scope.spawn(|| house.beside(verb)));
        starting.map(|process| process.join().expect("it serves")).into()
    });
    assert!(processes[0].greeting.contains("alice pays bob 12.5 QToken"), "{}", processes[0].greeting);
    assert_eq!(house.q(&["wallet", "pay", "alice", "3", "--as", "bob"]).code, Some(0));
    let verified = house.q(&["verify"]);
    assert_eq!(verified.code, Some(0), "{}{}", verified.said, verified.complained);
    assert_eq!(house.q(&["stop"]).code, Some(0));
    processes.into_iter().for_each(Process::ended);
}
