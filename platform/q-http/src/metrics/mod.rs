//! Counters and durations of a module, for Prometheus and for the operators' own eyes.
//!
//! What is counted on every request is created once, when the module is mounted, and reached without a look-up; what
//! can be read when somebody asks is read then ([`Collector`](prometheus_client::collector::Collector)).
//!
//! **Invariant:** a label has few values, known when the code is written.

mod process;
mod recent;
mod store;
mod text;

use std::{
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use parking_lot::{Mutex, RwLock};
use prometheus_client::{
    encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};
use q_contract::Declaration;
use q_db::Db;

pub use process::Usage;
pub use recent::Summary;
pub(crate) use text::{OPEN_METRICS, PROMETHEUS, plain};

use recent::Recent;

/// The registry in which a module may put metrics of its own.
pub type SharedRegistry = Arc<Mutex<Registry>>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct RequestLabels {
    method: &'static str,
    route: &'static str,
    answer: Answer,
}

/// What a request came to.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// Whether it is a refusal that was announced: no promise covers it, and it was not worked on.
    pub(crate) is_excused: bool,
}

impl EncodeLabelSet for RequestLabels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        ("method", self.method).encode(encoder.encode_label())?;
        ("route", self.route).encode(encoder.encode_label())?;
        ("status", self.answer.status).encode(encoder.encode_label())?;
        if self.answer.is_excused {
            // Absent from all others: to Prometheus `excused=""` says the same.
            ("excused", "maintenance").encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// Upper bounds of the duration buckets, in seconds: dense around the promise (0.2) and the alert (0.5).
const DURATION_BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 5.0];

/// How long a scrape waits for figures that have to be asked for.
const REFRESH_MAX: Duration = Duration::from_secs(1);

type Hook = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

static OPEN_CONNECTIONS: AtomicI64 = AtomicI64::new(0);

/// Counts a connection of this process as open until it is dropped.
pub(crate) struct OpenConnection(());

impl OpenConnection {
    pub(crate) fn new() -> Self {
        OPEN_CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        OPEN_CONNECTIONS.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections are open in this process.
pub fn open_connections() -> i64 {
    OPEN_CONNECTIONS.load(Ordering::Relaxed)
}

/// The metrics every module has.
pub struct Metrics {
    registry: SharedRegistry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    recent: Recent,
    options: Options,
    hook: OnceLock<Hook>,
}

/// What an operator chose for the metrics of a process.
#[derive(Clone)]
pub struct Options {
    /// False counts no requests: only to measure what counting them costs.
    pub is_on: bool,
    /// The folder whose disk is watched.
    pub data: Option<PathBuf>,
    /// What a scraper elsewhere shows as a bearer token.
    pub token: Option<Arc<str>>,
}

impl Default for Options {
    fn default() -> Self {
        Self { is_on: true, data: None, token: None }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Options::default())
    }
}

impl Metrics {
    /// The metrics of a module.
    pub fn new(options: Options) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let durations =
            Family::new_with_constructor((|| Histogram::new(DURATION_BUCKETS)) as fn() -> Histogram);
        let help = "Time from request head to response head";
        registry.register("http_request_duration_seconds", help, durations.clone());
        let in_flight = Gauge::default();
        registry.register("http_requests_in_flight", "Requests being answered", in_flight.clone());
        registry.register_collector(Box::new(process::Collector { data: options.data.clone() }));
        let registry = Arc::new(Mutex::new(registry));
        Self {
            registry,
            requests,
            durations,
            in_flight,
            recent: Recent::default(),
            options,
            hook: OnceLock::new(),
        }
    }

    /// The registry behind `/metrics`.
    pub fn registry(&self) -> SharedRegistry {
        self.registry.clone()
    }

    /// What this process uses of its machine.
    pub fn usage(&self) -> Usage {
        Usage::now(self.options.data.as_deref())
    }

    /// The requests of the last five minutes.
    pub fn recent(&self) -> Summary {
        self.recent.summary()
    }

    /// Has `hook` run before each scrape, to learn what a scrape cannot wait for itself. The first one counts.
    pub fn before_scrape(&self, hook: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static) {
        let _ = self.hook.set(Box::new(hook));
    }

    /// Runs the hook; figures that take longer than a second stay as they were.
    pub(crate) async fn refresh(&self) {
        if let Some(hook) = self.hook.get() {
            let _ = tokio::time::timeout(REFRESH_MAX, hook()).await;
        }
    }

    /// Whether `given` is the token for scrapers, found out in a time that tells nothing of it.
    pub(crate) fn knows_token(&self, given: &str) -> bool {
        self.options
            .token
            .as_ref()
            .is_some_and(|token| q_core::hash::is_same_secret(token.as_bytes(), given.as_bytes()))
    }

    /// Adds what the module's store counts.
    pub(crate) fn watch_store(&self, db: &Db, module: &'static str) {
        self.registry.lock().register_collector(Box::new(store::Collector { db: db.clone(), module }));
    }

    /// The text `/metrics` answers (OpenMetrics 1.0).
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry.lock());
        text
    }

    /// What is counted of one endpoint, there from the start: a rate needs a zero to rise from.
    pub(crate) fn route(self: &Arc<Self>, declaration: &Declaration) -> RouteMetrics {
        let (method, route) = (declaration.method.as_str(), declaration.path);
        RouteMetrics {
            duration: self.durations.get_or_create_owned(&RouteLabels { method, route }),
            by_answer: RwLock::default(),
            method,
            route,
            metrics: self.clone(),
        }
    }
}

/// The counters of one endpoint.
pub(crate) struct RouteMetrics {
    metrics: Arc<Metrics>,
    method: &'static str,
    route: &'static str,
    duration: Histogram,
    /// Few, so they are looked through.
    by_answer: RwLock<Vec<(Answer, Counter)>>,
}

impl RouteMetrics {
    pub(crate) fn begun(&self) -> InFlight<'_> {
        let gauge = self.metrics.options.is_on.then_some(&self.metrics.in_flight);
        gauge.inspect(|gauge| {
            gauge.inc();
        });
        InFlight(gauge)
    }

    pub(crate) fn ended(&self, answer: Answer, duration: Duration) {
        if !self.metrics.options.is_on {
            return;
        }
        if !answer.is_excused {
            self.duration.observe(duration.as_secs_f64());
            self.metrics.recent.note(duration, answer.status >= 500);
        }
        let known = self.by_answer.read().iter().find(|(known, _)| *known == answer).map(|(_, counter)| {
            counter.inc();
        });
        if known.is_none() {
            let labels = RequestLabels { method: self.method, route: self.route, answer };
            let counter = self.metrics.requests.get_or_create_owned(&labels);
            counter.inc();
            let mut by_answer = self.by_answer.write();
            if by_answer.iter().all(|(known, _)| *known != answer) {
                by_answer.push((answer, counter));
            }
        }
    }
}

/// A request that is being answered; one whose client goes away is no longer.
pub(crate) struct InFlight<'a>(Option<&'a Gauge>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        if let Some(gauge) = self.0 {
            gauge.dec();
        }
    }
}
