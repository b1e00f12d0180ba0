//! One subscription following one producer.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use q_core::{Event, Timestamp};
use q_db::{AuditRow, Db, DbError, OutboxRow, Standing};
use q_trace::{Kind as SpanKind, Remote, Span};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    AuditBatch, Lag, ReactError, Subscription,
    source::{ReadError, Source, Stream},
    subscription::{Kind, OnAudit, OnEvent},
};

/// How many events are read at once.
const EVENTS_MAX: u32 = 256;
/// How many audit rows are read, and handed over, at once.
const AUDIT_ROWS_MAX: u32 = 512;
/// How soon a producer of this process is read again after it had something, so that one read takes what several
/// commits wrote; what comes after a silence is read at once. Nobody waits for the trail to have a row, but a reaction
/// to an event may be waited for.
const GATHER_EVENTS: Duration = Duration::from_millis(5);
const GATHER_AUDIT: Duration = Duration::from_millis(50);
/// The first and the longest pause after a failed reaction.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(30);
/// The longest pause after a producer did not answer: a process that comes back is heard again soon.
const READ_PAUSE_MAX: Duration = Duration::from_secs(2);
/// How long a reaction at hand may keep a house from stopping.
const STOP_MAX: Duration = Duration::from_secs(5);
/// Events of other topics may be passed over this far before the cursor is kept.
const UNKEPT_MAX: i64 = 1_024;

/// What every follower of a bus obeys.
#[derive(Debug)]
pub(crate) struct Switches {
    pub paused: watch::Sender<bool>,
    pub doubled: AtomicBool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { paused: watch::Sender::new(false), doubled: AtomicBool::new(false) }
    }
}

pub(crate) struct Follower {
    pub subscriber: String,
    /// The same for spans.
    module: Arc<str>,
    pub subscription: Subscription,
    /// The subscriber's store.
    pub db: Db,
    producer: String,
    source: Source,
    cursor: String,
    switches: Arc<Switches>,
    /// What this process is among those that share the subscriber's store.
    pub standing: watch::Receiver<Standing>,
    position: watch::Sender<i64>,
    /// The cursor in the subscriber's store.
    kept: AtomicI64,
    head: AtomicI64,
    parked: AtomicU64,
    /// When what is reacted to now was written, in microseconds; 0 while nothing waits.
    pending_since: AtomicI64,
    /// Whether the producer's store was found to end before what was heard of it.
    is_behind: AtomicBool,
    trouble: Mutex<(u32, Option<String>)>,
    /// Ends the pause after a failure.
    hurry: Notify,
}

/// An event on its way to the reaction.
struct Told<'a> {
    event: &'a Event,
    trace: Option<&'a str>,
    /// Its place in the producer's outbox.
    position: i64,
    /// How far everything has been delivered once this event has: of a row that stands for several, not its own place
    /// before the last of them.
    done: i64,
}

/// What a step found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// Nothing.
    Nothing,
    /// All there was.
    All,
    /// As much as is taken at once.
    APage,
}

/// The house is stopping.
struct Stop;

impl Follower {
    pub fn new(
        subscriber: String,
        producer: String,
        source: Source,
        db: Db,
        subscription: Subscription,
        switches: Arc<Switches>,
        standing: watch::Receiver<Standing>,
    ) -> Self {
        Self {
            cursor: subscription.cursor(&producer),
            module: subscriber.as_str().into(),
            subscriber,
            producer,
            source,
            db,
            subscription,
            switches,
            standing,
            position: watch::Sender::new(0),
            kept: AtomicI64::new(0),
            head: AtomicI64::new(0),
            parked: AtomicU64::new(0),
            pending_since: AtomicI64::new(0),
            is_behind: AtomicBool::new(false),
            trouble: Mutex::default(),
            hurry: Notify::new(),
        }
    }

    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    pub fn producer(&self) -> &str {
        &self.producer
    }

    /// Whether the producer is in this process.
    pub fn is_of_this_process(&self) -> bool {
        matches!(self.source, Source::Here(..))
    }

    pub fn lag(&self) -> Lag {
        let (failures, last_error) = self.trouble.lock().clone();
        let position = *self.position.borrow();
        let pending_since = self.pending_since.load(Ordering::Relaxed);
        Lag {
            subscriber: self.subscriber.clone(),
            producer: self.producer.clone(),
            subscription: self.cursor.clone(),
            position,
            head: self.head.load(Ordering::Relaxed).max(position),
            failures,
            parked: self.parked.load(Ordering::Relaxed),
            pending_since: (pending_since != 0).then(|| Timestamp::from_micros(pending_since)),
            last_error,
            is_connected: self.source.is_connected(),
        }
    }

    /// The newest position of the producer; 0 when it is nowhere.
    pub async fn head(&self) -> Result<i64, ReadError> {
        let head = self.source.head(self.subscription.stream()).await?;
        self.head.fetch_max(head, Ordering::Relaxed);
        Ok(head)
    }

    /// Waits until everything up to `position` has been reacted to.
    pub async fn reached(&self, position: i64) {
        // The sender lives as long as `self`, so this cannot fail.
        let _ = self.position.subscribe().wait_for(|reached| *reached >= position).await;
    }

    /// Whether another process that shares the subscriber's store reacts in place of this one.
    pub fn is_standing_by(&self) -> bool {
        self.is_shared() && !self.standing.borrow().is_leader
    }

    /// Whether the replicas of the subscriber react once for all of them. What is kept in memory each hears itself.
    const fn is_shared(&self) -> bool {
        !matches!(self.subscription.kind, Kind::Events { is_durable: false, .. })
    }

    /// Whether it waits after a failure.
    pub fn is_troubled(&self) -> bool {
        self.trouble.lock().0 > 0
    }

    /// Ends the pause after a failure, and answers what is followed.
    pub fn hurry(&self) -> String {
        self.hurry.notify_one();
        self.cursor.clone()
    }

    /// Follows until `shutdown`, and again after a fault of ours: reactions have their own shield.
    pub async fn keep_running(&self, mut shutdown: watch::Receiver<bool>) {
        let mut failures = 0;
        while AssertUnwindSafe(self.run(shutdown.clone())).catch_unwind().await.is_err() {
            let reason = "following ended by a panic and begins again";
            tracing::error!(subscriber = self.subscriber, subscription = self.cursor, reason);
            if self.pause_after(&mut failures, reason, RETRY_PAUSE_MAX, &mut shutdown).await.is_err() {
                return;
            }
        }
    }

    /// Follows until `shutdown`.
    pub async fn run(&self, mut shutdown: watch::Receiver<bool>) {
        if matches!(self.source, Source::Nowhere) {
            return;
        }
        while self.turn(&mut shutdown).await.is_ok() {}
    }

    /// Follows from the first event, or from the kept cursor for as long as this process leads its replicas.
    async fn turn(&self, shutdown: &mut watch::Receiver<bool>) -> Result<(), Stop> {
        if self.is_shared() {
            let mut standing = self.standing.clone();
            let leads = async { standing.wait_for(|standing| standing.is_leader).await.map(drop) };
            or_stop(shutdown, leads).await?.map_err(|_| Stop)?;
        }
        self.begin(shutdown).await?;
        let mut news = self.source.news();
        while !self.is_standing_by() {
            news.mark();
            let began = Instant::now();
            let found = self.step(shutdown).await?;
            if found == Found::All && self.is_of_this_process() {
                or_stop(shutdown, tokio::time::sleep_until(began + self.gather())).await?;
            }
            or_stop(shutdown, news.wait(found != Found::Nothing)).await?;
        }
        Ok(())
    }

    const fn gather(&self) -> Duration {
        match self.subscription.kind {
            Kind::Events { .. } => GATHER_EVENTS,
            Kind::Audit { .. } => GATHER_AUDIT,
        }
    }

    /// Finds the place to go on from.
    async fn begin(&self, shutdown: &mut watch::Receiver<bool>) -> Result<(), Stop> {
        if let Kind::Events { is_durable: false, .. } = self.subscription.kind {
            return Ok(());
        }
        let position = self.until_done(shutdown, || self.db.cursor(&self.cursor)).await?;
        self.kept.store(position, Ordering::Relaxed);
        self.position.send_replace(position);
        // A store of this process can only have been exchanged while nothing ran.
        if let (Kind::Audit { react }, Source::Here(..)) = (&self.subscription.kind, &self.source) {
            let head = self.until_read(shutdown, || self.source.head(Stream::Audit)).await?;
            self.compare(position, head, react, shutdown).await?;
        }
        Ok(())
    }

    /// Notices a producer that has fewer rows than were heard of it: its store was rolled back, and what it writes
    /// now would go unheard until it has as many again.
    async fn compare(
        &self,
        position: i64,
        head: i64,
        react: &OnAudit,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let is_behind = head < position;
        if self.is_behind.swap(is_behind, Ordering::Relaxed) || !is_behind {
            return Ok(());
        }
        let what = format!("its store ends at {head}, and {position} was heard of it: it was rolled back");
        tracing::error!(subscriber = self.subscriber, producer = self.producer, head, position, what);
        *self.trouble.lock() = (1, Some(what));
        let batch = AuditBatch {
            producer: self.producer.clone(),
            cursor: self.cursor.clone(),
            rows: Vec::new(),
            head,
        };
        let react = react.clone();
        // There is nothing to repeat: it was said above, whatever becomes of it.
        shielded(None, async move { react(batch).await }, shutdown).await.map(drop)
    }

    /// Delivers the next events.
    async fn step(&self, shutdown: &mut watch::Receiver<bool>) -> Result<Found, Stop> {
        self.resumed(shutdown).await?;
        let after = *self.position.borrow();
        let found =
            |rows: usize, most: u32| if rows as u64 >= u64::from(most) { Found::APage } else { Found::All };
        match &self.subscription.kind {
            Kind::Events { topics, is_durable, react } => {
                let read = || self.source.events_after(after, EVENTS_MAX, topics);
                let rows = self.until_read(shutdown, read).await?;
                let Some(last) = rows.last() else {
                    self.pending_since.store(0, Ordering::Relaxed);
                    return Ok(Found::Nothing);
                };
                self.head.fetch_max(last.position, Ordering::Relaxed);
                self.pending_since.store(rows[0].event.time.micros(), Ordering::Relaxed);
                self.resumed(shutdown).await?;
                // What rows stand for counts too: a page may end before its last row because of it.
                let found = found(rows.iter().map(|row| 1 + row.derived.len()).sum(), EVENTS_MAX);
                self.events(rows, topics, *is_durable, react, shutdown).await?;
                Ok(found)
            }
            Kind::Audit { react } => {
                let read = || self.source.audit_after(after, AUDIT_ROWS_MAX);
                let (rows, head) = self.until_read(shutdown, read).await?;
                if let Some(head) = head {
                    self.compare(after, head, react, shutdown).await?;
                }
                let Some(last) = rows.last() else {
                    self.pending_since.store(0, Ordering::Relaxed);
                    return Ok(Found::Nothing);
                };
                self.head.fetch_max(last.position, Ordering::Relaxed);
                self.pending_since.store(rows[0].at.micros(), Ordering::Relaxed);
                self.resumed(shutdown).await?;
                let found = found(rows.len(), AUDIT_ROWS_MAX);
                self.audit(rows, react, shutdown).await?;
                Ok(found)
            }
        }
    }

    /// Waits while deliveries are held back.
    async fn resumed(&self, shutdown: &mut watch::Receiver<bool>) -> Result<(), Stop> {
        let mut paused = self.switches.paused.subscribe();
        let resumed = async { paused.wait_for(|is_paused| !is_paused).await.map(drop) };
        or_stop(shutdown, resumed).await?.map_err(|_| Stop)
    }

    async fn events(
        &self,
        rows: Vec<OutboxRow>,
        topics: &[String],
        is_durable: bool,
        react: &OnEvent,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let mut has_reacted = false;
        let mut outcome = Ok(());
        'rows: for row in rows {
            let is_wanted = |event: &&Event| topics.iter().any(|prefix| event.topic.starts_with(prefix));
            let mut told = row.told().filter(is_wanted).peekable();
            while let Some(event) = told.next() {
                self.pending_since.store(event.time.micros(), Ordering::Relaxed);
                has_reacted = true;
                let done = if told.peek().is_none() { row.position } else { row.position - 1 };
                let told = Told { event, trace: row.trace.as_deref(), position: row.position, done };
                outcome = self.event(&told, is_durable, react, shutdown).await;
                if outcome.is_err() {
                    break 'rows;
                }
            }
            self.position.send_replace(row.position);
        }
        let position = *self.position.borrow();
        // Passing over events of other topics is not worth a commit each time.
        if is_durable && (has_reacted || position - self.kept.load(Ordering::Relaxed) >= UNKEPT_MAX) {
            self.keep(position, shutdown).await?;
        }
        outcome
    }

    /// Delivers one event until its reaction succeeds or is given up.
    async fn event(
        &self,
        told: &Told<'_>,
        is_durable: bool,
        react: &OnEvent,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let deliveries = if self.switches.doubled.load(Ordering::SeqCst) { 2 } else { 1 };
        for _ in 0..deliveries {
            let mut failures = 0;
            loop {
                let (react, event) = (react.clone(), told.event.clone());
                let reaction = async move { react(event).await };
                let span = self.span(told);
                let outcome = shielded(Some(span.context().clone()), reaction, shutdown).await?;
                ended(span, &outcome);
                match outcome {
                    Ok(()) => break self.is_well(),
                    Err(ReactError::Retry(reason)) => {
                        self.pause_after(&mut failures, &reason, RETRY_PAUSE_MAX, shutdown).await?;
                    }
                    Err(ReactError::Fail(reason)) => {
                        self.park(told, is_durable, &reason, shutdown).await?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// The work of one reaction: it continues the trace of the request that caused the event.
    fn span(&self, told: &Told<'_>) -> Span {
        let (event, remote) = (told.event, told.trace.and_then(Remote::parse));
        let mut span = Span::begin(self.db.env(), "process", SpanKind::Consumer, &self.module, remote);
        span.rename(|| format!("process {}", event.topic));
        if span.context().is_sampled {
            span.set("messaging.system", "q");
            span.set("messaging.operation.type", "process");
            span.set("messaging.destination.name", event.topic.clone());
            span.set("messaging.message.id", event.id.to_string());
        }
        span
    }

    async fn park(
        &self,
        told: &Told<'_>,
        is_durable: bool,
        reason: &str,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let event = told.event;
        tracing::error!(
            subscriber = self.subscriber, subscription = self.cursor, event.id = %event.id, reason,
            "a reaction failed for good, the event is parked"
        );
        self.parked.fetch_add(1, Ordering::Relaxed);
        *self.trouble.lock() = (0, Some(reason.to_owned()));
        if !is_durable {
            return Ok(()); // it comes again with the next start
        }
        let store = || {
            let (name, position, done) = (self.cursor.clone(), told.position, told.done);
            let (event, reason) = (event.clone(), reason.to_owned());
            self.db.write(move |tx| {
                tx.park(&name, position, &event, &reason)?;
                tx.set_cursor(&name, done)
            })
        };
        self.until_done(shutdown, store).await
    }

    async fn audit(
        &self,
        rows: Vec<AuditRow>,
        react: &OnAudit,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        let head = self.head.load(Ordering::Relaxed);
        let batch = AuditBatch { producer: self.producer.clone(), cursor: self.cursor.clone(), rows, head };
        let last = batch.last_position();
        let deliveries = if self.switches.doubled.load(Ordering::SeqCst) { 2 } else { 1 };
        for _ in 0..deliveries {
            let mut failures = 0;
            loop {
                let (react, batch) = (react.clone(), batch.clone());
                match shielded(None, async move { react(batch).await }, shutdown).await? {
                    Ok(()) => break self.is_well(),
                    Err(ReactError::Retry(reason) | ReactError::Fail(reason)) => {
                        self.pause_after(&mut failures, &reason, RETRY_PAUSE_MAX, shutdown).await?;
                    }
                }
            }
        }
        let kept = self.until_done(shutdown, || self.db.cursor(&self.cursor)).await?;
        if kept != last {
            self.keep(last, shutdown).await?;
        }
        self.position.send_replace(last);
        Ok(())
    }

    async fn keep(&self, position: i64, shutdown: &mut watch::Receiver<bool>) -> Result<(), Stop> {
        let store = || {
            let name = self.cursor.clone();
            self.db.write(move |tx| tx.set_cursor(&name, position))
        };
        self.until_done(shutdown, store).await?;
        self.kept.store(position, Ordering::Relaxed);
        Ok(())
    }

    /// Asks the producer until it answers, or the house stops.
    async fn until_read<T, F: Future<Output = Result<T, ReadError>>>(
        &self,
        shutdown: &mut watch::Receiver<bool>,
        ask: impl Fn() -> F,
    ) -> Result<T, Stop> {
        let mut failures = 0;
        loop {
            match or_stop(shutdown, ask()).await? {
                Ok(answer) => {
                    if failures > 0 {
                        self.is_well();
                    }
                    return Ok(answer);
                }
                Err(ReadError::Closed) => return Err(Stop),
                Err(ReadError::Failed(reason)) => {
                    self.pause_after(&mut failures, &reason, READ_PAUSE_MAX, shutdown).await?;
                }
            }
        }
    }

    /// Asks the subscriber's own store until it answers.
    async fn until_done<T, F: Future<Output = Result<T, DbError>>>(
        &self,
        shutdown: &mut watch::Receiver<bool>,
        ask: impl Fn() -> F,
    ) -> Result<T, Stop> {
        let mut failures = 0;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(DbError::Closed) => return Err(Stop),
                Err(error) => {
                    self.pause_after(&mut failures, &error.to_string(), RETRY_PAUSE_MAX, shutdown).await?;
                }
            }
        }
    }

    async fn pause_after(
        &self,
        failures: &mut u32,
        reason: &str,
        longest: Duration,
        shutdown: &mut watch::Receiver<bool>,
    ) -> Result<(), Stop> {
        *failures += 1;
        *self.trouble.lock() = (*failures, Some(reason.to_owned()));
        if failures.is_power_of_two() {
            tracing::warn!(
                subscriber = self.subscriber,
                subscription = self.cursor,
                failures = *failures,
                reason,
                "a delivery has to be repeated"
            );
        }
        let pause = RETRY_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(16)));
        let pause = async {
            tokio::select! {
                () = tokio::time::sleep(pause.min(longest)) => {}
                () = self.hurry.notified() => {}
            }
        };
        or_stop(shutdown, pause).await
    }

    fn is_well(&self) {
        let mut trouble = self.trouble.lock();
        if trouble.0 > 0 {
            *trouble = (0, None);
        }
    }
}

fn ended(mut span: Span, outcome: &Result<(), ReactError>) {
    if let Err(error) = outcome {
        span.fail(error.to_string());
    }
    span.finish();
}

/// Runs a reaction in a task of its own, so that a panic anywhere in it is an answer.
async fn shielded(
    trace: Option<q_trace::Context>,
    reaction: impl Future<Output = Result<(), ReactError>> + Send + 'static,
    shutdown: &mut watch::Receiver<bool>,
) -> Result<Result<(), ReactError>, Stop> {
    let mut task = JoinSet::new(); // which, unlike a bare handle, ends the task when it is dropped
    match trace {
        Some(trace) => task.spawn(q_trace::scope(trace, reaction)),
        None => task.spawn(reaction),
    };
    let too_late = async {
        let _ = shutdown.wait_for(|is_stopping| *is_stopping).await;
        tokio::time::sleep(STOP_MAX).await;
    };
    tokio::select! {
        ended = task.join_next() => match ended {
            Some(Ok(outcome)) => Ok(outcome),
            _ => Ok(Err(ReactError::fail("the reaction panicked"))),
        },
        // The event is delivered again at the next start.
        () = too_late => Err(Stop),
    }
}

/// Waits for `future`, or for the house to stop.
async fn or_stop<F: Future>(shutdown: &mut watch::Receiver<bool>, future: F) -> Result<F::Output, Stop> {
    tokio::select! {
        biased;
        _ = shutdown.wait_for(|is_stopping| *is_stopping) => Err(Stop),
        output = future => Ok(output),
    }
}
