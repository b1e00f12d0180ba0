//! Reactions that fail, crash, or are delivered twice.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use q_bus::{ReactError, Redelivery, Subscription};

use crate::{Ground, Line, Log, TOPICS, Way, on_each_source, tallied, tally, until};

on_each_source!(a_second_delivery_changes_nothing, async |ground| {
    let mut line = Line::new(ground).await;
    let log = Log::default();
    let (heard, db) = (log.clone(), line.listener.clone());
    let subscription = Subscription::durable("producer", TOPICS, move |event| {
        heard.push(&event);
        tally(db.clone(), event)
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.bus.deliver_twice(true);
    line.start();
    line.count("a", 5).await;
    line.count("a", 6).await;
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), [5, 5, 6, 6]);
    assert_eq!(tallied(&line.listener, "a").await, 11);
    line.stop().await;
});

on_each_source!(a_crash_before_the_cursor_delivers_again, async |ground| {
    // The reaction commits, then the process dies before the bus keeps the cursor.
    let mut line = Line::new(ground).await;
    let db = line.listener.clone();
    let subscription = move |db: q_db::Db, hang: bool| {
        Subscription::durable("producer", TOPICS, move |event| {
            let db = db.clone();
            async move {
                tally(db, event).await?;
                if hang {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        })
    };
    line.bus.subscribe("listener", line.listener.clone(), subscription(db.clone(), true));
    line.start();
    line.count("a", 5).await;
    let mut reacted = false;
    while !reacted {
        reacted = tallied(&line.listener, "a").await == 5;
    }
    line.running.take().unwrap().abort();
    drop((line, db));

    let mut line = Line::new(ground).await;
    let db = line.listener.clone();
    let delivered = Arc::new(AtomicU32::new(0));
    let counting = delivered.clone();
    let subscription = Subscription::durable("producer", TOPICS, move |event| {
        counting.fetch_add(1, Ordering::SeqCst);
        tally(db.clone(), event)
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    assert!(line.bus.settled().await);
    assert_eq!(delivered.load(Ordering::SeqCst), 1, "it comes again");
    assert_eq!(tallied(&line.listener, "a").await, 5, "and counts once");
    line.stop().await;
});

on_each_source!(a_retry_holds_its_place_in_the_line, async |ground| {
    let mut line = Line::new(ground).await;
    let log = Log::default();
    let (heard, failures) = (log.clone(), Arc::new(AtomicU32::new(0)));
    let counting = failures.clone();
    let subscription = Subscription::durable("producer", TOPICS, move |event| {
        let is_first = counting.fetch_add(1, Ordering::SeqCst) < 3;
        if !is_first {
            heard.push(&event);
        }
        async move { if is_first { Err(ReactError::retry("not yet")) } else { Ok(()) } }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.count("a", 1).await;
    line.count("a", 2).await;
    line.start();
    let bus = line.bus.clone();
    until(|| bus.lags()[0].last_error.as_deref() == Some("not yet")).await;
    assert_eq!(bus.lags()[0].waiting(), 2, "the delay is seen in health");
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), [1, 2]);
    assert_eq!((bus.lags()[0].failures, bus.lags()[0].last_error.clone()), (0, None));
    line.stop().await;
});

on_each_source!(a_hopeless_event_is_parked_and_can_be_delivered_again, async |ground| {
    let mut line = Line::new(ground).await;
    let log = Log::default();
    let (heard, is_mended) = (log.clone(), Arc::new(std::sync::atomic::AtomicBool::new(false)));
    let mended = is_mended.clone();
    let subscription = Subscription::durable("producer", TOPICS, move |event| {
        let number = event.payload::<crate::Counted>().map_or(0, |payload| payload.number);
        assert!(number != 3, "a panic is a failure too");
        let refused = number == 2 && !mended.load(Ordering::SeqCst);
        if !refused {
            heard.push(&event);
        }
        async move { if refused { Err(ReactError::fail("cannot be read")) } else { Ok(()) } }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    for number in 1..=4 {
        line.count("a", number).await;
    }
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), [1, 4]);
    assert_eq!(line.bus.lags()[0].parked, 2);
    let parked = line.listener.parked().await.unwrap();
    assert_eq!(parked.len(), 2);
    assert_eq!((parked[0].position, parked[0].error.as_str()), (2, "cannot be read"));

    let id = parked[0].event.id;
    let again = line.bus.redeliver("listener", &id).await.unwrap();
    assert_eq!(again, Redelivery::Failed(ReactError::fail("cannot be read")));
    is_mended.store(true, Ordering::SeqCst);
    assert_eq!(line.bus.redeliver("listener", &id).await.unwrap(), Redelivery::Done);
    assert_eq!(line.bus.redeliver("listener", &id).await.unwrap(), Redelivery::NotFound);
    assert_eq!(log.numbers(), [1, 4, 2]);
    assert_eq!(line.listener.parked().await.unwrap().len(), 1);
    line.stop().await;
});

on_each_source!(paused_deliveries_wait, async |ground| {
    let mut line = Line::new(ground).await;
    let log = Log::default();
    let heard = log.clone();
    let subscription = Subscription::replayed("producer", TOPICS, move |event| {
        heard.push(&event);
        async { Ok(()) }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.bus.pause();
    line.start();
    line.count("a", 1).await;
    assert_eq!(log.numbers(), [0_i64; 0]);
    line.bus.resume();
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), [1]);
    line.stop().await;
});

on_each_source!(a_missing_producer_is_told, async |ground| {
    let mut line = Line::new(ground).await;
    let subscription = Subscription::durable("elsewhere", TOPICS, |_| async { Ok(()) });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    assert!(line.bus.settled().await, "nothing to wait for");
    assert!(!line.bus.lags()[0].is_connected);
    line.stop().await;
});

#[test]
fn a_reaction_that_hangs_does_not_keep_the_house_from_stopping() {
    let ground = Ground { stores: q_db::testing::TestStores::sqlite(), way: Way::InProcess, nats: None };
    q_db::testing::run(async {
        let mut line = Line::new(&ground).await;
        let (entered, mut is_inside) = tokio::sync::mpsc::unbounded_channel();
        let subscription = Subscription::durable("producer", TOPICS, move |_| {
            let _ = entered.send(());
            std::future::pending()
        });
        line.bus.subscribe("listener", line.listener.clone(), subscription);
        line.start();
        line.count("a", 1).await;
        is_inside.recv().await.unwrap();
        tokio::time::timeout(std::time::Duration::from_secs(20), line.stop()).await.expect("it stops");
        assert_eq!(line.listener.cursor("events of producer: q.producer.thing.").await.unwrap(), 0);
    });
}
