//! Health: what a module depends on, asked rarely and answered from memory.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use q_core::{Env, Span, Timestamp};
use serde::Serialize;

/// How long an outcome is repeated before the checks run again.
const CACHED_FOR: Span = Span::seconds(1);
/// How long one check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

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
    pub(crate) status: &'static str,
    /// Milliseconds the check took.
    pub(crate) latency: u64,
    #[serde(skip)]
    pub(crate) is_required: bool,
    #[serde(skip)]
    pub(crate) error: Option<String>,
    #[serde(skip)]
    pub(crate) last_success: Option<Timestamp>,
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
    checks: Vec<Check>,
    last: Mutex<Option<Health>>,
    running: tokio::sync::Mutex<()>,
}

impl Monitor {
    pub(crate) fn new(checks: Vec<Check>) -> Self {
        Self { checks, last: Mutex::default(), running: tokio::sync::Mutex::default() }
    }

    pub(crate) async fn health(&self, env: &Env) -> Health {
        if let Some(fresh) = self.fresh(env.now()) {
            return fresh;
        }
        let _one_at_a_time = self.running.lock().await;
        if let Some(fresh) = self.fresh(env.now()) {
            return fresh;
        }
        let outcomes = join_all(self.checks.iter().map(outcome)).await;
        let now = env.now();
        let mut last = self.last.lock();
        let dependencies: BTreeMap<_, _> = self
            .checks
            .iter()
            .zip(outcomes)
            .map(|(check, mut outcome)| {
                outcome.last_success = if outcome.error.is_none() {
                    Some(now)
                } else {
                    last.as_ref()
                        .and_then(|health| health.dependencies.get(check.name))
                        .and_then(|earlier| earlier.last_success)
                };
                (check.name, outcome)
            })
            .collect();
        let health = Health {
            status: status(&dependencies),
            timestamp: now,
            version: env!("CARGO_PKG_VERSION"),
            dependencies,
        };
        *last = Some(health.clone());
        health
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
    } else if dependencies.values().any(|dependency| is_down(&dependency)) {
        "degraded"
    } else {
        "healthy"
    }
}

async fn outcome(check: &Check) -> Dependency {
    let started = tokio::time::Instant::now();
    let error = match tokio::time::timeout(CHECK_TIMEOUT, (check.run)()).await {
        Ok(answer) => answer.err(),
        Err(_) => Some(format!("no answer within {} s", CHECK_TIMEOUT.as_secs())),
    };
    Dependency {
        status: if error.is_none() { "up" } else { "down" },
        latency: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        is_required: check.is_required,
        error,
        last_success: None,
    }
}
