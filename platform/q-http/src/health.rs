//! Health: what a module depends on, asked rarely and answered from memory.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, gauge::ConstGauge},
};
use q_core::{Env, Span, Timestamp};
use serde::Serialize;
use tokio::time::Instant;

/// How long an outcome is repeated before the checks run again.
const CACHED_FOR: Span = Span::seconds(1);
/// How long an answer of health waits for checks: one that hangs is told as it stands, and keeps nobody waiting.
const PATIENCE: Duration = Duration::from_millis(300);
/// What answers later than this is degraded: whoever asks it keeps the promise of 200 ms to nobody.
const SLOW_AFTER: Duration = PATIENCE;
/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How many outcomes of a check its percentiles are taken from: about four minutes of being asked each second.
const OUTCOMES_MAX: usize = 256;

/// One thing a module needs.
#[derive(Clone)]
pub struct Check {
    /// Its name, such as `store` or `squid`.
    pub name: &'static str,
    /// Whether the module cannot serve without it.
    pub is_required: bool,
    /// Finds out whether it is up; the error says what is wrong.
    pub run: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Check {
    /// A check of something the module cannot serve without.
    pub fn required<F>(name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, is_required: true, run: Arc::new(move || Box::pin(run())) }
    }

    /// A check of something whose loss only degrades the module.
    pub fn optional<F>(name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, is_required: false, run: Arc::new(move || Box::pin(run())) }
    }
}

/// The state of one dependency, as the runbook prints it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Dependency {
    /// `up`, `down`, or `degraded`: it answers late.
    pub(crate) status: &'static str,
    /// Milliseconds the check took, or has taken so far.
    pub(crate) latency: u64,
    #[serde(skip)]
    took: Duration,
    #[serde(skip)]
    pub(crate) is_required: bool,
    #[serde(skip)]
    pub(crate) error: Option<String>,
}

/// What operators see of a dependency besides.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DependencyDetails {
    status: &'static str,
    latency: u64,
    required: bool,
    last_success: Option<Timestamp>,
    last_error: Option<String>,
    last_error_at: Option<Timestamp>,
    /// Milliseconds, of the last 256 outcomes.
    latency_p50: Option<f64>,
    latency_p99: Option<f64>,
}

/// The body of `/health`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Health {
    pub(crate) status: &'static str,
    pub(crate) timestamp: Timestamp,
    pub(crate) version: &'static str,
    pub(crate) dependencies: BTreeMap<&'static str, Dependency>,
}

impl Health {
    pub(crate) fn is_serving(&self) -> bool {
        self.status != "unhealthy"
    }
}

/// Runs the checks of a module, at most once a second however often it is asked.
pub(crate) struct Monitor {
    checks: Vec<Arc<Watched>>,
    last: Mutex<Option<Health>>,
    /// Since when the status is what it is.
    since: Mutex<Option<Timestamp>>,
    asking: tokio::sync::Mutex<()>,
}

/// A check and what became of it.
struct Watched {
    check: Check,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// While one runs.
    began: Option<Instant>,
    /// Of the last one that ended.
    outcome: Option<(Result<(), String>, Duration)>,
    last_success: Option<Timestamp>,
    last_error: Option<(Timestamp, String)>,
    /// Of the latest ones, in milliseconds.
    latencies: VecDeque<f64>,
}

impl Watched {
    /// Runs the check in a task of its own, so that it ends even when nobody waits for it any more.
    async fn run(self: Arc<Self>, env: Env) {
        let began = Instant::now();
        let outcome = tokio::time::timeout(CHECK_TIMEOUT, (self.check.run)()).await;
        let outcome =
            outcome.unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())));
        let took = began.elapsed();
        let mut seen = self.seen.lock();
        seen.began = None;
        match &outcome {
            Ok(()) => seen.last_success = Some(env.now()),
            Err(error) => seen.last_error = Some((env.now(), error.clone())),
        }
        if seen.latencies.len() == OUTCOMES_MAX {
            seen.latencies.pop_front();
        }
        seen.latencies.push_back(took.as_secs_f64() * 1_000.0);
        seen.outcome = Some((outcome, took));
    }

    /// Begins a run unless one is under way.
    fn begin(self: &Arc<Self>, env: &Env) -> Option<tokio::task::JoinHandle<()>> {
        let mut seen = self.seen.lock();
        if seen.began.is_some() {
            return None;
        }
        seen.began = Some(Instant::now());
        Some(tokio::spawn(self.clone().run(env.clone())))
    }

    fn dependency(&self) -> Dependency {
        let seen = self.seen.lock();
        let running = seen.began.map(|began| began.elapsed());
        let (error, took) = match (&seen.outcome, running) {
            // One that was down is down until it is seen to be up.
            (Some((Err(error), took)), _) => (Some(error.clone()), running.unwrap_or_default().max(*took)),
            (_, Some(running)) => (None, running),
            (Some((Ok(()), took)), None) => (None, *took),
            (None, None) => (None, Duration::ZERO),
        };
        let status = match &error {
            Some(_) => "down",
            None if took >= SLOW_AFTER => "degraded",
            None => "up",
        };
        let latency = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        Dependency { status, latency, took, is_required: self.check.is_required, error }
    }

    fn details(&self, dependency: &Dependency) -> DependencyDetails {
        let seen = self.seen.lock();
        let mut latencies: Vec<f64> = seen.latencies.iter().copied().collect();
        latencies.sort_by(f64::total_cmp);
        DependencyDetails {
            status: dependency.status,
            latency: dependency.latency,
            required: dependency.is_required,
            last_success: seen.last_success,
            last_error: seen.last_error.as_ref().map(|(_, error)| error.clone()),
            last_error_at: seen.last_error.as_ref().map(|(at, _)| *at),
            latency_p50: quantile(&latencies, 50),
            latency_p99: quantile(&latencies, 99),
        }
    }
}

/// The smallest of the sorted values that `percent` of them do not exceed.
fn quantile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map(|millis| (millis * 1_000.0).round() / 1_000.0)
}

impl Monitor {
    pub(crate) fn new(checks: Vec<Check>) -> Self {
        let watched = |check| Arc::new(Watched { check, seen: Mutex::default() });
        Self {
            checks: checks.into_iter().map(watched).collect(),
            last: Mutex::default(),
            since: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    pub(crate) async fn health(&self, env: &Env) -> Health {
        if let Some(fresh) = self.fresh(env.now()) {
            return fresh;
        }
        let _one_at_a_time = self.asking.lock().await;
        if let Some(fresh) = self.fresh(env.now()) {
            return fresh;
        }
        let begun = self.checks.iter().filter_map(|watched| watched.begin(env));
        // Those that are not done by then go on, and are told as running.
        let _ = tokio::time::timeout(PATIENCE, join_all(begun)).await;
        let dependencies: BTreeMap<_, _> =
            self.checks.iter().map(|watched| (watched.check.name, watched.dependency())).collect();
        let health = Health {
            status: status(&dependencies),
            timestamp: env.now(),
            version: env!("CARGO_PKG_VERSION"),
            dependencies,
        };
        let mut last = self.last.lock();
        if last.as_ref().is_none_or(|last| last.status != health.status) {
            *self.since.lock() = Some(health.timestamp);
        }
        *last = Some(health.clone());
        health
    }

    /// Since when the status is what it is.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        *self.since.lock()
    }

    pub(crate) fn details(&self, health: &Health) -> BTreeMap<&'static str, DependencyDetails> {
        let details = |watched: &Arc<Watched>| {
            let name = watched.check.name;
            Some((name, watched.details(health.dependencies.get(name)?)))
        };
        self.checks.iter().filter_map(details).collect()
    }

    fn fresh(&self, now: Timestamp) -> Option<Health> {
        let last = self.last.lock();
        last.as_ref()
            .filter(|health| now.since(health.timestamp) < CACHED_FOR && now >= health.timestamp)
            .cloned()
    }
}

fn status(dependencies: &BTreeMap<&'static str, Dependency>) -> &'static str {
    let is_down = |dependency: &&Dependency| dependency.error.is_some();
    if dependencies.values().filter(is_down).any(|dependency| dependency.is_required) {
        "unhealthy"
    } else if dependencies.values().any(|dependency| dependency.status != "up") {
        "degraded"
    } else {
        "healthy"
    }
}

/// The last answer of health, as metrics.
pub(crate) struct Gauges(pub(crate) Arc<Monitor>);

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("health")
    }
}

impl Collector for Gauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(health) = self.0.last.lock().clone() else { return Ok(()) };
        let help = "What the module says of its health: 1 for the status that holds.";
        let mut family = encoder.encode_descriptor("q_health", help, None, MetricType::Gauge)?;
        for status in ["healthy", "degraded", "unhealthy"] {
            let gauge = ConstGauge::new(i64::from(status == health.status));
            gauge.encode(family.encode_family(&[("status", status)])?)?;
        }
        let help = "Whether a dependency answers, late or not.";
        let mut family = encoder.encode_descriptor("q_dependency_up", help, None, MetricType::Gauge)?;
        for (name, dependency) in &health.dependencies {
            let gauge = ConstGauge::new(i64::from(dependency.status != "down"));
            let required = if dependency.is_required { "true" } else { "false" };
            gauge.encode(family.encode_family(&[("dependency", *name), ("required", required)])?)?;
        }
        let help = "How long the last check of a dependency took.";
        let name = "q_dependency_check_duration_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, dependency) in &health.dependencies {
            ConstGauge::new(dependency.took.as_secs_f64())
                .encode(family.encode_family(&[("dependency", *name)])?)?;
        }
        Ok(())
    }
}
