//! What the module's store counts, and which program this is.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, EncodeMetric as _, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use q_db::{COMMIT_SECONDS, Db};

pub(super) struct Collector {
    pub(super) db: Db,
    pub(super) module: &'static str,
}

impl fmt::Debug for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "store of {}", self.module)
    }
}

impl prometheus_client::collector::Collector for Collector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.db.figures();
        let help = "Reads and writes that wait for a database thread.";
        let mut waiting = encoder.encode_descriptor("q_db_queue_depth", help, None, MetricType::Gauge)?;
        for (kind, count) in [("read", figures.reads_waiting), ("write", figures.writes_waiting)] {
            ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX))
                .encode(waiting.encode_family(&[("kind", kind)])?)?;
        }
        let help = "Writes carried by commits since the store was opened.";
        let counter = encoder.encode_descriptor("q_db_writes", help, None, MetricType::Counter)?;
        ConstCounter::new(figures.writes).encode(counter)?;
        let help = "Time the engine took to make a commit durable.";
        let mut times =
            encoder.encode_descriptor("q_db_commit_duration_seconds", help, None, MetricType::Histogram)?;
        let bounds = COMMIT_SECONDS.into_iter().chain([f64::MAX]); // which is written as +Inf
        let buckets: Vec<(f64, u64)> = bounds.zip(figures.commit_times).collect();
        let count = figures.commit_times.iter().sum();
        times.encode_histogram::<NoLabelSet>(figures.commit_seconds, count, &buckets, None)?;
        let help = "Which program this is.";
        let mut build = encoder.encode_descriptor("q_build_info", help, None, MetricType::Gauge)?;
        let labels = [
            ("module", self.module),
            ("version", env!("CARGO_PKG_VERSION")),
            ("profile", crate::platform::PROFILE),
            ("engine", figures.engine),
        ];
        ConstGauge::new(1_i64).encode(build.encode_family(&labels)?)
    }
}
