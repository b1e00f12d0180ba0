//! Copies of stores that go on being written: of one instant together, and complete with what changed since.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use q_core::{AuditEntry, Env, Verdict};
use q_db::{
    Db, DbConfig, DbError, Migrations,
    backup::{Changes, Copying, Snapshot, apply_pages, cut, snapshots},
    on_each_engine, params,
    testing::TestStores,
};
use serde_json::json;

use crate::{LEDGER, counter};

/// A second module, which follows the first.
const MIRROR: Migrations = Migrations::new("mirror", LEDGER_SQLITE, LEDGER_POSTGRES);
const LEDGER_SQLITE: &[q_db::Migration] =
    &[(1, "counters", "CREATE TABLE counters (name TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL);")];
const LEDGER_POSTGRES: &[q_db::Migration] = LEDGER_SQLITE;

async fn set(db: &Db, value: i64) {
    let written = db.write(move |tx| {
        tx.execute(
            "INSERT INTO counters VALUES ('n', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            params![value],
        )?;
        // Something that fills pages.
        tx.execute("INSERT INTO counters VALUES ($1, $2)", params![format!("{value:0>300}"), value])
    });
    written.await.unwrap();
}

/// Writes each number to the first store, then to the second, until told to stop.
async fn write_on(first: Db, second: Db, stop: Arc<AtomicBool>, from: i64) -> i64 {
    let mut number = from;
    while !stop.load(Ordering::Relaxed) {
        number += 1;
        set(&first, number).await;
        set(&second, number).await;
    }
    number
}

async fn both(stores: &TestStores) -> (Db, Db) {
    let env = Env::system();
    let first = Db::open(&stores.config("ledger"), &LEDGER, &env).await.unwrap();
    (first, Db::open(&stores.config("mirror"), &MIRROR, &env).await.unwrap())
}

async fn begin(stores: Vec<(String, DbConfig)>) -> Vec<Snapshot> {
    tokio::task::spawn_blocking(move || snapshots(&stores, || true).unwrap()).await.unwrap()
}

fn copy(snapshot: &Snapshot, folder: &Path) -> PathBuf {
    let path = folder.join(format!("{}.sqlite", snapshot.module));
    match snapshot.copying().unwrap() {
        Copying::File(copy) => assert!(copy.write(&path, || true).unwrap()),
        Copying::Server(_) => panic!("a file was expected"),
    }
    path
}

async fn value_in(path: &Path, migrations: &Migrations) -> i64 {
    let db = Db::open_existing(&DbConfig::sqlite(path), migrations, &Env::system()).await.unwrap();
    assert_eq!(db.check().await.unwrap(), Vec::<String>::new());
    let value = counter(&db, "n").await;
    // Every number up to it has its row.
    let rows = db.read(|reader| reader.query_one("SELECT COUNT(*) FROM counters", &[])).await.unwrap();
    assert_eq!(rows.try_get::<i64>(0).unwrap(), value + 1);
    db.close().await;
    value
}

fn apply(path: &Path, changes: &Changes) {
    assert!(changes.is_whole);
    if changes.pages_total > 0 {
        let pages = changes.pages.iter().map(|(number, page)| (*number, page));
        apply_pages(path, changes.page_bytes, changes.pages_total, pages).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_with_the_changes_since_is_the_store_at_each_cut() {
    let stores = TestStores::sqlite();
    let (first, second) = both(&stores).await;
    let kept = [first.keep_changes().await.unwrap(), second.keep_changes().await.unwrap()];
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_on(first.clone(), second.clone(), stop.clone(), 0));
    while first.stats().await.unwrap().commits < 20 {
        tokio::task::yield_now().await;
    }
    let here = vec![("ledger".into(), stores.config("ledger")), ("mirror".into(), stores.config("mirror"))];
    let folder = tempfile::tempdir().unwrap();
    let begun = begin(here).await;
    let copies: Vec<PathBuf> = begun.iter().map(|snapshot| copy(snapshot, folder.path())).collect();
    drop(begun);
    let (a, b) = (value_in(&copies[0], &LEDGER).await, value_in(&copies[1], &MIRROR).await);
    assert!(b == a || b + 1 == a, "not of one instant: {a} and {b}");
    let mut last = a;
    for round in 0..12 {
        let seen = first.stats().await.unwrap().commits;
        // Enough for the log to be folded into the file in between.
        while first.stats().await.unwrap().commits < seen + if round % 3 == 0 { 900 } else { 40 } {
            tokio::task::yield_now().await;
        }
        let Some(changes) = cut(&[first.clone(), second.clone()]).await else { continue };
        for (path, changes) in copies.iter().zip(&changes) {
            apply(path, changes);
        }
        // A copy of the copy is opened: opening writes to it.
        let look = |path: &Path| {
            let name = folder.path().join("look.sqlite");
            std::fs::copy(path, &name).unwrap();
            name
        };
        let a = value_in(&look(&copies[0]), &LEDGER).await;
        let b = value_in(&look(&copies[1]), &MIRROR).await;
        assert!(b == a || b + 1 == a, "not of one instant: {a} and {b}");
        assert!(a > last, "nothing new in cut {round}");
        last = a;
    }
    stop.store(true, Ordering::Relaxed);
    let number = writing.await.unwrap();
    first.close().await;
    second.close().await;
    for (path, kept) in copies.iter().zip(&kept) {
        apply(path, &kept.last().expect("what was left at the end"));
        assert!(kept.last().is_none());
    }
    assert_eq!(value_in(&copies[0], &LEDGER).await, number);
    assert_eq!(value_in(&copies[1], &MIRROR).await, number);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_committed_about_a_lost_connection_is_said_to_be_missing() {
    let stores = TestStores::sqlite();
    let db = Db::open(&stores.config("ledger"), &LEDGER, &Env::system()).await.unwrap();
    let _kept = db.keep_changes().await.unwrap();
    set(&db, 1).await;
    assert!(cut(std::slice::from_ref(&db)).await.unwrap()[0].is_whole);
    db.faults().fail_next_commit();
    db.write(|tx| tx.execute("DELETE FROM counters", &[])).await.unwrap_err();
    db.resume_writes(None, "a test").await.unwrap();
    // The first commit of the new connection was seen by nobody.
    assert!(!cut(std::slice::from_ref(&db)).await.unwrap()[0].is_whole);
    set(&db, 2).await;
    let changes = cut(std::slice::from_ref(&db)).await.unwrap();
    assert!(changes[0].is_whole && !changes[0].pages.is_empty());
}

#[tokio::test]
async fn a_store_in_which_nothing_happens_has_no_changes() {
    let stores = TestStores::sqlite();
    let (first, second) = both(&stores).await;
    set(&first, 1).await;
    let _kept = (first.keep_changes().await, second.keep_changes().await);
    set(&first, 2).await;
    let changes = cut(&[first.clone(), second.clone()]).await.unwrap();
    assert!(!changes[0].pages.is_empty());
    for _ in 0..3 {
        let changes = cut(&[first.clone(), second.clone()]).await.unwrap();
        assert!(changes.iter().all(|changes| changes.pages.is_empty() && changes.is_whole));
    }
    // Without the other one there is no common instant, and nothing is lost by that.
    set(&first, 3).await;
    second.close().await;
    assert!(cut(&[first.clone(), second]).await.is_none());
    assert!(!cut(&[first]).await.unwrap()[0].pages.is_empty());
}

on_each_engine!(snapshots_are_of_one_instant, async |stores| {
    let (first, second) = both(stores).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn(write_on(first.clone(), second.clone(), stop.clone(), 0));
    while second.stats().await.unwrap().commits == 0 {
        tokio::task::yield_now().await;
    }
    let here = vec![("ledger".into(), stores.config("ledger")), ("mirror".into(), stores.config("mirror"))];
    for _ in 0..5 {
        let begun = begin(here.clone()).await;
        // The writers go on at once.
        let seen = first.stats().await.unwrap().commits;
        while first.stats().await.unwrap().commits < seen + 3 {
            tokio::task::yield_now().await;
        }
        if let Copying::File(_) = begun[0].copying().unwrap() {
            let folder = tempfile::tempdir().unwrap();
            let paths: Vec<PathBuf> = begun.iter().map(|snapshot| copy(snapshot, folder.path())).collect();
            let (a, b) = (value_in(&paths[0], &LEDGER).await, value_in(&paths[1], &MIRROR).await);
            assert!(b == a || b + 1 == a, "not of one instant: {a} and {b}");
        }
        tokio::task::spawn_blocking(move || drop(begun)).await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    writing.await.unwrap();
});

on_each_engine!(a_restored_store_goes_on_beyond_what_others_have_heard, async |stores| {
    let (db, _) = both(stores).await;
    let entry = |action: &str| AuditEntry {
        family: "platform".into(),
        action: action.into(),
        actor: None,
        target: "store".into(),
        verdict: Verdict::Warn,
        details: json!({}),
    };
    let first = entry("first");
    db.write(move |tx| tx.audit(first.clone())).await.unwrap();
    assert_eq!((db.audit_head().await.unwrap(), db.outbox_head().await.unwrap()), (1, 0));
    db.resume_beyond(7, 40, entry("store.restored")).await.unwrap();
    let rows = db.audit_after(40, 10).await.unwrap();
    assert_eq!(
        rows.iter().map(|row| (row.position, row.entry.action.as_str())).collect::<Vec<_>>(),
        [(41, "store.restored")]
    );
    let position = db.position().await.unwrap();
    assert_eq!(position.audit, 41);
    // Nothing is skipped when nobody has heard more than there is.
    db.resume_beyond(3, 41, entry("store.restored")).await.unwrap();
    assert_eq!(db.audit_head().await.unwrap(), 42);
    let missing = snapshots(&[("gone".into(), DbConfig::sqlite("/nonexistent/gone.sqlite"))], || true);
    assert_eq!(missing.err().unwrap().to_string(), "the store of gone is not there");
    let _: Result<(), DbError> = Ok(());
});

/// Who copies several stores lets go of all while one of them is in use: nobody waits for what others do.
#[test]
fn no_store_waits_for_another_that_is_in_use() {
    let stores = TestStores::sqlite();
    q_db::testing::run(async {
        let config = ["quiet", "used"].map(|name| (name.to_owned(), stores.config(name)));
        let quiet = Db::open(&config[0].1, &LEDGER, &Env::system()).await.unwrap();
        let used = Db::open(&config[1].1, &LEDGER, &Env::system()).await.unwrap();
        let (begun, is_begun) = std::sync::mpsc::channel();
        let (done, is_done) = std::sync::mpsc::channel::<()>();
        let using = tokio::spawn({
            let used = used.clone();
            async move {
                let write = used.write_locked(move |_| {
                    begun.send(()).unwrap();
                    is_done.recv().unwrap();
                    Ok::<_, DbError>(())
                });
                write.await.unwrap();
            }
        });
        is_begun.recv().unwrap();
        let (ask, asked) = std::sync::mpsc::channel();
        let (answer, answered) = std::sync::mpsc::channel();
        let copying = tokio::task::spawn_blocking(move || {
            let is_wanted = || {
                ask.send(()).unwrap();
                answered.recv().unwrap()
            };
            snapshots(&config, is_wanted).map(drop)
        });
        asked.recv().unwrap();
        answer.send(true).unwrap();
        // After an attempt that found one of them in use the other one is free.
        asked.recv().unwrap();
        quiet.write_locked(|_| Ok::<_, DbError>(())).await.unwrap();
        answer.send(false).unwrap();
        let refused = copying.await.unwrap().unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the tables of used are in constant use: no instant was found at which nobody writes"
        );
        done.send(()).unwrap();
        using.await.unwrap();
        quiet.close().await;
        used.close().await;
    });
}

/// Writers that hold one table while they want another are never all at rest by themselves.
#[test]
fn a_snapshot_is_taken_between_writers_who_never_rest() {
    let Some(stores) = TestStores::postgres() else { return };
    q_db::testing::run(async {
        let db = stores.open(&LEDGER, &Env::system()).await.unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (db, is_over) = (db.clone(), is_over.clone());
                tokio::spawn(async move {
                    let mut count = 0;
                    while !is_over.load(Ordering::Relaxed) {
                        let written = db.write_locked(move |tx| {
                            tx.execute(
                                "INSERT INTO counters VALUES ($1, 1)",
                                params![format!("{writer}-{count}")],
                            )?;
                            tx.query("SELECT pg_sleep(0.05)", &[])?;
                            tx.audit(AuditEntry::change("thing.do", None, count)).map(drop)
                        });
                        written.await.unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let config = vec![("ledger".to_owned(), stores.config("ledger"))];
        for _ in 0..5 {
            let config = config.clone();
            tokio::task::spawn_blocking(move || drop(snapshots(&config, || true).unwrap())).await.unwrap();
        }
        is_over.store(true, Ordering::Relaxed);
        for writer in writers {
            assert!(writer.await.unwrap() > 0);
        }
        db.close().await;
    });
}
