//! Time and randomness as arguments.

use std::{cell::RefCell, sync::Arc};

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

/// What is handed out from a store of unpredictable bytes: ids. Keys are longer and come from the generator itself.
const SHORT_BYTES_MAX: usize = 24;

/// Unpredictable bytes of this thread that nobody has seen yet. The generator costs the same for an id as for these.
struct Unseen {
    bytes: [u8; 768],
    left: usize,
}

thread_local! {
    static UNSEEN: RefCell<Unseen> = const { RefCell::new(Unseen { bytes: [0; 768], left: 0 }) };
}

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        if buffer.len() > SHORT_BYTES_MAX {
            return generate(buffer);
        }
        UNSEEN.with_borrow_mut(|unseen| {
            if unseen.left < buffer.len() {
                generate(&mut unseen.bytes);
                unseen.left = unseen.bytes.len();
            }
            let from = unseen.left - buffer.len();
            let taken = &mut unseen.bytes[from..unseen.left];
            buffer.copy_from_slice(taken);
            // Handed out once, and then nowhere but there.
            taken.fill(0);
            unseen.left = from;
        });
    }
}

fn generate(buffer: &mut [u8]) {
    aws_lc_rs::rand::fill(buffer).expect("the operating system's generator never fails once seeded");
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

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_ids_are_alike_on_any_thread() {
        let some = || (0..1_000).map(|_| Env::system().random::<16>()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(some)).collect();
        let ids: Vec<[u8; 16]> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 4_000);
        // Two of three 24-byte fills leave a rest that is too short for the next one.
        let long: HashSet<[u8; 24]> = (0..100).map(|_| Env::system().random()).collect();
        assert_eq!(long.len(), 100);
        assert!(!long.contains(&[0; 24]));
    }
}
