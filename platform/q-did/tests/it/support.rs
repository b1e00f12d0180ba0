//! A frozen clock and a seeded generator.

use std::{
    sync::Arc,
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
};

use q_core::{Clock, Entropy, Env, Timestamp, hash::sha256};

pub(crate) const HOST: &str = "qnode.localhost:8080";

#[derive(Default)]
pub(crate) struct Bench {
    now: AtomicI64,
    drawn: AtomicU64,
}

impl Clock for Bench {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(self.now.load(Ordering::SeqCst))
    }
}

impl Entropy for Bench {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(32) {
            let drawn = self.drawn.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&sha256(&drawn.to_be_bytes())[..chunk.len()]);
        }
    }
}

impl Bench {
    pub(crate) fn advance(&self, seconds: i64) {
        self.now.fetch_add(seconds, Ordering::SeqCst);
    }
}

/// A world at 2026-06-01T00:00:00Z.
pub(crate) fn bench() -> (Arc<Bench>, Env) {
    let bench = Arc::new(Bench::default());
    bench.advance(1_780_272_000);
    let env = Env { clock: bench.clone(), entropy: bench.clone() };
    (bench, env)
}
