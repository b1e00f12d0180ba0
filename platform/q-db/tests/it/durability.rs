//! What was answered is there, what was not answered is whole or absent.

use q_core::Env;
use q_db::{DbError, StopCause, on_each_engine, params, testing::TestStores};

use crate::{LEDGER, counter, open};

on_each_engine!(a_store_dropped_in_mid_flight_keeps_what_it_answered, async |stores| {
    let db = open(stores).await;
    let mut answered = 0;
    for round in 0..20_i64 {
        let write = db.write(move |tx| {
            tx.execute("INSERT INTO counters VALUES ($1, $2)", params![format!("r{round}"), round])
        });
        if round % 3 == 0 {
            // The caller goes away: the write happens or not, but never half.
            drop(tokio::time::timeout(std::time::Duration::ZERO, write).await);
        } else {
            write.await.unwrap();
            answered += 1;
        }
    }
    drop(db);
    let db = open(stores).await;
    let rows = db.read(|reader| reader.query("SELECT name, value FROM counters", &[])).await.unwrap();
    for round in (0..20).filter(|round| round % 3 != 0) {
        assert_eq!(counter(&db, &format!("r{round}")).await, round);
    }
    assert!(rows.len() >= answered);
});

on_each_engine!(a_closed_store_says_so, async |stores| {
    let db = open(stores).await;
    let pending = db.write(|tx| tx.execute("INSERT INTO counters VALUES ('a', 1)", &[]));
    assert_eq!(pending.await.unwrap(), 1);
    db.close().await;
    assert!(matches!(db.write(|_| Ok::<(), DbError>(())).await, Err(DbError::Closed)));
    assert!(matches!(db.read(|_| Ok::<(), DbError>(())).await, Err(DbError::Closed)));
    assert_eq!(counter(&open(stores).await, "a").await, 1);
});

fn sqlite_test(test: impl AsyncFn(&TestStores)) {
    let stores = TestStores::sqlite();
    q_db::testing::run(test(&stores));
}

#[test]
fn writes_that_queue_up_share_their_syncs() {
    sqlite_test(async |stores| {
        let db = open(stores).await;
        let before = db.stats().await.unwrap();
        let tasks: Vec<_> = (0..500_i64)
            .map(|number| {
                let db = db.clone();
                tokio::spawn(async move {
                    db.write(move |tx| {
                        tx.execute("INSERT INTO counters VALUES ($1, 1)", params![number.to_string()])
                    })
                    .await
                    .unwrap()
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let after = db.stats().await.unwrap();
        assert_eq!(after.writes - before.writes, 500);
        assert!(after.commits - before.commits < 250, "{} commits", after.commits - before.commits);
    });
}

#[test]
fn one_refusal_in_a_batch_undoes_one_write() {
    sqlite_test(async |stores| {
        let db = open(stores).await;
        let tasks: Vec<_> = (0..200_i64)
            .map(|number| {
                let db = db.clone();
                tokio::spawn(async move {
                    db.write(move |tx| {
                        tx.execute("INSERT INTO counters VALUES ($1, 1)", params![number.to_string()])?;
                        if number % 2 == 0 { Ok(()) } else { Err(DbError::NotOneRow(0)) }
                    })
                    .await
                    .is_ok()
                })
            })
            .collect();
        for (task, number) in tasks.into_iter().zip(0..) {
            assert_eq!(task.await.unwrap(), number % 2 == 0);
        }
        let count = db.read(|reader| reader.query_one("SELECT COUNT(*) FROM counters", &[])).await.unwrap();
        assert_eq!(count.get::<i64>(0), 100);
    });
}

#[test]
fn a_failed_commit_is_never_reported_as_done() {
    sqlite_test(async |stores| {
        let db = open(stores).await;
        db.faults().fail_next_commit();
        let failed = db.write(|tx| tx.execute("INSERT INTO counters VALUES ('a', 1)", &[])).await;
        assert!(matches!(failed, Err(DbError::Unavailable(_))), "{failed:?}");
        assert_eq!(counter(&db, "a").await, 0);
        // What is on disk is not known until somebody looked.
        let again = || db.write(|tx| tx.execute("INSERT INTO counters VALUES ('a', 2)", &[]));
        assert!(matches!(again().await, Err(DbError::WriteStopped(_))));
        assert_eq!(db.mode().write_stop.as_ref().unwrap().cause, StopCause::FailedSync);
        assert_eq!(db.check().await.unwrap(), Vec::<String>::new());
        db.resume_writes(None, "verification").await.unwrap();
        again().await.unwrap();
        assert_eq!(counter(&db, "a").await, 2);
        drop(db);
        assert_eq!(counter(&open(stores).await, "a").await, 2);
    });
}

#[test]
fn a_full_disk_is_an_answer_and_goes_away() {
    sqlite_test(async |stores| {
        let db = open(stores).await;
        db.write(|tx| tx.execute("INSERT INTO counters VALUES ('a', 1)", &[])).await.unwrap();
        db.faults().set_disk_full(true);
        let fill = async || {
            db.write(|tx| {
                tx.execute(
                    "INSERT INTO accounts VALUES ($1, 'o', 1, $2)",
                    params![[1], "x".repeat(1_000_000)],
                )
            })
            .await
        };
        let refused = fill().await;
        assert!(matches!(refused, Err(DbError::Full(_))), "{refused:?}");
        assert_eq!(counter(&db, "a").await, 1, "reading goes on");
        db.faults().set_disk_full(false);
        fill().await.unwrap();
        assert_eq!(db.check().await.unwrap(), Vec::<String>::new());
    });
}

#[test]
fn a_damaged_page_is_found() {
    sqlite_test(async |stores| {
        let db = open(stores).await;
        db.write(|tx| {
            (0..2_000_i64).try_for_each(|number| {
                tx.execute("INSERT INTO counters VALUES ($1, 1)", params![format!("{number:032}")]).map(drop)
            })
        })
        .await
        .unwrap();
        db.close().await;
        let q_db::DbConfig::Sqlite { path } = stores.config("ledger") else { unreachable!() };
        let mut bytes = std::fs::read(&path).unwrap();
        // The header of the last page: how many cells it has.
        let page = bytes.len() - 4_096;
        bytes[page..page + 8].fill(0xff);
        std::fs::write(&path, bytes).unwrap();
        let db = q_db::Db::open(&stores.config("ledger"), &LEDGER, &Env::system()).await.unwrap();
        assert!(!db.check().await.unwrap().is_empty());
    });
}

/// Names the store that [`a_victim_writes_until_it_is_killed`] writes to.
const VICTIM: &str = "Q_DB_VICTIM";

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by the test that kills it"]
fn a_victim_writes_until_it_is_killed() {
    let Ok(path) = std::env::var(VICTIM) else { return };
    q_db::testing::run(async {
        let db = q_db::Db::open(&q_db::DbConfig::sqlite(path), &LEDGER, &Env::system()).await.unwrap();
        let write = async |task: i64| {
            for number in 0.. {
                let name = format!("{task}/{number}");
                let row = name.clone();
                db.write(move |tx| {
                    tx.execute("INSERT INTO counters VALUES ($1, 1)", params![&row])?;
                    tx.emit(&crate::platform::Opened { number })
                })
                .await
                .unwrap();
                // One write call per line, so that a kill leaves no half line that looks whole.
                std::io::Write::write_all(&mut std::io::stderr(), format!("done {name}\n").as_bytes())
                    .unwrap();
            }
        };
        tokio::join!(write(0), write(1), write(2), write(3));
    });
}

#[test]
fn nothing_answered_is_lost_by_a_kill() {
    use std::io::BufRead;
    sqlite_test(async |stores| {
        let q_db::DbConfig::Sqlite { path } = stores.config("ledger") else { unreachable!() };
        for round in 0..3 {
            let mut victim = std::process::Command::new(std::env::current_exe().unwrap())
                .args([
                    "--exact",
                    "durability::a_victim_writes_until_it_is_killed",
                    "--ignored",
                    "--nocapture",
                ])
                .env(VICTIM, &path)
                .stdout(std::process::Stdio::null())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .unwrap();
            let mut lines = std::io::BufReader::new(victim.stderr.take().unwrap()).lines();
            let mut answered = Vec::new();
            while answered.len() < 100 + 37 * round {
                let line = lines.next().expect("the victim lives until it is killed").unwrap();
                answered.extend(line.strip_prefix("done ").map(str::to_owned));
            }
            victim.kill().unwrap(); // SIGKILL
            victim.wait().unwrap();
            answered.extend(lines.filter_map(|line| line.ok()?.strip_prefix("done ").map(str::to_owned)));

            let db = open(stores).await;
            let rows = db.read(|reader| reader.query("SELECT name FROM counters", &[])).await.unwrap();
            let kept: std::collections::HashSet<String> = rows.iter().map(|row| row.get(0)).collect();
            let lost: Vec<_> = answered.iter().filter(|name| !kept.contains(*name)).collect();
            assert!(lost.is_empty(), "answered and lost: {lost:?}");
            assert_eq!(db.outbox_head().await.unwrap(), kept.len() as i64, "each row has its event");
            assert_eq!(db.check().await.unwrap(), Vec::<String>::new());
            db.write(|tx| {
                tx.execute("DELETE FROM counters", &[])?;
                tx.execute("DELETE FROM q_outbox", &[])
            })
            .await
            .unwrap();
            db.close().await;
        }
    });
}

/// What a module keeps is nobody else's to read on a shared host, whatever the folder lets through.
#[cfg(unix)]
#[test]
fn a_store_is_its_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    q_db::testing::run(async {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("ledger.sqlite");
        let db = q_db::Db::open(&q_db::DbConfig::sqlite(&place), &LEDGER, &Env::system()).await.unwrap();
        db.write(|tx| tx.execute("INSERT INTO counters VALUES ('a', 1)", &[])).await.unwrap();
        let mut files = 0;
        for file in std::fs::read_dir(folder.path()).unwrap() {
            let file = file.unwrap();
            let mode = file.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{}", file.path().display());
            files += 1;
        }
        assert!(files >= 3, "the store, its lock and its log");
    });
}
