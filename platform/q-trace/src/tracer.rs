//! What is recorded, and the bounded way out. One per process, like the log.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use q_core::Env;
use tokio::sync::mpsc;

use crate::{TraceId, span::Finished};

static TRACER: OnceLock<Tracer> = OnceLock::new();
static EXPORTED: AtomicU64 = AtomicU64::new(0);
static DROPPED: AtomicU64 = AtomicU64::new(0);

pub(crate) struct Tracer {
    /// Traces whose last eight bytes, as a number, are below this are sampled (TraceIdRatioBased).
    threshold: u128,
    /// How many traces are begun in a second at most; 0 for no bound.
    per_second: u32,
    since: Instant,
    /// The present second, counted from the start, and how many traces were begun in it.
    begun: AtomicU64,
    queue: mpsc::Sender<Finished>,
    env: Env,
}

impl Tracer {
    /// Whether one more trace may be begun in this second.
    fn has_room(&self) -> bool {
        if self.per_second == 0 {
            return true;
        }
        let second = self.since.elapsed().as_secs() << 32;
        let count = |begun: u64| if begun >> 32 << 32 == second { begun } else { second };
        let room = |begun: u64| {
            let begun = count(begun);
            (begun - second < u64::from(self.per_second)).then_some(begun + 1)
        };
        self.begun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok()
    }
}

/// What became of the spans of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the collector.
    pub exported: u64,
    /// Lost: the queue was full, or the collector did not take them.
    pub dropped: u64,
}

/// What became of the spans so far.
pub fn counts() -> Counts {
    Counts { exported: EXPORTED.load(Ordering::Relaxed), dropped: DROPPED.load(Ordering::Relaxed) }
}

/// Whether spans are exported.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// `false` when there is a tracer already.
pub(crate) fn install(ratio: f64, per_second: u32, queue: mpsc::Sender<Finished>, env: Env) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a ratio from 0 to 1 times 2^64 is never negative and fits 128 bits"
    )]
    let threshold = (ratio.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u128;
    let (since, begun) = (Instant::now(), AtomicU64::new(0));
    TRACER.set(Tracer { threshold, per_second, since, begun, queue, env }).is_ok()
}

/// Clock and entropy, while spans are exported.
pub(crate) fn env() -> Option<&'static Env> {
    TRACER.get().map(|tracer| &tracer.env)
}

/// Whether spans of this trace are recorded: as whoever began it decided, else by its id, so that every process
/// decides alike.
pub(crate) fn samples(trace: TraceId, decided: Option<bool>) -> bool {
    let Some(tracer) = TRACER.get() else { return false };
    decided.unwrap_or_else(|| {
        let tail: [u8; 8] = trace.0[8..].try_into().expect("a trace id has sixteen bytes");
        u128::from(u64::from_be_bytes(tail)) < tracer.threshold && tracer.has_room()
    })
}

pub(crate) fn hand_over(span: Finished) {
    let is_taken = TRACER.get().is_some_and(|tracer| tracer.queue.try_send(span).is_ok());
    if !is_taken {
        dropped(1);
    }
}

pub(crate) fn exported(count: usize) {
    EXPORTED.fetch_add(count as u64, Ordering::Relaxed);
}

pub(crate) fn dropped(count: usize) {
    DROPPED.fetch_add(count as u64, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_traces_are_begun_in_a_second_than_allowed() {
        let (queue, _spans) = mpsc::channel(1);
        let tracer = |per_second| Tracer {
            threshold: 0,
            per_second,
            since: Instant::now(),
            begun: AtomicU64::new(0),
            queue: queue.clone(),
            env: Env::system(),
        };
        let bounded = tracer(3);
        // All but the odd chance that a second ends meanwhile, which lets three more through.
        let begun = (0..1_000).filter(|_| bounded.has_room()).count();
        assert!(begun == 3 || begun == 6, "{begun}");
        let unbounded = tracer(0);
        assert_eq!((0..1_000).filter(|_| unbounded.has_room()).count(), 1_000);
    }
}
