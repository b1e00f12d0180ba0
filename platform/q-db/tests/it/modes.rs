//! What a module lets through is kept with its store, and stopped writes stay stopped.

use std::time::Duration;

use q_core::{Env, Span};
use q_db::{Db, DbError, ModeKind, ModeOrder, StopCause, on_each_engine};

use crate::{LEDGER, counter, open};

fn order(kind: ModeKind) -> ModeOrder {
    ModeOrder { kind, reason: "a test".into(), ..ModeOrder::default() }
}

async fn count(db: &Db) -> Result<u64, DbError> {
    let sql =
        "INSERT INTO counters VALUES ('n', 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1";
    db.write(move |tx| tx.execute(sql, &[])).await
}

async fn until(db: &Db, is_so: impl Fn(&q_db::Mode) -> bool) {
    let mut changes = db.mode_changes();
    let seen = changes.wait_for(|mode| is_so(mode));
    tokio::time::timeout(Duration::from_secs(10), seen).await.expect("the mode changes").unwrap();
}

on_each_engine!(an_order_outlives_the_process, async |stores| {
    let db = open(stores).await;
    assert!(db.mode().is_normal());
    let until = db.now() + Span::seconds(60);
    let canary = "did:x:canary".parse().unwrap();
    let order = ModeOrder { until: Some(until), canaries: vec![canary], ..order(ModeKind::ReadOnly) };
    let set = db.set_mode(&order, "did:x:operator").await.unwrap();
    assert_eq!((set.state(), set.by.as_str()), (ModeKind::ReadOnly, "did:x:operator"));
    // The order is for those who come in; the module itself goes on.
    count(&db).await.unwrap();
    db.close().await;
    let db = open(stores).await;
    assert_eq!(db.mode(), set);
    let rows = db.audit_after(0, 10).await.unwrap();
    assert_eq!((rows.len(), rows[0].entry.action.as_str()), (1, "MODE_SET"));
    assert_eq!(rows[0].entry.actor.as_ref().unwrap().as_str(), "did:x:operator");
});

on_each_engine!(stopped_writes_are_refused_and_reads_go_on, async |stores| {
    let db = open(stores).await;
    count(&db).await.unwrap();
    db.stop_writes(StopCause::Damage, "balance_mismatch at accounts 7");
    let refused = count(&db).await.unwrap_err();
    assert!(refused.to_string().contains("accounts 7"), "{refused}");
    assert!(matches!(refused, DbError::WriteStopped(_)));
    assert_eq!(counter(&db, "n").await, 1);
    // An order does not end it; it survives a restart; a verification ends it.
    assert_eq!(db.set_mode(&order(ModeKind::Normal), "x").await.unwrap().state(), ModeKind::WriteStopped);
    db.close().await;
    let db = open(stores).await;
    // The module may write while it opens, or it could not serve what is read.
    count(&db).await.unwrap();
    db.opened();
    assert!(matches!(count(&db).await, Err(DbError::WriteStopped(_))));
    db.resume_writes(None, "verification").await.unwrap();
    count(&db).await.unwrap();
    assert_eq!(counter(&db, "n").await, 3);
});

on_each_engine!(a_stop_in_memory_reaches_the_store_by_itself, async |stores| {
    let db = open(stores).await;
    db.stop_writes(StopCause::Damage, "a row is wrong");
    let kept = async {
        loop {
            let rows =
                db.read(|reader| reader.query("SELECT reason FROM q_modes WHERE slot = 'write-stop'", &[]));
            if !rows.await.unwrap().is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), kept).await.expect("the stop is written down");
});

on_each_engine!(pauses_add_up, async |stores| {
    let db = open(stores).await;
    let began = db.now();
    db.set_mode(&order(ModeKind::Maintenance), "ops").await.unwrap();
    let inside = db.now();
    db.set_mode(&order(ModeKind::ReadOnly), "ops").await.unwrap();
    db.stop_writes(StopCause::Damage, "wrong");
    db.set_mode(&order(ModeKind::Normal), "ops").await.unwrap();
    db.resume_writes(None, "ops").await.unwrap();
    let over = db.now();
    let whole = db.paused_between(began, over + Span::seconds(100)).await.unwrap();
    // One pause from the first restriction to the end of the last, and nothing after it.
    assert!(whole <= over.since(began) && whole >= over.since(inside), "{whole:?}");
    assert_eq!(db.paused_between(over, over + Span::seconds(9)).await.unwrap(), Span::seconds(0));
    // One that is not over counts up to the instant asked for.
    db.set_mode(&order(ModeKind::Isolated), "ops").await.unwrap();
    let now = db.now();
    assert_eq!(db.paused_between(now, now + Span::seconds(50)).await.unwrap(), Span::seconds(50));
});

/// Another replica orders, this one sees it.
#[test]
fn replicas_on_one_store_see_an_order_within_a_second() {
    let Some(stores) = q_db::testing::TestStores::postgres() else { return };
    q_db::testing::run(async {
        let here = open(&stores).await;
        let there = stores.open(&LEDGER, &Env::system()).await.unwrap();
        there.opened();
        there.set_mode(&order(ModeKind::ReadOnly), "ops").await.unwrap();
        until(&here, |mode| mode.state() == ModeKind::ReadOnly).await;
        here.stop_writes(StopCause::Damage, "wrong");
        until(&there, |mode| mode.state() == ModeKind::WriteStopped).await;
        assert!(matches!(count(&there).await, Err(DbError::WriteStopped(_))));
        there.resume_writes(None, "ops").await.unwrap();
        until(&here, |mode| mode.write_stop.is_none()).await;
        assert_eq!(here.mode().kind, ModeKind::ReadOnly);
    });
}
