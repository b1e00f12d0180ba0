//! Events arrive: all of them, in order, soon.

use std::time::Instant;

use q_bus::Subscription;

use crate::{Ground, Ignored, Line, Log, TOPICS, Way, on_each_source, tallied, tally};

on_each_source!(events_arrive_in_order_and_once, async |ground| {
    let mut line = Line::new(ground).await;
    let log = Log::default();
    let (heard, db) = (log.clone(), line.listener.clone());
    line.bus.subscribe(
        "listener",
        line.listener.clone(),
        Subscription::durable("producer", TOPICS, move |event| {
            heard.push(&event);
            tally(db.clone(), event)
        }),
    );
    line.count("early", 1).await; // before anybody listens
    line.start();
    for number in 2..=100 {
        line.count("late", number).await;
        line.producer.write(|tx| tx.emit(&Ignored {})).await.unwrap();
    }
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), (1..=100).collect::<Vec<_>>());
    assert_eq!(tallied(&line.listener, "early").await, 1);
    assert_eq!(tallied(&line.listener, "late").await, (2..=100).sum::<i64>());
    let lag = &line.bus.lags_of("listener")[0];
    assert_eq!((lag.waiting(), lag.failures, lag.parked, lag.is_connected), (0, 0, 0, true));
    assert!(line.bus.lags_of("nobody").is_empty());
    line.stop().await;
});

on_each_source!(a_listener_goes_on_where_it_stopped, async |ground| {
    let log = Log::default();
    for round in 0..3 {
        let mut line = Line::new(ground).await;
        let heard = log.clone();
        let subscription = Subscription::durable("producer", TOPICS, move |event| {
            heard.push(&event);
            async { Ok(()) }
        });
        line.bus.subscribe("listener", line.listener.clone(), subscription);
        line.count("a", round * 2).await;
        line.start();
        line.count("a", round * 2 + 1).await;
        assert!(line.bus.settled().await);
        line.stop().await;
        line.listener.close().await;
        line.producer.close().await;
    }
    assert_eq!(log.numbers(), [0, 1, 2, 3, 4, 5]);
});

on_each_source!(a_replay_begins_anew_at_each_start, async |ground| {
    for round in 1..=3 {
        let mut line = Line::new(ground).await;
        let log = Log::default();
        let heard = log.clone();
        let subscription = Subscription::replayed("producer", TOPICS, move |event| {
            heard.push(&event);
            async { Ok(()) }
        });
        line.bus.subscribe("listener", line.listener.clone(), subscription);
        line.count("a", round).await;
        line.start();
        assert!(line.bus.settled().await);
        assert_eq!(log.numbers(), (1..=round).collect::<Vec<_>>());
        line.stop().await;
        line.listener.close().await;
        line.producer.close().await;
    }
});

on_each_source!(a_chain_of_reactions_settles, async |ground| {
    let mut line = Line::new(ground).await;
    let producer = line.producer.clone();
    // Each event causes the next, down to zero.
    let subscription = Subscription::durable("producer", TOPICS, move |event| {
        let producer = producer.clone();
        async move {
            let number = event.payload::<crate::Counted>().map_or(0, |payload| payload.number);
            if number > 0 {
                let next = move |tx: &mut q_db::Tx<'_>| {
                    tx.emit(&crate::Counted { subject: "a".into(), number: number - 1 })
                };
                producer.write(next).await?;
            }
            Ok(())
        }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    line.count("a", 20).await;
    assert!(line.bus.settled().await);
    assert_eq!(line.producer.outbox_head().await.unwrap(), 21);
    line.stop().await;
});

on_each_source!(the_trace_goes_on_into_the_reaction, async |ground| {
    let mut line = Line::new(ground).await;
    let db = line.listener.clone();
    let subscription = Subscription::durable("producer", TOPICS, move |_| {
        let db = db.clone();
        async move {
            db.write(|tx| tx.audit(q_core::AuditEntry::change("thing.heard", None, "a"))).await?;
            Ok(())
        }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    let context = q_trace::Context {
        trace: q_trace::TraceId([7; 16]),
        span: q_trace::SpanId([7; 8]),
        is_sampled: false,
        module: "producer".into(),
        request: None,
    };
    q_trace::scope(context, line.count("a", 1)).await;
    assert!(line.bus.settled().await);
    let rows = line.listener.audit_after(0, 10).await.unwrap();
    assert_eq!(rows[0].trace.as_deref(), Some("07".repeat(16).as_str()));
    line.stop().await;
});

#[test]
fn an_event_arrives_within_milliseconds() {
    // Over HTTP a few more: a follower lets rows come together before it asks again.
    for (way, millis_max) in [(Way::InProcess, 10), (Way::Http, 25), (Way::Nats, 25)] {
        let Some(ground) = Ground::new(q_db::testing::TestStores::sqlite(), way) else { continue };
        q_db::testing::run(async {
            let mut line = Line::new(&ground).await;
            let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
            let subscription = Subscription::replayed("producer", TOPICS, move |_| {
                let _ = arrived.send(Instant::now());
                async { Ok(()) }
            });
            line.bus.subscribe("listener", line.listener.clone(), subscription);
            line.start();
            let mut delays = Vec::new();
            for number in 0..50 {
                line.count("a", number).await;
                let committed = Instant::now();
                delays.push(arrivals.recv().await.unwrap().saturating_duration_since(committed));
            }
            delays.sort();
            // The median, because the machine may have other things to do now and then.
            assert!(delays[25].as_millis() < millis_max, "{way:?} {:?}", delays[25]);
            line.stop().await;
        });
    }
}
