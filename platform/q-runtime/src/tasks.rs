//! What a house does beside requests, kept going: a task that panics is started again, and everybody can see that it was.
//!
//! **Invariant:** a task ends only when the house stops; how often it had to be started again is counted and shown.

use std::{
    any::Any,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{FutureExt as _, future::BoxFuture};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{MetricType, counter::ConstCounter},
};
use q_core::{Env, Timestamp};
use q_trace::{Kind, Span};
use serde::Serialize;
use tokio::sync::{Notify, watch};

/// The first and the longest pause before a task is started again.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);
/// A task that ran so long is well: the next pause is a short one again.
const WELL_AFTER: Duration = Duration::from_mins(1);

/// The tasks of one house. Cheap to clone.
#[derive(Clone)]
pub struct Tasks {
    env: Env,
    all: Arc<Mutex<Vec<Arc<Task>>>>,
}

/// One task and what became of it.
struct Task {
    module: &'static str,
    name: String,
    restarts: AtomicU64,
    state: Mutex<State>,
    /// Ends the pause before the next start.
    hurry: Notify,
    /// Ends the present run.
    end: Notify,
}

#[derive(Default)]
struct State {
    is_running: bool,
    /// When the work at hand began, and how long it may take; `None` between two pieces of work.
    busy: Option<(Timestamp, q_core::Span)>,
    last_failure: Option<(Timestamp, String)>,
}

/// A task as operators see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskReport {
    /// Its name.
    pub name: String,
    /// `running`, `waiting` to be started again, or `stalled`: its work takes longer than it should.
    pub state: &'static str,
    /// How often it was started again.
    pub restarts: u64,
    /// Why the last time.
    pub last_failure: Option<String>,
    /// When that was.
    pub last_failure_at: Option<Timestamp>,
}

/// A task's own hand on what is shown of it.
#[derive(Clone)]
pub(crate) struct Busy {
    env: Env,
    task: Arc<Task>,
}

impl Busy {
    /// A trace for each piece of work, so that its log lines, calls and rows are found together. Not recorded: most
    /// pieces find nothing to do.
    fn context(&self) -> q_trace::Context {
        let trace = q_trace::TraceId(self.env.random());
        let remote = q_trace::Remote { trace, parent: None, is_sampled: Some(false) };
        let module = self.task.module.into();
        Span::begin(&self.env, "job", Kind::Internal, &module, Some(remote)).context().clone()
    }

    /// Does one piece of `work`, which should take at most `allowed`.
    pub(crate) async fn with<T>(&self, allowed: q_core::Span, work: impl Future<Output = T>) -> T {
        self.task.state.lock().busy = Some((self.env.now(), allowed));
        let done = q_trace::scope(self.context(), work).await;
        self.task.state.lock().busy = None;
        done
    }
}

impl Tasks {
    /// No tasks yet.
    pub fn new(env: Env) -> Self {
        Self { env, all: Arc::default() }
    }

    /// Runs what `make` makes until it ends by itself or the house stops; after a panic, again.
    pub(crate) fn keep<F>(
        &self,
        module: &'static str,
        name: &str,
        stop: watch::Receiver<bool>,
        make: impl Fn(Busy) -> F + Send + 'static,
    ) -> BoxFuture<'static, ()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Arc::new(Task {
            module,
            name: name.to_owned(),
            restarts: AtomicU64::new(0),
            state: Mutex::default(),
            hurry: Notify::new(),
            end: Notify::new(),
        });
        self.all.lock().push(task.clone());
        let busy = Busy { env: self.env.clone(), task: task.clone() };
        Box::pin(keep_running(self.env.clone(), task, stop, move || make(busy.clone())))
    }

    /// The tasks of `module`.
    pub fn of(&self, module: &str) -> Vec<TaskReport> {
        let now = self.env.now();
        self.all.lock().iter().filter(|task| task.module == module).map(|task| task.report(now)).collect()
    }

    /// Starts those tasks of `module` again at once that wait for it, and those whose work takes too long. Answers
    /// their names.
    pub fn restart_failed(&self, module: &str) -> Vec<String> {
        let now = self.env.now();
        let mut names = Vec::new();
        for task in self.all.lock().iter().filter(|task| task.module == module) {
            match task.report(now).state {
                "waiting" => task.hurry.notify_one(),
                "stalled" => task.end.notify_one(),
                _ => continue,
            }
            names.push(task.name.clone());
        }
        names
    }

    /// The restarts of `module`'s tasks as a metric.
    pub(crate) fn collector(&self, module: &'static str) -> Box<dyn Collector> {
        Box::new(Restarts { tasks: self.clone(), module })
    }
}

impl Task {
    fn report(&self, now: Timestamp) -> TaskReport {
        let state = self.state.lock();
        let is_stalled = state.busy.is_some_and(|(since, allowed)| now.since(since) > allowed);
        TaskReport {
            name: self.name.clone(),
            state: match (state.is_running, is_stalled) {
                (false, _) => "waiting",
                (true, true) => "stalled",
                (true, false) => "running",
            },
            restarts: self.restarts.load(Ordering::Relaxed),
            last_failure: state.last_failure.as_ref().map(|(_, why)| why.clone()),
            last_failure_at: state.last_failure.as_ref().map(|(at, _)| *at),
        }
    }
}

async fn keep_running<F: Future<Output = ()> + Send>(
    env: Env,
    task: Arc<Task>,
    mut stop: watch::Receiver<bool>,
    run: impl Fn() -> F + Send,
) {
    let mut pause = PAUSE;
    loop {
        let began = tokio::time::Instant::now();
        task.state.lock().is_running = true;
        let why = tokio::select! {
            ended = AssertUnwindSafe(run()).catch_unwind() => match ended {
                Ok(()) => return,
                Err(panic) => text_of(panic.as_ref()),
            },
            // Dropping the run ends it where it waits; what it had not committed has not happened.
            () = task.end.notified() => "it did not come to an end and was given up".to_owned(),
        };
        {
            let mut state = task.state.lock();
            (state.is_running, state.busy) = (false, None);
            state.last_failure = Some((env.now(), why.clone()));
        }
        tracing::error!(
            module = task.module,
            task = task.name,
            why,
            "a task ended by a fault and is started again"
        );
        if began.elapsed() >= WELL_AFTER {
            pause = PAUSE;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = task.hurry.notified() => {}
            _ = stop.wait_for(|is_stopping| *is_stopping) => return,
        }
        pause = (pause * 2).min(PAUSE_MAX);
        task.restarts.fetch_add(1, Ordering::Relaxed);
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "it panicked without a word".into())
}

struct Restarts {
    tasks: Tasks,
    module: &'static str,
}

impl std::fmt::Debug for Restarts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Restarts")
    }
}

impl Collector for Restarts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let help = "How often a task of the module had to be started again";
        let mut family = encoder.encode_descriptor("q_task_restarts", help, None, MetricType::Counter)?;
        for task in self.tasks.of(self.module) {
            let counter = ConstCounter::new(task.restarts);
            counter.encode(family.encode_family(&[("task", task.name.as_str())])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    async fn until(condition: impl Fn() -> bool) {
        while !condition() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_started_again_and_counted() {
        let tasks = Tasks::new(Env::system());
        let stop = watch::Sender::new(false);
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let receiver = stop.subscribe();
        let kept = tokio::spawn(tasks.keep("shop", "sweep", receiver.clone(), move |_| {
            let (runs, mut stop) = (counted.clone(), receiver.clone());
            async move {
                assert!(runs.fetch_add(1, Ordering::SeqCst) >= 3, "the broom broke");
                let _ = stop.wait_for(|is_stopping| *is_stopping).await;
            }
        }));
        // The clock of this test stands still while anybody is busy, so it is moved by hand.
        while runs.load(Ordering::SeqCst) < 4 {
            tokio::time::advance(PAUSE).await;
        }
        let report = &tasks.of("shop")[0];
        assert_eq!((report.state, report.restarts), ("running", 3));
        assert_eq!(report.last_failure.as_deref(), Some("the broom broke"));
        assert!(tasks.of("other").is_empty() && tasks.restart_failed("shop").is_empty());
        stop.send_replace(true);
        kept.await.unwrap();
    }

    #[tokio::test]
    async fn whoever_recovers_does_not_wait_for_the_pause_nor_for_what_stalls() {
        let tasks = Tasks::new(Env::system());
        let stop = watch::Sender::new(false);
        let runs = Arc::new(AtomicU32::new(0));
        let counted = runs.clone();
        let kept = tokio::spawn(tasks.keep("shop", "sweep", stop.subscribe(), move |busy| {
            let runs = counted.clone();
            async move {
                if runs.fetch_add(1, Ordering::SeqCst) == 0 {
                    busy.with(q_core::Span::seconds(-1), std::future::pending::<()>()).await;
                }
            }
        }));
        until(|| tasks.of("shop").first().is_some_and(|task| task.state == "stalled")).await;
        assert_eq!(tasks.restart_failed("shop"), ["sweep"]);
        until(|| tasks.of("shop")[0].state == "waiting").await;
        assert_eq!(tasks.restart_failed("shop"), ["sweep"]);
        kept.await.unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }
}
