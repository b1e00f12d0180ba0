//! Notes beside transactions.

use q_core::PageLimit;
use q_runtime::Module;
use q_testkit::{World, on_each_world};
use qwallet_api::{
    AddNote, AddNoteRequest, CreatePayment, GetTransaction, ListTransactions, ListTransactionsRequest,
    TransactionId, TransactionPath,
};
use serde_json::json;

use crate::support::{Bank, code, fresh};

fn text(id: TransactionId, text: &str) -> AddNoteRequest {
    AddNoteRequest { transaction_id: id, text: Some(text.into()), data: None }
}

on_each_world!(both_parties_write_and_read_and_nobody_else, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let carol = bank.person("carol", "0").await;
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "3"), &ann);
    let paid = ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    let id = paid.transaction_id;
    let first =
        ann.client.clone().with_key(fresh()).call::<AddNote>(&text(id, "for the roof")).await.unwrap();
    assert_eq!((first.number, &first.author, first.text.as_deref()), (1, &ann.did, Some("for the roof")));
    let data = AddNoteRequest { transaction_id: id, text: None, data: Some(json!({"invoice": 7})) };
    let key = fresh();
    let second = bob.client.clone().with_key(&key).call::<AddNote>(&data).await.unwrap();
    let again = bob.client.clone().with_key(&key).call::<AddNote>(&data).await.unwrap();
    assert_eq!((second.number, &again), (2, &second));
    let stranger = carol.client.clone().with_key(fresh()).call::<AddNote>(&text(id, "mine")).await;
    assert_eq!(code(stranger), "TRANSACTION_NOT_FOUND");

    let shown = bob.client.call::<GetTransaction>(&TransactionPath { transaction_id: id }).await.unwrap();
    assert_eq!(shown.notes, [first.clone(), second.clone()]);
    let request = ListTransactionsRequest {
        limit: PageLimit::try_from(10).unwrap(),
        ..serde_json::from_value(json!({"squidId": ann.wallet.wallet_ref})).unwrap()
    };
    let page = ann.client.call::<ListTransactions>(&request).await.unwrap();
    let noted: Vec<_> = page.items.iter().filter(|entry| !entry.notes.is_empty()).collect();
    assert_eq!((noted.len(), noted[0].leg.as_str(), noted[0].notes.len()), (1, "principal", 2));
    bank.close().await;
});

on_each_world!(a_note_has_bounds, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "3"), &ann);
    let paid = ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    let id = paid.transaction_id;
    let refused = async |request: AddNoteRequest| {
        code(ann.client.clone().with_key(fresh()).call::<AddNote>(&request).await)
    };
    assert_eq!(refused(text(id, &"é".repeat(2_001))).await, "INVALID_REQUEST");
    assert_eq!(refused(text(id, " ")).await, "INVALID_REQUEST");
    assert_eq!(
        refused(AddNoteRequest { transaction_id: id, text: None, data: None }).await,
        "INVALID_REQUEST"
    );
    let large = json!("x".repeat(8 * 1024 - 1));
    assert_eq!(
        refused(AddNoteRequest { transaction_id: id, text: None, data: Some(large) }).await,
        "INVALID_REQUEST"
    );
    let fits = AddNoteRequest {
        transaction_id: id,
        text: Some("é".repeat(2_000)),
        data: Some(json!("x".repeat(8 * 1024 - 2))),
    };
    ann.client.clone().with_key(fresh()).call::<AddNote>(&fits).await.unwrap();
    let unknown = TransactionId::from_bytes([1; 16]);
    assert_eq!(refused(text(unknown, "x")).await, "TRANSACTION_NOT_FOUND");
    for _ in 1..100 {
        ann.client.clone().with_key(fresh()).call::<AddNote>(&text(id, "more")).await.unwrap();
    }
    assert_eq!(refused(text(id, "one too many")).await, "INVALID_STATE");
    bank.close().await;
});

on_each_world!(a_note_that_was_touched_is_named, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "3"), &ann);
    let paid = ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap();
    let id = paid.transaction_id;
    for number in 1..=3 {
        let request = text(id, &format!("note {number}"));
        ann.client.clone().with_key(fresh()).call::<AddNote>(&request).await.unwrap();
    }
    assert_eq!(bank.module.verify().await.unwrap(), []);
    let found = async |sql: &'static str| {
        bank.module.db().write(move |tx| tx.execute(sql, &[])).await.unwrap();
        let findings = bank.module.verify().await.unwrap();
        findings.iter().map(|finding| format!("{} {}", finding.code, finding.place)).collect::<Vec<_>>()
    };
    let changed = format!("note_changed notes {id} 2");
    assert_eq!(found("UPDATE notes SET at = at + 1 WHERE number = 2").await, std::slice::from_ref(&changed));
    assert!(found("UPDATE notes SET at = at - 1 WHERE number = 2").await.is_empty());
    let moved =
        found("UPDATE notes SET body = (SELECT body FROM notes AS n WHERE n.number = 1) WHERE number = 2");
    let moved = moved.await;
    assert_eq!(moved, [changed, format!("sealed_field notes {id} 2")]);
    let missing = found("DELETE FROM notes WHERE number = 2").await;
    assert!(missing.contains(&format!("note_missing notes {id} 3")), "{missing:?}");
    bank.world.abandon().await;
});
