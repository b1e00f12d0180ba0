//! Counters that only grow, until the process that counts starts anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{Classes, exposition::Sample};

/// What one target has counted since it started, by class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// When the process started, in whole seconds since the epoch, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<i64>,
    /// By class.
    pub classes: BTreeMap<String, ClassTotals>,
}

/// What was counted of one class; or the difference of two such counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClassTotals {
    /// Requests answered.
    pub requests: u64,
    /// Those answered with a 5xx status.
    pub errors: u64,
    /// How many took at most so many seconds: cumulative, as Prometheus histograms are. The last bound is infinite and
    /// therefore written as a large number.
    pub within: Vec<(f64, u64)>,
}

/// Stands for infinity, which JSON cannot hold.
const FOREVER: f64 = 1e9;

impl Totals {
    /// Reads the request counters and duration histograms of a scrape. What carries the label `excused`, such as the
    /// refusals of announced maintenance, no promise covers: it is neither good nor bad.
    pub fn read(samples: &[Sample], classes: &Classes) -> Self {
        let mut totals = Self {
            started: samples
                .iter()
                .find(|sample| sample.name == "process_start_time_seconds")
                .map(|sample| whole(sample.value)),
            classes: BTreeMap::new(),
        };
        for sample in samples {
            let is_count = sample.name == "http_requests_total";
            if !is_count && sample.name != "http_request_duration_seconds_bucket" {
                continue;
            }
            if sample.label("excused").is_some_and(|why| !why.is_empty()) {
                continue;
            }
            let (Some(method), Some(route)) = (sample.label("method"), sample.label("route")) else {
                continue;
            };
            let class = totals.classes.entry(classes.of(method, route).to_owned()).or_default();
            let count = u64::try_from(whole(sample.value)).unwrap_or_default();
            if is_count {
                class.requests += count;
                if sample.label("status").is_some_and(|status| status.starts_with('5')) {
                    class.errors += count;
                }
            } else if let Some(bound) = sample.label("le").and_then(|bound| bound.parse::<f64>().ok()) {
                class.add_within(bound.min(FOREVER), count);
            }
        }
        totals
    }

    /// What was counted since `earlier`, by class. A counter that fell, or another start, says that the process began
    /// anew: then everything it shows has happened since. Without anything earlier nothing is known to be new.
    pub fn since(&self, earlier: Option<&Self>) -> BTreeMap<String, ClassTotals> {
        let Some(earlier) = earlier else { return BTreeMap::new() };
        let has_restarted = matches!((self.started, earlier.started), (Some(now), Some(then)) if now != then);
        let nothing = ClassTotals::default();
        self.classes
            .iter()
            .map(|(class, totals)| {
                let before = earlier.classes.get(class).filter(|_| !has_restarted).unwrap_or(&nothing);
                (class.clone(), totals.since(before))
            })
            .collect()
    }
}

impl ClassTotals {
    fn add_within(&mut self, bound: f64, count: u64) {
        match self.within.binary_search_by(|(known, _)| known.total_cmp(&bound)) {
            Ok(at) => self.within[at].1 += count,
            Err(at) => self.within.insert(at, (bound, count)),
        }
    }

    fn since(&self, before: &Self) -> Self {
        let before_within = |bound: f64| {
            before
                .within
                .iter()
                .find(|(known, _)| known.total_cmp(&bound).is_eq())
                .map_or(0, |(_, count)| *count)
        };
        let has_fallen = self.requests < before.requests
            || self.errors < before.errors
            || self.within.iter().any(|(bound, count)| *count < before_within(*bound));
        if has_fallen {
            return self.clone();
        }
        Self {
            requests: self.requests - before.requests,
            errors: self.errors - before.errors,
            within: self
                .within
                .iter()
                .map(|(bound, count)| (*bound, count - before_within(*bound)))
                .collect(),
        }
    }

    /// Adds what another target, or another stretch of time, has counted.
    pub fn merge(&mut self, other: &Self) {
        self.requests += other.requests;
        self.errors += other.errors;
        for (bound, count) in &other.within {
            self.add_within(*bound, *count);
        }
    }

    /// How many requests were timed.
    pub fn timed(&self) -> u64 {
        self.within.last().map_or(0, |(_, count)| *count)
    }

    /// How many took at most `seconds`, which must be the bound of a bucket: otherwise the next smaller one counts.
    pub fn fast(&self, seconds: f64) -> u64 {
        let within = self.within.iter().rev().find(|(bound, _)| *bound <= seconds + 1e-9);
        within.map_or(0, |(_, count)| *count)
    }

    /// The time, in seconds, that the share `quantile` of requests stayed below, interpolated inside its bucket as
    /// Prometheus' `histogram_quantile` does; `None` without requests.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        let timed = self.timed();
        if timed == 0 {
            return None;
        }
        let rank = quantile * timed as f64;
        let (mut low, mut below) = (0.0, 0);
        for (bound, count) in &self.within {
            if *count as f64 >= rank {
                if *bound >= FOREVER {
                    return Some(low);
                }
                let inside = (count - below) as f64;
                let share = if inside > 0.0 { (rank - below as f64) / inside } else { 1.0 };
                return Some(low + (bound - low) * share);
            }
            (low, below) = (*bound, *count);
        }
        Some(low)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "counters are whole, and a cast saturates")]
fn whole(value: f64) -> i64 {
    value as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition;

    const TEXT: &str = r#"
http_requests_total{method="GET",route="/a",status="200"} 90
http_requests_total{method="GET",route="/a",status="503"} 10
http_requests_total{method="GET",route="/a",status="503",excused="maintenance"} 7000
http_request_duration_seconds_bucket{le="0.1",method="GET",route="/a"} 50
http_request_duration_seconds_bucket{le="0.2",method="GET",route="/a"} 90
http_request_duration_seconds_bucket{le="0.5",method="GET",route="/a"} 98
http_request_duration_seconds_bucket{le="+Inf",method="GET",route="/a"} 100
"#;

    fn read() -> Totals {
        Totals::read(&exposition::parse(TEXT).unwrap(), &Classes::default())
    }

    #[test]
    fn reads_counters_and_histograms() {
        let totals = read();
        let reads = &totals.classes["read"];
        assert_eq!((reads.requests, reads.errors, reads.timed(), reads.fast(0.2)), (100, 10, 100, 90));
        let median = reads.quantile(0.5).unwrap();
        assert!((median - 0.1).abs() < 1e-9, "{median}");
        assert!((reads.quantile(0.94).unwrap() - 0.35).abs() < 1e-9);
        // Beyond the last finite bound nobody knows more than that bound.
        assert!((reads.quantile(0.995).unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(ClassTotals::default().quantile(0.99), None);
    }

    #[test]
    fn a_restart_counts_from_nothing_and_a_first_look_counts_nothing() {
        let mut later = read();
        later.classes.get_mut("read").unwrap().requests = 130;
        assert!(later.since(None).is_empty());
        assert_eq!(later.since(Some(&read()))["read"].requests, 30);
        // Fewer requests than before: the process began anew.
        assert_eq!(read().since(Some(&later))["read"].requests, 100);
        // More requests than before, but another start: the same.
        let mut restarted = later.clone();
        restarted.started = Some(7);
        let before = Totals { started: Some(3), ..read() };
        assert_eq!(restarted.since(Some(&before))["read"].requests, 130);
        // A class that was not seen before has happened since.
        assert_eq!(read().since(Some(&Totals::default()))["read"].requests, 100);
    }

    #[test]
    fn survives_being_kept_as_json() {
        let text = serde_json::to_string(&read()).unwrap();
        assert_eq!(serde_json::from_str::<Totals>(&text).unwrap(), read());
    }
}
