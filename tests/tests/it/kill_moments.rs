//! SIGKILL at chosen moments: before the commit, between commit and answer, between the hold and the payment.

use std::{
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use q_testkit::oracle;
use q_tests::{HostClock, Instance, Payer, Reader, UNLIMITED, databases_of_its_own, sound, until};
use qwallet_api::PaymentRequest;

/// What the demonstration has paid bob.
const BOB_HAS: &str = "12.5";

fn balance(house: &Instance, name: &str) -> serde_json::Value {
    house.q(&["wallet", "balance", "--as", name, "--json"]).json()["balances"]["QToken"].clone()
}

/// Repeats what got no answer, twice: it is one payment.
async fn paid_once(house: &Instance, order: &PaymentRequest, key: &str) {
    let alice = Payer::of(house, "alice");
    let first = alice.pay(order, key).await.expect("a repeated payment succeeds");
    let again = alice.pay(order, key).await.expect("a repeated payment succeeds");
    assert_eq!(first, again);
    assert_eq!(balance(house, "bob")["available"], "13.5");
    let history = house.q(&["wallet", "history", "--as", "bob", "--json"]).json();
    assert_eq!(history["items"].as_array().map(Vec::len), Some(2), "{history}");
}

#[expect(clippy::disallowed_types, reason = "somebody else holds the store")]
#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_commit_nothing_has_happened() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let reader = Reader::of(&house, "bob");
    let order = alice.order(&bob, "1", "before-the-commit");
    // Somebody else writes in the store, so the payment waits for its turn: it cannot be committed.
    let lock = rusqlite::Connection::open(house.data().join("qwallet.sqlite")).expect("the store");
    lock.execute_batch("BEGIN IMMEDIATE").expect("the right to write");
    let sending = {
        let order = order.clone();
        tokio::spawn(async move { alice.pay(&order, "before-the-commit").await })
    };
    // Reading goes on, so what was sent before it has arrived.
    for _ in 0..10 {
        assert_eq!(reader.look().await.expect("reading goes on").0, 200);
    }
    assert!(!sending.is_finished(), "it was answered before it could be written");
    house.kill();
    assert!(sending.await.expect("the client ends").is_err());
    lock.execute_batch("ROLLBACK").expect("the end of it");
    drop(lock);
    house.start(&["up", "--demo"]);
    assert_eq!(balance(&house, "bob")["available"], BOB_HAS);
    paid_once(&house, &order, "before-the-commit").await;
    sound(&house, "kill -9 before the commit", "nothing was there, repeated it is one payment");
}

/// Sends an order and never looks at what comes back.
fn send_unheard(house: &Instance, order: &PaymentRequest, key: &str) -> TcpStream {
    let url = house.url("qwallet");
    let place = url.trim_start_matches("http://");
    let body = serde_json::to_string(order).expect("JSON");
    let request = format!(
        "POST /payments HTTP/1.1\r\nhost: {place}\r\ncontent-type: application/json\r\nidempotency-key: {key}\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(place).expect("it listens");
    stream.write_all(request.as_bytes()).expect("it takes requests");
    stream
}

async fn killed_between_commit_and_answer(engine: &str, settings: &[(&str, &str)]) {
    let Some(mut house) = Instance::demo(settings) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let order = alice.order(&bob, "1", "before-the-answer");
    let unheard = send_unheard(&house, &order, "before-the-answer");
    until("the payment is committed", async || balance(&house, "bob")["available"] == "13.5").await;
    house.kill();
    drop(unheard);
    house.start(&["up", "--demo"]);
    paid_once(&house, &order, "before-the-answer").await;
    sound(&house, &format!("kill -9 before the answer, {engine}"), "repeated it is the payment it was");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_answer_the_payment_is_answered_later_on_a_file() {
    killed_between_commit_and_answer("SQLite", &UNLIMITED).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_before_the_answer_the_payment_is_answered_later_on_a_server() {
    let Some(databases) = databases_of_its_own() else { return oracle::skip("PostgreSQL") };
    let settings = databases.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let settings: Vec<_> = settings.chain(UNLIMITED).collect();
    killed_between_commit_and_answer("PostgreSQL", &settings).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_hold_and_payment_the_hold_lapses_and_gives_its_limit_back() {
    let Some(clock) = HostClock::find() else { return };
    let settings = clock.settings();
    let settings = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(UNLIMITED);
    let Some(mut house) = Instance::demo(&settings.collect::<Vec<_>>()) else { return };
    let (alice, bob) = (Payer::of(&house, "alice"), Payer::of(&house, "bob").wallet().to_owned());
    let used = |house: &Instance| {
        let path = format!("/wallets/{}/limits", alice.wallet());
        let limits = house.q(&["call", "qwallet", "GET", &path, "--as", "alice"]).json();
        let items = limits["items"].as_array().unwrap_or_else(|| panic!("limits: {limits}")).clone();
        let daily = items.into_iter().find(|limit| limit["kind"] == "daily" && limit["currency"] == "QToken");
        daily.expect("a limit a day")["used"].as_str().expect("an amount").to_owned()
    };
    let before = (balance(&house, "alice"), used(&house));
    let call = |house: &Instance, path: &str, body: serde_json::Value, key: &str| {
        let body = body.to_string();
        let call = ["call", "qwallet", "POST", path, "-d", &body, "--idempotency-key", key, "--as", "alice"];
        house.q(&call)
    };
    let wanted = serde_json::json!({"amount": "7", "currency": "QToken", "recipient": bob, "expiresIn": 600});
    let intent = call(&house, "/intents", wanted, "lapsing-intent").json();
    let signature = alice.sign(intent["signingInput"].as_str().expect("a text").as_bytes());
    let signing = serde_json::json!({"intentId": intent["intentId"], "signature": signature});
    let signed = call(&house, "/sign", signing, "lapsing-sign").json();
    assert_eq!(balance(&house, "alice")["pendingOut"], "7.042");
    assert_ne!(used(&house), before.1);
    house.kill();
    // It starts again after the hold's time: what nobody settled is free, and counts against no limit.
    clock.set(900);
    house.start(&["up", "--demo"]);
    let patience_ends_at = Instant::now() + Duration::from_mins(1);
    while balance(&house, "alice")["pendingOut"] != "0" {
        assert!(Instant::now() < patience_ends_at, "the hold does not lapse");
    }
    assert_eq!((balance(&house, "alice"), used(&house)), before);
    let paying = serde_json::json!({"transactionId": signed["transactionId"]});
    let refused = call(&house, "/pay", paying, "lapsing-pay");
    assert_eq!(refused.code, Some(5), "{}", refused.said);
    assert_eq!(balance(&house, "bob")["available"], BOB_HAS);
    sound(&house, "kill -9 between hold and payment", "the hold lapsed, its limit was given back");
}
