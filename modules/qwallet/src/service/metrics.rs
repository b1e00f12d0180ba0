//! The wallet's own figures. What is touched by every commit is an atomic number or a histogram of few buckets; what
//! has to be asked of the store is asked by a job.

use std::{
    sync::atomic::{AtomicI64, AtomicU64},
    time::Duration,
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use q_contract::Problem;

use crate::domain::payment::Refusal;

/// The code of a refusal: there are as many as the program knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: String,
}

/// A currency of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfCurrency {
    currency: String,
}

/// A rail of the instance.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfRail {
    rail: String,
}

/// The wallet's own figures.
#[derive(Debug)]
pub struct Metrics {
    batch_size: Histogram,
    commit_seconds: Histogram,
    queue_depth: Gauge<i64, AtomicI64>,
    refusals: Family<Code, Counter<u64, AtomicU64>>,
    holds_open: Gauge<i64, AtomicI64>,
    /// Units as floating point: a difference is an alarm whatever its last digits are.
    trial_balance_difference: Family<OfCurrency, Gauge<f64, AtomicU64>>,
    rail_difference: Family<OfRail, Gauge<f64, AtomicU64>>,
    clock_ahead: Gauge<i64, AtomicI64>,
    webhook_lag: Gauge<i64, AtomicI64>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            // 1, 2, 4 … 4,096 payments.
            batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            // Half a millisecond to eight seconds.
            commit_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 15)),
            queue_depth: Gauge::default(),
            refusals: Family::default(),
            holds_open: Gauge::default(),
            trial_balance_difference: Family::default(),
            rail_difference: Family::default(),
            clock_ahead: Gauge::default(),
            webhook_lag: Gauge::default(),
        }
    }
}

impl Metrics {
    /// Notes a commit of so many payments.
    pub fn committed(&self, payments: usize, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a commit has few payments")]
        self.batch_size.observe(payments as f64);
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Notes a refusal.
    pub fn refused(&self, refusal: &Refusal) {
        let code = Problem::from(*refusal).code;
        self.refusals.get_or_create(&Code { code }).inc();
    }

    /// Notes how many payments wait.
    pub fn set_queue_depth(&self, payments: usize) {
        self.queue_depth.set(i64::try_from(payments).unwrap_or(i64::MAX));
    }

    /// Notes how many holds are open.
    pub fn set_holds_open(&self, holds: i64) {
        self.holds_open.set(holds);
    }

    /// Notes by how many units the two sides of a currency differ: zero, or an alarm.
    pub fn set_difference(&self, currency: &str, units: f64) {
        let label = OfCurrency { currency: currency.to_owned() };
        self.trial_balance_difference.get_or_create(&label).set(units);
    }

    /// Notes by how many units a chain or a bank holds more than the books say, or less.
    pub fn set_rail_difference(&self, rail: &str, outside: u128, books: u128) {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a difference is an alarm whatever its last digits are"
        )]
        let units = outside.abs_diff(books) as f64;
        let label = OfRail { rail: rail.to_owned() };
        self.rail_difference.get_or_create(&label).set(if outside < books { -units } else { units });
    }

    /// Notes by how many seconds the clock jumped ahead; zero while it is trusted.
    pub fn set_clock_ahead(&self, seconds: i64) {
        self.clock_ahead.set(seconds);
    }

    /// Notes for how many seconds the oldest delivery that is due has been due.
    pub fn set_webhook_lag(&self, seconds: i64) {
        self.webhook_lag.set(seconds);
    }

    /// Puts the figures beside those every module has.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "qwallet_batch_size",
            "Payments carried out by one commit",
            self.batch_size.clone(),
        );
        registry.register_with_unit(
            "qwallet_commit",
            "Time from the beginning of a commit of payments until it is on disk",
            Unit::Seconds,
            self.commit_seconds.clone(),
        );
        registry.register("qwallet_queue_depth", "Payments that wait", self.queue_depth.clone());
        registry.register("qwallet_refusals", "Payments that were refused, by code", self.refusals.clone());
        registry.register(
            "qwallet_holds_open",
            "Signed payments whose money is held",
            self.holds_open.clone(),
        );
        registry.register(
            "qwallet_trial_balance_difference",
            "Units by which the two sides of the books differ; anything but zero is an alarm",
            self.trial_balance_difference.clone(),
        );
        registry.register(
            "qwallet_rail_difference",
            "Units by which a chain or a bank holds more than the books say; less than zero is an alarm",
            self.rail_difference.clone(),
        );
        registry.register_with_unit(
            "qwallet_clock_ahead",
            "Time by which the host's clock jumped ahead, while nothing lapses because of it",
            Unit::Seconds,
            self.clock_ahead.clone(),
        );
        registry.register_with_unit(
            "qwallet_webhook_lag",
            "Time for which the oldest delivery to a webhook that is due has been due",
            Unit::Seconds,
            self.webhook_lag.clone(),
        );
    }
}
