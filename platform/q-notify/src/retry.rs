//! When to try again.

use q_core::Span;

/// The pauses after the first, second, … failed attempt, in seconds: quick at first, for a receiver that restarts, then
/// patient, for a night in which a network is away. About a day in all, as Standard Webhooks advises.
const PAUSES: [i64; 9] = [5, 30, 120, 300, 900, 3_600, 10_800, 21_600, 43_200];

/// After so many attempts a message is given up.
pub const ATTEMPTS_MAX: u32 = 10;

/// The pause after the failed attempt number `attempts`, counted from 1; `None` when it was the last.
pub fn pause(attempts: u32) -> Option<Span> {
    let index = usize::try_from(attempts.checked_sub(1)?).ok()?;
    PAUSES.get(index).map(|seconds| Span::seconds(*seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_ten_times_and_longer_each_time() {
        let pauses: Vec<_> = (1..ATTEMPTS_MAX).map(|attempts| pause(attempts).unwrap()).collect();
        assert!(pauses.is_sorted() && pauses.len() == 9);
        assert_eq!((pause(ATTEMPTS_MAX), pause(0)), (None, None));
    }
}
