//! Whether a clock can be believed: one that jumps far ahead would let everything lapse at once.

use q_core::{Span, Timestamp};

/// How far a clock may run ahead of the time that passed before it is no longer believed.
pub const JUMP_MAX: Span = Span::seconds(300);

/// Compares the clock with a count of the time that passes, which no setting of a clock changes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Guard {
    believed: Option<(Timestamp, Span)>,
}

impl Guard {
    /// Takes note of both; answers by how much the clock jumped ahead, if so far that nothing is to lapse because of it.
    ///
    /// Until the clock is back, or the process starts anew, the answer stays. Small steps and steps back are believed.
    pub fn observe(&mut self, now: Timestamp, passed: Span) -> Option<Span> {
        if let Some((then, passed_then)) = self.believed {
            let really = passed.as_micros().saturating_sub(passed_then.as_micros());
            let ahead = now.since(Timestamp::from_micros(then.micros().saturating_add(really)));
            if ahead > JUMP_MAX {
                return Some(ahead);
            }
        }
        self.believed = Some((now, passed));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_ahead_is_not_believed_until_the_clock_is_back() {
        let mut guard = Guard::default();
        let at = Timestamp::from_seconds;
        let after = Span::seconds;
        assert_eq!(guard.observe(at(1_000), after(0)), None);
        assert_eq!(guard.observe(at(1_010), after(5)), None);
        // An hour ahead, and still so later.
        assert_eq!(guard.observe(at(4_615), after(10)), Some(Span::seconds(3_600)));
        assert_eq!(guard.observe(at(4_675), after(70)), Some(Span::seconds(3_600)));
        assert_eq!(guard.observe(at(1_080), after(75)), None);
        // Back an hour is believed: nothing lapses too early.
        assert_eq!(guard.observe(at(-2_520), after(80)), None);
        // A process that slept has let time pass, on both.
        assert_eq!(guard.observe(at(10_000), after(12_600)), None);
        assert_eq!(guard.observe(at(10_301), after(12_600)), Some(Span::seconds(301)));
        assert_eq!(guard.observe(at(10_300), after(12_600)), None);
    }
}
