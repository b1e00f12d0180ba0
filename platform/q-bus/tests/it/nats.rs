//! A NATS server between producer and followers: killed, emptied, cut off, and ahead of a store that is an older copy.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use q_bus::{Bus, BusKey, Nats, NatsSettings, Subscription};
use q_core::Env;
use q_db::{Db, testing::TestStores};
use q_oracle::NatsServer;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use crate::{Counted, LISTENER, Log, PRODUCER, TOPICS, remote, tallied, tally, until};

/// A process of its own as far as the bus can tell.
pub(crate) struct Process {
    pub(crate) bus: Bus,
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
}

impl Process {
    /// One that has the producer.
    pub(crate) async fn with(producer: &Db, settings: NatsSettings, name: &str) -> Self {
        let bus = Bus::new();
        bus.add_producer("producer", producer.clone());
        bus.use_nats(Nats::connect(settings, name).await.unwrap());
        Self::start(bus)
    }

    /// One that listens to the producer, which answers at `server`, if it does.
    async fn listening(
        settings: NatsSettings,
        name: &str,
        server: std::net::SocketAddr,
        db: &Db,
        subscription: Subscription,
    ) -> Self {
        let bus = Bus::new();
        bus.add_remote_producer("producer", remote::client(server, "other"));
        bus.use_nats(Nats::connect(settings, name).await.unwrap());
        bus.subscribe("listener", db.clone(), subscription);
        Self::start(bus)
    }

    fn start(bus: Bus) -> Self {
        let stop = watch::Sender::new(false);
        let running = bus.start(stop.subscribe());
        Self { bus, stop, running }
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.running.await.unwrap();
    }

    /// Ends it without a word.
    fn kill(self) {
        self.running.abort();
        std::mem::forget(self.stop);
    }
}

async fn count(db: &Db, number: i64) {
    db.write(move |tx| tx.emit(&Counted { subject: "a".into(), number })).await.unwrap();
}

fn heard(log: &Log) -> impl Fn(q_core::Event) -> std::future::Ready<Result<(), q_bus::ReactError>> + use<> {
    let log = log.clone();
    move |event| {
        log.push(&event);
        std::future::ready(Ok(()))
    }
}

/// An address at which nobody answers.
async fn nowhere() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn settings(server: &NatsServer) -> NatsSettings {
    NatsSettings::new(&server.url(), "qtest", BusKey::new([7; 32]))
}

#[test]
fn what_the_server_has_kept_arrives_although_the_producer_is_gone() {
    let Some(server) = NatsServer::start() else { return };
    q_db::testing::run(async {
        let (stores, env) = (TestStores::sqlite(), Env::system());
        let producer = stores.open(&PRODUCER, &env).await.unwrap();
        let listener = stores.open(&LISTENER, &env).await.unwrap();
        let log = Log::default();
        let subscription = Subscription::durable("producer", TOPICS, heard(&log));
        let there = Process::with(&producer, settings(&server), "there").await;
        let here =
            Process::listening(settings(&server), "here", nowhere().await, &listener, subscription).await;
        count(&producer, 1).await;
        until(|| log.numbers() == [1]).await;
        here.stop().await;
        count(&producer, 2).await;
        count(&producer, 3).await;
        let relayed = Log::default();
        let subscription = Subscription::replayed("producer", TOPICS, heard(&relayed));
        let witness =
            Process::listening(settings(&server), "witness", nowhere().await, &listener, subscription).await;
        until(|| relayed.numbers() == [1, 2, 3]).await;
        witness.stop().await;
        there.stop().await;
        producer.close().await;

        let subscription = Subscription::durable("producer", TOPICS, heard(&log));
        let here =
            Process::listening(settings(&server), "here", nowhere().await, &listener, subscription).await;
        until(|| log.numbers() == [1, 2, 3]).await;
        here.stop().await;
    });
}

#[test]
fn a_server_killed_restarted_and_emptied_loses_and_doubles_nothing() {
    let Some(mut server) = NatsServer::start() else { return };
    q_db::testing::run(async move {
        let (stores, env) = (TestStores::sqlite(), Env::system());
        let producer = stores.open(&PRODUCER, &env).await.unwrap();
        let listener = stores.open(&LISTENER, &env).await.unwrap();
        let answering = remote::Server::of(&producer, "127.0.0.1:0").await;
        let db = listener.clone();
        let subscription = Subscription::durable("producer", TOPICS, move |event| tally(db.clone(), event));
        let log = Log::default();
        let in_order = Subscription::replayed("producer", TOPICS, heard(&log));
        let there = Process::with(&producer, settings(&server), "there").await;
        let here =
            Process::listening(settings(&server), "here", answering.address, &listener, subscription).await;
        // This one can ask nobody: what it hears, it hears from the server.
        let deaf = Process::listening(settings(&server), "deaf", nowhere().await, &listener, in_order).await;
        let mut expected = 0;
        for round in 0..4_i64 {
            for number in 0..25 {
                count(&producer, round * 25 + number).await;
                expected += round * 25 + number;
            }
            match round {
                0 => {
                    until(|| log.numbers().len() == 25).await;
                    server.kill();
                }
                1 => assert!(server.start_again()),
                2 => {
                    until(|| log.numbers().len() == 75).await;
                    server.kill();
                    server.forget();
                    assert!(server.start_again());
                }
                _ => {}
            }
        }
        until(|| log.numbers().len() == 100).await;
        assert_eq!(log.numbers(), (0..100).collect::<Vec<_>>());
        let reached = async {
            while tallied(&listener, "a").await != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), reached).await.expect("all of it, each once");
        assert!(here.bus.settled().await);
        let lag = &here.bus.lags()[0];
        assert!(lag.is_connected && lag.waiting() == 0, "{lag:?}");
        deaf.stop().await;
        here.stop().await;
        there.stop().await;
        answering.stop().await;
    });
}

#[test]
fn an_older_copy_of_the_store_begins_the_stream_anew() {
    let Some(server) = NatsServer::start() else { return };
    q_db::testing::run(async {
        let (stores, other, env) = (TestStores::sqlite(), TestStores::sqlite(), Env::system());
        let listener = stores.open(&LISTENER, &env).await.unwrap();
        let newer = stores.open(&PRODUCER, &env).await.unwrap();
        for number in 1..=3 {
            count(&newer, number).await;
        }
        let log = Log::default();
        let there = Process::with(&newer, settings(&server), "there").await;
        let subscription = Subscription::replayed("producer", TOPICS, heard(&log));
        let here =
            Process::listening(settings(&server), "here", nowhere().await, &listener, subscription).await;
        until(|| log.numbers() == [1, 2, 3]).await;
        here.stop().await;
        there.stop().await;

        let older = other.open(&PRODUCER, &env).await.unwrap();
        count(&older, 7).await;
        let there = Process::with(&older, settings(&server), "there").await;
        let log = Log::default();
        let subscription = Subscription::replayed("producer", TOPICS, heard(&log));
        until(|| there.bus.lags().is_empty()).await;
        let answering = remote::Server::of(&older, "127.0.0.1:0").await;
        let here =
            Process::listening(settings(&server), "here", answering.address, &listener, subscription).await;
        until(|| log.numbers().last() == Some(&7)).await;
        count(&older, 8).await;
        until(|| log.numbers().last() == Some(&8)).await;
        here.stop().await;
        there.stop().await;
        answering.stop().await;
    });
}

#[test]
fn replicas_of_a_listener_react_once_and_each_hears_what_it_keeps_in_memory() {
    let (Some(server), Some(stores)) = (NatsServer::start(), TestStores::postgres()) else { return };
    q_db::testing::run(async {
        let env = Env::system();
        let producer = stores.open(&PRODUCER, &env).await.unwrap();
        let there = Process::with(&producer, settings(&server), "there").await;
        let answering = remote::Server::of(&producer, "127.0.0.1:0").await;
        // How often each replica reacted.
        let reactions = Arc::new(Mutex::new([0; 3]));
        let mut replicas = Vec::new();
        let mut logs = Vec::new();
        for at in 0..3 {
            let db = stores.open(&LISTENER, &env).await.unwrap();
            let (counts, store) = (reactions.clone(), db.clone());
            let durable = Subscription::durable("producer", TOPICS, move |event| {
                counts.lock()[at] += 1;
                tally(store.clone(), event)
            });
            let log = Log::default();
            let bus = Bus::new();
            bus.add_remote_producer("producer", remote::client(answering.address, "other"));
            bus.use_nats(Nats::connect(settings(&server), &format!("replica{at}")).await.unwrap());
            bus.subscribe("listener", db.clone(), durable);
            bus.subscribe("listener", db.clone(), Subscription::replayed("producer", TOPICS, heard(&log)));
            replicas.push((Process::start(bus), db));
            logs.push(log);
        }
        let whole = |expected: usize| {
            let logs = logs.clone();
            async move { until(|| logs.iter().all(|log| log.numbers().len() == expected)).await }
        };
        for number in 0..50 {
            count(&producer, number).await;
        }
        whole(50).await;
        until(|| reactions.lock().iter().sum::<i32>() == 50).await;
        let first = reactions.lock().iter().position(|count| *count == 50).expect("one reacts for all");

        // The one that reacted is killed; another one takes over where it was.
        let (leader, db) = replicas.remove(first);
        leader.kill();
        db.close().await;
        logs.remove(first);
        for number in 50..60 {
            count(&producer, number).await;
        }
        let db = replicas[0].1.clone();
        let reached = async {
            while tallied(&db, "a").await != (0..60).sum::<i64>() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), reached).await.expect("another one takes over");
        // What the killed one had not noted as done comes again, and changes nothing.
        let idle = reactions.lock().iter().filter(|count| **count == 0).count();
        assert_eq!(idle, 1, "one takes over, not both");
        for (replica, _) in replicas {
            replica.stop().await;
        }
        there.stop().await;
        answering.stop().await;
    });
}

#[test]
fn replicas_of_a_producer_relay_one_gapless_stream() {
    let (Some(server), Some(stores)) = (NatsServer::start(), TestStores::postgres()) else { return };
    q_db::testing::run(async {
        let env = Env::system();
        let mut replicas = Vec::new();
        for at in 0..3 {
            let db = stores.open(&PRODUCER, &env).await.unwrap();
            let process = Process::with(&db, settings(&server), &format!("replica{at}")).await;
            replicas.push((process, db));
        }
        let listener = TestStores::sqlite().open(&LISTENER, &env).await.unwrap();
        let log = Log::default();
        let subscription = Subscription::replayed("producer", TOPICS, heard(&log));
        let here =
            Process::listening(settings(&server), "here", nowhere().await, &listener, subscription).await;
        let writing = replicas.iter().enumerate().map(|(at, (_, db))| {
            let db = db.clone();
            tokio::spawn(async move {
                for number in 0..100 {
                    count(&db, i64::try_from(at).unwrap() * 100 + number).await;
                }
            })
        });
        for writer in writing.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
        until(|| log.numbers().len() >= 300).await;
        let mut numbers = log.numbers();
        // Of each writer in its order.
        for at in 0..3 {
            let own: Vec<_> = numbers.iter().filter(|number| **number / 100 == at).copied().collect();
            assert!(own.is_sorted(), "{own:?}");
        }
        numbers.sort_unstable();
        assert_eq!(numbers, (0..300).collect::<Vec<_>>());
        // A write on any replica is heard soon, whichever of them relays.
        for (_, db) in &replicas {
            let (before, began_at) = (log.numbers().len(), Instant::now());
            count(db, 1_000).await;
            until(|| log.numbers().len() > before).await;
            assert!(began_at.elapsed() < Duration::from_millis(700), "{:?}", began_at.elapsed());
        }
        here.stop().await;
        for (replica, _) in replicas {
            replica.stop().await;
        }
    });
}

#[test]
fn what_others_publish_on_the_server_is_believed_in_nothing() {
    let Some(server) = NatsServer::start() else { return };
    q_db::testing::run(async {
        let (stores, elsewhere, env) = (TestStores::sqlite(), TestStores::sqlite(), Env::system());
        let producer = stores.open(&PRODUCER, &env).await.unwrap();
        let listener = stores.open(&LISTENER, &env).await.unwrap();
        // Somebody who may publish on the server, says the right things in the right places, and lacks the key.
        let foreign = NatsSettings::new(&server.url(), "qtest", BusKey::new([8; 32]));
        let forged = elsewhere.open(&PRODUCER, &env).await.unwrap();
        let forger = Process::with(&forged, foreign.clone(), "forger").await;
        count(&forged, 666).await;
        let (believed, log) = (Log::default(), Log::default());
        let subscription = |log: &Log| Subscription::replayed("producer", TOPICS, heard(log));
        let accomplice =
            Process::listening(foreign, "accomplice", nowhere().await, &listener, subscription(&believed))
                .await;
        until(|| believed.numbers() == [666]).await;

        let answering = remote::Server::of(&producer, "127.0.0.1:0").await;
        let here =
            Process::listening(settings(&server), "here", answering.address, &listener, subscription(&log))
                .await;
        count(&producer, 1).await;
        until(|| !log.numbers().is_empty()).await;
        count(&producer, 2).await;
        until(|| log.numbers().len() >= 2).await;
        assert_eq!(log.numbers(), [1, 2], "the producer was asked for what the server holds nothing true of");
        for process in [here, accomplice, forger] {
            process.stop().await;
        }
    });
}
