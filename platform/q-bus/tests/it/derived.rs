//! Events computed from a marker: in their place among the others, once, on every way.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use q_bus::{ReactError, Redelivery, Subscription};
use q_core::{Event, EventPayload, event::EventId};
use q_db::{Db, DbError, Derive, Reader};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{Counted, Line, Log, TOPICS, on_each_source, tallied, tally};

/// Stands for the numbers from `first` on.
#[derive(Serialize, Deserialize)]
struct Many {
    first: i64,
    count: i64,
}

impl EventPayload for Many {
    const TOPIC: &'static str = "q.producer.many.counted.v1";
    fn subject(&self) -> String {
        "many".into()
    }
}

struct Numbers;

impl Derive for Numbers {
    fn marker(&self) -> &'static str {
        Many::TOPIC
    }

    fn topics(&self) -> &'static [&'static str] {
        &[Counted::TOPIC]
    }

    fn derive(&self, _: &mut Reader<'_>, marker: &Event) -> Result<Vec<Event>, DbError> {
        let many: Many = marker.payload().unwrap();
        let numbers = many.first..many.first + many.count;
        Ok(numbers
            .map(|number| Event {
                id: EventId::from_bytes(number.to_be_bytes().repeat(2).try_into().unwrap()),
                topic: Counted::TOPIC.into(),
                subject: "a".into(),
                data: json!({"subject": "a", "number": number}),
                ..marker.clone()
            })
            .collect())
    }
}

async fn count_many(producer: &Db, first: i64, count: i64) {
    producer.write(move |tx| tx.emit(&Many { first, count })).await.unwrap();
}

on_each_source!(they_stand_where_their_marker_stands, async |ground| {
    let mut line = Line::new(ground).await;
    line.producer.derive_events(Arc::new(Numbers));
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
    line.count("a", 0).await;
    count_many(&line.producer, 1, 3).await;
    line.count("a", 4).await;
    line.start();
    count_many(&line.producer, 5, 0).await;
    // More than a page holds.
    for first in 0..3 {
        count_many(&line.producer, 5 + first * 3_000, 3_000).await;
    }
    line.count("a", 9_005).await;
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), (0..=9_005).collect::<Vec<_>>());
    assert_eq!(tallied(&line.listener, "a").await, (0..=9_005).sum::<i64>());
    line.stop().await;
});

on_each_source!(what_comes_twice_changes_nothing, async |ground| {
    // Stopped in the middle of a marker: its events come again from the first, with the ids they had.
    let log = Log::default();
    for round in 0..2 {
        let mut line = Line::new(ground).await;
        line.producer.derive_events(Arc::new(Numbers));
        let (heard, db, stop) = (log.clone(), line.listener.clone(), line.stop.clone());
        let subscription = Subscription::durable("producer", TOPICS, move |event| {
            let (heard, db, stop) = (heard.clone(), db.clone(), stop.clone());
            async move {
                if round == 0 && heard.numbers().len() == 2 {
                    stop.send_replace(true);
                    return Err(ReactError::retry("the process ends"));
                }
                heard.push(&event);
                tally(db, event).await
            }
        });
        line.bus.subscribe("listener", line.listener.clone(), subscription);
        if round == 0 {
            count_many(&line.producer, 1, 4).await;
        }
        line.start();
        if round == 0 {
            line.running.take().unwrap().await.unwrap();
        } else {
            assert!(line.bus.settled().await);
        }
        line.stop().await;
        line.listener.close().await;
        line.producer.close().await;
    }
    assert_eq!(log.numbers(), [1, 2, 1, 2, 3, 4]);
    let line = Line::new(ground).await;
    assert_eq!(tallied(&line.listener, "a").await, 10);
});

on_each_source!(a_parked_one_holds_up_none_of_its_siblings, async |ground| {
    let mut line = Line::new(ground).await;
    line.producer.derive_events(Arc::new(Numbers));
    let (log, is_mended) = (Log::default(), Arc::new(AtomicBool::new(false)));
    let (heard, mended) = (log.clone(), is_mended.clone());
    let subscription = Subscription::durable("producer", TOPICS, move |event| {
        let is_bad = event.payload::<Counted>().unwrap().number == 2 && !mended.load(Ordering::SeqCst);
        if !is_bad {
            heard.push(&event);
        }
        async move { if is_bad { Err(ReactError::fail("cannot count to two")) } else { Ok(()) } }
    });
    line.bus.subscribe("listener", line.listener.clone(), subscription);
    line.start();
    count_many(&line.producer, 1, 3).await;
    assert!(line.bus.settled().await);
    assert_eq!(log.numbers(), [1, 3]);
    let parked = line.listener.parked().await.unwrap();
    assert_eq!((parked.len(), parked[0].position), (1, 1));
    is_mended.store(true, Ordering::SeqCst);
    assert_eq!(line.bus.redeliver("listener", &parked[0].event.id).await.unwrap(), Redelivery::Done);
    assert_eq!(log.numbers(), [1, 3, 2]);
    line.stop().await;
});

#[test]
fn nothing_is_computed_for_those_who_do_not_ask() {
    struct Never;
    impl Derive for Never {
        fn marker(&self) -> &'static str {
            Many::TOPIC
        }
        fn topics(&self) -> &'static [&'static str] {
            &["q.producer.rare."]
        }
        fn derive(&self, _: &mut Reader<'_>, _: &Event) -> Result<Vec<Event>, DbError> {
            panic!("nobody asked")
        }
    }
    let Some(ground) = crate::Ground::new(q_db::testing::TestStores::sqlite(), crate::Way::InProcess) else {
        return;
    };
    q_db::testing::run(async {
        let mut line = Line::new(&ground).await;
        line.producer.derive_events(Arc::new(Never));
        let log = Log::default();
        let heard = log.clone();
        let subscription = Subscription::durable("producer", TOPICS, move |event| {
            heard.push(&event);
            async { Ok(()) }
        });
        line.bus.subscribe("listener", line.listener.clone(), subscription);
        line.start();
        count_many(&line.producer, 1, 3).await;
        line.count("a", 7).await;
        assert!(line.bus.settled().await);
        assert_eq!(log.numbers(), [7]);
        line.stop().await;
    });
}
