//! What the desk knows of each module and shows as metrics: for the same rules in Prometheus.

use std::{collections::BTreeMap, sync::atomic::AtomicU64};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
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
    /// Without a label, and without a value while there is no backup.
    backup_at: Family<Vec<(String, String)>, Value>,
}

impl Figures {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "What the newest verification of a module found wrong";
        registry.register("ops_verification_findings", help, self.findings.clone());
        let help = "By how much a module's clock was moved, or differs from the desk's";
        registry.register("ops_clock_jump_seconds", help, self.jumps.clone());
        let help = "When the newest backup was made, in seconds since 1970";
        registry.register("ops_backup_last_success_timestamp_seconds", help, self.backup_at.clone());
    }

    /// Takes over what the rules read.
    pub(super) fn show(
        &self,
        rules: &[Rule],
        readings: &BTreeMap<Key, Reading>,
        backup_at: Option<Timestamp>,
    ) {
        for (key, reading) in readings {
            let Some(value) = reading.value else { continue };
            let family = match rules.iter().find(|rule| rule.id == key.0).map(|rule| rule.signal) {
                Some(Signal::Findings) => &self.findings,
                Some(Signal::ClockJump) => &self.jumps,
                _ => continue,
            };
            family.get_or_create(&Watched { watched: key.1.clone() }).set(value);
        }
        if let Some(at) = backup_at {
            self.backup_at.get_or_create(&Vec::new()).set(seconds(at.since(Timestamp::default())));
        }
    }
}
