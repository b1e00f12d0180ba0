//! Counting while a run goes on, and the figures at its end.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Latencies beyond this are counted as this: ten minutes, in microseconds.
const LATENCY_MICROS_MAX: u64 = 600_000_000;

/// What one answer confirmed as done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Payments settled.
    pub payments: u64,
    /// Ledger transfers (legs) written for them.
    pub transfers: u64,
}

/// The counts of one client, or of all.
pub struct Tally {
    latencies: Histogram<u64>,
    work: Work,
    errors: BTreeMap<String, u64>,
}

/// The figures of one measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Payments answered as settled, per second.
    pub payments_per_second: f64,
    /// Ledger transfers (legs) answered as settled, per second.
    pub transfers_per_second: f64,
    /// Requests answered, per second.
    pub requests_per_second: f64,
    /// Half of the requests were answered within this.
    pub p50_ms: f64,
    /// 99 of 100 requests were answered within this.
    pub p99_ms: f64,
    /// The slowest answer.
    pub max_ms: f64,
    /// Requests refused or lost.
    pub errors: u64,
    /// The same by problem code.
    pub error_codes: BTreeMap<String, u64>,
    /// Connections.
    pub clients: usize,
    /// Length of the measured window.
    pub seconds: f64,
}

impl Tally {
    /// Nothing counted.
    pub fn new() -> Self {
        let latencies =
            Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3).expect("the bounds are constants that hold");
        Self { latencies, work: Work::default(), errors: BTreeMap::new() }
    }

    /// Counts an answer.
    pub fn success(&mut self, work: Work, latency: Duration) {
        self.work.payments += work.payments;
        self.work.transfers += work.transfers;
        self.latencies.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(LATENCY_MICROS_MAX));
    }

    /// Counts an error.
    pub fn error(&mut self, code: &str) {
        *self.errors.entry(code.to_owned()).or_default() += 1;
    }

    /// Adds another client's counts.
    pub fn add(&mut self, other: &Self) {
        self.latencies.add(&other.latencies).expect("all histograms have the same bounds");
        self.work.payments += other.work.payments;
        self.work.transfers += other.work.transfers;
        for (code, count) in &other.errors {
            *self.errors.entry(code.clone()).or_default() += count;
        }
    }

    /// The figures over a window of this length.
    #[expect(clippy::cast_precision_loss, reason = "counts of one run stay far below 2^52")]
    pub fn figures(&self, clients: usize, window: Duration) -> Figures {
        let seconds = window.as_secs_f64();
        let millis = |micros: u64| micros as f64 / 1_000.0;
        Figures {
            payments_per_second: self.work.payments as f64 / seconds,
            transfers_per_second: self.work.transfers as f64 / seconds,
            requests_per_second: self.latencies.len() as f64 / seconds,
            p50_ms: millis(self.latencies.value_at_quantile(0.5)),
            p99_ms: millis(self.latencies.value_at_quantile(0.99)),
            max_ms: millis(self.latencies.max()),
            errors: self.errors.values().sum(),
            error_codes: self.errors.clone(),
            clients,
            seconds,
        }
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
