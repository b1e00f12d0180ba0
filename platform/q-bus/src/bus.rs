//! Producers and subscribers of one process.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use q_db::Db;
use serde::Serialize;
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

use crate::{
    Subscription,
    line::{Line, Progress},
    subscription::Reaction,
};

/// The event bus of one process. Cheap to clone.
#[derive(Clone, Default)]
pub struct Bus(Arc<Inner>);

#[derive(Default)]
struct Inner {
    producers: Mutex<BTreeMap<String, Db>>,
    waiting: Mutex<Vec<(String, Db, Subscription)>>,
    lines: Mutex<Vec<Served>>,
}

/// A line that runs, as the bus remembers it.
#[derive(Clone)]
struct Served {
    subscriber: String,
    producer: String,
    producer_db: Db,
    is_audit: bool,
    progress: watch::Receiver<Progress>,
}

/// How far one subscription is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Lag {
    /// Who is followed.
    pub producer: String,
    /// `events` or `audit`.
    pub stream: &'static str,
    /// The last position delivered.
    pub delivered: i64,
    /// Entries passed over because their reaction can never succeed.
    pub failed: u64,
    /// Why the newest entry is being tried again.
    pub retrying: Option<String>,
}

impl Bus {
    /// A bus nobody has joined.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets others follow the outbox and audit entries in `db` under the name `module`.
    pub fn add_producer(&self, module: &str, db: Db) {
        self.0.producers.lock().insert(module.to_owned(), db);
    }

    /// Lets `subscriber`, whose cursors live in `db`, follow a producer once the bus starts.
    pub fn subscribe(&self, subscriber: &str, db: Db, subscription: Subscription) {
        self.0.waiting.lock().push((subscriber.to_owned(), db, subscription));
    }

    /// Serves every subscription whose producer is in this process until `stop` turns true.
    pub fn start(&self, stop: watch::Receiver<bool>) -> JoinHandle<()> {
        let mut tasks = JoinSet::new();
        for (subscriber, subscriber_db, subscription) in self.0.waiting.lock().drain(..) {
            let Some(producer_db) = self.0.producers.lock().get(&subscription.producer).cloned() else {
                tracing::warn!(
                    subscriber,
                    producer = subscription.producer,
                    "the producer is not in this process"
                );
                continue;
            };
            let progress = watch::Sender::new(Progress::default());
            self.0.lines.lock().push(Served {
                subscriber: subscriber.clone(),
                producer: subscription.producer.clone(),
                producer_db: producer_db.clone(),
                is_audit: matches!(subscription.reaction, Reaction::Audit { .. }),
                progress: progress.subscribe(),
            });
            let line = Line { subscriber, subscriber_db, producer_db, subscription, progress };
            tasks.spawn(line.run(stop.clone()));
        }
        tokio::spawn(async move { while tasks.join_next().await.is_some() {} })
    }

    /// Waits until everything written so far, and everything written in reaction to it, was delivered.
    ///
    /// Returns too when a line has ended; never when a reaction keeps asking for another try.
    pub async fn settled(&self) {
        loop {
            let lines = self.0.lines.lock().clone();
            let mut has_waited = false;
            for mut line in lines {
                let head = if line.is_audit {
                    line.producer_db.audit_head().await
                } else {
                    line.producer_db.outbox_head().await
                };
                let Ok(head) = head else { continue };
                let is_there = |progress: &Progress| progress.delivered.is_some_and(|at| at >= head);
                has_waited |= !is_there(&line.progress.borrow());
                let _ = line.progress.wait_for(is_there).await;
            }
            if !has_waited {
                return;
            }
        }
    }

    /// How far the subscriptions of `subscriber` are.
    pub fn lags_of(&self, subscriber: &str) -> Vec<Lag> {
        let lines = self.0.lines.lock();
        lines
            .iter()
            .filter(|line| line.subscriber == subscriber)
            .map(|line| {
                let progress = line.progress.borrow().clone();
                Lag {
                    producer: line.producer.clone(),
                    stream: if line.is_audit { "audit" } else { "events" },
                    delivered: progress.delivered.unwrap_or_default(),
                    failed: progress.failed,
                    retrying: progress.retrying,
                }
            })
            .collect()
    }
}
