//! Repetitions are recognised wherever what was carried out is kept at the moment: in memory, in the commits' own rows,
//! or sorted into its table.

use q_testkit::{World, on_each_world};
use qwallet::{
    domain::{
        account::AccountId,
        transfer::{Leg, Purpose},
    },
    service::{
        commit::{Action, Item, Outcome, Work},
        executor::{Executor, Options},
    },
    store::{
        ledger::TransactionKind,
        requests::{Nonce, Request},
    },
};
use qwallet_api::{CreatePayment, TransactionId};

use crate::support::{Bank, code, fresh};

on_each_world!(a_repetition_is_one_before_and_after_its_key_is_sorted_in, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let mut orders = Vec::new();
    for number in 0..40 {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        let key = format!("recent-{number}");
        let paid = ann.client.clone().with_key(key.clone()).call::<CreatePayment>(&order).await.unwrap();
        orders.push((key, order, paid.transaction_id));
    }
    let service = bank.module.service();
    for round in 0..3 {
        for (key, order, paid) in &orders {
            let client = ann.client.clone().with_key(key.clone());
            assert_eq!(client.call::<CreatePayment>(order).await.unwrap().transaction_id, *paid, "{round}");
            // The same order under another key is a nonce that was spent; another order under the key is refused.
            let again = ann.client.clone().with_key(fresh()).call::<CreatePayment>(order).await;
            assert_eq!(code(again), "SIGNATURE_INVALID", "{round}");
        }
        let other = bank.signed(bank.order(&ann, bob.did.as_str(), "2"), &ann);
        let reused = ann.client.clone().with_key("recent-0").call::<CreatePayment>(&other).await;
        assert_eq!(code(reused), "IDEMPOTENCY_KEY_REUSED", "{round}");
        service.sort_requests().await.unwrap();
        assert_eq!(service.executor.recents().backlog(), 0);
    }
    assert_eq!(bank.balance(&bob).await.1, "40");
    bank.close().await;
});

fn work(bank: &Bank, number: u8, nonce: u8) -> Work {
    let house = bank.module.service().directory.house()[0];
    let key = [number; 16];
    let expires_at = bank.now() + q_core::Span::seconds(600);
    Work {
        request: Some(Request { key, fingerprint: [number; 32] }),
        nonce: Some(Nonce::of("house", &format!("nonce-{nonce}"), expires_at)),
        expires_at: Some(expires_at),
        order: None,
        action: Action::Pay(Item {
            id: TransactionId::new(&bank.world.env),
            kind: TransactionKind::Issuance,
            legs: vec![Leg {
                debit: house.issuance,
                credit: AccountId(house.platform_fees.0),
                amount: q_core::Amount::from_units(1),
                purpose: Purpose::Mint,
            }],
            intent: None,
            client_ref: None,
            purpose: None,
        }),
    }
}

on_each_world!(what_was_not_sorted_in_is_found_after_a_new_start, async |world: World| {
    let bank = Bank::open(world).await;
    let db = bank.module.service().db.clone();
    let first = Executor::open(&db, &Options::default()).await.unwrap();
    for number in 1..=20 {
        let outcome = first.submit(work(&bank, number, number)).await.unwrap();
        assert!(matches!(outcome, Outcome::Done(_)), "{outcome:?}");
    }
    // Sorted in as far as a process gets that ends before its round does: the last part is missing.
    let second = Executor::open(&db, &Options::default()).await.unwrap();
    for executor in [&first, &second] {
        let is_again = executor.submit(work(&bank, 7, 7)).await.unwrap();
        assert!(matches!(is_again, Outcome::Replayed(_)), "{is_again:?}");
        let is_spent = executor.submit(work(&bank, 99, 7)).await.unwrap();
        assert!(matches!(is_spent, Outcome::Refused(_)), "{is_spent:?}");
    }
    while second.recents().sort(&db).await.unwrap() {}
    // The first one still remembers what the second sorted in, and sorts it in again without harm.
    while first.recents().sort(&db).await.unwrap() {}
    let third = Executor::open(&db, &Options::default()).await.unwrap();
    let is_again = third.submit(work(&bank, 20, 20)).await.unwrap();
    assert!(matches!(is_again, Outcome::Replayed(_)), "{is_again:?}");
    let is_spent = third.submit(work(&bank, 98, 20)).await.unwrap();
    assert!(matches!(is_spent, Outcome::Refused(_)), "{is_spent:?}");
    assert_eq!(third.recents().backlog(), 0);
    bank.world.abandon().await;
});

on_each_world!(what_is_paid_while_keys_are_sorted_in_is_not_forgotten, async |world: World| {
    let bank = Bank::open(world).await;
    let db = bank.module.service().db.clone();
    let executor = Executor::open(&db, &Options::default()).await.unwrap();
    for number in 1..=10 {
        executor.submit(work(&bank, number, number)).await.unwrap();
    }
    while executor.recents().sort(&db).await.unwrap() {}
    executor.submit(work(&bank, 11, 11)).await.unwrap();
    // Begun before this payment and written after it, as when both wait for the writer.
    let (sorting, paying) = (executor.recents().sort(&db), executor.submit(work(&bank, 12, 12)));
    let (paid, sorted) = futures_util::future::join(paying, sorting).await;
    assert!(sorted.is_ok() && paid.is_ok());
    let anew = Executor::open(&db, &Options::default()).await.unwrap();
    for number in 1..=12 {
        let again = anew.submit(work(&bank, number, number)).await.unwrap();
        assert!(matches!(again, Outcome::Replayed(_)), "{number}: {again:?}");
    }
    bank.world.abandon().await;
});
