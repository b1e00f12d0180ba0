//! The one clock of a store: never back, and not forward by more than could have passed.
//!
//! A host whose clock is set an hour ahead by mistake would expire holds, intents and sessions for good, and since a
//! store's time never goes back, would leave it in the future after the mistake is mended. So a jump forward beyond
//! [`JUMP_MAX`] is not followed: the store counts on by a clock that nobody sets, and says so. When the host's clock
//! comes back, all is as before; when the jump was right (the host's clock had been slow), a restart follows it.
//!
//! **Invariant:** an instant given here is never earlier than one given before.

use parking_lot::Mutex;
use q_core::{Env, Span, Timestamp};

/// How far the host's clock may run ahead of the time that passed before it is doubted (design.md, section 10).
const JUMP_MAX: Span = Span::seconds(300);

/// The clock of one open store.
#[derive(Debug)]
pub(crate) struct StoreClock(Mutex<State>);

#[derive(Debug)]
struct State {
    /// The newest instant given.
    newest: Timestamp,
    /// The host's clock and the steady one, when they were last believed.
    seen: (Timestamp, Span),
    /// How far the host's clock is ahead of what is believed; zero while it is believed.
    jump: Span,
}

impl StoreClock {
    /// A clock that gives nothing before `newest`, and believes the host's clock as it is now.
    pub fn new(env: &Env, newest: Timestamp) -> Self {
        Self(Mutex::new(State { newest, seen: (env.now(), env.clock.steady()), jump: Span::default() }))
    }

    /// The present instant.
    pub fn now(&self, env: &Env) -> Timestamp {
        let (host, steady) = (env.now(), env.clock.steady());
        let mut state = self.0.lock();
        let expected = state.seen.0 + (steady - state.seen.1);
        let ahead = host.since(expected);
        let now = if ahead > JUMP_MAX {
            if state.jump == Span::default() {
                tracing::error!(
                    ahead_seconds = ahead.as_seconds(),
                    "the host's clock jumped ahead and is not followed; correct it, or restart if it is right now"
                );
            }
            state.jump = ahead;
            expected
        } else {
            if state.jump != Span::default() {
                tracing::info!("the host's clock is believed again");
            }
            (state.seen, state.jump) = ((host, steady), Span::default());
            host
        };
        state.newest = state.newest.max(now);
        state.newest
    }

    /// The newest instant given.
    pub fn newest(&self) -> Timestamp {
        self.0.lock().newest
    }

    /// How far the host's clock has jumped ahead of the time that passed; zero while it is believed.
    pub fn jump(&self, env: &Env) -> Span {
        self.now(env);
        self.0.lock().jump
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use q_core::{Clock, SystemEntropy};

    use super::*;

    /// The host's clock, and the steady one.
    struct Hand(Mutex<(Timestamp, Span)>);

    impl Clock for Hand {
        fn now(&self) -> Timestamp {
            self.0.lock().0
        }
        fn steady(&self) -> Span {
            self.0.lock().1
        }
    }

    #[test]
    fn follows_what_passed_and_nothing_else() {
        let start = Timestamp::from_seconds(1_000_000);
        let hand = Arc::new(Hand(Mutex::new((start, Span::seconds(50)))));
        let env = Env { clock: hand.clone(), entropy: Arc::new(SystemEntropy) };
        let clock = StoreClock::new(&env, start);
        // The host's clock is set by `set` seconds while `passed` go by.
        let look = |set: i64, passed: i64| {
            let mut hand = hand.0.lock();
            *hand = (hand.0 + Span::seconds(set + passed), hand.1 + Span::seconds(passed));
            drop(hand);
            (clock.now(&env).since(start).as_seconds(), clock.jump(&env).as_seconds())
        };
        assert_eq!(look(0, 10), (10, 0));
        assert_eq!(look(0, 86_400), (86_410, 0), "idle for a day is no jump");
        assert_eq!(look(299, 1), (86_710, 0), "small corrections are followed");
        assert_eq!(look(3_600, 0), (86_710, 3_600), "an hour that did not pass is not");
        assert_eq!(look(0, 60), (86_770, 3_600), "time goes on meanwhile");
        assert_eq!(look(-3_600, 5), (86_775, 0), "mended");
        assert_eq!(look(-7_200, 5), (86_775, 0), "never back");
        assert_eq!(look(0, 7_195), (86_775, 0));
        assert_eq!(look(0, 20), (86_795, 0));
    }
}
