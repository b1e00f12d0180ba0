//! Time and randomness as arguments.

use std::sync::Arc;

use crate::{Span, Timestamp};

/// Tells the time. The only other source of time in the house is the one tests freeze.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// How long something has been running that nobody sets: between two looks it grows by the time that passed,
    /// whatever became of the clock. A test's clock is set by nobody else, so it may count by itself.
    fn steady(&self) -> Span {
        self.now().since(Timestamp::from_micros(0))
    }
}

/// Fills buffers with unpredictable bytes.
pub trait Entropy: Send + Sync + 'static {
    /// Overwrites `buffer`.
    fn fill(&self, buffer: &mut [u8]);
}

/// The host's wall clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the host for the time")]
    fn now(&self) -> Timestamp {
        let since_epoch =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
    }

    fn steady(&self) -> Span {
        // On Linux the clock that goes on while the machine sleeps: waking up is no jump.
        #[cfg(target_os = "linux")]
        let clock = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let clock = rustix::time::ClockId::Monotonic;
        let passed = rustix::time::clock_gettime(clock);
        Span::seconds(passed.tv_sec) + Span::micros(passed.tv_nsec / 1_000)
    }
}

/// The operating system's generator.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        aws_lc_rs::rand::fill(buffer).expect("the operating system's generator never fails once seeded");
    }
}

/// The two things a pure function may not reach for by itself.
#[derive(Clone)]
pub struct Env {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Makes keys, nonces and ids.
    pub entropy: Arc<dyn Entropy>,
}

impl Env {
    /// The host's clock and generator.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
    }

    /// The present instant.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// `N` fresh unpredictable bytes.
    pub fn random<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy.fill(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Env").finish_non_exhaustive()
    }
}
