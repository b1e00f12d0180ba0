//! SIGKILL at moments nobody chose: what was answered is there, what is repeated happens once.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use q_tests::{Instance, Payer, UNLIMITED, sound};
use qwallet_api::{PaymentRequest, Transaction};

const CLIENTS: usize = 8;
const PAYMENTS_PER_ROUND: usize = 200;

/// The orders of a round and what was answered before the kill.
struct Round {
    orders: BTreeMap<String, PaymentRequest>,
    answered: Mutex<BTreeMap<String, Transaction>>,
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_paying_loses_and_doubles_nothing() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    let mut paid = 0;
    // The kill comes after this many answers: at the first, in the middle, near the end.
    for (number, kill_after) in [1, 3, 17, 60, 120, 190].into_iter().enumerate() {
        let alice = Arc::new(Payer::of(&house, "alice"));
        let round = Arc::new(Round {
            orders: (0..PAYMENTS_PER_ROUND)
                .map(|at| format!("kill-{number}-{at}"))
                .map(|key| (key.clone(), alice.order(&bob, "0.01", &key)))
                .collect(),
            answered: Mutex::default(),
        });
        let waiting = pay_until_killed(&alice, &round);
        let mut seen = waiting.answers.subscribe();
        seen.wait_for(|count| *count >= kill_after).await.expect("payments are answered");
        house.kill();
        waiting.tasks.await.expect("clients end");
        house.start(&["up", "--demo"]);
        // Every order again, under its key: what was answered is answered alike, the rest happens now.
        let alice = Payer::of(&house, "alice");
        for (key, order) in &round.orders {
            let again = alice.pay(order, key).await.expect("a repeated payment succeeds");
            if let Some(first) = round.answered.lock().get(key) {
                assert_eq!(first.transaction_id, again.transaction_id, "{key} was paid twice");
            }
        }
        paid += PAYMENTS_PER_ROUND;
        let hundredths = 1_250 + paid;
        let expected = format!("{}.{:02}", hundredths / 100, hundredths % 100);
        let expected = expected.trim_end_matches('0').trim_end_matches('.').to_owned();
        let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
        assert_eq!(balance["balances"]["QToken"]["available"], expected, "round {number}");
    }
    sound(
        &house,
        "kill -9 while paying",
        "six moments, every answered payment kept, repeated ones not doubled",
    );
}

struct Waiting {
    answers: tokio::sync::watch::Sender<usize>,
    tasks: tokio::task::JoinHandle<()>,
}

/// Pays the orders of `round` from several clients until all are answered or nobody answers any more.
fn pay_until_killed(payer: &Arc<Payer>, round: &Arc<Round>) -> Waiting {
    let answers = tokio::sync::watch::Sender::new(0);
    let next = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (payer, round, next, answers) = (payer.clone(), round.clone(), next.clone(), answers.clone());
        clients.spawn(async move {
            let keys: Vec<_> = round.orders.keys().collect();
            while let Some(key) = keys.get(next.fetch_add(1, Ordering::Relaxed)) {
                let Ok(transaction) = payer.pay(&round.orders[*key], key).await else { return };
                round.answered.lock().insert((*key).clone(), transaction);
                answers.send_modify(|count| *count += 1);
            }
        });
    }
    let tasks = tokio::spawn(async move { while clients.join_next().await.is_some() {} });
    Waiting { answers, tasks }
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_in_a_batch_pays_all_of_it_once() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    for round in 0..3 {
        let alice = Arc::new(Payer::of(&house, "alice"));
        let key = format!("kill-batch-{round}");
        let batch = Arc::new(alice.batch(&bob, "0.001", 1_000, &key));
        let sending = {
            let (alice, batch, key) = (alice.clone(), batch.clone(), key.clone());
            tokio::spawn(async move { alice.pay_batch(&batch, &key).await })
        };
        // Not before it was sent, and without caring how far it came.
        tokio::task::yield_now().await;
        house.kill();
        let first = sending.await.expect("the client ends");
        house.start(&["up", "--demo"]);
        let again =
            Payer::of(&house, "alice").pay_batch(&batch, &key).await.expect("a repeated batch succeeds");
        assert_eq!(again.committed, 1_000);
        if let Ok(first) = first {
            assert_eq!(first.batch_id, again.batch_id);
        }
        let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
        let expected = format!("{}.5", 12 + round + 1);
        assert_eq!(balance["balances"]["QToken"]["available"], expected.as_str());
    }
    sound(&house, "kill -9 in a batch", "all of it once");
}

#[test]
fn killed_between_the_steps_of_a_payment_goes_on_where_it_was() {
    let Some(mut house) = Instance::demo(&UNLIMITED) else { return };
    let alice = Payer::of(&house, "alice");
    let bob = Payer::of(&house, "bob").wallet().to_owned();
    // Each step is answered, repeated after a kill under its key, and answered alike.
    let mut step = |path: &str, body: &serde_json::Value, key: &str| {
        let body = body.to_string();
        let call = ["call", "qwallet", "POST", path, "-d", &body, "--idempotency-key", key, "--as", "alice"];
        let first = house.q(&call).json();
        house.kill();
        house.start(&["up", "--demo"]);
        let again = house.q(&call).json();
        assert_eq!(first, again, "{path} was answered differently after the kill");
        first
    };
    let wanted = serde_json::json!({"amount": "7", "currency": "QToken", "recipient": bob});
    let intent = step("/intents", &wanted, "three-steps-intent");
    let signature = alice.sign(intent["signingInput"].as_str().unwrap().as_bytes());
    let signing = serde_json::json!({"intentId": intent["intentId"], "signature": signature});
    let signed = step("/sign", &signing, "three-steps-sign");
    let paying = serde_json::json!({"transactionId": signed["transactionId"]});
    let paid = step("/pay", &paying, "three-steps-pay");
    assert_eq!(paid["status"], "SETTLED");
    let balance = house.q(&["wallet", "balance", "--as", "bob", "--json"]).json();
    assert_eq!(balance["balances"]["QToken"]["available"], "19.5");
    sound(
        &house,
        "kill -9 at each step of a payment",
        "intent, signature and payment answered alike afterwards",
    );
}
