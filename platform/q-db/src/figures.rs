//! What a store counts of itself, read without asking the engine: for metrics.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::Db;

/// Upper bounds of the buckets of commit times, in seconds: a sync of a good disk takes a few milliseconds.
pub const COMMIT_SECONDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Counts durations; cheap enough for every commit.
#[derive(Debug, Default)]
pub(crate) struct Durations {
    /// One more than there are bounds: the last holds what is longer than all.
    buckets: [AtomicU64; COMMIT_SECONDS.len() + 1],
    nanos: AtomicU64,
}

impl Durations {
    pub fn note(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        let bucket = COMMIT_SECONDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.nanos.fetch_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The figures of a store since this process opened it.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// Writes that wait for a database thread.
    pub writes_waiting: usize,
    /// Reads that wait for a database thread.
    pub reads_waiting: usize,
    /// How many of each may wait before callers wait for a place.
    pub waiting_max: usize,
    /// Threads, each with a connection, that serve reads and writes.
    pub threads: usize,
    /// Commits.
    pub commits: u64,
    /// Writes those commits carried.
    pub writes: u64,
    /// How many commits took at most as long as each of [`COMMIT_SECONDS`], and in the last place the longer ones;
    /// not cumulative.
    pub commit_times: [u64; COMMIT_SECONDS.len() + 1],
    /// All of them together, in seconds.
    pub commit_seconds: f64,
}

impl Db {
    /// What the store counted so far.
    pub fn figures(&self) -> Figures {
        let (commits, writes) = self.counts();
        let (reads_waiting, writes_waiting) = self.waiting();
        let times = &self.0.shared.commit_times;
        #[expect(
            clippy::cast_precision_loss,
            reason = "a sum for people, exact for the first 104 days of commits"
        )]
        let commit_seconds = times.nanos.load(Ordering::Relaxed) as f64 / 1e9;
        Figures {
            engine: self.config().engine(),
            writes_waiting,
            reads_waiting,
            waiting_max: crate::db::QUEUE_JOBS_MAX,
            threads: self.thread_count(),
            commits,
            writes,
            commit_times: std::array::from_fn(|bucket| times.buckets[bucket].load(Ordering::Relaxed)),
            commit_seconds,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_that_holds_it() {
        let times = Durations::default();
        for micros in [1, 500, 501, 5_000, 5_000_000, 5_000_001] {
            times.note(Duration::from_micros(micros));
        }
        let counted: Vec<_> = times.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        assert_eq!(counted, [2, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1]);
    }
}
