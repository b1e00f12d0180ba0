//! The book of what was kept and broken: counts per module, class and promise, and what follows from them.

use std::collections::{BTreeMap, VecDeque};

use q_core::{Span, Timestamp};

use crate::{
    ClassTotals, Objectives, Sli, Totals,
    series::{Bucket, Counts, Series},
};

/// Over how long the error ratio and the percentile of the threshold rules are taken.
pub(crate) const RECENT: Span = Span::seconds(60);
/// The quantile that is promised.
const QUANTILE: f64 = 0.99;

/// What a series is about: module, class, promise. The class is empty for availability.
pub type Key = (String, String, Sli);

/// Everything counted so far.
#[derive(Debug, Clone, Default)]
pub struct Book {
    objectives: Objectives,
    series: BTreeMap<Key, Series>,
    /// The differences of the last minute, by module and class: what percentiles are taken from.
    recent: BTreeMap<(String, String), VecDeque<(Timestamp, ClassTotals)>>,
    /// What each target showed last, and when.
    seen: BTreeMap<(String, String), (Timestamp, Totals)>,
}

/// A bucket that changed since the book was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// What it is about.
    pub key: Key,
    /// Where it begins.
    pub start: Timestamp,
    /// What stands there now; `None` when it was merged away.
    pub bucket: Option<Bucket>,
}

/// How well one promise is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct ClassReport {
    /// The class; empty for availability.
    pub class: String,
    /// The promise.
    pub sli: Sli,
    /// The promised share.
    pub target: f64,
    /// What happened in the window of the promise.
    pub counts: Counts,
    /// What is left of the error budget: 1 untouched, 0 used up, negative overdrawn; 1 without events. `None` while too
    /// little happened to say so ([`Counts::is_telling`]).
    pub budget_left: Option<f64>,
    /// Window and burn rate, shortest window first, where enough happened to say so.
    pub burn: Vec<(Span, f64)>,
}

/// How well a module keeps its promises.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The module.
    pub module: String,
    /// Each promise, availability first.
    pub classes: Vec<ClassReport>,
}

impl Book {
    /// An empty book.
    pub fn new(objectives: Objectives) -> Self {
        Self { objectives, ..Self::default() }
    }

    /// What was promised.
    pub const fn objectives(&self) -> &Objectives {
        &self.objectives
    }

    /// Puts back a series that was kept.
    pub fn restore(&mut self, key: Key, buckets: impl IntoIterator<Item = Bucket>) {
        self.series.insert(key, Series::of(buckets));
    }

    /// Puts back what a target showed last, so that what it counts while nobody looks is not lost.
    pub fn restore_seen(&mut self, module: &str, replica: &str, at: Timestamp, totals: Totals) {
        self.seen.insert((module.to_owned(), replica.to_owned()), (at, totals));
    }

    /// Notes a look at a module: whether it can serve.
    pub fn look(&mut self, now: Timestamp, module: &str, is_serving: bool) {
        let counts = Counts { good: is_serving.into(), total: 1 };
        self.series_of(module, "", Sli::Availability).add(now, counts);
    }

    /// Notes what a target shows. What happened during an announced pause was not promised and uses up no budget.
    pub fn count(&mut self, now: Timestamp, module: &str, replica: &str, totals: Totals, is_promised: bool) {
        let target = (module.to_owned(), replica.to_owned());
        let earlier = self.seen.get(&target);
        let is_fresh = earlier.is_some_and(|(at, _)| now.since(*at) <= RECENT);
        let news = totals.since(earlier.map(|(_, totals)| totals));
        for (class, news) in news {
            if is_promised {
                let errors = Counts { good: news.requests.saturating_sub(news.errors), total: news.requests };
                self.series_of(module, &class, Sli::Errors).add(now, errors);
                let fast = Counts { good: news.fast(self.objectives.fast_seconds), total: news.timed() };
                self.series_of(module, &class, Sli::Latency).add(now, fast);
            }
            // What happened in a long gap did not happen in the last minute.
            if is_fresh {
                self.recent.entry((module.to_owned(), class)).or_default().push_back((now, news));
            }
        }
        self.seen.insert(target, (now, totals));
    }

    /// Merges and forgets what is old.
    pub fn compact(&mut self, now: Timestamp) {
        for series in self.series.values_mut() {
            series.compact(now);
        }
        for recent in self.recent.values_mut() {
            recent.retain(|(at, _)| now.since(*at) < RECENT && *at <= now);
        }
    }

    /// What a module's requests of the last minute were like, all classes together.
    pub fn last_minute(&self, now: Timestamp, module: &str) -> ClassTotals {
        let mut sum = ClassTotals::default();
        for ((_, _), recent) in self.recent.iter().filter(|((known, _), _)| known == module) {
            for (_, news) in recent.iter().filter(|(at, _)| now.since(*at) < RECENT && *at <= now) {
                sum.merge(news);
            }
        }
        sum
    }

    /// The share of requests of the last minute that failed; `None` without requests.
    pub fn error_ratio(&self, now: Timestamp, module: &str) -> Option<f64> {
        let sum = self.last_minute(now, module);
        Counts { good: sum.requests.saturating_sub(sum.errors), total: sum.requests }.bad_ratio()
    }

    /// The 99th percentile of the last minute, in seconds; `None` without requests.
    pub fn p99(&self, now: Timestamp, module: &str) -> Option<f64> {
        self.last_minute(now, module).quantile(QUANTILE)
    }

    /// How many times as fast as allowed the budget was used in `window`; `None` when nothing happened in it.
    pub fn burn(&self, now: Timestamp, key: &Key, window: Span) -> Option<f64> {
        let ratio = self.series.get(key)?.over(now, window).bad_ratio()?;
        Some(ratio / self.objectives.allowed(key.2))
    }

    /// Whether enough is known of `window` for a burn rate to raise an alarm ([`Counts::is_alarming`]). Two missed looks of
    /// a module's first minute are no outage of an hour: looks come by the clock, so they must have come for the whole
    /// window.
    pub fn is_alarming(&self, now: Timestamp, key: &Key, window: Span) -> bool {
        let Some(series) = self.series.get(key) else { return false };
        if key.2 == Sli::Availability {
            return series.buckets().next().is_some_and(|bucket| now.since(bucket.start) >= window);
        }
        series.over(now, window).is_alarming()
    }

    /// When the oldest of what is known happened.
    pub fn began(&self) -> Option<Timestamp> {
        self.series.values().filter_map(|series| series.buckets().next()).map(|bucket| bucket.start).min()
    }

    /// What there are series of.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.series.keys()
    }

    /// How well each module keeps its promises, with burn rates over `windows`.
    pub fn report(&self, now: Timestamp, windows: &[Span]) -> Vec<Report> {
        let mut reports: Vec<Report> = Vec::new();
        for (key, series) in &self.series {
            let (module, class, sli) = key;
            let counts = series.over(now, self.objectives.window);
            let allowed = self.objectives.allowed(*sli);
            let is_telling = |counts: Counts| *sli == Sli::Availability || counts.is_telling(allowed);
            let used = counts.bad_ratio().unwrap_or(0.0) / allowed;
            let class = ClassReport {
                class: class.clone(),
                sli: *sli,
                target: self.objectives.target(*sli),
                counts,
                budget_left: is_telling(counts).then_some(1.0 - used),
                burn: windows
                    .iter()
                    .filter(|window| is_telling(series.over(now, **window)))
                    .filter_map(|window| Some((*window, self.burn(now, key, *window)?)))
                    .collect(),
            };
            match reports.last_mut().filter(|report| report.module == *module) {
                Some(report) => report.classes.push(class),
                None => reports.push(Report { module: module.clone(), classes: vec![class] }),
            }
        }
        reports
    }

    /// What changed since the last [`Book::mark_kept`].
    pub fn changes(&self) -> Vec<Change> {
        let changes = |(key, series): (&Key, &Series)| {
            let key = key.clone();
            let change = move |(start, bucket)| Change { key: key.clone(), start, bucket };
            series.changes().map(change).collect::<Vec<_>>()
        };
        self.series.iter().flat_map(changes).collect()
    }

    /// What each target showed last, and when.
    pub fn seen(&self) -> impl Iterator<Item = (&str, &str, Timestamp, &Totals)> {
        self.seen
            .iter()
            .map(|((module, replica), (at, totals))| (module.as_str(), replica.as_str(), *at, totals))
    }

    /// The changes are on disk.
    pub fn mark_kept(&mut self) {
        self.series.values_mut().for_each(Series::mark_kept);
    }

    fn series_of(&mut self, module: &str, class: &str, sli: Sli) -> &mut Series {
        self.series.entry((module.to_owned(), class.to_owned(), sli)).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_seconds(1_795_251_600);

    fn totals(requests: u64, errors: u64, fast: u64) -> Totals {
        let class =
            ClassTotals { requests, errors, within: vec![(0.2, fast), (0.5, requests), (1e9, requests)] };
        Totals { started: None, classes: BTreeMap::from([("write".to_owned(), class)]) }
    }

    /// A module that serves 100 requests every ten seconds for `seconds`, `bad` of them failing and slow.
    fn served(seconds: i64, bad: u64) -> (Book, Timestamp) {
        let mut book = Book::new(Objectives::default());
        let (mut requests, mut errors) = (0, 0);
        book.count(START, "shop", "0", totals(0, 0, 0), true);
        for second in (10..=seconds).step_by(10) {
            (requests, errors) = (requests + 100, errors + bad);
            let now = START + Span::seconds(second);
            book.look(now, "shop", true);
            book.count(now, "shop", "0", totals(requests, errors, requests - errors), true);
            book.compact(now);
        }
        (book, START + Span::seconds(seconds))
    }

    #[test]
    fn burn_rates_are_multiples_of_what_is_allowed() {
        let (book, now) = served(3_600, 2);
        let key = |sli| ("shop".to_owned(), "write".to_owned(), sli);
        for window in [Span::seconds(300), Span::seconds(3_600)] {
            // 2 % failed where 0.1 % may: twenty times. 2 % were slow where 1 % may be: twice.
            assert!((book.burn(now, &key(Sli::Errors), window).unwrap() - 20.0).abs() < 1e-6);
            assert!((book.burn(now, &key(Sli::Latency), window).unwrap() - 2.0).abs() < 1e-6);
        }
        assert_eq!(
            book.burn(now, &("shop".into(), String::new(), Sli::Availability), Span::seconds(300)),
            Some(0.0)
        );
        assert!((book.error_ratio(now, "shop").unwrap() - 0.02).abs() < 1e-9);
        assert!((book.p99(now, "shop").unwrap() - 0.35).abs() < 1e-9);
        // A minute without requests tells nothing.
        let later = now + Span::seconds(61);
        assert_eq!((book.error_ratio(later, "shop"), book.p99(later, "shop")), (None, None));
    }

    #[test]
    fn too_little_raises_no_alarm() {
        let (book, now) = served(1_800, 2);
        let key = |class: &str, sli| ("shop".to_owned(), class.to_owned(), sli);
        let hour = Span::seconds(3_600);
        assert!(book.is_alarming(now, &key("write", Sli::Errors), hour));
        assert!(!book.is_alarming(now, &key("", Sli::Availability), hour), "half an hour of looks");
        assert!(book.is_alarming(now, &key("", Sli::Availability), Span::seconds(1_500)));
        assert!(!book.is_alarming(now, &key("read", Sli::Errors), hour), "nobody asked");
        for (bad, requests, is_alarming, says) in [
            (1, 3, false, None),
            (3, 3, false, None),
            // A single failure, however large its share.
            (1, 20, false, None),
            (4, 60, false, None),
            (5, 19, false, None),
            (5, 20, true, Some(-249.0)),
            (0, 3, false, Some(1.0)),
            // The budget is more than one event.
            (1, 2_000, false, Some(0.5)),
        ] {
            let mut book = Book::new(Objectives::default());
            book.count(START, "shop", "0", totals(0, 0, 0), true);
            book.count(START, "shop", "0", totals(requests, bad, requests), true);
            let case = format!("{bad} of {requests}");
            assert_eq!(book.is_alarming(START, &key("write", Sli::Errors), hour), is_alarming, "{case}");
            let report = &book.report(START, &[hour])[0];
            let errors = report.classes.iter().find(|class| class.sli == Sli::Errors).unwrap();
            assert_eq!(errors.budget_left.map(f64::round), says.map(f64::round), "{case}");
            assert_eq!(errors.burn.is_empty(), says.is_none(), "{case}");
        }
    }

    #[test]
    fn the_budget_is_what_the_month_left() {
        let (book, now) = served(3_600, 0);
        let untouched = &book.report(now, &[])[0];
        assert!(untouched.classes.iter().all(|class| (class.budget_left.unwrap() - 1.0).abs() < 1e-9));
        let mut book = book;
        // 36,000 requests so far: 0.1 % are 36; after 18 failures half is left.
        book.count(now, "shop", "0", totals(36_018, 18, 36_018), true);
        let report = &book.report(now, &[Span::seconds(300)])[0];
        let errors = report.classes.iter().find(|class| class.sli == Sli::Errors).unwrap();
        assert!((errors.budget_left.unwrap() - 0.5).abs() < 0.001, "{errors:?}");
        assert_eq!(errors.counts.bad(), 18);
    }

    #[test]
    fn restarts_of_either_side_lose_and_invent_nothing() {
        let (mut book, now) = served(600, 0);
        let sum = |book: &Book, now| {
            let key = ("shop".to_owned(), "write".to_owned(), Sli::Errors);
            book.series[&key].over(now, Span::seconds(86_400)).total
        };
        assert_eq!(sum(&book, now), 6_000);
        // The module starts anew and serves 50.
        book.count(now, "shop", "0", totals(50, 0, 50), true);
        assert_eq!(sum(&book, now), 6_050);
        // The watch starts anew from what it kept, an hour later; the module has served 70 more.
        let mut restored = Book::new(Objectives::default());
        for (key, series) in &book.series {
            restored.restore(key.clone(), series.buckets().copied());
        }
        for (module, replica, at, totals) in book.seen() {
            restored.restore_seen(module, replica, at, totals.clone());
        }
        let later = now + Span::seconds(3_600);
        restored.count(later, "shop", "0", totals(120, 60, 120), true);
        assert_eq!(sum(&restored, later), 6_120);
        // What happened in the gap is in the budget, but not in the last minute.
        assert_eq!(restored.error_ratio(later, "shop"), None);
        // An announced pause uses up nothing.
        restored.count(later, "shop", "0", totals(220, 160, 120), false);
        assert_eq!(sum(&restored, later), 6_120);
        // A second replica counts by itself; its first look tells nothing new.
        restored.count(later, "shop", "1", totals(1_000, 0, 1_000), true);
        restored.count(later, "shop", "1", totals(1_010, 0, 1_010), true);
        assert_eq!(sum(&restored, later), 6_130);
    }
}
