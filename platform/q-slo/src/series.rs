//! Good and bad counts over thirty days in a few hundred buckets: fine where windows are short, coarse where they are long.

use std::collections::{BTreeMap, BTreeSet};

use q_core::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// The width of a bucket, and how long buckets of this width are kept before they become part of a wider one.
///
/// Half a minute resolves the five-minute window of the burn rates into ten steps, five minutes the six-hour window
/// into seventy. Each width divides the next, so that merging loses nothing but resolution.
const TIERS: [(Span, Span); 3] = [
    (Span::seconds(30), Span::seconds(2 * 3_600 + 600)),
    (Span::seconds(300), Span::seconds(25 * 3_600)),
    (Span::seconds(3_600), Span::seconds(30 * 86_400 + 3_600)),
];

/// How many events a share must rest on before anybody is told of it, and how many of them must be bad.
///
/// The SRE Workbook (chapter 5, "Low-Traffic Services and Error Budget Alerting") shows what happens without: at ten
/// requests an hour one failure is a thousand times the allowed speed of 0.1 %. Twenty events make a share one can speak
/// of, five failures of them no accident of one request; a service that serves so little and fails altogether is found
/// by its health.
pub const EVENTS_MIN: u64 = 20;
/// See [`EVENTS_MIN`].
pub const BAD_MIN: u64 = 5;

/// How many events there were and how many of them kept the promise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Those that kept it.
    pub good: u64,
    /// All.
    pub total: u64,
}

impl Counts {
    /// Those that broke it.
    pub const fn bad(self) -> u64 {
        self.total.saturating_sub(self.good)
    }

    /// Whether there is enough to raise an alarm over: see [`EVENTS_MIN`].
    pub const fn is_alarming(self) -> bool {
        self.total >= EVENTS_MIN && self.bad() >= BAD_MIN
    }

    /// Whether the share says how a budget stands of which `allowed` may be bad: nothing bad happened, or enough to raise
    /// an alarm over, or there are so many events that the budget is more than one of them.
    #[expect(clippy::cast_precision_loss, reason = "a comparison needs no more than 52 bits")]
    pub fn is_telling(self, allowed: f64) -> bool {
        self.bad() == 0 || self.is_alarming() || self.total as f64 * allowed >= 1.0
    }

    /// The share that broke it, from 0 to 1; `None` without events.
    #[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
    pub fn bad_ratio(self) -> Option<f64> {
        (self.total > 0).then(|| self.bad() as f64 / self.total as f64)
    }
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.good = self.good.saturating_add(other.good);
        self.total = self.total.saturating_add(other.total);
    }
}

/// The counts of one stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Its first instant.
    pub start: Timestamp,
    /// Its length.
    pub width: Span,
    /// What happened in it.
    pub counts: Counts,
}

impl Bucket {
    fn end(&self) -> Timestamp {
        self.start + self.width
    }
}

/// The counts of one promise over time.
#[derive(Debug, Clone, Default)]
pub struct Series {
    buckets: BTreeMap<Timestamp, Bucket>,
    /// Where something changed since [`Series::mark_kept`].
    changed: BTreeSet<Timestamp>,
}

impl Series {
    /// A series with the buckets that were kept.
    pub fn of(buckets: impl IntoIterator<Item = Bucket>) -> Self {
        let buckets = buckets.into_iter().map(|bucket| (bucket.start, bucket)).collect();
        Self { buckets, changed: BTreeSet::new() }
    }

    /// Notes what happened at `at`.
    pub fn add(&mut self, at: Timestamp, counts: Counts) {
        if counts.total == 0 {
            return;
        }
        // A clock that was set back may lead into a time that is kept in wider buckets already.
        let covering = self.buckets.range(..=at).next_back().filter(|(_, bucket)| bucket.end() > at);
        let start = covering.map_or_else(|| floor(at, TIERS[0].0), |(start, _)| *start);
        let bucket = self.buckets.entry(start).or_insert(Bucket {
            start,
            width: TIERS[0].0,
            counts: Counts::default(),
        });
        bucket.counts += counts;
        self.changed.insert(start);
    }

    /// What happened in the `window` before `now`. Includes the whole of the bucket the window begins in: at most a
    /// tenth too long for the shortest window in use.
    pub fn over(&self, now: Timestamp, window: Span) -> Counts {
        let from = now - window;
        let mut sum = Counts::default();
        // The widest bucket that could reach into the window begins at most its width before it.
        for bucket in self.buckets.range(from - TIERS[2].0..=now).map(|(_, bucket)| bucket) {
            if bucket.end() > from {
                sum += bucket.counts;
            }
        }
        sum
    }

    /// Merges what is old enough into wider buckets, and lets go of what is older than thirty days.
    pub fn compact(&mut self, now: Timestamp) {
        let old: Vec<Bucket> = self.buckets.values().copied().filter(|bucket| is_due(bucket, now)).collect();
        for bucket in old {
            self.buckets.remove(&bucket.start);
            self.changed.insert(bucket.start);
            let Some((width, _)) = tier_after(bucket.width) else { continue };
            let start = floor(bucket.start, width);
            // A slot is merged as a whole, so what stands at its start is its first part or the slot itself.
            let slot =
                self.buckets.entry(start).or_insert(Bucket { start, width, counts: Counts::default() });
            slot.width = width;
            slot.counts += bucket.counts;
            self.changed.insert(start);
        }
    }

    /// What changed since the last [`Series::mark_kept`]: where, and the bucket that stands there now, if one does.
    pub fn changes(&self) -> impl Iterator<Item = (Timestamp, Option<Bucket>)> {
        self.changed.iter().map(|start| (*start, self.buckets.get(start).copied()))
    }

    /// The changes are on disk.
    pub fn mark_kept(&mut self) {
        self.changed.clear();
    }

    /// The buckets, oldest first.
    pub fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.values()
    }
}

/// Whether the wider slot around `bucket` lies wholly beyond what its width is kept for.
fn is_due(bucket: &Bucket, now: Timestamp) -> bool {
    let Some((_, kept)) = TIERS.iter().find(|(width, _)| *width == bucket.width) else { return true };
    let slot_end = match tier_after(bucket.width) {
        Some((width, _)) => floor(bucket.start, width) + width,
        None => bucket.end(),
    };
    now.since(slot_end) >= *kept
}

fn tier_after(width: Span) -> Option<(Span, Span)> {
    TIERS.iter().find(|(wider, _)| *wider > width).copied()
}

fn floor(at: Timestamp, width: Span) -> Timestamp {
    Timestamp::from_micros(at.micros().div_euclid(width.as_micros()) * width.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: Timestamp = Timestamp::from_seconds(1_795_251_600);

    fn counts(good: u64, total: u64) -> Counts {
        Counts { good, total }
    }

    #[test]
    fn a_window_holds_what_happened_in_it() {
        let mut series = Series::default();
        series.add(NOW - Span::seconds(600), counts(0, 7));
        series.add(NOW - Span::seconds(200), counts(1, 2));
        series.add(NOW, counts(3, 3));
        assert_eq!(series.over(NOW, Span::seconds(60)), counts(3, 3));
        assert_eq!(series.over(NOW, Span::seconds(300)), counts(4, 5));
        assert_eq!(series.over(NOW, Span::seconds(3_600)), counts(4, 12));
        assert_eq!(series.over(NOW + Span::seconds(86_400), Span::seconds(300)), Counts::default());
    }

    #[test]
    fn thirty_days_fit_into_some_hundred_buckets_and_older_ones_go() {
        let mut series = Series::default();
        let month = 31 * 86_400;
        for second in (0..month).step_by(30) {
            series.add(NOW + Span::seconds(second), counts(9, 10));
            if second % 3_600 == 0 {
                series.compact(NOW + Span::seconds(second));
            }
        }
        let end = NOW + Span::seconds(month);
        series.compact(end);
        assert!(series.buckets().count() < 1_400, "{}", series.buckets().count());
        let sum = series.over(end, Span::seconds(30 * 86_400));
        let expected = 30 * 2_880 * 10;
        assert!(sum.total >= expected && sum.total <= expected + 1_200, "{sum:?}");
        assert!(series.buckets().next().unwrap().start >= end - Span::seconds(30 * 86_400 + 7_200));
    }

    #[test]
    fn a_clock_set_back_loses_nothing() {
        let mut series = Series::default();
        series.add(NOW, counts(1, 1));
        series.compact(NOW + Span::seconds(10 * 86_400));
        series.add(NOW + Span::seconds(100), counts(0, 1));
        assert_eq!(series.buckets().count(), 1);
        assert_eq!(series.over(NOW + Span::seconds(3_600), Span::seconds(7_200)), counts(1, 2));
    }

    proptest! {
        #[test]
        fn compacting_conserves_counts(steps in prop::collection::vec((0_i64..200_000, 0_u64..50), 1..200)) {
            let mut series = Series::default();
            let (mut now, mut sum) = (NOW, 0);
            for (seconds, total) in steps {
                series.add(now, counts(total / 2, total));
                sum += total;
                now = now + Span::seconds(seconds.min(9_000));
                series.compact(now);
                let kept: BTreeMap<_, _> = series.buckets().map(|bucket| (bucket.start, *bucket)).collect();
                for (bucket, next) in kept.values().zip(kept.values().skip(1)) {
                    prop_assert!(bucket.end() <= next.start);
                }
            }
            prop_assert_eq!(series.over(now, Span::seconds(30 * 86_400)).total, sum);
        }

        #[test]
        fn what_was_kept_is_what_stands(steps in prop::collection::vec(0_i64..9_000, 1..100)) {
            let mut series = Series::default();
            let mut store = BTreeMap::new();
            let mut now = NOW;
            for seconds in steps {
                series.add(now, counts(1, 2));
                series.compact(now);
                for (start, bucket) in series.changes() {
                    match bucket {
                        Some(bucket) => store.insert(start, bucket),
                        None => store.remove(&start),
                    };
                }
                series.mark_kept();
                now = now + Span::seconds(seconds);
            }
            let stands: Vec<_> = series.buckets().copied().collect();
            prop_assert_eq!(store.into_values().collect::<Vec<_>>(), stands);
        }
    }
}
