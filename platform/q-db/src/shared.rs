//! What the handle and its threads have in common.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use q_core::{Env, Timestamp};
use tokio::sync::watch;

/// State of one open store.
pub(crate) struct Shared {
    pub module: String,
    pub env: Env,
    /// The newest instant any write has seen, in microseconds.
    pub clock: AtomicI64,
    pub commits: AtomicU64,
    pub writes: AtomicU64,
    news: watch::Sender<u64>,
    #[cfg(feature = "testing")]
    pub faults: crate::testing::Faults,
}

impl Shared {
    pub fn new(module: &str, env: Env, clock: Timestamp) -> Self {
        Self {
            module: module.to_owned(),
            env,
            clock: AtomicI64::new(clock.micros()),
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            news: watch::Sender::new(0),
            #[cfg(feature = "testing")]
            faults: crate::testing::Faults::default(),
        }
    }

    /// The present instant, never earlier than one given before.
    pub fn now(&self) -> Timestamp {
        let now = self.env.now().micros();
        Timestamp::from_micros(self.clock.fetch_max(now, Ordering::Relaxed).max(now))
    }

    /// Counts a commit of `writes` writes and wakes those who follow the outbox or the audit rows.
    pub fn committed(&self, writes: usize, has_news: bool) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.writes.fetch_add(writes as u64, Ordering::Relaxed);
        if has_news {
            self.news.send_modify(|count| *count += 1);
        }
    }

    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}
