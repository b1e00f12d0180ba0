//! `POST /payments/batch`.

use q_contract::{CallError, Client};
use q_testkit::{World, on_each_world};
use qwallet_api::{BatchItem, BatchRequest, BatchResult, CreateBatch, GetTransaction, TransactionPath};

use crate::support::{Bank, code, fresh, item};

async fn send(client: &Client, batch: &BatchRequest, key: &str) -> Result<BatchResult, CallError> {
    client.clone().with_key(key).call::<CreateBatch>(batch).await
}

fn codes(result: &BatchResult) -> Vec<String> {
    let code = |problem: &q_contract::Problem| problem.code.clone();
    result.results.iter().map(|item| item.problem.as_ref().map_or("settled".into(), code)).collect()
}

on_each_world!(pays_what_can_be_paid_and_says_what_not, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let bob_ref = bob.wallet.wallet_ref.as_str();
    let items = vec![
        BatchItem { purpose: Some("wages".into()), client_ref: Some("E1".into()), ..item(bob_ref, "10") },
        item("QQ00NOBODY", "1"),
        item(ann.did.as_str(), "1"),
        item(bob_ref, "0.0000000000000000001"),
        item(bob_ref, "1000"),
        item(bob_ref, "20"),
    ];
    let batch = bank.signed_batch(bank.batch(&ann, items), &ann);
    let first = send(&ann.client, &batch, "k").await;
    // The fees of all decided items together are within the bound; the large one fails for its amount alone.
    let first = first.unwrap();
    let expected =
        ["settled", "RECIPIENT_UNKNOWN", "SELF_PAYMENT", "AMOUNT_PRECISION", "INSUFFICIENT_FUNDS", "settled"];
    assert_eq!(codes(&first), expected);
    assert_eq!(first.committed, 2);
    assert_eq!(send(&ann.client, &batch, "k").await.unwrap(), first);
    assert_eq!(code(send(&ann.client, &batch, "k2").await), "SIGNATURE_INVALID");
    assert_eq!(bank.balance(&bob).await.0, "30");
    assert_eq!(bank.balance(&ann).await.0, "69.82");
    let id = first.results[0].transaction_id.unwrap();
    let path = TransactionPath { transaction_id: id };
    let seen = bob.client.call::<GetTransaction>(&path).await.unwrap();
    assert_eq!((seen.purpose.as_deref(), seen.client_ref.as_deref()), (Some("wages"), Some("E1")));
    assert_eq!(seen.legs.len(), 3);
    bank.close().await;
});

on_each_world!(an_atomic_batch_lives_or_dies_as_one, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let items = |last: &str| {
        vec![item(bob.did.as_str(), "40"), item(bob.did.as_str(), "40"), item(bob.did.as_str(), last)]
    };
    let atomic = |items| {
        let batch = BatchRequest { atomic: true, ..bank.batch(&ann, items) };
        bank.signed_batch(batch, &ann)
    };
    let refused = send(&ann.client, &atomic(items("40")), "k").await.unwrap();
    assert_eq!(codes(&refused), ["BATCH_ROLLED_BACK", "BATCH_ROLLED_BACK", "INSUFFICIENT_FUNDS"]);
    assert_eq!((refused.committed, bank.balance(&ann).await.0), (0, "100".to_owned()));
    let paid = send(&ann.client, &atomic(items("10")), "k2").await.unwrap();
    assert_eq!(paid.committed, 3);
    assert_eq!(bank.balance(&bob).await.0, "90");
    bank.close().await;
});

on_each_world!(refuses_a_batch_as_a_whole, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let good = || bank.batch(&ann, vec![item(bob.did.as_str(), "1"), item(bob.did.as_str(), "2")]);
    let signed = bank.signed_batch(good(), &ann);
    let mut edited = signed.clone();
    edited.items[1].amount = "99".into();
    let mut reordered = signed.clone();
    reordered.items.swap(0, 1);
    let table = vec![
        (BatchRequest { items: Vec::new(), ..good() }, "BATCH_TOO_LARGE"),
        (BatchRequest { items: vec![item("x", "1"); 8_191], ..good() }, "BATCH_TOO_LARGE"),
        (BatchRequest { items: vec![item("x", "-1")], ..good() }, "AMOUNT_MALFORMED"),
        (edited, "SIGNATURE_INVALID"),
        (reordered, "SIGNATURE_INVALID"),
        (BatchRequest { atomic: true, ..signed.clone() }, "SIGNATURE_INVALID"),
        (BatchRequest { wallet: bob.wallet.wallet_ref.clone(), ..signed }, "WALLET_NOT_FOUND"),
        (bank.signed_batch(BatchRequest { max_fees: "0.017".into(), ..good() }, &ann), "FEES_EXCEED_MAXIMUM"),
        (bank.signed_batch(BatchRequest { currency: "EUR".into(), ..good() }, &ann), "CURRENCY_UNSUPPORTED"),
    ];
    for (batch, refusal) in table {
        assert_eq!(code(send(&ann.client, &batch, &fresh()).await), refusal);
    }
    assert_eq!(bank.balance(&ann).await.0, "100");
    bank.close().await;
});

on_each_world!(takes_the_largest_batch, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10000").await, bank.person("bob", "0").await);
    let items = vec![item(&bob.wallet.wallet_ref, "1"); 8_190];
    let batch = bank.signed_batch(bank.batch(&ann, items), &ann);
    let paid = send(&ann.client, &batch, "k").await.unwrap();
    assert_eq!(paid.committed, 8_190);
    assert_eq!(bank.balance(&bob).await.0, "8190");
    assert_eq!(send(&ann.client, &batch, "k").await.unwrap(), paid);
    bank.close().await;
});
