//! The requests of the last minutes, for operators who look without a Prometheus.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use serde::Serialize;

/// How long one part of the window is, and how many there are.
const PART: Duration = Duration::from_mins(1);
const PARTS: usize = 5;
/// The longest duration told apart from longer ones, in microseconds: twice what a handler may take.
const MICROS_MAX: u64 = 60_000_000;
/// Durations are kept to two digits.
const DIGITS: u8 = 2;

/// A window that moves on by minutes.
pub(super) struct Recent {
    since: Instant,
    parts: Mutex<[Option<Part>; PARTS]>,
}

/// One minute.
struct Part {
    /// Which, counted from the start.
    number: u64,
    micros: Histogram<u32>,
    errors: u64,
}

/// The requests of a window.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How long the window is.
    pub window_seconds: u64,
    /// How many requests there were.
    pub count: u64,
    /// How many of them ended with a status of 500 or more.
    pub errors: u64,
    /// Their share, from 0 to 1.
    pub error_rate: f64,
    /// Milliseconds that half of the requests stayed within; nothing when there were none.
    pub p50: Option<f64>,
    /// Milliseconds that 99 of 100 requests stayed within; nothing when there were none.
    pub p99: Option<f64>,
}

impl Default for Recent {
    fn default() -> Self {
        Self { since: Instant::now(), parts: Mutex::default() }
    }
}

impl Recent {
    pub(super) fn note(&self, duration: Duration, is_error: bool) {
        self.note_at(self.now(), duration, is_error);
    }

    pub(super) fn summary(&self) -> Summary {
        self.summary_at(self.now())
    }

    fn now(&self) -> u64 {
        self.since.elapsed().as_secs() / PART.as_secs()
    }

    fn note_at(&self, number: u64, duration: Duration, is_error: bool) {
        let mut parts = self.parts.lock();
        let slot = &mut parts[place(number)];
        let part = match slot {
            Some(part) if part.number == number => part,
            _ => slot.insert(Part { number, micros: empty(), errors: 0 }),
        };
        part.micros.saturating_record(u64::try_from(duration.as_micros()).unwrap_or(MICROS_MAX).max(1));
        part.errors += u64::from(is_error);
    }

    fn summary_at(&self, number: u64) -> Summary {
        let (mut all, mut errors) = (empty(), 0);
        for part in self.parts.lock().iter().flatten() {
            if number.saturating_sub(part.number) < PARTS as u64 {
                // The same bounds and digits, so that nothing can be refused.
                let _ = all.add(&part.micros);
                errors += part.errors;
            }
        }
        let count = all.len();
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let millis = |quantile| (count > 0).then(|| all.value_at_quantile(quantile) as f64 / 1_000.0);
        #[expect(clippy::cast_precision_loss, reason = "figures for people")]
        let error_rate = if count == 0 { 0.0 } else { errors as f64 / count as f64 };
        Summary {
            window_seconds: PART.as_secs() * PARTS as u64,
            count,
            errors,
            error_rate,
            p50: millis(0.5),
            p99: millis(0.99),
        }
    }
}

fn empty() -> Histogram<u32> {
    Histogram::new_with_bounds(1, MICROS_MAX, DIGITS).expect("the bounds and digits are sound")
}

#[expect(clippy::cast_possible_truncation, reason = "less than the number of parts")]
fn place(number: u64) -> usize {
    (number % PARTS as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let recent = Recent::default();
        for _ in 0..98 {
            recent.note_at(0, Duration::from_millis(10), false);
        }
        recent.note_at(3, Duration::from_millis(400), true);
        recent.note_at(4, Duration::from_millis(300), false);
        let all = recent.summary_at(4);
        assert_eq!((all.count, all.errors, all.error_rate), (100, 1, 0.01));
        assert!((9.9..10.2).contains(&all.p50.unwrap()), "{all:?}");
        assert!((298.0..304.0).contains(&all.p99.unwrap()), "{all:?}");
        assert_eq!(recent.summary_at(5).count, 2);
        assert_eq!(recent.summary_at(8).count, 1);
        // The slot of a minute that is gone is taken by the present one.
        recent.note_at(8, Duration::from_millis(1), false);
        assert_eq!(recent.summary_at(8).count, 2);
        let none = recent.summary_at(60);
        assert_eq!((none.count, none.error_rate, none.p99), (0, 0.0, None));
    }
}
