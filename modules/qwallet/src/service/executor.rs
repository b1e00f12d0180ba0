//! The executor: one queue, one commit at a time, no timer.
//!
//! It takes the first command and whatever else is waiting, carries all of them out in one commit, and
//! answers when that commit is on disk. While one commit is being made durable the next commands collect
//! in the queue: the disk's own pace is the collecting window, and an idle system answers at once.

use std::sync::Arc;

use parking_lot::Mutex;
use q_db::{Db, DbConfig, DbError};
use tokio::sync::{mpsc, oneshot};

use super::commit::{Action, Ledger, Outcome, Work};
use crate::store;

/// How many commands may wait; one more is refused, so that waiting stays short.
pub const QUEUE_COMMANDS_MAX: usize = 16_384;

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

/// Hands commands to the one task that changes balances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executor {
    queue: mpsc::Sender<(Work, Reply)>,
}

impl Executor {
    /// Starts the executor of `writer` on `db`; it stops when the last handle is dropped.
    pub fn start(db: Db, writer: i64) -> Self {
        let (queue, commands) = mpsc::channel(QUEUE_COMMANDS_MAX);
        // A file has one writer, this one; a server may have several, so nothing is believed there.
        let is_shared = matches!(db.config(), DbConfig::Postgres { .. });
        let ledger = Arc::new(Mutex::new(Ledger::new(writer, is_shared)));
        tokio::spawn(Commits { db, ledger, writer }.run(commands));
        Self { queue }
    }

    /// Carries out a command; the answer comes when it is on disk.
    pub async fn submit(&self, work: Work) -> Result<Outcome, Fault> {
        let (reply, outcome) = oneshot::channel();
        self.queue.try_send((work, reply)).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Fault::QueueFull,
            mpsc::error::TrySendError::Closed(_) => Fault::Storage(DbError::Closed),
        })?;
        outcome.await.unwrap_or(Err(Fault::Storage(DbError::Closed)))
    }

    /// How many commands wait.
    pub fn queue_depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }
}

struct Commits {
    db: Db,
    ledger: Arc<Mutex<Ledger>>,
    writer: i64,
}

impl Commits {
    async fn run(self, mut commands: mpsc::Receiver<(Work, Reply)>) {
        while let Some((first, reply)) = commands.recv().await {
            let mut payments = size(&first);
            let (mut works, mut replies) = (vec![first], vec![reply]);
            while payments < COMMIT_PAYMENTS_MAX
                && let Ok((work, reply)) = commands.try_recv()
            {
                payments += size(&work);
                works.push(work);
                replies.push(reply);
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
