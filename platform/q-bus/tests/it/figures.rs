//! How fast each way is; run by hand: `cargo test --release -p q-bus --test it -- --ignored --nocapture figures`.

use std::time::Duration;

use q_bus::Subscription;
use q_db::testing::TestStores;
use tokio::{sync::mpsc, time::Instant};

use crate::{Counted, Ground, Line, TOPICS, Way};

const EVENTS: i64 = 50_000;
const PER_COMMIT: i64 = 100;
const SINGLE: i64 = 500;

#[test]
#[ignore = "a measurement"]
#[allow(clippy::print_stdout, reason = "the figures are what it is for")]
fn figures() {
    for way in [Way::InProcess, Way::Http, Way::Nats] {
        let Some(ground) = Ground::new(TestStores::sqlite(), way) else { continue };
        q_db::testing::run(async {
            let mut line = Line::new(&ground).await;
            let (arrived, mut arrivals) = mpsc::unbounded_channel();
            let subscription = Subscription::replayed("producer", TOPICS, move |event| {
                let number = event.payload::<Counted>().map_or(0, |payload| payload.number);
                let _ = arrived.send((number, Instant::now()));
                async { Ok(()) }
            });
            line.bus.subscribe("listener", line.listener.clone(), subscription);
            line.start();
            line.count("a", -1).await;
            arrivals.recv().await.unwrap();
            let mut delays = Vec::new();
            for number in 0..SINGLE {
                line.count("a", number).await;
                let committed = Instant::now();
                let (_, at) = arrivals.recv().await.unwrap();
                delays.push(at.saturating_duration_since(committed));
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            delays.sort();
            let (began_at, producer) = (Instant::now(), line.producer.clone());
            tokio::spawn(async move {
                for batch in 0..EVENTS / PER_COMMIT {
                    let written = producer.write(move |tx| {
                        (0..PER_COMMIT).try_for_each(|at| {
                            let number = batch * PER_COMMIT + at;
                            tx.emit(&Counted { subject: "a".into(), number }).map(drop)
                        })
                    });
                    written.await.unwrap();
                }
            });
            for expected in 0..EVENTS {
                assert_eq!(arrivals.recv().await.unwrap().0, expected, "in order, none lost, none twice");
            }
            let rate = f64::from(i32::try_from(EVENTS).unwrap()) / began_at.elapsed().as_secs_f64();
            println!(
                "{way:?}: {rate:.0} events/s; from commit to reaction p50 {:?}, p99 {:?}",
                delays[delays.len() / 2],
                delays[delays.len() * 99 / 100],
            );
            line.stop().await;
        });
    }
}
