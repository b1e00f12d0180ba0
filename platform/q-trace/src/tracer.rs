//! What is recorded, and the bounded way out. One per process, like the log.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
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
    queue: mpsc::Sender<Finished>,
    env: Env,
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
pub(crate) fn install(ratio: f64, queue: mpsc::Sender<Finished>, env: Env) -> bool {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a ratio from 0 to 1 times 2^64 is never negative and fits 128 bits"
    )]
    let threshold = (ratio.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u128;
    TRACER.set(Tracer { threshold, queue, env }).is_ok()
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
        u128::from(u64::from_be_bytes(tail)) < tracer.threshold
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
