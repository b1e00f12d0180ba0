//! Full disks, failed commits, broken rules, jumping clocks, full queues.

use std::sync::{Arc, mpsc};

use futures_util::{FutureExt as _, future::join_all};
use q_auth::KeyDirectory;
use q_core::{Amount, Span, Timestamp};
use q_runtime::Module;
use q_testkit::{Engine, World, identity, on_each_world};
use qwallet::{
    domain::{
        account::AccountId,
        payment::Refusal,
        transfer::{Leg, Purpose},
    },
    service::{
        commit::{Action, Batch, Item, Outcome, Work},
        executor::{Executor, Fault, Options, QUEUE_PAYMENTS_MAX},
    },
    store::ledger::TransactionKind,
};
use qwallet_api::{BATCH_ITEMS_MAX, BatchId, CreateBatch, CreatePayment, TransactionId};
use tokio::task::JoinHandle;

use crate::support::{Bank, Logs, Person, code, fresh, item, problem, sealer};

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
    assert_eq!(code(client.call::<CreateBatch>(&batch).await), "STORAGE_FULL");
    bank.module.db().faults().set_disk_full(false);
    assert_eq!(bank.balance(&ann).await.1, "100");
    bank.module.db().faults().fail_next_commit();
    assert_eq!(code(client.call::<CreateBatch>(&batch).await), "STORAGE_UNAVAILABLE");
    assert_eq!(bank.balance(&ann).await.1, "100");
    // Nothing is built on a store whose last sync failed, until it was verified.
    assert_eq!(code(client.call::<CreateBatch>(&batch).await), "WRITE_STOPPED");
    assert_eq!(q_runtime::verify(bank.module.as_ref()).await.unwrap(), []);
    // After a failed sync nothing is written until the store is proved sound.
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.module.db().resume_writes(None, "verification").await.unwrap();
    let paid = client.call::<CreateBatch>(&batch).await.unwrap();
    assert_eq!(client.call::<CreateBatch>(&batch).await.unwrap(), paid);
    assert_eq!(bank.balance(&bob).await.1, "10");
    bank.close().await;
});

on_each_world!(after_a_failed_sync_the_wallet_verifies_and_goes_on_by_itself, async |world: World| {
    if world.engine == Engine::Postgres {
        return;
    }
    let mut bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    bank.world.start();
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let client = ann.client.clone().with_key("k");
    bank.module.db().faults().fail_next_commit();
    assert!(client.call::<CreatePayment>(&order).await.is_err());
    let resumed = async {
        let mut changes = bank.module.db().mode_changes();
        changes.wait_for(|mode| mode.write_stop.is_none()).await.is_ok()
    };
    let patience = std::time::Duration::from_mins(1);
    assert!(tokio::time::timeout(patience, resumed).await.expect("the wallet looks after its store"));
    assert!(bank.module.db().mode().is_normal());
    client.call::<CreatePayment>(&order).await.unwrap();
    assert_eq!(bank.balance(&bob).await.1, "1");
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
            kind: TransactionKind::Transfer,
            legs: vec![leg],
            intent: None,
            client_ref: None,
            purpose: None,
        }),
    }
}

on_each_world!(one_row_among_four_thousand_that_breaks_a_rule_fails_alone, async |world: World| {
    const COMMANDS: usize = 4_096;
    const BAD: usize = 2_900;
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let executor = &bank.module.service().executor;
    let leg = a_unit_from(&bank, &ann, &bob).await;
    let taken = TransactionId::new(&bank.world.env);
    executor.submit(work(taken, leg)).await.unwrap();
    // They wait together behind a commit that is held up, so that the next one takes them all.
    let (release, holder) = hold_commits(&bank).await;
    let begun = begin(executor, work(TransactionId::new(&bank.world.env), leg)).await;
    let ids = (0..COMMANDS).map(|at| if at == BAD { taken } else { TransactionId::new(&bank.world.env) });
    let mut waiting: Vec<_> = ids.map(|id| Box::pin(executor.submit(work(id, leg)))).collect();
    assert!(waiting.iter_mut().all(|outcome| outcome.as_mut().now_or_never().is_none()));
    let commits = async || {
        let sql = "SELECT COUNT(*) FROM commits";
        let read = bank.module.db().read(move |reader| reader.query_one(sql, &[])?.try_get::<i64>(0));
        read.await.unwrap()
    };
    let before = commits().await;
    drop(release);
    holder.await.unwrap();
    assert!(matches!(begun.await.unwrap(), Ok(Outcome::Done(_))));
    for (number, outcome) in join_all(waiting).await.into_iter().enumerate() {
        match outcome {
            Ok(Outcome::Done(_)) => assert_ne!(number, BAD),
            Err(Fault::Storage(_)) => assert_eq!(number, BAD),
            other => panic!("command {number}: {other:?}"),
        }
    }
    // The one before them, and a half at each of twelve divisions: 2,048 + 1,024 + ... + 1 are all the others.
    assert_eq!(commits().await - before, 1 + 12);
    assert_eq!(bank.balance(&bob).await.1, "0.000000000000004097");
    assert_eq!(q_runtime::verify(bank.module.as_ref()).await.unwrap(), []);
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

/// Keeps the executor of `bank` from committing until the sender is dropped.
async fn hold_commits(bank: &Bank) -> (mpsc::Sender<()>, JoinHandle<()>) {
    let (release, released) = mpsc::channel::<()>();
    let (holding, held) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let db = bank.module.db().clone();
    let holder = tokio::spawn(async move {
        let write = db.write_locked(move |tx| {
            // On a server every commit holds the row of its writer; a file's one writer is busy with this.
            tx.query_for_update("SELECT number FROM writers ORDER BY number", &[])?;
            holding.send(()).unwrap();
            let _ = released.lock().unwrap().recv();
            Ok::<_, q_db::DbError>(())
        });
        write.await.unwrap();
    });
    tokio::task::spawn_blocking(move || held.recv().unwrap()).await.unwrap();
    (release, holder)
}

/// Submits to the executor, which has begun it when this returns.
async fn begin(executor: &Executor, work: Work) -> JoinHandle<Result<Outcome, Fault>> {
    let submitter = executor.clone();
    let (submitting, submitted) = tokio::sync::oneshot::channel();
    let begun = tokio::spawn(async move {
        let mut outcome = Box::pin(submitter.submit(work));
        assert!(outcome.as_mut().now_or_never().is_none());
        submitting.send(()).unwrap();
        outcome.await
    });
    submitted.await.unwrap();
    while executor.queue_depth() > 0 {
        tokio::task::yield_now().await;
    }
    begun
}

async fn a_unit_from(bank: &Bank, payer: &Person, payee: &Person) -> Leg {
    let account = async |person: &Person| {
        let found = bank.module.service().directory.find(person.did.as_str()).await.unwrap();
        found.unwrap().accounts.accounts[0].1
    };
    Leg {
        debit: account(payer).await,
        credit: account(payee).await,
        amount: Amount::from_units(1),
        purpose: Purpose::Principal,
    }
}

on_each_world!(a_full_queue_refuses_the_next_payment_however_few_commands_wait, async |world: World| {
    let bank = Bank::open_with_one_lane(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let executor = &bank.module.service().executor;
    let leg = a_unit_from(&bank, &ann, &bob).await;
    let one = || work(TransactionId::new(&bank.world.env), leg);
    // Items that were refused before are counted too: their room is taken all the same.
    let batch = |size: usize| Work {
        action: Action::Batch(Batch {
            id: BatchId::new(&bank.world.env),
            items: (0..size).map(|_| Err(Refusal::RecipientUnknown)).collect(),
            is_atomic: false,
            import: None,
        }),
        ..one()
    };
    let (release, holder) = hold_commits(&bank).await;
    let begun = begin(executor, one()).await;
    let mut waiting = Vec::new();
    let mut wait = |work: Work| {
        let mut outcome = Box::pin(executor.submit(work));
        assert!(outcome.as_mut().now_or_never().is_none());
        waiting.push(outcome);
    };
    for _ in 0..QUEUE_PAYMENTS_MAX / BATCH_ITEMS_MAX {
        wait(batch(BATCH_ITEMS_MAX));
    }
    for _ in 0..QUEUE_PAYMENTS_MAX % BATCH_ITEMS_MAX - 1 {
        wait(one());
    }
    assert!(matches!(executor.submit(batch(2)).await, Err(Fault::QueueFull)));
    wait(one());
    assert_eq!(executor.queue_depth(), QUEUE_PAYMENTS_MAX);
    let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
    let client = ann.client.clone().with_key("late");
    let refused = problem(client.call::<CreatePayment>(&order).await);
    assert_eq!((refused.code.as_str(), refused.status), ("QUEUE_FULL", 503));
    assert_eq!(refused.extra["retryAfter"], 1);
    drop(release);
    holder.await.unwrap();
    assert!(matches!(begun.await.unwrap(), Ok(Outcome::Done(_))));
    for outcome in join_all(waiting).await {
        assert!(matches!(outcome, Ok(Outcome::Done(_))), "{outcome:?}");
    }
    assert_eq!(executor.queue_depth(), 0);
    client.call::<CreatePayment>(&order).await.unwrap();
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.close().await;
});

on_each_world!(who_stops_waiting_leaves_the_queue_unless_begun, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let executor = &bank.module.service().executor;
    let leg = a_unit_from(&bank, &ann, &bob).await;
    let ids = [(); 3].map(|()| TransactionId::new(&bank.world.env));
    let (release, holder) = hold_commits(&bank).await;
    let begun = begin(executor, work(ids[0], leg)).await;
    begun.abort();
    assert!(begun.await.unwrap_err().is_cancelled());
    let gone = executor.submit(work(ids[1], leg)).now_or_never();
    assert!(gone.is_none(), "it waited");
    let mut stays = Box::pin(executor.submit(work(ids[2], leg)));
    assert!(stays.as_mut().now_or_never().is_none());
    drop(release);
    holder.await.unwrap();
    assert!(matches!(stays.await, Ok(Outcome::Done(_))));
    let stored = bank.module.db().read(move |reader| {
        let found = ids.map(|id| qwallet::store::ledger::find_transaction(reader, id));
        found.into_iter().map(|found| Ok::<_, q_db::DbError>(found?.is_some())).collect::<Result<Vec<_>, _>>()
    });
    assert_eq!(stored.await.unwrap(), [true, false, true]);
    bank.close().await;
});

on_each_world!(health_tells_when_payments_are_no_longer_carried_out, async |mut world: World| {
    let ground = world.ground("qwallet", &qwallet::MIGRATIONS, qwallet::SETTINGS).await;
    let (authority, _) = identity("qonsent");
    let pdp = q_pdp::Pdp::new(authority, world.env.now());
    let keys =
        KeyDirectory::new(world.env.clone(), Arc::new(Logs::default()), Arc::new(q_auth::Revocations::new()));
    // The executor's task is of another runtime, which ends before the module does.
    let other = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let opening = async move { qwallet::open(ground, pdp, Arc::new(keys), sealer()).await.unwrap() };
    let module = other.spawn(opening).await.unwrap();
    let check = module.checks().into_iter().find(|check| check.name == "executor").unwrap();
    assert!(check.is_required);
    assert_eq!((check.run)().await, Ok(()));
    tokio::task::spawn_blocking(move || drop(other)).await.unwrap();
    assert!((check.run)().await.is_err());
    let leg = Leg {
        debit: AccountId(1),
        credit: AccountId(2),
        amount: Amount::from_units(1),
        purpose: Purpose::Principal,
    };
    let refused = module.service().executor.submit(work(TransactionId::new(&world.env), leg)).await;
    assert!(matches!(refused, Err(Fault::Storage(q_db::DbError::Closed))), "{refused:?}");
    world.raise(module).await;
    world.abandon().await;
});

on_each_world!(a_store_is_opened_again_where_it_was_left, async |world: World| {
    let bank = Bank::open(world).await;
    let (ann, bob) = (bank.person("ann", "100").await, bank.person("bob", "0").await);
    let pay = async |bank: &Bank| {
        let order = bank.signed(bank.order(&ann, bob.did.as_str(), "1"), &ann);
        ann.client.clone().with_key(fresh()).call::<CreatePayment>(&order).await.unwrap().commit
    };
    let commit = pay(&bank).await;
    // A second executor on the same file reads where the first one stopped; on a server it has a chain of its own.
    let other = Executor::open(bank.module.db(), &Options::default()).await.unwrap();
    let house = bank.module.service().directory.house()[0];
    let leg = Leg {
        debit: house.issuance,
        credit: house.platform_fees,
        amount: Amount::from_units(1),
        purpose: Purpose::Mint,
    };
    let outcome = other.submit(work(TransactionId::new(&bank.world.env), leg)).await.unwrap();
    let Outcome::Done(done) = outcome else { panic!("{outcome:?}") };
    if bank.world.engine == Engine::Sqlite {
        assert_eq!(done.commit, commit + 1);
    } else {
        assert!(!bank.module.service().executor.writers().contains(&other.writers()[0]));
    }
    assert_eq!(bank.module.verify().await.unwrap(), []);
    bank.world.abandon().await;
});
