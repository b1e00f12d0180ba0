//! The executor: one queue, one commit at a time, no timer.
//!
//! It takes the first command and whatever else is waiting, carries all of them out in one commit, and
//! answers when that commit is on disk. While one commit is being made durable the next commands collect
//! in the queue: the disk's own pace is the collecting window, and an idle system answers at once.

use std::sync::Arc;

use parking_lot::Mutex;
use q_db::{Db, DbConfig, DbError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::commit::{Action, Ledger, Outcome, Work};
use crate::store;

/// How many payments may wait, those of batches counted one by one; one more is refused, so that waiting stays
/// short and what waits fits in memory: with purposes of full length about 200 MB.
pub const QUEUE_PAYMENTS_MAX: usize = 65_536;

const _: () = assert!(qwallet_api::BATCH_ITEMS_MAX <= QUEUE_PAYMENTS_MAX, "the largest batch finds room");

/// How many payments one commit takes on, unless a single batch is larger.
pub const COMMIT_PAYMENTS_MAX: usize = 4_096;

/// Who holds this lock makes the next commit. One process has one executor, but nothing keeps an operator from
/// starting two processes on one server: then they take turns.
const CHAIN_LOCK: &str = "qwallet.chain";

/// Why a command has no outcome.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    /// The queue is full.
    #[error("too many payments are waiting")]
    QueueFull,
    /// The store did not take the commit; nothing of it was done.
    #[error(transparent)]
    Storage(#[from] DbError),
}

type Reply = oneshot::Sender<Result<Outcome, Fault>>;

/// A command in the queue.
struct Waiting {
    work: Work,
    reply: Reply,
    /// Its place in the queue, given back when it is begun or dropped.
    _room: OwnedSemaphorePermit,
}

/// Hands commands to the one task that changes balances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executor {
    /// Bounded by `room`, which counts payments and not commands.
    queue: mpsc::UnboundedSender<Waiting>,
    room: Arc<Semaphore>,
}

impl Executor {
    /// Starts the executor of `writer` on `db`; it stops when the last handle is dropped.
    pub fn start(db: Db, writer: i64) -> Self {
        let (queue, commands) = mpsc::unbounded_channel();
        // A file has one writer, this one; a server may have several, so nothing is believed there.
        let is_shared = matches!(db.config(), DbConfig::Postgres { .. });
        let ledger = Arc::new(Mutex::new(Ledger::new(writer, is_shared)));
        tokio::spawn(Commits { db, ledger, writer }.run(commands));
        Self { queue, room: Arc::new(Semaphore::new(QUEUE_PAYMENTS_MAX)) }
    }

    /// Carries out a command; the answer comes when it is on disk.
    ///
    /// A caller who stops waiting takes the command out of the queue, unless it was begun: then it is carried out,
    /// and its outcome is found under its idempotency key.
    pub async fn submit(&self, work: Work) -> Result<Outcome, Fault> {
        let size = u32::try_from(size(&work).max(1)).map_err(|_| Fault::QueueFull)?;
        let room = self.room.clone().try_acquire_many_owned(size).map_err(|_| Fault::QueueFull)?;
        let (reply, outcome) = oneshot::channel();
        let waiting = Waiting { work, reply, _room: room };
        self.queue.send(waiting).map_err(|_| Fault::Storage(DbError::Closed))?;
        outcome.await.unwrap_or(Err(Fault::Storage(DbError::Closed)))
    }

    /// How many payments wait.
    pub fn queue_depth(&self) -> usize {
        QUEUE_PAYMENTS_MAX - self.room.available_permits()
    }

    /// Whether commands are still carried out: not after the executor's task ended.
    pub fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }
}

struct Commits {
    db: Db,
    ledger: Arc<Mutex<Ledger>>,
    writer: i64,
}

impl Commits {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<Waiting>) {
        while let Some(first) = commands.recv().await {
            let (mut works, mut replies, mut payments) = (Vec::new(), Vec::new(), 0);
            let mut next = Some(first);
            while let Some(Waiting { work, reply, .. }) = next {
                // Nobody waits any more for an answer, and nothing was begun that would have to be finished.
                if !reply.is_closed() {
                    payments += size(&work);
                    works.push(work);
                    replies.push(reply);
                }
                next = if payments < COMMIT_PAYMENTS_MAX { commands.try_recv().ok() } else { None };
            }
            if works.is_empty() {
                continue;
            }
            let outcomes = self.carry_out(works).await;
            for (reply, outcome) in replies.into_iter().zip(outcomes) {
                // A caller who stopped waiting finds the outcome under its idempotency key.
                let _ = reply.send(outcome);
            }
        }
    }

    /// Carries out commands in one commit; if a row breaks a rule of the schema or a stored one cannot be read, in
    /// smaller ones, until the commands that meet it are alone.
    async fn carry_out(&self, works: Vec<Work>) -> Vec<Result<Outcome, Fault>> {
        let works = Arc::new(works);
        let mut outcomes: Vec<Option<Result<Outcome, Fault>>> = (0..works.len()).map(|_| None).collect();
        let mut ranges = vec![(0, works.len())];
        while let Some((from, to)) = ranges.pop() {
            match self.commit(&works, from, to).await {
                Ok(done) => {
                    for (slot, outcome) in outcomes[from..to].iter_mut().zip(done) {
                        *slot = Some(Ok(outcome));
                    }
                }
                Err(error) if to - from > 1 && is_about_a_row(&error) => {
                    tracing::warn!(%error, commands = to - from, "a commit met a bad row and is divided");
                    let middle = usize::midpoint(from, to);
                    // The first half first: commands are carried out in the order of their arrival.
                    ranges.extend([(middle, to), (from, middle)]);
                }
                Err(error) => {
                    tracing::error!(%error, commands = to - from, "a commit of payments failed");
                    outcomes[from..to].fill_with(|| Some(Err(Fault::Storage(error.clone()))));
                }
            }
        }
        outcomes.into_iter().map(|slot| slot.unwrap_or(Err(Fault::Storage(DbError::Aborted)))).collect()
    }

    async fn commit(&self, works: &Arc<Vec<Work>>, from: usize, to: usize) -> Result<Vec<Outcome>, DbError> {
        let (ledger, range) = (self.ledger.clone(), works.clone());
        let written = self.db.write_locked(move |tx| {
            tx.lock(CHAIN_LOCK)?;
            ledger.lock().run(tx, &range[from..to])
        });
        match written.await {
            Ok(outcomes) => {
                self.ledger.lock().keep();
                Ok(outcomes)
            }
            Err(error) => {
                let wanted = self.ledger.lock().wanted();
                self.ledger.lock().forget();
                let (DbError::OutcomeUnknown(_), Some(wanted)) = (&error, wanted) else { return Err(error) };
                // The connection broke during the commit: the chain tells whether it happened. It is
                // never simply tried again.
                let writer = self.writer;
                let end = self.db.write_locked(move |tx| {
                    // The server may still be committing what we lost sight of; the lock is free when it has.
                    tx.lock(CHAIN_LOCK)?;
                    store::ledger::chain_end(tx, writer)
                });
                let end: store::ledger::ChainEnd = end.await.map_err(|_: DbError| error.clone())?;
                if end.head != wanted.head {
                    return Err(error);
                }
                let (ledger, range) = (self.ledger.clone(), works.clone());
                // Everything is stored, so each command now finds itself carried out.
                let found = self.db.write_locked(move |tx| {
                    tx.lock(CHAIN_LOCK)?;
                    ledger.lock().run(tx, &range[from..to])
                });
                found.await
            }
        }
    }
}

/// Whether other commands may succeed where these failed: the store works, but a row they meet is bad.
const fn is_about_a_row(error: &DbError) -> bool {
    matches!(
        error,
        DbError::Constraint { .. }
            | DbError::BadRow { .. }
            | DbError::NotOneRow(_)
            | DbError::Json(_)
            | DbError::Statement(_)
            | DbError::Panicked(_)
    )
}

/// How many payments a command is.
fn size(work: &Work) -> usize {
    match &work.action {
        Action::Batch(batch) => batch.items.len(),
        Action::Pay(_) | Action::Sign { .. } | Action::End { .. } => 1,
    }
}
