//! Scheduled work: reconcilers that take no input, read wanted and actual state and close the gap.

use std::{sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use q_core::Span;
use tokio::sync::watch;

use crate::tasks::Busy;

/// A run that takes longer than this, and than ten pauses, does not come to an end.
const RUN_MAX: Span = Span::seconds(15 * 60);
/// How long a run at hand may keep a house from stopping, and clients waiting where another process takes over. What it
/// has not committed by then has not happened, and the next start does it.
const STOP_MAX: Duration = Duration::from_secs(1);

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

    /// Runs until `stop` turns true; a run that has begun is finished, unless that takes too long.
    pub(crate) async fn keep_running(
        self,
        module: &'static str,
        busy: Busy,
        mut stop: watch::Receiver<bool>,
    ) {
        let allowed = RUN_MAX.max(Span::seconds(self.every.as_seconds().saturating_mul(10)));
        let pause = Duration::from_micros(u64::try_from(self.every.as_micros()).unwrap_or(1_000_000));
        loop {
            let too_late = async {
                let _ = stop.wait_for(|is_stopping| *is_stopping).await;
                tokio::time::sleep(STOP_MAX).await;
            };
            tokio::select! {
                done = busy.with(allowed, (self.run)()) => if let Err(error) = done {
                    tracing::warn!(module, job = self.name, %error, "a job failed and will be tried again");
                },
                () = too_late => {
                    tracing::info!(module, job = self.name, "a job took too long to wait for at the stop");
                    return;
                }
            }
            let is_stopping = async { stop.wait_for(|is_stopping| *is_stopping).await.is_ok() };
            if tokio::time::timeout(pause, is_stopping).await.is_ok() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tasks;
    use q_core::Env;

    #[tokio::test(start_paused = true)]
    async fn a_run_without_an_end_does_not_keep_the_house_from_stopping() {
        let (tasks, stop) = (Tasks::new(Env::system()), watch::Sender::new(false));
        let begun = Arc::new(tokio::sync::Notify::new());
        let told = begun.clone();
        let job = Job::every("follow", Span::seconds(1), move || {
            told.notify_one();
            std::future::pending()
        });
        let receiver = stop.subscribe();
        let kept = tokio::spawn(tasks.keep("shop", "follow", receiver.clone(), move |busy| {
            job.clone().keep_running("shop", busy, receiver.clone())
        }));
        begun.notified().await;
        let asked = tokio::time::Instant::now();
        stop.send_replace(true);
        kept.await.expect("it ends");
        assert!(asked.elapsed() >= STOP_MAX && asked.elapsed() < STOP_MAX * 2, "{:?}", asked.elapsed());
    }
}
