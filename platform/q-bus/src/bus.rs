//! The bus: who produces, who follows, start and stop.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use q_contract::Client;
use q_core::event::EventId;
use q_db::{Db, DbError, Standing};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    Lag, Murmur, Nats, ReactError, Subscription,
    follower::{Follower, Switches},
    nats::Relay,
    replica::{Beating, Shared},
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
    /// The stores of this process, for others to follow.
    stores: RwLock<BTreeMap<String, Db>>,
    wishes: Mutex<Vec<Wish>>,
    followers: RwLock<Vec<Arc<Follower>>>,
    switches: Arc<Switches>,
    nats: OnceLock<Nats>,
    replicas: Mutex<BTreeMap<String, Shared>>,
    murmurs: Mutex<Vec<(String, Db, Murmur)>>,
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

    /// Carries everything between processes over `nats` from the start on; without it, producers in other processes
    /// are asked themselves.
    pub fn use_nats(&self, nats: Nats) {
        let _ = self.0.nats.set(nats);
    }

    /// The NATS server, where there is one.
    pub fn nats(&self) -> Option<&Nats> {
        self.0.nats.get()
    }

    /// What this process is among those that share the store `db`, from the start on.
    pub fn standing(&self, db: &Db) -> watch::Receiver<Standing> {
        let mut replicas = self.0.replicas.lock();
        replicas.entry(db.module().to_owned()).or_insert_with(|| Shared::new(db.clone())).standing()
    }

    /// Lets the replicas of `module`, which share the store `db`, tell each other something from the start on.
    pub fn murmur(&self, module: &str, db: Db, murmur: Murmur) {
        self.0.murmurs.lock().push((module.to_owned(), db, murmur));
    }

    /// Lets others follow the events and audit rows of the module `name`.
    pub fn add_producer(&self, name: &str, db: Db) {
        self.0.producers.write().insert(name.to_owned(), Place::Here(db.clone()));
        self.0.stores.write().insert(name.to_owned(), db);
    }

    /// Lets others follow the module `name`, which runs in another process and answers `client` (see
    /// [`feed`](crate::feed)); it need not run yet, and may come and go.
    pub fn add_remote_producer(&self, name: &str, client: Client) {
        self.0.producers.write().insert(name.to_owned(), Place::Elsewhere(Box::new(client)));
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
            tasks.spawn(async move { follower.keep_running(shutdown).await });
        }
        self.start_carrying(&mut tasks, &shutdown);
        let beating = self.start_beating();
        tokio::spawn(async move {
            while let Some(ended) = tasks.join_next().await {
                if ended.is_err() {
                    tracing::error!("a subscription ended by a panic");
                }
            }
            // Only now may another replica take over.
            beating.stop().await;
        })
    }

    /// Starts what goes over NATS, and what replicas tell each other.
    fn start_carrying(&self, tasks: &mut JoinSet<()>, shutdown: &watch::Receiver<bool>) {
        let nats = self.0.nats.get().cloned();
        for (module, db, murmur) in std::mem::take(&mut *self.0.murmurs.lock()) {
            tasks.spawn(murmur.run(nats.clone(), module, self.standing(&db), shutdown.clone()));
        }
        let Some(nats) = nats else { return };
        for (module, db) in self.0.stores.read().iter() {
            let standing = self.standing(db);
            let relay = Relay { nats: nats.clone(), module: module.clone(), db: db.clone(), standing };
            tasks.spawn(relay.run(shutdown.clone()));
        }
        tasks.spawn(nats.listen(shutdown.clone()));
    }

    /// Takes a place among the replicas of every store that is shared.
    fn start_beating(&self) -> Beating {
        Beating(self.0.replicas.lock().values().filter_map(Shared::keep_beating).collect())
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
                let subscription = wish.subscription.clone();
                let source = Source::of(&name, place, subscription.stream(), self.0.nats.get());
                let (subscriber, db) = (wish.subscriber.clone(), wish.db.clone());
                let (switches, standing) = (switches.clone(), self.standing(&wish.db));
                Arc::new(Follower::new(subscriber, name, source, db, subscription, switches, standing))
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

    /// Asks the producers of this process how far they are, as far as `module` hears them or is heard: the followers
    /// themselves know it only when they read on.
    pub async fn look_ahead(&self, module: &str) {
        let followers = self.0.followers.read().clone();
        let is_about = |follower: &&Arc<Follower>| {
            follower.is_of_this_process() && (follower.subscriber == module || follower.producer() == module)
        };
        for follower in followers.iter().filter(is_about) {
            // What cannot be read is told by the follower itself.
            let _ = follower.head().await;
        }
    }

    /// Waits until everything written so far, and everything written by the reactions to it, has been
    /// reacted to. `false`, with a line in the log, when that takes more than 30 seconds.
    pub async fn settled(&self) -> bool {
        let settling = async {
            loop {
                let followers = self.0.followers.read().clone();
                if settle_once(&followers).await {
                    break;
                }
                tokio::time::sleep(SETTLE_PAUSE).await;
            }
        };
        let settled = tokio::time::timeout(SETTLE_MAX, settling).await;
        if settled.is_err() {
            tracing::error!(lags = ?self.lags(), "the bus does not settle");
        }
        settled.is_ok()
    }

    /// Like [`Bus::settled`] for what was written in this process, however long it takes: what happens elsewhere holds
    /// nothing up.
    pub async fn settled_here(&self) {
        let mut followers = self.0.followers.read().clone();
        followers.retain(|follower| follower.is_of_this_process());
        while !settle_once(&followers).await {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
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

    /// Has those subscriptions of `subscriber` that wait after a failure try again at once. Answers what they are.
    pub fn hurry(&self, subscriber: &str) -> Vec<String> {
        let followers = self.0.followers.read();
        let troubled =
            followers.iter().filter(|follower| follower.subscriber == subscriber && follower.is_troubled());
        troubled.map(|follower| follower.hurry()).collect()
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

/// Waits for every follower to reach the present heads; `true` when nothing was written meanwhile. What another
/// replica reacts to is not waited for.
async fn settle_once(followers: &[Arc<Follower>]) -> bool {
    if followers.iter().any(|follower| *follower.standing.borrow() == Standing::UNKNOWN) {
        return false;
    }
    let followers: Vec<_> = followers.iter().filter(|follower| !follower.is_standing_by()).collect();
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
