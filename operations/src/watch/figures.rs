//! What the desk knows of each module and shows as metrics: for the same rules in Prometheus.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use q_backup::Status;
use q_core::Timestamp;
use q_slo::{Rule, Signal};

use super::{
    domain::{Key, Reading},
    readings::seconds,
};

type Value = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Watched {
    watched: String,
}

/// The figures as they were at the newest look.
#[derive(Debug, Default)]
pub(super) struct Figures {
    findings: Family<Watched, Value>,
    jumps: Family<Watched, Value>,
    backups: Backups,
}

/// How it stands with backups. Without labels, and without values while there is no backup.
#[derive(Debug, Default)]
struct Backups {
    at: Single,
    age: Single,
    shipped_until: Single,
    bytes: Single,
    written: Single,
    took: Single,
    failed_at: Single,
    failures: Counter,
}

/// A figure that is not there before it has a value.
type Single = Family<Vec<(String, String)>, Value>;

impl Figures {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "What the newest verification of a module found wrong";
        registry.register("ops_verification_findings", help, self.findings.clone());
        let help = "By how much a module's clock was moved, or differs from the desk's";
        registry.register("ops_clock_jump_seconds", help, self.jumps.clone());
        self.backups.register(registry);
    }

    /// Takes over what the rules read, and what else is known of backups.
    pub(super) fn show(&self, rules: &[Rule], readings: &BTreeMap<Key, Reading>, backups: &Status) {
        for (key, reading) in readings {
            let Some(value) = reading.value else { continue };
            let family = match rules.iter().find(|rule| rule.id == key.0).map(|rule| rule.signal) {
                Some(Signal::Findings) => &self.findings,
                Some(Signal::ClockJump) => &self.jumps,
                Some(Signal::BackupAge) => {
                    set(&self.backups.age, value);
                    continue;
                }
                _ => continue,
            };
            family.get_or_create(&Watched { watched: key.1.clone() }).set(value);
        }
        self.backups.show(backups);
    }
}

impl Backups {
    fn register(&self, registry: &mut Registry) {
        let gauges = [
            (
                "last_success_timestamp_seconds",
                "When the newest backup was made, in seconds since 1970",
                &self.at,
            ),
            (
                "age_seconds",
                "What the rule of old backups reads: the age of the newest, or since when there is none",
                &self.age,
            ),
            (
                "shipped_until_timestamp_seconds",
                "Until when everything committed has left this machine, in seconds since 1970 (SQLite)",
                &self.shipped_until,
            ),
            ("size_bytes", "What the newest backup holds", &self.bytes),
            ("written_bytes", "What had to be written for the newest backup", &self.written),
            ("duration_seconds", "How long the newest backup took", &self.took),
            (
                "last_failure_timestamp_seconds",
                "When an attempt failed last, in seconds since 1970; not there when none did since the newest backup",
                &self.failed_at,
            ),
        ];
        for (name, help, gauge) in gauges {
            registry.register(format!("ops_backup_{name}"), help, gauge.clone());
        }
        registry.register("ops_backup_failures", "Attempts at a backup that failed", self.failures.clone());
    }

    fn show(&self, status: &Status) {
        let instant = |at: Timestamp| seconds(at.since(Timestamp::default()));
        #[expect(clippy::cast_precision_loss, reason = "bytes and milliseconds of a backup stay below 2^53")]
        let number = |value: u64| value as f64;
        self.failures.inner().store(status.failures, Ordering::Relaxed);
        match status.last_failure {
            Some(at) => set(&self.failed_at, instant(at)),
            None => self.failed_at.clear(),
        }
        if let Some(until) = status.shipped_until {
            set(&self.shipped_until, instant(until));
        }
        if let Some(at) = status.last_success {
            set(&self.at, instant(at));
            set(&self.bytes, number(status.bytes));
            set(&self.written, number(status.written));
            set(&self.took, number(status.took_ms) / 1e3);
        }
    }
}

fn set(figure: &Single, value: f64) {
    figure.get_or_create(&Vec::new()).set(value);
}
