//! Receipts, as a stranger checks them.

use q_core::hash;
use q_jose::{PublicKey, SecretKey, base64url, jwk::Jwk, jws};
use q_runtime::{Module, Signer};
use q_testkit::{World, identity, on_each_world};
use qwallet::domain::receipt::{self, Fault, Proven};
use qwallet_api::{
    CreateBatch, CreateIntentRequest, CreatePayment, GetReceipt, Pay, PayRequest, RECEIPT_TYP,
    ReceiptContent, TransactionId, TransactionPath,
};
use serde_json::json;

use crate::support::{Bank, Person, ask, code, fresh, intend_as, item, sign_it};

/// The wallet service of every world.
fn service() -> Signer {
    let (did, key) = identity("service-qwallet");
    Signer::new(did, key)
}

fn service_key() -> SecretKey {
    identity("service-qwallet").1
}

/// The key that a stranger was given, and no other.
fn published(kid: &str) -> Option<PublicKey> {
    (kid == service().key_id()).then(|| service_key().public())
}

async fn paid(bank: &Bank, payer: &Person, payee: &Person, amount: &str) -> TransactionId {
    let order = bank.signed(bank.order(payer, payee.did.as_str(), amount), payer);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap().transaction_id
}

async fn receipt_of(person: &Person, id: TransactionId) -> String {
    let path = TransactionPath { transaction_id: id };
    person.client.call::<GetReceipt>(&path).await.unwrap().jws
}

fn proven(text: &str) -> Proven {
    receipt::verify(text, |kid, _| published(kid)).unwrap()
}

on_each_world!(a_stranger_is_sure_of_a_payment, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let id = paid(&bank, &ann, &bob, "3").await;
    let text = receipt_of(&bob, id).await;
    let early = proven(&text);
    assert_eq!((early.content.status.as_str(), early.heads.len()), ("SETTLED", 0));
    assert_eq!(early.order_keys, [format!("{}#{}", ann.did, ann.key.public().to_multikey())]);
    let principal = early.content.commits[0].leaves[0].transfer.as_ref().unwrap();
    assert_eq!((principal.units.as_str(), principal.purpose), ("3000000000000000000", 0));
    let whose = |account: i64| {
        early.content.accounts.iter().find(|of| of.account == account).and_then(|of| of.owner.clone())
    };
    assert_eq!(whose(principal.debit), Some(ann.did.clone()));
    assert_eq!(whose(principal.credit), Some(bob.did.clone()));

    for _ in 0..6 {
        paid(&bank, &ann, &bob, "1").await;
    }
    bank.module.service().anchor_heads().await.unwrap();
    paid(&bank, &ann, &bob, "1").await;
    bank.module.service().anchor_heads().await.unwrap();
    let text = receipt_of(&bob, id).await;
    let later = proven(&text);
    assert_eq!(later.heads.len(), 1);
    assert!(later.heads[0].number > later.content.commits[0].number);
    assert_eq!(later.heads[0].signed_at, bank.now());

    if let Some(mut node) = q_oracle::script("npm jose", env!("CARGO_MANIFEST_DIR"), "receipt.mjs") {
        let jwk = Jwk::from(service_key().public());
        let asked = json!({ "jws": text, "jwk": jwk, "kid": service().key_id() });
        let answer = q_oracle::ask(&mut node, asked.to_string()).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer, json!({ "transfers": 3, "heads": 1, "order": true, "status": "SETTLED" }));
    }
    bank.close().await;
});

on_each_world!(a_held_payment_is_proved_where_it_was_held_and_where_it_moved, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let intent =
        intend_as(&ann, &CreateIntentRequest { purpose: Some("rent".into()), ..ask(&bob, "1") }).await;
    let signed = sign_it(&intent, &ann).await.unwrap();
    let id = signed.transaction_id;
    let held = proven(&receipt_of(&ann, id).await);
    assert_eq!((held.content.status.as_str(), held.content.commits.len()), ("SIGNED", 1));
    let request = PayRequest { transaction_id: id };
    ann.client.clone().with_key(fresh()).call::<Pay>(&request).await.unwrap();
    bank.module.service().anchor_heads().await.unwrap();
    let text = receipt_of(&ann, id).await;
    let settled = proven(&text);
    assert_eq!((settled.content.status.as_str(), settled.content.commits.len()), ("SETTLED", 2));
    let leaves: Vec<usize> = settled.content.commits.iter().map(|commit| commit.leaves.len()).collect();
    assert_eq!(leaves, [4, 3]);
    assert_eq!(settled.heads.len(), 2);
    if let Some(mut node) = q_oracle::script("npm jose", env!("CARGO_MANIFEST_DIR"), "receipt.mjs") {
        let jwk = Jwk::from(service_key().public());
        let asked = json!({ "jws": text, "jwk": jwk, "kid": service().key_id() });
        let answer = q_oracle::ask(&mut node, asked.to_string()).unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer, json!({ "transfers": 6, "heads": 2, "order": true, "status": "SETTLED" }));
    }
    bank.close().await;
});

/// A change of what is told.
type Lie<'a> = Box<dyn Fn(&mut ReceiptContent) + 'a>;

/// The receipt with another content, signed again: an instance that lies.
fn lie(text: &str, change: impl FnOnce(&mut ReceiptContent)) -> String {
    let payload = base64url::decode(text.split('.').nth(1).unwrap()).unwrap();
    let mut content: ReceiptContent = serde_json::from_slice(&payload).unwrap();
    change(&mut content);
    service().sign(RECEIPT_TYP, &serde_json::to_vec(&content).unwrap())
}

on_each_world!(nothing_else_passes_for_a_receipt, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let id = paid(&bank, &ann, &bob, "3").await;
    let other = paid(&bank, &ann, &bob, "4").await;
    bank.module.service().anchor_heads().await.unwrap();
    let text = receipt_of(&bob, id).await;
    let fault = |text: &str| receipt::verify(text, |kid, _| published(kid)).unwrap_err();

    let mut changed = text.clone().into_bytes();
    let middle = text.len() / 2;
    changed[middle] = if changed[middle] == b'A' { b'B' } else { b'A' };
    let changed = String::from_utf8(changed).unwrap();
    assert!(matches!(fault(&changed), Fault::Signature(_) | Fault::Form(_) | Fault::Jws(..)), "{changed}");
    let thief = SecretKey::from_seed(&[7; 32]);
    let payload = base64url::decode(text.split('.').nth(1).unwrap()).unwrap();
    let header = |typ: &str| jws::Header::typ(typ).kid(service().key_id());
    assert_eq!(fault(&jws::sign(&header(RECEIPT_TYP), &payload, &thief)), Fault::Signature("the receipt"));
    let other_type = jws::sign(&header("JWT"), &payload, &service_key());
    assert_eq!(fault(&other_type), Fault::OtherType("the receipt", "JWT".into()));
    let unknown = receipt::verify(&text, |_, _| None).unwrap_err();
    assert!(matches!(unknown, Fault::KeyUnknown("the receipt", _)), "{unknown}");

    let transfer = |content: &mut ReceiptContent, change: fn(&mut qwallet_api::TransferLeaf)| {
        change(content.commits[0].leaves[0].transfer.as_mut().unwrap());
    };
    let seq = proven(&text).content.commits[0].leaves[0].transfer.as_ref().unwrap().seq;
    let number = proven(&text).content.commits[0].number;
    let lies: Vec<(Lie<'_>, Fault)> = vec![
        (Box::new(|content| transfer(content, |leaf| leaf.units = "4".into())), Fault::Transfer(seq)),
        (Box::new(|content| transfer(content, |leaf| leaf.credit += 1)), Fault::Transfer(seq)),
        (
            Box::new(|content| transfer(content, |leaf| leaf.debit_balance = "-1".into())),
            Fault::Transfer(seq),
        ),
        (
            Box::new(|content| transfer(content, |leaf| leaf.units = "+4".into())),
            Fault::Unreadable("an amount"),
        ),
        (Box::new(|content| content.transaction_id = other), Fault::Transfer(seq)),
        (Box::new(|content| content.transaction.client_ref = Some("OTHER".into())), Fault::Transaction),
        (Box::new(|content| content.transaction.purpose = None), Fault::Transaction),
        (Box::new(|content| drop(content.commits[0].leaves.pop())), Fault::Transaction),
        (Box::new(|content| content.commits.clear()), Fault::Transaction),
        (Box::new(|content| content.commits[0].at_micros += 1), Fault::Head(number)),
        (Box::new(|content| content.commits[0].root = hash::hex(&[1; 32])), Fault::Head(number)),
        (
            Box::new(|content| drop(content.commits[0].anchor.as_mut().unwrap().path.pop())),
            Fault::Anchor(number),
        ),
        (Box::new(|content| content.order.as_mut().unwrap().input = "{}".into()), Fault::Order),
        (Box::new(|content| content.v = 2), Fault::Form("the receipt")),
    ];
    for (number, (change, expected)) in lies.into_iter().enumerate() {
        assert_eq!(fault(&lie(&text, change)), expected, "lie {number}");
    }
    bank.close().await;
});

on_each_world!(a_receipt_is_for_the_parties_and_tells_no_more_than_they_know, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let carol = bank.person("carol", "0").await;
    let id = paid(&bank, &ann, &bob, "3").await;
    let path = TransactionPath { transaction_id: id };
    assert_eq!(code(carol.client.call::<GetReceipt>(&path).await), "TRANSACTION_NOT_FOUND");

    let items = vec![item(bob.did.as_str(), "1"), item(carol.did.as_str(), "2")];
    let batch = bank.signed_batch(bank.batch(&ann, items), &ann);
    let result = ann.client.clone().with_key(fresh()).call::<CreateBatch>(&batch).await.unwrap();
    let id = result.results[0].transaction_id.unwrap();
    assert!(proven(&receipt_of(&ann, id).await).content.order.is_some());
    let payees = proven(&receipt_of(&bob, id).await);
    assert!(payees.content.order.is_none(), "a batch is its payer's to show");
    let told = serde_json::to_string(&payees.content).unwrap();
    assert!(!told.contains(carol.did.as_str()) && !told.contains("2000000000000000000"), "{told}");
    bank.close().await;
});

on_each_world!(a_signed_head_that_was_touched_is_named, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    for _ in 0..2 {
        paid(&bank, &ann, &bob, "1").await;
        bank.module.service().anchor_heads().await.unwrap();
    }
    // Nothing new, nothing signed.
    bank.module.service().anchor_heads().await.unwrap();
    let count = bank
        .module
        .db()
        .read(|reader| reader.query_one("SELECT COUNT(*) FROM heads", &[])?.try_get::<i64>(0));
    assert_eq!(count.await.unwrap(), 2);
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let found = async |sql: &'static str| {
        bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap();
        let findings = bank.module.verify().await.unwrap();
        findings.iter().map(|finding| format!("{} {}", finding.code, finding.place)).collect::<Vec<_>>()
    };
    let touched = found("UPDATE heads SET signed_at = signed_at + 1 WHERE number = 3").await;
    assert_eq!(touched, ["signed_head_mismatch heads 1 3"]);
    found("UPDATE heads SET signed_at = signed_at - 1 WHERE number = 3").await;
    let swapped = found(
        "UPDATE heads SET jws = (SELECT jws FROM heads AS other WHERE other.number = 2) WHERE number = 3",
    );
    let swapped = swapped.await;
    assert!(swapped.contains(&"signed_head_mismatch heads 1 3".to_owned()), "{swapped:?}");
    let gone = found("DELETE FROM heads WHERE number = 2").await;
    assert!(gone.contains(&"head_gap heads 1 3".to_owned()), "{gone:?}");
    bank.world.abandon().await;
});
