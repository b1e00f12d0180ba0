//! What the handle and its threads have in common.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use q_core::{Env, Timestamp};
use tokio::sync::watch;

use crate::{DbError, Mode, StopCause, WriteStop, clock::StoreClock, figures::Durations, sqlite};

/// State of one open store.
pub(crate) struct Shared {
    pub module: String,
    pub env: Env,
    pub clock: StoreClock,
    pub commits: AtomicU64,
    pub writes: AtomicU64,
    pub commit_times: Durations,
    /// Counts up when every connection is to be made anew.
    pub renewals: AtomicU64,
    news: watch::Sender<u64>,
    mode: watch::Sender<Arc<Mode>>,
    /// Whether memory knows of a write stop that the store does not.
    is_stop_unsaved: AtomicBool,
    /// Whether the module is still being opened, which a stop from before does not keep it from.
    is_opening: AtomicBool,
    /// What commits change, for whoever ships it away (SQLite).
    pub changes: crate::sqlite::Slot,
    /// How the events behind markers are computed, where there are markers.
    pub derive: std::sync::OnceLock<Arc<dyn crate::Derive>>,
    #[cfg(feature = "testing")]
    pub faults: crate::testing::Faults,
}

impl Shared {
    pub fn new(module: &str, env: Env, clock: Timestamp) -> Self {
        Self {
            module: module.to_owned(),
            clock: StoreClock::new(&env, clock),
            env,
            commits: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            commit_times: Durations::default(),
            renewals: AtomicU64::new(0),
            news: watch::Sender::new(0),
            mode: watch::Sender::default(),
            is_stop_unsaved: AtomicBool::new(false),
            is_opening: AtomicBool::new(true),
            changes: crate::sqlite::Slot::default(),
            derive: std::sync::OnceLock::new(),
            #[cfg(feature = "testing")]
            faults: crate::testing::Faults::default(),
        }
    }

    /// The present instant, never earlier than one given before.
    pub fn now(&self) -> Timestamp {
        self.clock.now(&self.env)
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

    pub fn mode(&self) -> Arc<Mode> {
        self.mode.borrow().clone()
    }

    pub fn mode_changes(&self) -> watch::Receiver<Arc<Mode>> {
        self.mode.subscribe()
    }

    /// Takes over what was just committed by somebody who had `seen` what memory held. A stop that came meanwhile
    /// stays.
    pub fn set_mode(&self, seen: &Arc<Mode>, mut committed: Mode) -> Arc<Mode> {
        self.mode.send_modify(|mode| {
            if self.is_stop_unsaved.load(Ordering::SeqCst) && !Arc::ptr_eq(mode, seen) {
                committed.write_stop.clone_from(&mode.write_stop);
            } else {
                self.is_stop_unsaved.store(false, Ordering::SeqCst);
            }
            *mode = Arc::new(committed);
        });
        self.mode()
    }

    /// Takes over what the store says, unless memory has changed since it was `seen` or knows more.
    pub fn refresh_mode(&self, seen: &Arc<Mode>, stored: Mode) {
        self.mode.send_if_modified(|mode| {
            let is_news =
                Arc::ptr_eq(mode, seen) && !self.is_stop_unsaved.load(Ordering::SeqCst) && **mode != stored;
            if is_news {
                *mode = Arc::new(stored);
            }
            is_news
        });
    }

    /// The write stop that the store does not know of yet.
    pub fn unsaved_stop(&self) -> Option<WriteStop> {
        let is_unsaved = self.is_stop_unsaved.load(Ordering::SeqCst);
        self.mode.borrow().write_stop.clone().filter(|_| is_unsaved)
    }

    /// Stops writes from this instant on.
    pub fn stop_writes(&self, cause: StopCause, reason: &str) {
        let since = self.now();
        let is_new = self.mode.send_if_modified(|mode| {
            // Damage is worse than a failed sync, and is not forgotten by the verification that ends one.
            let holds = mode.write_stop.as_ref().map(|stop| stop.cause);
            if holds.is_some_and(|holds| holds != StopCause::FailedSync || cause == StopCause::FailedSync) {
                return false;
            }
            let stop = WriteStop { cause, reason: reason.to_owned(), since };
            *mode = Arc::new(Mode { write_stop: Some(stop), ..Mode::clone(mode) });
            self.is_stop_unsaved.store(true, Ordering::SeqCst);
            self.opened();
            true
        });
        if is_new {
            tracing::error!(store = self.module, cause = cause.name(), reason, "writes are stopped");
        }
    }

    /// Stops writes when `error` says that the store cannot be trusted.
    pub fn judge(&self, error: &DbError) {
        if let DbError::Corrupt(source) = error {
            self.stop_writes(StopCause::Damage, &format!("the store is damaged: {source}"));
        } else if sqlite::is_failed_sync(error) {
            // PostgreSQL stops and recovers by itself when its sync fails.
            self.stop_writes(StopCause::FailedSync, "a sync failed: what is on disk is not known");
        }
    }

    /// From now on a stop that was found in the store holds.
    pub fn opened(&self) {
        self.is_opening.store(false, Ordering::SeqCst);
    }

    /// Refuses while writes are stopped.
    pub fn writes_go_on(&self) -> Result<(), DbError> {
        match &self.mode.borrow().write_stop {
            None => Ok(()),
            Some(_) if self.is_opening.load(Ordering::SeqCst) => Ok(()),
            Some(stop) => Err(DbError::WriteStopped(stop.reason.as_str().into())),
        }
    }
}
