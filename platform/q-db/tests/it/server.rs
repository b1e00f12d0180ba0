//! What only a server can do to us: hang up, serve replicas, collide.

use std::{sync::Arc, time::Duration};

use q_core::{AuditEntry, Clock, Env, Span, SystemClock, Timestamp};
use q_db::{Db, DbError, Replica, Tx, params, testing::TestStores};

use crate::{LEDGER, counter, open, platform::Opened};

fn postgres_test(test: impl AsyncFn(&TestStores)) {
    if let Some(stores) = TestStores::postgres() {
        q_db::testing::run(test(&stores));
    }
}

fn add(tx: &mut Tx<'_>, name: &str) -> Result<(), DbError> {
    tx.execute("INSERT INTO counters VALUES ($1, 1)", params![name]).map(drop)
}

/// Ends every connection to the database but the one that asks.
async fn hang_up(db: &Db) {
    db.read(|reader| {
        reader.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE datname = current_database() AND pid <> pg_backend_pid()",
            &[],
        )
    })
    .await
    .unwrap();
}

#[test]
fn a_connection_lost_between_writes_is_made_again() {
    postgres_test(async |stores| {
        let db = open(stores).await;
        for round in 0..5 {
            db.write(move |tx| add(tx, &format!("a{round}"))).await.unwrap();
            hang_up(&db).await;
        }
        for round in 0..5 {
            assert_eq!(counter(&db, &format!("a{round}")).await, 1);
        }
    });
}

#[test]
fn a_connection_lost_inside_a_write_runs_it_again_once() {
    postgres_test(async |stores| {
        let db = open(stores).await;
        let mut runs = 0;
        let ran = db
            .write(move |tx| {
                runs += 1;
                add(tx, "a")?;
                if runs == 1 {
                    tx.query("SELECT pg_terminate_backend(pg_backend_pid())", &[])?;
                }
                Ok::<_, DbError>(runs)
            })
            .await
            .unwrap();
        assert_eq!(ran, 2);
        assert_eq!(counter(&db, "a").await, 1, "the first run left nothing behind");
    });
}

#[test]
fn a_connection_lost_at_the_commit_is_an_unknown_outcome() {
    postgres_test(async |stores| {
        let db = open(stores).await;
        db.write(|tx| {
            tx.execute(
                "CREATE FUNCTION hang_up() RETURNS trigger LANGUAGE plpgsql AS \
                 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END'",
                &[],
            )?;
            // A deferred trigger fires when the commit has begun.
            tx.execute(
                "CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON counters DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW WHEN (NEW.name = 'doomed') EXECUTE FUNCTION hang_up()",
                &[],
            )
        })
        .await
        .unwrap();
        let outcome = db.write(|tx| add(tx, "doomed")).await;
        assert!(matches!(outcome, Err(DbError::OutcomeUnknown(_))), "{outcome:?}");
        db.write(|tx| add(tx, "next")).await.unwrap();
        assert_eq!(counter(&db, "next").await, 1);
    });
}

#[test]
fn an_unreachable_server_is_an_answer_in_time() {
    q_db::testing::run(async {
        let config: q_db::DbConfig = "postgres://q@127.0.0.1:1/nothing".parse().unwrap();
        let env = Env::system();
        let refused = Db::open(&config, &LEDGER, &env);
        let refused = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap().unwrap_err();
        assert!(matches!(refused, q_db::OpenError::Db(DbError::Unavailable(_))), "{refused:?}");
    });
}

#[test]
fn replicas_agree_on_the_positions() {
    postgres_test(async |stores| {
        let replicas = [open(stores).await, open(stores).await];
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let db = replicas[writer % 2].clone();
                tokio::spawn(async move {
                    for number in 0..20 {
                        db.write_locked(move |tx| {
                            tx.audit(AuditEntry::change("thing.do", None, number))?;
                            tx.emit(&Opened { number })
                        })
                        .await
                        .unwrap();
                    }
                })
            })
            .collect();
        let follow = async |db: &Db| {
            let mut seen = Vec::new();
            while seen.len() < 160 {
                for row in db.outbox_after(seen.len() as i64, 50).await.unwrap() {
                    assert_eq!(row.position, seen.len() as i64 + 1);
                    seen.push(row.event.id);
                }
            }
            seen
        };
        let (one, two) = tokio::join!(follow(&replicas[0]), follow(&replicas[1]));
        for writer in writers {
            writer.await.unwrap();
        }
        assert_eq!(one, two);
        let audit = replicas[0].audit_after(0, 500).await.unwrap();
        assert!(audit.iter().map(|row| row.position).eq(1..=160));
    });
}

#[test]
fn replicas_that_start_together_migrate_once() {
    postgres_test(async |stores| {
        let config = stores.config("ledger");
        let opened = (0..4).map(|_| {
            let config = config.clone();
            tokio::spawn(async move { Db::open(&config, &LEDGER, &Env::system()).await.map(drop) })
        });
        for opening in opened.collect::<Vec<_>>() {
            opening.await.unwrap().unwrap();
        }
    });
}

#[test]
fn a_leader_whose_beat_hangs_steps_down_before_another_takes_its_place() {
    postgres_test(async |stores| {
        let (db, other) = (open(stores).await, open(stores).await);
        let mut leader = Replica::new(db, "one");
        assert!(leader.beat().await.unwrap().is_leader);
        let leads_until = leader.leads_until().unwrap();
        // Somebody who never lets go keeps every beat waiting.
        let (holds, held) = tokio::sync::oneshot::channel();
        let (let_go, end) = std::sync::mpsc::channel::<()>();
        let mut once = Some((holds, end));
        let holding = tokio::spawn(async move {
            other
                .write_locked(move |tx| {
                    tx.lock("leader")?;
                    if let Some((holds, end)) = once.take() {
                        holds.send(()).unwrap();
                        let _ = end.recv();
                    }
                    Ok::<_, DbError>(())
                })
                .await
        });
        held.await.unwrap();
        assert!(tokio::time::timeout_at(leads_until, leader.beat()).await.is_err());
        assert!(!leader.without_store().is_leader && leader.leads_until().unwrap() == leads_until);
        drop(let_go);
        holding.await.unwrap().unwrap();
        assert!(leader.beat().await.unwrap().is_leader && leader.leads_until().unwrap() > leads_until);
    });
}

/// A host whose clock is a day ahead.
struct DayAhead;

impl Clock for DayAhead {
    fn now(&self) -> Timestamp {
        SystemClock.now() + Span::seconds(86_400)
    }
}

#[test]
fn what_a_clock_ahead_of_the_servers_says_is_not_common() {
    postgres_test(async |stores| {
        let ahead = Env { clock: Arc::new(DayAhead), ..Env::system() };
        let db = stores.open(&LEDGER, &ahead).await.unwrap();
        let (own, common) =
            db.write_locked(|tx| Ok::<_, DbError>((tx.now(), tx.common_now()?))).await.unwrap();
        assert!(own.since(common) > Span::seconds(86_000), "{common} {own}");
        assert!(common.since(SystemClock.now()) > Span::seconds(-60), "{common}");
    });
}
