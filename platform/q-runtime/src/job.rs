//! Scheduled work: reconcilers that take no input, read wanted and actual state and close the gap.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use q_core::Span;
use tokio::sync::watch;

use crate::tasks::Busy;

/// A run that takes longer than this, and than ten pauses, does not come to an end.
const RUN_MAX: Span = Span::seconds(15 * 60);

/// A piece of work done again and again.
#[derive(Clone)]
pub struct Job {
    /// A stable name for logs.
    pub name: &'static str,
    /// The pause between two runs.
    pub every: Span,
    /// Does it once; the error is logged and the next run tries again.
    pub run: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

impl Job {
    /// Work done at start and then after each pause of `every`.
    pub fn every<F>(name: &'static str, every: Span, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, every, run: Arc::new(move || Box::pin(run())) }
    }

    /// Runs until `stop` turns true; a run that has begun is finished.
    pub(crate) async fn keep_running(
        self,
        module: &'static str,
        busy: Busy,
        mut stop: watch::Receiver<bool>,
    ) {
        let allowed = RUN_MAX.max(Span::seconds(self.every.as_seconds().saturating_mul(10)));
        let pause = Duration::from_micros(u64::try_from(self.every.as_micros()).unwrap_or(1_000_000));
        loop {
            if let Err(error) = busy.with(allowed, (self.run)()).await {
                tracing::warn!(module, job = self.name, %error, "a job failed and will be tried again");
            }
            let is_stopping = async { stop.wait_for(|is_stopping| *is_stopping).await.is_ok() };
            if tokio::time::timeout(pause, is_stopping).await.is_ok() {
                return;
            }
        }
    }
}
