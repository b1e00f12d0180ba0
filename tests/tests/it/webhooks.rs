//! Webhooks from a program that is killed: what was paid is told, under one id each, and believed by a library that is
//! not ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use q_testkit::oracle;
use q_tests::{Instance, Payer, UNLIMITED};
use serde_json::{Value, json};

const ROUNDS: usize = 3;
const PAYMENTS_PER_ROUND: usize = 40;

/// A web server that answers 204, and what it was told.
#[derive(Clone, Default)]
struct Receiver(Arc<(Mutex<Vec<Value>>, Condvar)>);

impl Receiver {
    fn start() -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (receiver, address) = (Self::default(), listener.local_addr().expect("its address"));
        let heard = receiver.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let heard = heard.clone();
                std::thread::spawn(move || heard.hear(connection));
            }
        });
        (receiver, address)
    }

    /// One request; a sender that dies in the middle has told nothing.
    fn hear(&self, connection: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(connection);
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            match line.trim().split_once(": ") {
                Some((name, value)) => drop(headers.insert(name.to_ascii_lowercase(), value.to_owned())),
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        reader.read_exact(&mut body).ok()?;
        let delivery = json!({
            "id": headers.get("webhook-id")?,
            "timestamp": headers.get("webhook-timestamp")?.parse::<i64>().ok()?,
            "signature": headers.get("webhook-signature")?,
            "body": String::from_utf8(body).ok()?,
        });
        self.0.0.lock().push(delivery);
        self.0.1.notify_all();
        reader.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").ok()
    }

    /// Waits until what was told is enough.
    fn until(&self, is_enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let ends_at = Instant::now() + Duration::from_mins(1);
        let mut told = self.0.0.lock();
        while !is_enough(&told) {
            assert!(!self.0.1.wait_until(&mut told, ends_at).timed_out(), "told {} times only", told.len());
        }
        told.clone()
    }
}

/// The transactions that were told, each with the ids under which it was.
fn transactions(told: &[Value]) -> BTreeMap<String, BTreeSet<String>> {
    let mut transactions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for delivery in told {
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let body: Value = serde_json::from_str(&text(&delivery["body"])).expect("JSON");
        let ids = transactions.entry(text(&body["data"]["transactionId"])).or_default();
        ids.insert(text(&delivery["id"]));
    }
    transactions
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_telling_loses_nothing_and_tells_nothing_twice_under_two_names() {
    let settings = [&UNLIMITED[..], &[("QWALLET_WEBHOOK_ALLOW", "127.0.0.1")]].concat();
    let Some(mut house) = Instance::demo(&settings) else { return };
    let (receiver, address) = Receiver::start();
    let url = format!("http://{address}/hook");
    let add =
        ["wallet", "webhook", "add", &url, "--events", "q.qwallet.tx.settled.v1", "--as", "bob", "--json"];
    let hook = house.q(&add).json();
    let secret = hook["secret"].as_str().unwrap().to_owned();
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    let mut paid = BTreeSet::new();
    for round in 0..ROUNDS {
        let alice = Arc::new(Payer::of(&house, "alice"));
        let keys: Vec<String> = (0..PAYMENTS_PER_ROUND).map(|at| format!("hook-{round}-{at}")).collect();
        let orders: Vec<_> = keys.iter().map(|key| alice.order(&bob, "0.01", key)).collect();
        for (order, key) in orders.iter().zip(&keys).take(PAYMENTS_PER_ROUND / 2) {
            alice.pay(order, key).await.expect("a payment succeeds");
        }
        // Some of them are told when the kill comes, others are queued, others not even that.
        let before = paid.len();
        let heard = receiver.clone();
        let first = tokio::task::spawn_blocking(move || {
            heard.until(|told| transactions(told).len() > before);
        });
        let mut rest = tokio::task::JoinSet::new();
        for (order, key) in orders.iter().zip(&keys).skip(PAYMENTS_PER_ROUND / 2) {
            let (alice, order, key) = (alice.clone(), order.clone(), key.clone());
            rest.spawn(async move { alice.pay(&order, &key).await.is_ok() });
        }
        first.await.unwrap();
        house.kill();
        while rest.join_next().await.is_some() {}
        house.start(&["up", "--demo"]);
        let alice = Payer::of(&house, "alice");
        for (order, key) in orders.iter().zip(&keys) {
            let payment = alice.pay(order, key).await.expect("a repeated payment succeeds");
            paid.insert(payment.transaction_id.to_string());
        }
    }
    assert_eq!(paid.len(), ROUNDS * PAYMENTS_PER_ROUND);
    let (heard, wanted) = (receiver.clone(), paid.clone());
    let told = tokio::task::spawn_blocking(move || {
        heard.until(|told| {
            let told = transactions(told);
            wanted.iter().all(|transaction| told.contains_key(transaction))
        })
    });
    let told = told.await.unwrap();
    let transactions = transactions(&told);
    assert_eq!(
        transactions.keys().cloned().collect::<BTreeSet<_>>(),
        paid,
        "what was paid, and nothing else"
    );
    assert!(transactions.values().all(|ids| ids.len() == 1), "told again, it has the id it had");

    let wallet = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../modules/qwallet");
    if let Some(mut script) = oracle::script("PyPI standardwebhooks", wallet, "hooks.py") {
        let now = q_core::Env::system().now().seconds();
        let asked = json!({"key": secret, "now": now, "deliveries": told}).to_string();
        let verdicts: Vec<String> =
            serde_json::from_slice(&oracle::ask(&mut script, asked).unwrap()).unwrap();
        assert!(verdicts.iter().all(|verdict| verdict == "verified"), "{verdicts:?}");
    }

    // The operator and the owner see it too.
    let id = hook["webhookId"].as_str().unwrap();
    let deliveries = house.q(&["wallet", "webhook", "deliveries", id, "--as", "bob", "--json"]).json();
    assert_eq!(deliveries["items"].as_array().unwrap().len(), 50);
    let metrics = house.q(&["call", "qwallet", "GET", "/metrics"]).said;
    assert!(metrics.contains("qwallet_webhook_lag_seconds"), "{metrics}");
    let refused = house.q(&["wallet", "webhook", "add", "https://169.254.169.254/", "--as", "bob"]);
    assert!(refused.code != Some(0) && refused.complained.contains("not a public"), "{}", refused.complained);
    assert_eq!(house.q(&["verify"]).code, Some(0));
}
