//! What the ledger tells other modules: computed from its rows, the same each time, in the order of each wallet.

use std::collections::{BTreeMap, HashMap, HashSet};

use futures_util::future::join_all;
use q_core::{Event, Span};
use q_runtime::Module;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    CancelIntent, CreateBatch, CreatePayment, IntentPath, Pay, PayRequest, SetStripes, SetStripesRequest,
    SignedIntent,
};

use crate::support::{Bank, Person, fresh, intend, item, sign_it};

const SETTLED: &str = "q.qwallet.tx.settled.v1";
const FAILED: &str = "q.qwallet.tx.failed.v1";
const BALANCE: &str = "q.qwallet.balance.updated.v1";

/// Everything the ledger told so far.
async fn told(bank: &Bank) -> Vec<Event> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let rows = bank.module.db().events_after(after, 100, None).await.unwrap();
        let Some(last) = rows.last() else { return events };
        after = last.position;
        events.extend(rows.iter().flat_map(|row| row.derived.clone()));
    }
}

fn of<'a>(events: &'a [Event], topic: &str) -> Vec<&'a Event> {
    events.iter().filter(|event| event.topic == topic).collect()
}

async fn pay(bank: &Bank, payer: &Person, recipient: &Person, amount: &str) {
    let order = bank.signed(bank.order(payer, recipient.did.as_str(), amount), payer);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
}

async fn hold(payer: &Person, recipient: &Person, amount: &str) -> (IntentPath, SignedIntent) {
    let intent = intend(payer, recipient, amount).await;
    let signed = sign_it(&intent, payer).await.unwrap();
    (IntentPath { intent_id: intent.intent_id }, signed)
}

on_each_world!(a_payment_tells_both_parties_what_happened, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let begun = told(&bank).await.len();
    pay(&bank, &ann, &bob, "10").await;
    let events = told(&bank).await.split_off(begun);
    let topics: Vec<&str> = events.iter().map(|event| event.topic.as_str()).collect();
    assert_eq!(topics, [SETTLED, BALANCE, BALANCE]);

    let settled = &events[0];
    let data = &settled.data;
    assert_eq!(
        (&data["type"], &data["amount"], &data["fees"]),
        (&"payment".into(), &"10".into(), &"0.06".into())
    );
    assert_eq!(data["from"], ann.wallet.wallet_ref.as_str());
    assert_eq!(data["to"], bob.wallet.wallet_ref.as_str());
    assert_eq!(settled.subject, ann.wallet.wallet_id.to_string());
    assert_eq!(data["leafHash"].as_str().map(str::len), Some(64));
    // Nothing that says who they are, or what it was for.
    let text = serde_json::to_string(&events).unwrap();
    assert!(!text.contains("did:") && !text.contains("bread") && !text.contains("INV-1"), "{text}");

    let (of_ann, of_bob) = (&events[1].data, &events[2].data);
    assert_eq!((&of_ann["balance"], &of_ann["change"]), (&"89.94".into(), &"-10.06".into()));
    assert_eq!((&of_bob["balance"], &of_bob["change"]), (&"10".into(), &"10".into()));
    assert_eq!(of_bob["walletRef"], bob.wallet.wallet_ref.as_str());
    assert_eq!(of_bob["accountVersion"], 1);

    // The same with the same ids whenever it is computed, and nothing for those who ask for something else.
    assert_eq!(told(&bank).await.split_off(begun), events);
    let others = ["q.qwallet.wallet.".to_owned()];
    let rows = bank.module.db().events_after(0, 100, Some(&others)).await.unwrap();
    assert!(rows.iter().all(|row| row.derived.is_empty()));
    bank.close().await;
});

on_each_world!(held_money_is_told_when_it_is_paid_or_given_back, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let begun = told(&bank).await.len();
    let (_, paid) = hold(&ann, &bob, "10").await;
    let (cancelled, _) = hold(&ann, &bob, "20").await;
    let (lapsed, _) = hold(&ann, &bob, "30").await;
    assert_eq!(told(&bank).await.len(), begun, "a hold moves nothing");
    let request = PayRequest { transaction_id: paid.transaction_id };
    ann.client.clone().with_key(fresh()).call::<Pay>(&request).await.unwrap();
    ann.client.clone().with_key(fresh()).call::<CancelIntent>(&cancelled).await.unwrap();
    bank.world.clock.advance(Span::seconds(700));
    bank.module.service().expire().await.unwrap();

    let events = told(&bank).await.split_off(begun);
    let settled = of(&events, SETTLED);
    assert_eq!(settled.len(), 1);
    assert_eq!(settled[0].data["transactionId"], paid.transaction_id.to_string());
    assert!(settled[0].data["intentId"].is_string());
    let failed: Vec<_> = of(&events, FAILED)
        .iter()
        .map(|event| (event.data["intentId"].as_str().unwrap(), event.data["reason"].as_str().unwrap()))
        .map(|(intent, reason)| (intent.to_owned(), reason.to_owned()))
        .collect();
    let expected = [
        (cancelled.intent_id.to_string(), "VOIDED".into()),
        (lapsed.intent_id.to_string(), "EXPIRED".into()),
    ];
    assert_eq!(failed, expected);
    assert_eq!(of(&events, BALANCE).len(), 2, "only what was paid changed a balance");
    bank.close().await;
});

on_each_world!(a_batch_changes_each_balance_once, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let begun = told(&bank).await.len();
    let items = (0..40).map(|_| item(&bob.wallet.wallet_ref, "1")).collect();
    let batch = bank.signed_batch(bank.batch(&ann, items), &ann);
    ann.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    let events = told(&bank).await.split_off(begun);
    assert_eq!(of(&events, SETTLED).len(), 40);
    let balances = of(&events, BALANCE);
    assert_eq!(balances.len(), 2);
    let changes: Vec<_> = balances.iter().map(|event| event.data["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["-40.24", "40"]);
    assert_eq!(balances[1].data["accountVersion"], 40);
    bank.close().await;
});

on_each_world!(told_together_they_are_the_balances, async |world: World| {
    // Many at once, on a server over several lanes; one of them is paid on stripes.
    let bank = Bank::open(world).await;
    let operator = q_testkit::identity("operator").0;
    bank.world.make_operator(&operator);
    let mut people = Vec::new();
    for name in ["ann", "bob", "cyd", "dan"] {
        people.push(bank.person(name, "1000").await);
    }
    let stripes = SetStripesRequest {
        squid_id: people[3].wallet.wallet_ref.clone(),
        currency: "QToken".into(),
        count: 2,
    };
    bank.world.client("qwallet", &operator).with_key(fresh()).call::<SetStripes>(&stripes).await.unwrap();
    let payments = (0..120_usize).map(|n| {
        let (payer, recipient) = (&people[n % 4], &people[(n / 4 + n + 1) % 4]);
        let bank = &bank;
        async move {
            if payer.did != recipient.did {
                pay(bank, payer, recipient, "1.25").await;
            }
        }
    });
    join_all(payments).await;
    bank.module.service().sweep_stripes().await.unwrap();

    let events = told(&bank).await;
    let ids: HashSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    let mut newest: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for event in of(&events, BALANCE) {
        let version = event.data["accountVersion"].as_i64().unwrap();
        let balance = event.data["balance"].as_str().unwrap().to_owned();
        let before = newest.insert(event.subject.clone(), (version, balance));
        assert!(before.is_none_or(|(before, _)| before < version), "each wallet's events follow one another");
    }
    let mut settled: HashMap<String, usize> = HashMap::new();
    for event in of(&events, SETTLED) {
        *settled.entry(event.data["transactionId"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert!(settled.values().all(|count| *count == 1));
    for person in &people {
        let told = &newest[&person.wallet.wallet_id.to_string()].1;
        assert_eq!(*told, bank.balance(person).await.1);
    }
    bank.close().await;
});
