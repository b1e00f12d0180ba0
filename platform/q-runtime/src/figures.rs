//! What a house can say of a module without the module: its store, its outbox, how far it has heard the others.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use q_bus::{Bus, Lag};
use q_core::{Env, Timestamp};
use q_db::{Db, DbError};
use serde_json::{Value, json};

/// The figures of one module in this process. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Figures(Arc<Inner>);

struct Inner {
    module: &'static str,
    db: Db,
    bus: Bus,
    env: Env,
    started_at: Timestamp,
    size_bytes: AtomicU64,
}

/// How far behind the hearing of a stream is.
#[derive(Debug, Default, Clone, Copy)]
struct Behind {
    waiting: i64,
    oldest_age_seconds: f64,
    failures: u32,
    parked: u64,
    is_connected: bool,
}

impl Behind {
    /// The worst of several subscriptions.
    fn worst<'a>(lags: impl IntoIterator<Item = &'a Lag>, now: Timestamp) -> Self {
        let mut worst = Self { is_connected: true, ..Self::default() };
        for lag in lags {
            worst.waiting = worst.waiting.max(lag.waiting());
            worst.oldest_age_seconds = worst.oldest_age_seconds.max(age_seconds(lag, now));
            worst.failures = worst.failures.max(lag.failures);
            worst.parked += lag.parked;
            worst.is_connected &= lag.is_connected;
        }
        worst
    }
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn age_seconds(lag: &Lag, now: Timestamp) -> f64 {
    lag.pending_since.map_or(0.0, |since| now.since(since).as_micros().max(0) as f64 / 1e6)
}

impl Figures {
    pub(crate) fn new(module: &'static str, db: Db, bus: Bus, env: Env, started_at: Timestamp) -> Self {
        let size_bytes = AtomicU64::new(0);
        Self(Arc::new(Inner { module, db, bus, env, started_at, size_bytes }))
    }

    /// Asks for what a scrape could not wait for.
    pub(crate) async fn refresh(&self) {
        self.0.bus.look_ahead(self.0.module).await;
        match self.0.db.size_bytes().await {
            Ok(bytes) => self.0.size_bytes.store(bytes, Ordering::Relaxed),
            Err(DbError::Closed) => {}
            Err(error) => tracing::debug!(module = self.0.module, %error, "the store's size is not known"),
        }
    }

    /// The part of `/health/detailed` about store and bus.
    pub(crate) async fn details(&self) -> Value {
        let Inner { module, db, bus, env, started_at, .. } = &*self.0;
        bus.look_ahead(module).await;
        let store = match db.stats().await {
            Ok(stats) => json!(stats),
            Err(error) => json!({"error": error.to_string()}),
        };
        let now = env.now();
        let outbox = Behind::worst(&self.heard_by_others(), now);
        json!({
            "store": store,
            "outbox": {"waiting": outbox.waiting, "oldestAgeSeconds": outbox.oldest_age_seconds},
            "bus": bus.lags_of(module),
            "uptimeSeconds": now.since(*started_at).as_seconds(),
        })
    }

    fn heard_by_others(&self) -> Vec<Lag> {
        self.0.bus.lags().into_iter().filter(|lag| lag.producer == self.0.module).collect()
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "figures of {}", self.0.module)
    }
}

/// A gauge of a stream: its name, its help, its value.
type Described = (&'static str, &'static str, fn(&Behind) -> f64);

/// Whether it follows events, or audit rows.
fn stream(lag: &Lag) -> &'static str {
    if lag.subscription.starts_with("audit") { "audit" } else { "events" }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let now = self.0.env.now();
        let help = "Log lines lost because the disk was too slow or full.";
        ConstCounter::new(crate::log::dropped()).encode(encoder.encode_descriptor(
            "q_log_lines_dropped",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let size = i64::try_from(self.0.size_bytes.load(Ordering::Relaxed)).unwrap_or(i64::MAX);
        let help = "Size of the store on disk.";
        ConstGauge::new(size).encode(encoder.encode_descriptor(
            "q_db_size_bytes",
            help,
            None,
            MetricType::Gauge,
        )?)?;

        let by_others = self.heard_by_others();
        let written: Vec<(&str, Behind)> = ["events", "audit"]
            .into_iter()
            .map(|name| (name, Behind::worst(by_others.iter().filter(|lag| stream(lag) == name), now)))
            .collect();
        let help = "What was written here and the slowest subscriber of this process has not reacted to.";
        let mut family = encoder.encode_descriptor("q_outbox_depth", help, None, MetricType::Gauge)?;
        for (name, behind) in &written {
            ConstGauge::new(behind.waiting).encode(family.encode_family(&[("stream", *name)])?)?;
        }
        let help = "Age of the oldest of it.";
        let name = "q_outbox_oldest_age_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (name, behind) in &written {
            ConstGauge::new(behind.oldest_age_seconds).encode(family.encode_family(&[("stream", *name)])?)?;
        }

        let mine = self.0.bus.lags_of(self.0.module);
        let mut by_producer: BTreeMap<(&str, &str), Vec<&Lag>> = BTreeMap::new();
        for lag in &mine {
            by_producer.entry((&lag.producer, stream(lag))).or_default().push(lag);
        }
        let heard: Vec<([(&str, &str); 2], Behind)> = by_producer
            .into_iter()
            .map(|((producer, stream), lags)| {
                ([("producer", producer), ("stream", stream)], Behind::worst(lags, now))
            })
            .collect();
        let gauges: [Described; 4] = [
            #[expect(clippy::cast_precision_loss, reason = "every sample of the format is a 64-bit float")]
            ("q_bus_lag", "What this module has not reacted to.", |behind| behind.waiting as f64),
            ("q_bus_oldest_age_seconds", "Age of the oldest of it.", |behind| behind.oldest_age_seconds),
            ("q_bus_failures", "How often the reaction at hand failed in a row.", |behind| {
                behind.failures.into()
            }),
            ("q_bus_connected", "Whether the producer can be heard.", |behind| {
                f64::from(u8::from(behind.is_connected))
            }),
        ];
        for (name, help, value) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (labels, behind) in &heard {
                ConstGauge::new(value(behind)).encode(family.encode_family(labels)?)?;
            }
        }
        let help = "Events put aside since the start, because the reaction failed for good.";
        let mut family = encoder.encode_descriptor("q_bus_parked", help, None, MetricType::Counter)?;
        for (labels, behind) in &heard {
            ConstCounter::new(behind.parked).encode(family.encode_family(labels)?)?;
        }
        Ok(())
    }
}
