//! Counters and durations of a module, as Prometheus text.

use std::sync::{Arc, atomic::AtomicU64};

use parking_lot::Mutex;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// The registry in which a module may put metrics of its own.
pub type SharedRegistry = Arc<Mutex<Registry>>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RouteLabels {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    pub(crate) method: &'static str,
    pub(crate) route: &'static str,
    pub(crate) status: u16,
}

/// Upper bounds of the duration buckets, in seconds: dense around the 200 ms promise.
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 5.0];

/// The metrics every module has.
pub struct Metrics {
    registry: SharedRegistry,
    pub(crate) requests: Family<RequestLabels, Counter>,
    pub(crate) durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    resident_bytes: Gauge,
    cpu_seconds: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let durations =
            Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram);
        registry.register(
            "http_request_duration_seconds",
            "Time from request head to response head",
            durations.clone(),
        );
        let in_flight = Gauge::default();
        registry.register("http_requests_in_flight", "Requests being answered", in_flight.clone());
        let resident_bytes = Gauge::default();
        registry.register(
            "process_resident_memory_bytes",
            "Resident memory of the process",
            resident_bytes.clone(),
        );
        let cpu_seconds = Gauge::default();
        registry.register("process_cpu_used_seconds", "CPU time used by the process", cpu_seconds.clone());
        Self {
            registry: Arc::new(Mutex::new(registry)),
            requests,
            durations,
            in_flight,
            resident_bytes,
            cpu_seconds,
        }
    }
}

impl Metrics {
    /// The registry behind `/metrics`.
    pub fn registry(&self) -> SharedRegistry {
        self.registry.clone()
    }

    /// The text `/metrics` answers (OpenMetrics 1.0).
    pub(crate) fn render(&self) -> String {
        if let Some((resident, cpu)) = process_usage() {
            self.resident_bytes.set(resident);
            self.cpu_seconds.set(cpu);
        }
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }
}

/// Resident bytes and CPU seconds from `/proc/self` (proc(5)); `None` where there is no such folder.
fn process_usage() -> Option<(i64, f64)> {
    const PAGE_BYTES: i64 = 4096;
    const TICKS_PER_SECOND: f64 = 100.0;
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let resident = statm.split(' ').nth(1)?.parse::<i64>().ok()? * PAGE_BYTES;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces; the fields are counted from the parenthesis that closes it.
    let mut fields = stat.rsplit(')').next()?.split(' ').skip(12);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some((resident, ticks / TICKS_PER_SECOND))
}
