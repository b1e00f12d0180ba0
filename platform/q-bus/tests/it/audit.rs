//! Audit rows of every module, without gaps.

use std::sync::Arc;

use parking_lot::Mutex;
use q_bus::{ReactError, Subscription};
use q_core::AuditEntry;

use crate::{Line, on_each_source};

on_each_source!(every_row_of_every_module_arrives_in_order, async |ground| {
    let mut line = Line::new(ground).await;
    line.bus.add_producer("listener", line.listener.clone());
    let heard: Arc<Mutex<Vec<(String, i64)>>> = Arc::default();
    let mut is_first = true;
    let (log, refusing) = (heard.clone(), Arc::new(Mutex::new(std::mem::take(&mut is_first))));
    let subscription = Subscription::audit(move |batch| {
        // Even a failure that calls itself final is tried again: an audit row is never passed over.
        let refused = std::mem::take(&mut *refusing.lock());
        if !refused {
            log.lock().extend(batch.rows.iter().map(|row| (batch.producer.clone(), row.position)));
        }
        async move { if refused { Err(ReactError::fail("full")) } else { Ok(()) } }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    for number in 0..30 {
        let db = if number % 3 == 0 { &line.listener } else { &line.producer };
        db.write(move |tx| tx.audit(AuditEntry::change("thing.do", None, number))).await.unwrap();
    }
    assert!(line.bus.settled().await);
    let heard = heard.lock().clone();
    for (producer, count) in [("listener", 10), ("producer", 20)] {
        let own: Vec<_> = heard.iter().filter(|row| row.0 == producer).map(|row| row.1).collect();
        assert_eq!(own, (1..=count).collect::<Vec<i64>>(), "{producer}");
    }
    line.stop().await;
});

on_each_source!(a_reaction_may_move_the_cursor_in_its_own_commit, async |ground| {
    let mut line = Line::new(ground).await;
    let db = line.listener.clone();
    let subscription = Subscription::audit(move |batch| {
        let db = db.clone();
        async move {
            let (name, last) = (batch.cursor.clone(), batch.last_position());
            db.write(move |tx| tx.set_cursor(&name, last)).await?;
            Ok(())
        }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    let before = line.listener.stats().await.unwrap().writes;
    line.producer.write(|tx| tx.audit(AuditEntry::change("thing.do", None, 1))).await.unwrap();
    assert!(line.bus.settled().await);
    assert_eq!(line.listener.cursor("audit of producer").await.unwrap(), 1);
    assert_eq!(line.listener.stats().await.unwrap().writes - before, 1, "one commit, not two");
    line.stop().await;
});

on_each_source!(a_producer_that_was_rolled_back_is_told_once, async |ground| {
    let mut line = Line::new(ground).await;
    for number in 0..2 {
        line.producer.write(move |tx| tx.audit(AuditEntry::change("thing.do", None, number))).await.unwrap();
    }
    // The listener has heard of more rows than there are now.
    line.listener.write(|tx| tx.set_cursor("audit of producer", 5)).await.unwrap();
    let (heard, mut told) = tokio::sync::mpsc::unbounded_channel();
    let subscription = Subscription::audit(move |batch| {
        let sent = heard.send((batch.producer, batch.rows.len(), batch.head));
        async move { sent.map_err(ReactError::fail) }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    assert_eq!(told.recv().await, Some(("producer".to_owned(), 0, 2)));
    line.producer.write(|tx| tx.audit(AuditEntry::change("thing.do", None, 3))).await.unwrap();
    assert_eq!(line.listener.cursor("audit of producer").await.unwrap(), 5, "the cursor never goes back");
    line.stop().await;
    assert!(told.try_recv().is_err(), "once");
});
