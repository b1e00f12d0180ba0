//! Sends what webhooks are to be told: read from the module's own events, queued in one commit with the place reached,
//! taken in hand by one process at a time, tried until it arrives or is given up.
//!
//! **Invariant:** an event that concerns a webhook is queued exactly once, and no attempt is made without a claim.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use q_core::{AuditEntry, Span, Timestamp};
use q_db::{DbError, OutboxRow};
use q_notify::{Post, Poster, Reach, Uri};
use qwallet_api::{DeliveryId, WebhookId};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{Service, webhooks::Key};
use crate::{
    domain::webhooks::{self as rules, Attempt, Next, Progress, Status},
    error::Error,
    store::{
        self,
        webhooks::{DeliveryRow, Outcome, WebhookRow},
    },
};

/// The place in the outbox up to which deliveries are queued.
const CURSOR: &str = "webhooks";
/// How many rows of the outbox are read, and queued for, at once.
const ROWS_MAX: u32 = 256;
/// How many such pages one run queues before it sends.
const PAGES_MAX: usize = 64;
/// How many deliveries of one webhook are taken in hand at once.
const CLAIM_MAX: u32 = 128;
/// How many of them are on their way at once: a receiver is not flooded.
const OF_TARGET_MAX: usize = 4;
/// How many webhooks are served at once; a place is given back after each claim, so that slow ones do not keep theirs.
const TARGETS_MAX: usize = 64;
/// How long a claim is worked on; what is left of it is given back then.
const CLAIM_WORK: Duration = Duration::from_mins(1);
/// How long a claim holds: its work, an attempt that began at its end, and a store that is slow to note it.
const CLAIM_HOLDS: Span = Span::seconds(60 + 15 + 45);
/// How long deliveries are remembered.
const REMEMBERED: Span = Span::seconds(30 * 86_400);
/// How many are forgotten at a time.
const FORGET_MAX: u32 = 500;
/// How long attempts under way may hold up the end of the process.
const END_MAX: Duration = Duration::from_secs(4);

/// The sender, and what it has in hand.
#[derive(Debug)]
pub struct Hooks {
    /// Sends, within the reach the operator set.
    pub poster: Poster,
    busy: Mutex<HashSet<WebhookId>>,
    places: Arc<Semaphore>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
    stop: watch::Sender<bool>,
    is_begun: AtomicBool,
}

impl Hooks {
    /// A sender that connects to what is within `reach`.
    pub fn new(reach: Reach) -> Self {
        Self {
            poster: Poster::new(reach),
            busy: Mutex::default(),
            places: Arc::new(Semaphore::new(TARGETS_MAX)),
            tasks: tokio::sync::Mutex::default(),
            stop: watch::Sender::new(false),
            is_begun: AtomicBool::new(false),
        }
    }
}

/// A webhook as it is sent to.
struct Target {
    id: WebhookId,
    url: Uri,
    keys: Vec<Key>,
}

impl Service {
    /// Queues what happened, and sends what is due. Attempts go on in tasks of their own.
    pub async fn deliver(self: &Arc<Self>) -> Result<(), Error> {
        if !self.db.mode().is_normal() {
            return Ok(());
        }
        if !self.hooks.is_begun.load(Ordering::Relaxed) {
            if !self.db.can_be_shared() {
                // What is in hand was in the hand of this very module before it died: nobody else can have it.
                self.db.write(store::webhooks::release_all).await?;
            }
            self.hooks.is_begun.store(true, Ordering::Relaxed);
        }
        let behind_since = self.queue_deliveries().await?;
        let now = self.db.now();
        for id in self.db.read(move |reader| store::webhooks::with_due(reader, now)).await? {
            self.begin_sending(id).await;
        }
        let due_since = self.db.read(move |reader| store::webhooks::due_since(reader, now)).await?;
        let since = behind_since.into_iter().chain(due_since).min();
        self.executor
            .metrics()
            .set_webhook_lag(since.map_or(0, |since| now.since(since).as_seconds().max(0)));
        Ok(())
    }

    /// Waits until no attempt is under way.
    pub async fn deliveries_ended(&self) {
        let mut tasks = self.hooks.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
    }

    /// Begins no further attempt and lets those under way end, for a few seconds.
    pub async fn stop_delivering(&self) {
        self.hooks.stop.send_replace(true);
        if tokio::time::timeout(END_MAX, self.deliveries_ended()).await.is_err() {
            // Their claims end by themselves; another process, or this one after its start, tries again.
            self.hooks.tasks.lock().await.abort_all();
        }
    }

    /// Forgets deliveries that ended long ago.
    pub async fn forget_deliveries(&self) -> Result<(), Error> {
        if !self.db.mode().is_normal() {
            return Ok(());
        }
        let before = self.db.now() + Span::seconds(-REMEMBERED.as_seconds());
        while self.db.write(move |tx| store::webhooks::forget(tx, before, FORGET_MAX)).await?
            == u64::from(FORGET_MAX)
        {}
        Ok(())
    }

    /// Queues deliveries for everything that happened since the last time. Answers since when there is more, if there
    /// is more than one run takes on.
    async fn queue_deliveries(&self) -> Result<Option<Timestamp>, Error> {
        for _ in 0..PAGES_MAX {
            let begin = |reader: &mut q_db::Reader<'_>| {
                Ok::<_, DbError>((reader.cursor(CURSOR)?, store::webhooks::first_position(reader)?))
            };
            let (cursor, first) = self.db.read(begin).await?;
            // Nobody is told anything: nothing is read either, however much is paid meanwhile.
            let Some(first) = first else { return Ok(None) };
            let hooks = Arc::new(self.db.read(store::webhooks::active).await?);
            let mut wanted: Vec<String> = hooks.iter().flat_map(|hook| hook.event_types.prefixes()).collect();
            wanted.sort_unstable();
            wanted.dedup();
            let rows = self.db.events_after(cursor.max(first), ROWS_MAX, Some(&wanted)).await?;
            let Some(last) = rows.last().map(|row| (row.position, row.event.time)) else { return Ok(None) };
            let env = self.env.clone();
            let queue = move |tx: &mut q_db::Tx<'_>| {
                // Another process was faster; its page may have been shorter.
                if tx.cursor(CURSOR)? != cursor {
                    return Ok(());
                }
                let now = tx.now();
                let deliveries = deliveries(&rows, &hooks, now, &env);
                store::webhooks::insert_deliveries(tx, &deliveries)?;
                tx.set_cursor(CURSOR, last.0)
            };
            self.db.write(queue).await?;
            if self.db.outbox_head().await? <= last.0 {
                return Ok(None);
            }
            tracing::debug!(position = last.0, "more has happened than one page of webhooks takes on");
            self.executor.metrics().set_webhook_lag(self.db.now().since(last.1).as_seconds().max(0));
        }
        Ok(Some(self.db.now()))
    }

    /// Serves a webhook in a task of its own, unless one does already.
    async fn begin_sending(self: &Arc<Self>, id: WebhookId) {
        let mut tasks = self.hooks.tasks.lock().await;
        // Those that ended are let go.
        while tasks.try_join_next().is_some() {}
        if *self.hooks.stop.borrow() {
            return;
        }
        let Ok(place) = self.hooks.places.clone().try_acquire_owned() else { return };
        if !self.hooks.busy.lock().insert(id) {
            return;
        }
        let service = self.clone();
        tasks.spawn(async move {
            let hold = Busy { service: &service, id };
            if let Err(error) = service.send_all(id).await {
                tracing::warn!(%error, "a webhook could not be served");
            }
            drop(hold);
            drop(place);
        });
    }

    /// Sends what is due to a webhook, as long as all of it arrives.
    async fn send_all(&self, id: WebhookId) -> Result<(), Error> {
        loop {
            let Some(target) = self.target(id).await? else { return Ok(()) };
            let claimed = self.db.write_locked(move |tx| {
                let now = tx.now();
                let until = now + CLAIM_HOLDS;
                Ok::<_, DbError>((store::webhooks::claim(tx, id, now, until, CLAIM_MAX)?, until))
            });
            let (claimed, until) = claimed.await?;
            let is_full = claimed.len() == usize::try_from(CLAIM_MAX).unwrap_or(usize::MAX);
            let began_at = Instant::now();
            let sending = claimed.into_iter().map(|row| {
                let target = &target;
                async move {
                    if began_at.elapsed() > CLAIM_WORK || *self.hooks.stop.borrow() {
                        let id = row.id;
                        self.db.write(move |tx| store::webhooks::release(tx, id, until)).await?;
                        return Ok::<_, Error>(false);
                    }
                    self.send(target, row, until).await
                }
            });
            let mut sending = stream::iter(sending).buffer_unordered(OF_TARGET_MAX);
            let mut all_arrived = true;
            while let Some(arrived) = sending.next().await {
                all_arrived &= arrived?;
            }
            if !is_full || !all_arrived {
                return Ok(());
            }
        }
    }

    /// Makes one attempt and notes what became of it; whether it arrived.
    async fn send(&self, target: &Target, row: DeliveryRow, claimed_until: Timestamp) -> Result<bool, Error> {
        let at = self.db.now();
        let signatures: Vec<String> = target
            .keys
            .iter()
            .map(|key| key.sign(&row.event_id, at.seconds(), row.body.as_bytes()))
            .collect();
        let post = Post {
            id: row.event_id,
            at: at.seconds(),
            signatures: signatures.join(" "),
            body: Bytes::from(row.body),
        };
        let attempt = match self.hooks.poster.post(&target.url, post).await {
            Ok(status) => Attempt::Answered(status),
            Err(error) => Attempt::Unanswered { why: error.why, is_final: error.is_final },
        };
        let attempts = row.attempts + 1;
        let next = attempt.next(attempts);
        let at = self.db.now();
        let (progress, next_at) = match next {
            Next::Delivered => (Progress::Delivered, at),
            Next::Again(pause) => (Progress::Waiting, at + pause),
            Next::GivenUp | Next::Gone => (Progress::Failed, at),
        };
        let outcome = Outcome {
            delivery: row.id,
            claimed_until,
            at,
            progress,
            attempts,
            next_at,
            response_status: attempt.status(),
            error: attempt.error(),
        };
        let webhook = target.id;
        let noted = self.db.write(move |tx| {
            if store::webhooks::record(tx, &outcome)? && next == Next::Gone {
                disable(tx, webhook)?;
            }
            Ok::<_, DbError>(())
        });
        noted.await?;
        Ok(next == Next::Delivered)
    }

    /// Where a webhook is sent to and how it is signed, if it is sent to.
    async fn target(&self, id: WebhookId) -> Result<Option<Target>, Error> {
        let row = self.db.read(move |reader| store::webhooks::find(reader, id)).await?;
        let Some(row) = row.filter(|row| row.status == Status::Active) else { return Ok(None) };
        let url = self.webhook_url(&row)?.parse().map_err(|_| Error::Inconsistent("a URL"))?;
        let mut keys = vec![self.webhook_key(&row, &row.secret)?];
        let now = self.db.now();
        if let Some((old, _)) = row.old_secret.as_ref().filter(|(_, until)| *until > now) {
            keys.push(self.webhook_key(&row, old)?);
        }
        Ok(Some(Target { id, url, keys }))
    }
}

/// Lets go of a webhook when its task ends, however it ends.
struct Busy<'a> {
    service: &'a Service,
    id: WebhookId,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.service.hooks.busy.lock().remove(&self.id);
    }
}

/// The deliveries that follow from rows of the outbox, in their order.
fn deliveries(
    rows: &[OutboxRow],
    hooks: &[WebhookRow],
    now: Timestamp,
    env: &q_core::Env,
) -> Vec<DeliveryRow> {
    let mut by_wallet: HashMap<String, Vec<&WebhookRow>> = HashMap::new();
    for hook in hooks {
        for name in [hook.wallet.to_string(), hook.reference.clone()] {
            by_wallet.entry(name).or_default().push(hook);
        }
    }
    let mut queued = Vec::new();
    for row in rows {
        for event in row.told() {
            // A wallet may be named by id and by reference: each of its webhooks is told once.
            let mut told = HashSet::new();
            let concerned = rules::concerned(event).into_iter().filter_map(|wallet| by_wallet.get(wallet));
            for hook in concerned.flatten() {
                let is_wanted = hook.after_position < row.position && hook.event_types.want(&event.topic);
                if !is_wanted || !told.insert(hook.id) {
                    continue;
                }
                queued.push(DeliveryRow {
                    id: DeliveryId::new(env),
                    webhook: hook.id,
                    event_id: event.id.to_string(),
                    event_type: event.topic.clone(),
                    body: rules::body(event),
                    progress: Progress::Waiting,
                    attempts: 0,
                    next_at: now,
                    attempted_at: None,
                    response_status: None,
                    error: None,
                    created_at: now,
                });
            }
        }
    }
    queued
}

/// Sends no more to a receiver that says it is gone, until its owner says otherwise.
fn disable(tx: &mut q_db::Tx<'_>, id: WebhookId) -> Result<(), DbError> {
    let Some(mut row) = store::webhooks::find(tx, id)? else { return Ok(()) };
    row.status = Status::Disabled;
    store::webhooks::update(tx, &row)?;
    store::webhooks::give_up(tx, id, "the receiver answered 410: it is gone")?;
    tx.audit(AuditEntry::change("webhook.disable", None, id))?;
    Ok(())
}
