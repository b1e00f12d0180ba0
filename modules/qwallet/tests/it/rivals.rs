//! Several at once: readers beside payers, openers beside openers, and two processes on one server.

use std::sync::Arc;

use futures_util::future::join_all;
use q_auth::KeyDirectory;
use q_core::{PageLimit, RequestKey, Span};
use q_pdp::Pdp;
use q_runtime::Module;
use q_testkit::{Engine, World, identity, on_each_world};
use qwallet::{
    MIGRATIONS, SETTINGS, Wallets,
    store::{self, requests::Nonce},
};
use qwallet_api::{
    CreatePayment, CreateWallet, CreateWalletRequest, ListTransactions, ListTransactionsRequest, Transaction,
};

use crate::support::{Bank, Person, code, fresh, sealer};

async fn pay(bank: &Bank, payer: &Person, recipient: &Person) -> Transaction {
    let order = bank.signed(bank.order(payer, recipient.did.as_str(), "1"), payer);
    payer.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap()
}

on_each_world!(many_read_their_history_while_it_is_written, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let request = ListTransactionsRequest {
        squid_id: bob.wallet.wallet_ref.clone(),
        limit: PageLimit::try_from(50).unwrap(),
        ..ListTransactionsRequest::default()
    };
    for round in 1..=5 {
        join_all((0..5).map(|_| pay(&bank, &ann, &bob))).await;
        let pages = join_all((0..16).map(|_| bob.client.call::<ListTransactions>(&request))).await;
        for page in pages {
            assert_eq!(page.unwrap().items.len(), round * 5);
        }
    }
    bank.close().await;
});

on_each_world!(the_past_is_told_before_the_histories_are_merged, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    pay(&bank, &ann, &bob).await;
    bank.module.service().catch_up().await.unwrap();
    bank.world.clock.advance(Span::seconds(10));
    let between = bank.now();
    bank.world.clock.advance(Span::seconds(10));
    pay(&bank, &ann, &bob).await;
    pay(&bank, &ann, &bob).await;
    let wallet = bob.wallet.wallet_id;
    for (at, posted) in [(between, "1"), (bank.now(), "3"), (bank.now() + Span::seconds(60), "3")] {
        let balance = bank.module.db().read(move |reader| {
            let account = store::ledger::accounts_of(reader, wallet)?.remove(0);
            store::history::balance_at(reader, &account, at)
        });
        let scale = q_core::Scale::new(18).unwrap();
        assert_eq!(balance.await.unwrap().display(scale), posted, "at {at}");
    }
    bank.close().await;
});

on_each_world!(many_open_wallets_at_once, async |world: World| {
    let bank = Bank::open(world).await;
    let open = async |name: String| {
        let client = bank.world.client("qwallet", &identity(&name).0).with_key(fresh());
        client.call::<CreateWallet>(&CreateWalletRequest::default()).await
    };
    for opened in join_all((0..24).map(|number| open(format!("opener{number}")))).await {
        opened.unwrap();
    }
    let same = join_all((0..8).map(|_| open("same".to_owned()))).await;
    let (won, lost): (Vec<_>, Vec<_>) = same.into_iter().partition(Result::is_ok);
    assert_eq!(won.len(), 1);
    for refused in lost {
        assert_eq!(code(refused), "WALLET_EXISTS");
    }
    bank.close().await;
});

/// Another process on the same store.
async fn replica(bank: &Bank) -> Arc<Wallets> {
    let ground = bank.world.ground("qwallet", &MIGRATIONS, SETTINGS).await;
    let (authority, _) = identity("qonsent");
    let pdp = Pdp::new(authority, bank.now());
    let keys = KeyDirectory::new(
        bank.world.env.clone(),
        Arc::new(crate::support::Logs::default()),
        bank.revocations.clone(),
    );
    qwallet::open(ground, pdp, Arc::new(keys), sealer()).await.unwrap()
}

on_each_world!(two_processes_on_one_server_lose_and_double_nothing, async |world: World| {
    if world.engine == Engine::Sqlite {
        // A file has one writer; a second process is refused at the door.
        return;
    }
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "1000").await, bank.person("bob", "0").await);
    let other = replica(&bank).await;
    let services = [bank.module.service(), other.service()];
    let caller = q_core::Caller::Anonymous;
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let key = RequestKey::new(&caller, "POST /payments", "same", b"same");
    let same = (0..64)
        .map(|number| services[number % 2].pay_once(&q_core::Caller::Anonymous, Some(&key), order.clone()));
    let mut answers: Vec<Transaction> = join_all(same).await.into_iter().map(Result::unwrap).collect();
    answers.dedup_by_key(|answer| answer.transaction_id);
    assert_eq!(answers.len(), 1, "one order, one transaction");
    let different = (0..64).map(|number| {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        let key = RequestKey::new(&caller, "POST /payments", &fresh(), b"different");
        let service = services[number % 2];
        async move { service.pay_once(&q_core::Caller::Anonymous, Some(&key), order).await }
    });
    for paid in join_all(different).await {
        paid.unwrap();
    }
    assert_eq!(bank.balance(&bob).await.1, "65");
    other.db().close().await;
    bank.close().await;
});

on_each_world!(a_nonce_is_found_in_whatever_hour_it_was_spent, async |world: World| {
    let bank = Bank::open(world).await;
    let nonce = |hour: i64, number: u8| Nonce { hour, nonce: [number; 16] };
    let hours: Vec<i64> = (0..70).map(|number| 1_000 + number * 3).collect();
    let used: Vec<Nonce> = hours.iter().zip(1u8..).map(|(hour, number)| nonce(*hour, number)).collect();
    let db = bank.module.db();
    assert_eq!(db.read(store::requests::nonce_hours).await.unwrap(), [].into());
    db.write(move |tx| store::requests::insert_nonces(tx, &used)).await.unwrap();
    let kept = db.read(store::requests::nonce_hours).await.unwrap();
    assert!(kept.iter().eq(&hours), "{kept:?}");
    // Asked for with another hour than it was spent in, alone and among many, in few hours and in many.
    for (count, within) in [(1u8, 70), (9, 70), (70, 70), (3, 3), (4, 4), (5, 5)] {
        let asked: Vec<Nonce> = (1..=count).chain(100..=220).map(|number| nonce(7, number)).collect();
        let hours = kept.iter().copied().take(within).collect();
        let found = db.read(move |reader| store::requests::spent(reader, &asked, &hours)).await.unwrap();
        assert_eq!(found, (1..=count).map(|number| [number; 16]).collect());
    }
    bank.world.abandon().await;
});

on_each_world!(an_order_is_the_same_with_a_token_and_without, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10").await, bank.person("bob", "0").await);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let anonymous = bank.world.client_as("qwallet", q_core::Caller::Anonymous);
    let first = ann.client.clone().with_key("k").call::<CreatePayment>(&order).await.unwrap();
    for client in [anonymous.clone(), bob.client.clone(), ann.client.clone()] {
        let again = client.with_key("k").call::<CreatePayment>(&order).await.unwrap();
        assert_eq!(again.transaction_id, first.transaction_id);
    }
    assert_eq!(code(anonymous.with_key("other").call::<CreatePayment>(&order).await), "SIGNATURE_INVALID");
    // The same key in another payer's hand is another request.
    let eve = bank.person("eve", "10").await;
    let hers = bank.signed(bank.order(&eve, bob.did.as_str(), "1"), &eve);
    let paid = eve.client.clone().with_key("k").call::<CreatePayment>(&hers).await.unwrap();
    assert_ne!(paid.transaction_id, first.transaction_id);
    assert_eq!(bank.balance(&bob).await.1, "2");
    bank.close().await;
});

on_each_world!(a_recipient_is_not_padded_without_end, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "10").await, bank.person("bob", "0").await);
    let padded = format!("{}{}", bob.wallet.wallet_ref, " ".repeat(1_000));
    let order = bank.signed(bank.order(&ann, &padded, "1"), &ann);
    let refused = ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await;
    assert_eq!(code(refused), "RECIPIENT_UNKNOWN");
    bank.close().await;
});
