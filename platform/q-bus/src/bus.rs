//! The bus: who produces, who follows, start and stop.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use q_contract::Client;
use q_core::event::EventId;
use q_db::{Db, DbError};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    Lag, ReactError, Subscription,
    follower::{Follower, Switches},
    source::{Place, Source},
    subscription::Kind,
};

/// How long [`Bus::settled`] waits before it says that something is stuck.
const SETTLE_MAX: Duration = Duration::from_secs(30);
/// The pause before asking a producer again that did not answer.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(100);
/// The pause before looking again whether everything is reacted to, or a producer answers.
const SETTLE_PAUSE: Duration = Duration::from_millis(1);

/// Delivers to the modules of one process, from each other and from other processes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Bus(Arc<Inner>);

#[derive(Default)]
struct Inner {
    producers: RwLock<BTreeMap<String, Place>>,
    wishes: Mutex<Vec<Wish>>,
    followers: RwLock<Vec<Arc<Follower>>>,
    switches: Arc<Switches>,
}

/// A subscription that waits for the start.
struct Wish {
    subscriber: String,
    db: Db,
    subscription: Subscription,
}

/// What became of delivering a parked event again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redelivery {
    /// The reaction succeeded and the event is no longer parked.
    Done,
    /// The reaction failed again and the event stays parked.
    Failed(ReactError),
    /// No such event is parked, or nobody here subscribes to it any more.
    NotFound,
}

impl Bus {
    /// A bus nobody listens to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets others follow the events and audit rows of the module `name`.
    pub fn add_producer(&self, name: &str, db: Db) {
        self.0.producers.write().insert(name.to_owned(), Place::Here(db));
    }

    /// Lets others follow the module `name`, which runs in another process and answers `client` (see
    /// [`feed`](crate::feed)); it need not run yet, and may come and go.
    pub fn add_remote_producer(&self, name: &str, client: Client) {
        self.0.producers.write().insert(name.to_owned(), Place::Elsewhere(client));
    }

    /// Notes that the module `subscriber` wants to hear; cursors are kept in its store `db`.
    pub fn subscribe(&self, subscriber: &str, db: Db, subscription: Subscription) {
        self.0.wishes.lock().push(Wish { subscriber: subscriber.to_owned(), db, subscription });
    }

    /// Starts delivering what was subscribed to so far. The task ends after `shutdown` turns `true`
    /// (or its sender goes), when every reaction at hand has ended (or five seconds have passed) and the
    /// cursors are kept.
    #[expect(clippy::needless_pass_by_value, reason = "the bus keeps listening to it")]
    pub fn start(&self, shutdown: watch::Receiver<bool>) -> JoinHandle<()> {
        let started: Vec<_> = std::mem::take(&mut *self.0.wishes.lock())
            .into_iter()
            .flat_map(|wish| self.followers_of(&wish))
            .collect();
        self.0.followers.write().extend(started.iter().cloned());
        let mut tasks = JoinSet::new();
        for follower in started {
            let shutdown = shutdown.clone();
            tasks.spawn(async move { follower.run(shutdown).await });
        }
        tokio::spawn(async move {
            while let Some(ended) = tasks.join_next().await {
                if ended.is_err() {
                    tracing::error!("a subscription ended by a panic");
                }
            }
        })
    }

    fn followers_of(&self, wish: &Wish) -> Vec<Arc<Follower>> {
        let producers = self.0.producers.read();
        let names = match &wish.subscription.producer {
            Some(name) => vec![name.clone()],
            None => producers.keys().cloned().collect(),
        };
        let switches = &self.0.switches;
        names
            .into_iter()
            .map(|name| {
                let place = producers.get(&name).cloned();
                if place.is_none() {
                    tracing::warn!(
                        subscriber = wish.subscriber,
                        producer = name,
                        "nobody knows where the producer runs, nothing will be heard from it"
                    );
                }
                let source = Source::of(&name, place);
                let (subscriber, db) = (wish.subscriber.clone(), wish.db.clone());
                let subscription = wish.subscription.clone();
                Arc::new(Follower::new(subscriber, name, source, db, subscription, switches.clone()))
            })
            .collect()
    }

    /// How far behind every subscription is.
    pub fn lags(&self) -> Vec<Lag> {
        self.0.followers.read().iter().map(|follower| follower.lag()).collect()
    }

    /// How far behind the subscriptions of one module are.
    pub fn lags_of(&self, subscriber: &str) -> Vec<Lag> {
        self.lags().into_iter().filter(|lag| lag.subscriber == subscriber).collect()
    }

    /// Waits until everything written so far, and everything written by the reactions to it, has been
    /// reacted to. `false`, with a line in the log, when that takes more than 30 seconds.
    pub async fn settled(&self) -> bool {
        let settling = async {
            while !self.settle_once().await {
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        };
        let settled = tokio::time::timeout(SETTLE_MAX, settling).await;
        if settled.is_err() {
            tracing::error!(lags = ?self.lags(), "the bus does not settle");
        }
        settled.is_ok()
    }

    /// Waits for every follower to reach the present heads; `true` when nothing was written meanwhile.
    async fn settle_once(&self) -> bool {
        let followers = self.0.followers.read().clone();
        let mut heads = Vec::with_capacity(followers.len());
        for follower in &followers {
            let Ok(head) = follower.head().await else { return false };
            follower.reached(head).await;
            heads.push(head);
        }
        for (follower, head) in followers.iter().zip(heads) {
            if follower.head().await.ok() != Some(head) {
                return false;
            }
        }
        true
    }

    /// Waits until `subscriber` has reacted to everything its producers have written by now, however long that
    /// takes; a producer that does not answer is waited for.
    pub async fn caught_up(&self, subscriber: &str) {
        let followers = self.0.followers.read().clone();
        for follower in followers.iter().filter(|follower| follower.subscriber == subscriber) {
            let head = loop {
                match follower.head().await {
                    Ok(head) => break head,
                    Err(_) => tokio::time::sleep(CATCH_UP_PAUSE).await,
                }
            };
            follower.reached(head).await;
        }
    }

    /// Delivers a parked event again, and forgets it when the reaction succeeds.
    pub async fn redeliver(&self, subscriber: &str, event: &EventId) -> Result<Redelivery, DbError> {
        let followers = self.0.followers.read().clone();
        for follower in followers.iter().filter(|follower| follower.subscriber == subscriber) {
            let name = follower.cursor();
            let parked = follower.db.parked().await?;
            let found = parked.into_iter().find(|row| row.subscription == name && row.event.id == *event);
            let (Some(parked), Kind::Events { react, .. }) = (found, &follower.subscription.kind) else {
                continue;
            };
            return Ok(match react(parked.event).await {
                Ok(()) => {
                    let (name, event) = (name.to_owned(), *event);
                    follower.db.write(move |tx| tx.unpark(&name, &event)).await?;
                    Redelivery::Done
                }
                Err(error) => Redelivery::Failed(error),
            });
        }
        Ok(Redelivery::NotFound)
    }

    /// Holds deliveries back: for maintenance, and for tests of what happens before events arrive.
    pub fn pause(&self) {
        self.0.switches.paused.send_replace(true);
    }

    /// Lets deliveries go on.
    pub fn resume(&self) {
        self.0.switches.paused.send_replace(false);
    }

    /// Delivers every event twice from now on, as a crash at the wrong moment would: for tests.
    pub fn deliver_twice(&self, is_on: bool) {
        let doubled: &AtomicBool = &self.0.switches.doubled;
        doubled.store(is_on, Ordering::SeqCst);
    }
}

impl std::fmt::Debug for Bus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bus").field("lags", &self.lags()).finish()
    }
}
