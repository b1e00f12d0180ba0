//! Time that moves when the test says so, and randomness that repeats.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use parking_lot::Mutex;
use q_core::{Clock, Entropy, Env, Span, Timestamp};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// A clock that stands still until told to move.
#[derive(Debug, Clone)]
pub struct FrozenClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    shown: AtomicI64,
    /// How far the clock was set without time passing.
    set: AtomicI64,
}

impl FrozenClock {
    /// A clock that shows `at`.
    pub fn at(at: Timestamp) -> Self {
        Self(Arc::new(Hands { shown: AtomicI64::new(at.micros()), set: AtomicI64::new(0) }))
    }

    /// Lets `span` pass; a negative one sets the clock back.
    pub fn advance(&self, span: Span) {
        self.0.shown.fetch_add(span.as_micros(), Ordering::SeqCst);
        if span.as_micros() < 0 {
            self.0.set.fetch_add(span.as_micros(), Ordering::SeqCst);
        }
    }

    /// Sets the clock ahead by `span` (back when negative) without time passing: a host whose clock is wrong.
    pub fn jump(&self, span: Span) {
        self.0.shown.fetch_add(span.as_micros(), Ordering::SeqCst);
        self.0.set.fetch_add(span.as_micros(), Ordering::SeqCst);
    }
}

impl Clock for FrozenClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.shown.load(Ordering::SeqCst))
    }

    fn steady(&self) -> Span {
        let passed = self.0.shown.load(Ordering::SeqCst) - self.0.set.load(Ordering::SeqCst);
        Span::micros(passed)
    }
}

/// A generator whose bytes follow from its seed.
pub struct SeededEntropy(Mutex<ChaCha12Rng>);

impl SeededEntropy {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(ChaCha12Rng::seed_from_u64(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        self.0.lock().fill_bytes(buffer);
    }
}

/// An environment frozen at 2026-11-21T09:00:00Z with the generator of `seed`.
pub fn frozen_env(seed: u64) -> (Env, FrozenClock) {
    let clock = FrozenClock::at(Timestamp::from_seconds(1_795_251_600));
    (Env { clock: Arc::new(clock.clone()), entropy: Arc::new(SeededEntropy::new(seed)) }, clock)
}
