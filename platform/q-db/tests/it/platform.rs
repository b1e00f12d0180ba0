//! Events, audit rows, inbox and cursors ride in the same commit.

use std::sync::Arc;

use q_core::{AuditEntry, Clock, Env, EventPayload, SystemEntropy, Timestamp, event::EventId};
use q_db::{DbError, on_each_engine};
use serde::{Deserialize, Serialize};

use crate::{LEDGER, open};

#[derive(Serialize, Deserialize)]
pub(crate) struct Opened {
    pub(crate) number: i64,
}

impl EventPayload for Opened {
    const TOPIC: &'static str = "q.ledger.account.opened.v1";
    fn subject(&self) -> String {
        format!("account {}", self.number)
    }
}

on_each_engine!(events_and_audit_rows_come_with_the_commit, async |stores| {
    let db = open(stores).await;
    let mut news = db.changes();
    let context = q_trace::Context {
        trace: q_trace::TraceId([7; 16]),
        span: q_trace::SpanId([8; 8]),
        is_sampled: false,
        module: "ledger".into(),
        request: None,
    };
    q_trace::scope(context.clone(), async {
        db.write(|tx| {
            tx.emit(&Opened { number: 1 })?;
            tx.audit(AuditEntry::change("account.open", None, "account 1"))
        })
        .await
        .unwrap();
    })
    .await;
    assert!(news.has_changed().unwrap());
    news.mark_unchanged();
    let refused = db
        .write(|tx| {
            tx.emit(&Opened { number: 2 })?;
            Err::<(), _>(DbError::NotOneRow(0))
        })
        .await;
    assert!(refused.is_err() && !news.has_changed().unwrap());

    let events = db.outbox_after(0, 10).await.unwrap();
    assert_eq!(events.len(), 1);
    assert_eq!((events[0].position, events[0].event.source.as_str()), (1, "ledger"));
    assert_eq!(events[0].event.payload::<Opened>().unwrap().number, 1);
    assert_eq!(events[0].trace.as_deref(), Some(context.traceparent().as_str()));
    let audit = db.audit_after(0, 10).await.unwrap();
    assert_eq!((audit.len(), audit[0].position), (1, 1));
    assert_eq!(audit[0].entry, AuditEntry::change("account.open", None, "account 1"));
    assert_eq!((db.outbox_head().await.unwrap(), db.audit_head().await.unwrap()), (1, 1));
});

on_each_engine!(positions_are_dense_in_the_order_of_causes, async |stores| {
    let db = open(stores).await;
    let writers: Vec<_> = (0..8_i64)
        .map(|writer| {
            let db = db.clone();
            tokio::spawn(async move {
                for step in 0..25 {
                    let number = writer * 100 + step;
                    let written = db
                        .write_locked(move |tx| {
                            tx.emit(&Opened { number })?;
                            // Every fifth write is undone and must leave no gap.
                            if step % 5 == 4 { Err(DbError::NotOneRow(0)) } else { Ok(()) }
                        })
                        .await;
                    assert_eq!(written.is_ok(), step % 5 != 4, "{written:?}");
                }
            })
        })
        .collect();
    // Followed while it is written, in small bites, by two followers that must see the same.
    let follow = async || {
        let mut seen = Vec::new();
        while seen.len() < 160 {
            let rows = db.outbox_after(seen.len() as i64, 7).await.unwrap();
            for row in rows {
                assert_eq!(row.position, seen.len() as i64 + 1);
                seen.push(row.event.payload::<Opened>().unwrap().number);
            }
        }
        seen
    };
    let (one, two) = tokio::join!(follow(), follow());
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(one, two);
    for writer in 0..8 {
        let own: Vec<_> = one.iter().filter(|number| *number / 100 == writer).collect();
        assert!(own.is_sorted(), "the events of one writer keep their order: {own:?}");
        assert_eq!(own.len(), 20);
    }
    assert_eq!(db.stats().await.unwrap().outbox_depth, 160);
});

on_each_engine!(a_second_delivery_is_recognised, async |stores| {
    let db = open(stores).await;
    let id = EventId::new(&Env::system());
    assert!(!db.write(move |tx| tx.seen(&id)).await.unwrap());
    assert!(db.write(move |tx| tx.seen(&id)).await.unwrap());
    let other = EventId::new(&Env::system());
    let refused = db
        .write(move |tx| {
            tx.seen(&other)?;
            Err::<(), _>(DbError::NotOneRow(0))
        })
        .await;
    assert!(refused.is_err());
    assert!(!db.write(move |tx| tx.seen(&other)).await.unwrap(), "an undone reaction was not seen");
});

on_each_engine!(cursors_move_with_the_commit, async |stores| {
    let db = open(stores).await;
    assert_eq!(db.cursor("squid").await.unwrap(), 0);
    db.write(|tx| tx.set_cursor("squid", 7)).await.unwrap();
    db.write(|tx| tx.set_cursor("squid", 9)).await.unwrap();
    assert_eq!(db.cursor("squid").await.unwrap(), 9);
});

/// A clock that tests move.
struct Hand(std::sync::atomic::AtomicI64);

impl Clock for Hand {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(std::sync::atomic::Ordering::SeqCst))
    }
}

on_each_engine!(time_never_goes_back_not_even_over_a_restart, async |stores| {
    let hand = Arc::new(Hand(5_000_000.into()));
    let env = Env { clock: hand.clone(), entropy: Arc::new(SystemEntropy) };
    let db = stores.open(&LEDGER, &env).await.unwrap();
    let now = async |db: &q_db::Db| {
        db.write(|tx| {
            tx.audit(AuditEntry::change("look", None, "clock"))?;
            Ok::<_, DbError>(tx.now().micros())
        })
        .await
        .unwrap()
    };
    assert_eq!(now(&db).await, 5_000_000);
    hand.0.store(9_000_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(now(&db).await, 9_000_000);
    hand.0.store(1_000_000, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(now(&db).await, 9_000_000, "the host's clock went back, the store's does not");
    drop(db);
    let db = stores.open(&LEDGER, &env).await.unwrap();
    assert_eq!(now(&db).await, 9_000_000);
});

on_each_engine!(a_sound_store_has_no_findings, async |stores| {
    let db = open(stores).await;
    db.write(|tx| tx.emit(&Opened { number: 1 })).await.unwrap();
    assert_eq!(db.check().await.unwrap(), Vec::<String>::new());
    assert!(db.stats().await.unwrap().size_bytes > 10_000);
});
