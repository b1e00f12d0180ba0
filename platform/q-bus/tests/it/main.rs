//! What a module author relies on when another module's events arrive, on each engine, from the same process and
//! from another one.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod delivery;
mod derived;
mod faults;
mod figures;
mod nats;
mod remote;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use q_bus::{Bus, BusKey, Nats, NatsSettings};
use q_core::{Env, Event, EventPayload};
use q_db::{Db, DbError, Migrations, params, testing::TestStores};
use q_oracle::NatsServer;
use serde::{Deserialize, Serialize};
use tokio::{sync::watch, task::JoinHandle};

pub(crate) const PRODUCER: Migrations = Migrations::new("producer", &[], &[]);
const TALLY: &str = "CREATE TABLE tally (subject TEXT NOT NULL PRIMARY KEY, value BIGINT NOT NULL)";
pub(crate) const LISTENER: Migrations =
    Migrations::new("listener", &[(1, "tally", TALLY)], &[(1, "tally", TALLY)]);

#[derive(Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) subject: String,
    pub(crate) number: i64,
}

impl EventPayload for Counted {
    const TOPIC: &'static str = "q.producer.thing.counted.v1";
    fn subject(&self) -> String {
        self.subject.clone()
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Ignored {}

impl EventPayload for Ignored {
    const TOPIC: &'static str = "q.producer.noise.made.v1";
    fn subject(&self) -> String {
        "noise".into()
    }
}

pub(crate) const TOPICS: &[&str] = &["q.producer.thing."];

/// How the producer is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    InProcess,
    /// Over a socket, as if it ran in another process.
    Http,
    /// Over a NATS server, with the socket for what the server does not have.
    Nats,
}

/// The stores of a test, and the way between them.
pub(crate) struct Ground {
    pub(crate) stores: TestStores,
    pub(crate) way: Way,
    pub(crate) nats: Option<NatsServer>,
}

impl Ground {
    /// `None` where the machine lacks what the way needs.
    pub(crate) fn new(stores: TestStores, way: Way) -> Option<Self> {
        let nats = match way {
            Way::InProcess | Way::Http => None,
            Way::Nats => Some(NatsServer::start()?),
        };
        Some(Self { stores, way, nats })
    }
}

/// Makes one test per engine and way: `on_each_source!(name, async |ground| { … })`.
macro_rules! on_each_source {
    ($name:ident, async |$ground:ident| $body:block) => {
        mod $name {
            use super::*;

            async fn body($ground: &$crate::Ground) $body

            fn on(stores: Option<q_db::testing::TestStores>, way: $crate::Way) {
                if let Some(ground) = stores.and_then(|stores| $crate::Ground::new(stores, way)) {
                    q_db::testing::run(body(&ground));
                }
            }

            #[test]
            fn sqlite_in_process() {
                on(Some(q_db::testing::TestStores::sqlite()), $crate::Way::InProcess);
            }

            #[test]
            fn sqlite_over_http() {
                on(Some(q_db::testing::TestStores::sqlite()), $crate::Way::Http);
            }

            #[test]
            fn postgres_in_process() {
                on(q_db::testing::TestStores::postgres(), $crate::Way::InProcess);
            }

            #[test]
            fn postgres_over_http() {
                on(q_db::testing::TestStores::postgres(), $crate::Way::Http);
            }

            #[test]
            fn sqlite_over_nats() {
                on(Some(q_db::testing::TestStores::sqlite()), $crate::Way::Nats);
            }

            #[test]
            fn postgres_over_nats() {
                on(q_db::testing::TestStores::postgres(), $crate::Way::Nats);
            }
        }
    };
}
pub(crate) use on_each_source;

/// A bus between a producer and a listener.
pub(crate) struct Line {
    pub(crate) bus: Bus,
    pub(crate) producer: Db,
    pub(crate) listener: Db,
    pub(crate) stop: watch::Sender<bool>,
    pub(crate) running: Option<JoinHandle<()>>,
    server: Option<remote::Server>,
    /// The producer's process, when it relays to a NATS server.
    relay: Option<nats::Process>,
}

impl Line {
    pub(crate) async fn new(ground: &Ground) -> Self {
        let env = Env::system();
        let producer = ground.stores.open(&PRODUCER, &env).await.unwrap();
        let listener = ground.stores.open(&LISTENER, &env).await.unwrap();
        let bus = Bus::new();
        let mut relay = None;
        let server = match ground.way {
            Way::InProcess => {
                bus.add_producer("producer", producer.clone());
                None
            }
            Way::Http => {
                let server = remote::Server::of(&producer, "127.0.0.1:0").await;
                bus.add_remote_producer("producer", remote::client(server.address, "other"));
                Some(server)
            }
            Way::Nats => {
                let server = remote::Server::of(&producer, "127.0.0.1:0").await;
                bus.add_remote_producer("producer", remote::client(server.address, "other"));
                let settings =
                    NatsSettings::new(&ground.nats.as_ref().unwrap().url(), "qtest", BusKey::new([7; 32]));
                bus.use_nats(Nats::connect(settings.clone(), "listener").await.unwrap());
                relay = Some(nats::Process::with(&producer, settings, "producer").await);
                Some(server)
            }
        };
        Self { relay, bus, producer, listener, stop: watch::Sender::new(false), running: None, server }
    }

    pub(crate) fn start(&mut self) {
        self.running = Some(self.bus.start(self.stop.subscribe()));
    }

    pub(crate) async fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
        if let Some(relay) = self.relay.take() {
            relay.stop().await;
        }
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub(crate) async fn count(&self, subject: &str, number: i64) {
        let subject = subject.to_owned();
        self.producer.write(move |tx| tx.emit(&Counted { subject: subject.clone(), number })).await.unwrap();
    }
}

/// Adds the event's number to the tally of its subject, once per event.
pub(crate) async fn tally(db: Db, event: Event) -> Result<(), q_bus::ReactError> {
    let payload: Counted = event.payload().ok_or_else(|| q_bus::ReactError::fail("another shape"))?;
    db.write(move |tx| {
        if tx.seen(&event.id)? {
            return Ok(());
        }
        tx.execute(
            "INSERT INTO tally VALUES ($1, $2) ON CONFLICT (subject) DO UPDATE SET value = tally.value + $2",
            params![&payload.subject, payload.number],
        )?;
        Ok::<(), DbError>(())
    })
    .await?;
    Ok(())
}

pub(crate) async fn tallied(db: &Db, subject: &str) -> i64 {
    let subject = subject.to_owned();
    let row = db
        .read(move |reader| reader.query_opt("SELECT value FROM tally WHERE subject = $1", params![subject]));
    row.await.unwrap().map_or(0, |row| row.get(0))
}

/// What arrived, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<i64>>>);

impl Log {
    pub(crate) fn push(&self, event: &Event) {
        self.0.lock().push(event.payload::<Counted>().map_or(-1, |payload| payload.number));
    }

    pub(crate) fn numbers(&self) -> Vec<i64> {
        self.0.lock().clone()
    }
}

/// Waits until `is_so`, for at most ten seconds.
pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it comes to pass in ten seconds");
}
