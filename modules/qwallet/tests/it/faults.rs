//! Full disks, failed commits, broken rules, jumping clocks, full queues.

use futures_util::future::join_all;
use q_core::{Amount, Env, Span, Timestamp};
use q_db::Db;
use q_runtime::Module;
use q_testkit::{Engine, World, on_each_world};
use qwallet::{
    domain::{
        books::HoldEnd,
        transfer::{Leg, Purpose},
    },
    service::{
        commit::{Action, Item, Outcome, Work},
        executor::{Executor, Fault, QUEUE_COMMANDS_MAX},
    },
    store::ledger::TransactionKind,
};
use qwallet_api::{CreateBatch, CreatePayment, IntentId, TransactionId};

use crate::support::{Bank, code, fresh, item};

on_each_world!(a_full_disk_loses_nothing_and_doubles_nothing, async |world: World| {
    if world.engine == Engine::Postgres {
        // The server's disk is not ours to fill.
        return;
    }
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    // Large enough to need new pages: a small payment may still fit where rows were.
    let items = vec![item(bob.did.as_str(), "0.01"); 1_000];
    let batch = bank.signed_batch(bank.batch(&ann, items), &ann);
    let client = ann.client.clone().with_key("k");
    bank.module.db().faults().set_disk_full(true);
    assert_eq!(code(client.call::<CreateBatch>(&batch).await), "STORAGE_UNAVAILABLE");
    bank.module.db().faults().set_disk_full(false);
    assert_eq!(bank.balance(&ann).await.1, "100");
    bank.module.db().faults().fail_next_commit();
    assert_eq!(code(client.call::<CreateBatch>(&batch).await), "STORAGE_UNAVAILABLE");
    assert_eq!(bank.balance(&ann).await.1, "100");
    let paid = client.call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!(client.call::<CreateBatch>(&batch).await.unwrap(), paid);
    assert_eq!(bank.balance(&bob).await.1, "10");
    bank.close().await;
});

on_each_world!(time_never_goes_back, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let mut last = Timestamp::default();
    for seconds in [0, -3_600, 30, 86_400, -86_400] {
        bank.world.clock.advance(Span::seconds(seconds));
        let order = bank.order(&ann, bob.did.as_str(), "1");
        let order = qwallet_api::PaymentRequest {
            expires_at: (bank.now().max(last) + Span::seconds(60)).to_string(),
            ..order
        };
        let order = bank.signed(order, &ann);
        let paid = ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await;
        // An order from before the jump is refused rather than executed at an impossible time.
        let Ok(paid) = paid else { continue };
        assert!(paid.created_at >= last, "after {seconds} s");
        last = paid.created_at;
    }
    assert_ne!(last, Timestamp::default());
    bank.close().await;
});

fn work(id: TransactionId, leg: Leg) -> Work {
    Work {
        request: None,
        nonce: None,
        expires_at: None,
        order: None,
        action: Action::Pay(Item {
            id,
            kind: TransactionKind::Payment,
            legs: vec![leg],
            intent: None,
            client_ref: None,
            purpose: None,
        }),
    }
}

on_each_world!(a_row_that_breaks_a_rule_fails_alone, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let service = bank.module.service();
    let account =
        async |name: &str| service.directory.find(name).await.unwrap().unwrap().accounts.accounts[0].1;
    let leg = Leg {
        debit: account(ann.did.as_str()).await,
        credit: account(bob.did.as_str()).await,
        amount: Amount::from_units(1),
        purpose: Purpose::Principal,
    };
    let taken = TransactionId::new(&bank.world.env);
    service.executor.submit(work(taken, leg)).await.unwrap();
    let ids = (0..50).map(|number| if number == 20 { taken } else { TransactionId::new(&bank.world.env) });
    let works: Vec<Work> = ids.map(|id| work(id, leg)).collect();
    let outcomes = join_all(works.into_iter().map(|work| service.executor.submit(work))).await;
    for (number, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(Outcome::Done(_)) => assert_ne!(number, 20),
            Err(Fault::Storage(_)) => assert_eq!(number, 20),
            other => panic!("command {number}: {other:?}"),
        }
    }
    assert_eq!(bank.balance(&bob).await.1, "0.00000000000000005");
    bank.close().await;
});

on_each_world!(an_account_that_cannot_be_read_stops_only_its_own_payments, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let broken = bank.person("broken", "0").await;
    let damage = "UPDATE accounts SET kind = 99 WHERE wallet = $1";
    let wallet = broken.wallet.wallet_id.bytes();
    bank.module.db().write(move |tx| tx.execute(damage, q_db::params![wallet])).await.unwrap();
    let pay = async |number: usize| {
        let recipient = if number == 20 { &broken } else { &bob };
        let order = bank.signed(bank.order(&ann, recipient.did.as_str(), "1"), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await
    };
    for (number, paid) in join_all((0..40).map(pay)).await.into_iter().enumerate() {
        match paid {
            Ok(_) => assert_ne!(number, 20),
            Err(_) => assert_eq!((number, code(paid).as_str()), (20, "STORAGE_UNAVAILABLE")),
        }
    }
    assert_eq!(bank.balance(&bob).await.1, "39");
    bank.world.abandon().await;
});

#[tokio::test]
async fn a_full_queue_refuses_the_next_command() {
    let folder = tempfile::tempdir().unwrap();
    let config = q_db::DbConfig::sqlite(folder.path().join("qwallet.sqlite"));
    let db = Db::open(&config, &qwallet::MIGRATIONS, &Env::system()).await.unwrap();
    let executor = Executor::start(db.clone(), 1);
    // One thread: nobody takes from the queue before all have tried to put something in.
    let nothing = || Work {
        request: None,
        nonce: None,
        expires_at: None,
        order: None,
        action: Action::End {
            transaction: TransactionId::from_bytes([1; 16]),
            intent: IntentId::from_bytes([1; 16]),
            end: HoldEnd::Voided,
        },
    };
    let outcomes = join_all((0..QUEUE_COMMANDS_MAX + 3).map(|_| executor.submit(nothing()))).await;
    let full = outcomes.iter().filter(|outcome| matches!(outcome, Err(Fault::QueueFull))).count();
    let answered = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Refused(_)))).count();
    assert_eq!((full, answered), (3, QUEUE_COMMANDS_MAX));
    db.close().await;
}

on_each_world!(a_store_is_opened_again_where_it_was_left, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let pay = async |bank: &Bank| {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap().commit
    };
    let commit = pay(&bank).await;
    // A second executor on the same store reads where the first one stopped; the first then notices.
    let other = Executor::start(bank.module.db().clone(), 1);
    let house = bank.module.service().directory.house()[0];
    let leg = Leg {
        debit: house.issuance,
        credit: house.platform_fees,
        amount: Amount::from_units(1),
        purpose: Purpose::Mint,
    };
    let outcome = other.submit(work(TransactionId::new(&bank.world.env), leg)).await.unwrap();
    assert!(matches!(outcome, Outcome::Done(done) if done.commit == commit + 1));
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.world.abandon().await;
});
