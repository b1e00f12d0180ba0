//! The executor: commands wait in lanes, each lane makes one commit at a time, no timer.
//!
//! A lane takes the first command and whatever else is waiting, carries all of them out in one commit, and
//! answers when that commit is on disk. While one commit is being made durable the next commands collect
//! in the queue: the disk's own pace is the collecting window, and an idle system answers at once.
//!
//! A file has one lane. On a server a process has a few, by the paying account, and there may be several processes:
//! each lane is a writer with a number, a chain and a stripe of the house's accounts of its own, so that lanes and
//! processes meet only in the accounts that their payments have in common (docs/decisions/0009).

use std::{
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::Arc,
    time::Instant,
};

use parking_lot::{Mutex, RwLock};
use q_db::{Db, DbConfig, DbError};
use q_trace::{Kind, Span};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    commit::{Action, Item, Ledger, Outcome, Striped, Stripes, Work},
    directory,
    metrics::Metrics,
    recent::Recents,
};
use crate::{
    domain::{account::AccountId, currency::CurrencyId, limits::Defaults},
    store::{self, writers::Lease},
};

/// How many payments may wait, those of batches counted one by one; one more is refused, so that waiting stays
/// short and what waits fits in memory: with purposes of full length about 200 MB.
pub const QUEUE_PAYMENTS_MAX: usize = 65_536;

const _: () = assert!(qwallet_api::BATCH_ITEMS_MAX <= QUEUE_PAYMENTS_MAX, "the largest batch finds room");

/// How many payments one commit takes on, unless a single batch is larger.
pub const COMMIT_PAYMENTS_MAX: usize = 4_096;

/// The most lanes one process has. Each holds a connection to the server while it commits.
pub const LANES_MAX: usize = 4;

/// How often a commit is made anew because another process was faster with a key, or took the writer's number.
const TRIES_MAX: u32 = 8;

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
    /// The request it came with.
    trace: Option<q_trace::Context>,
    /// Its place in the queue, given back when it is begun or dropped.
    _room: OwnedSemaphorePermit,
}

/// How an executor works.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// How many lanes it has on a server; at least one, at most [`LANES_MAX`].
    pub lanes: usize,
    /// The instance's limits on spending.
    pub limits: Vec<(CurrencyId, Defaults)>,
}

/// Hands commands to the tasks that change balances. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Executor {
    lanes: Arc<[Lane]>,
    room: Arc<Semaphore>,
    stripes: Stripes,
    recents: Recents,
    metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Lane {
    /// Bounded by `room`, which counts payments and not commands.
    queue: mpsc::UnboundedSender<Waiting>,
    writer: Arc<RwLock<Writer>>,
}

/// Whose chain a lane continues, and which of the house's accounts it credits.
#[derive(Debug, Clone)]
struct Writer {
    lease: Lease,
    /// The house's fee accounts, and the stripe of each that is this writer's.
    fees: Vec<(AccountId, AccountId)>,
}

impl Executor {
    /// Starts the lanes on `db`; they stop when the last handle is dropped.
    pub async fn open(db: &Db, options: &Options) -> Result<Self, DbError> {
        let is_shared = matches!(db.config(), DbConfig::Postgres { .. });
        let count = if is_shared { options.lanes.clamp(1, LANES_MAX) } else { 1 };
        let stripes = Stripes::default();
        let recents = if is_shared { Recents::none() } else { Recents::default() };
        let metrics = Arc::new(Metrics::default());
        let mut lanes = Vec::with_capacity(count);
        for _ in 0..count {
            let taken = if is_shared { take_number(db).await? } else { Writer::SOLE };
            let limits = options.limits.clone();
            let ledger = Ledger::new(taken.lease, is_shared, limits, stripes.clone(), recents.clone());
            let (queue, commands) = mpsc::unbounded_channel();
            let writer = Arc::new(RwLock::new(taken));
            let commits = Commits {
                db: db.clone(),
                ledger: Arc::new(Mutex::new(ledger)),
                writer: writer.clone(),
                is_shared,
                metrics: metrics.clone(),
            };
            tokio::spawn(commits.run(commands));
            lanes.push(Lane { queue, writer });
        }
        let room = Arc::new(Semaphore::new(QUEUE_PAYMENTS_MAX));
        Ok(Self { lanes: lanes.into(), room, stripes, recents, metrics })
    }

    /// Carries out a command; the answer comes when it is on disk.
    ///
    /// A caller who stops waiting takes the command out of the queue, unless it was begun: then it is carried out,
    /// and its outcome is found under its idempotency key.
    pub async fn submit(&self, mut work: Work) -> Result<Outcome, Fault> {
        let size = u32::try_from(size(&work).max(1)).map_err(|_| Fault::QueueFull)?;
        let room = self.room.clone().try_acquire_many_owned(size).map_err(|_| Fault::QueueFull)?;
        let lane = self.lane_of(&work);
        self.direct(&mut work, lane);
        self.metrics.set_queue_depth(self.queue_depth());
        let (reply, outcome) = oneshot::channel();
        // From the place in line until it is on disk, in the request's own trace.
        let span = Span::child("ledger.submit", Kind::Internal);
        let waiting = Waiting { work, reply, trace: q_trace::current(), _room: room };
        lane.queue.send(waiting).map_err(|_| Fault::Storage(DbError::Closed))?;
        let outcome = outcome.await.unwrap_or(Err(Fault::Storage(DbError::Closed)));
        if let Some(span) = span {
            span.finish();
        }
        if let Ok(Outcome::Refused(refusal)) = &outcome {
            self.metrics.refused(refusal);
        }
        outcome
    }

    /// How many payments wait.
    pub fn queue_depth(&self) -> usize {
        QUEUE_PAYMENTS_MAX - self.room.available_permits()
    }

    /// Whether commands are still carried out: not after a lane's task ended.
    pub fn is_running(&self) -> bool {
        self.lanes.iter().all(|lane| !lane.queue.is_closed())
    }

    /// The numbers of this process as a writer, one a lane.
    pub fn writers(&self) -> Vec<i64> {
        self.lanes.iter().map(|lane| lane.writer.read().lease.writer).collect()
    }

    /// What was carried out lately and is not sorted in yet; nothing on a server.
    pub fn recents(&self) -> &Recents {
        &self.recents
    }

    /// The figures of the executor.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Tells the store that the writers are still there. On a file there is nothing to tell.
    pub async fn keep_numbers(&self, db: &Db) -> Result<(), DbError> {
        if !matches!(db.config(), DbConfig::Postgres { .. }) {
            return Ok(());
        }
        for lane in self.lanes.iter() {
            let lease = lane.writer.read().lease;
            // Whether it still holds shows at the next commit, which is where it matters.
            db.write_locked(move |tx| store::writers::keep(tx, lease)).await?;
        }
        Ok(())
    }

    /// Gives the numbers back, at an orderly end; a commit that comes all the same takes another number.
    pub async fn release_numbers(&self, db: &Db) -> Result<(), DbError> {
        if !matches!(db.config(), DbConfig::Postgres { .. }) {
            return Ok(());
        }
        for lane in self.lanes.iter() {
            let lease = lane.writer.read().lease;
            db.write_locked(move |tx| store::writers::release(tx, lease)).await?;
        }
        Ok(())
    }

    /// Learns which wallets are paid by many at once.
    pub async fn learn_stripes(&self, db: &Db) -> Result<(), DbError> {
        let pairs = db.read(store::ledger::stripes).await?;
        let mut found = Striped::default();
        for (account, stripe, is_house) in pairs {
            let of = if is_house { &mut found.house } else { &mut found.wallets };
            of.entry(account).or_default().push(stripe);
        }
        *self.stripes.write() = found;
        Ok(())
    }

    /// The accounts of wallets that have stripes.
    pub fn striped_accounts(&self) -> Vec<AccountId> {
        self.stripes.read().wallets.keys().copied().collect()
    }

    /// The lane of a command: that of the account which pays, so that its payments do not wait for one another in two.
    /// Nothing depends on it but the waiting, because rows are locked.
    fn lane_of(&self, work: &Work) -> &Lane {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let giver = |item: &Item| item.legs.first().map(|leg| leg.debit.0);
        let key = match &work.action {
            Action::Pay(item) | Action::Sign { item, .. } => giver(item),
            Action::Batch(batch) => batch.items.iter().flatten().find_map(giver),
            Action::End { payer, .. } => payer.map(|payer| payer.0),
            Action::Holds(_) => None,
            Action::Sweep(account) => Some(account.0),
            Action::SetLimits(change) => Some(change.account.0),
            Action::Record(record) => record.accounts().first().map(|account| account.0),
        };
        let lanes = u64::try_from(self.lanes.len()).expect("a process has few lanes");
        let lane = hasher.hash_one(key.unwrap_or_default()) % lanes;
        &self.lanes[usize::try_from(lane).expect("a process has few lanes")]
    }

    /// Directs what the house and hot payees get to the stripes of the lane's writer: two writers never meet in one.
    fn direct(&self, work: &mut Work, lane: &Lane) {
        let writer = lane.writer.read();
        let stripes = &self.stripes.read().wallets;
        if writer.fees.is_empty() && stripes.is_empty() {
            return;
        }
        let direct = |item: &mut Item| {
            for leg in &mut item.legs {
                if let Some((_, stripe)) = writer.fees.iter().find(|(account, _)| *account == leg.credit) {
                    leg.credit = *stripe;
                } else if let Some(own) = stripes.get(&leg.credit).filter(|own| !own.is_empty()) {
                    let place = usize::try_from(writer.lease.writer - 1).unwrap_or_default() % own.len();
                    leg.credit = own[place];
                }
            }
        };
        match &mut work.action {
            Action::Pay(item) | Action::Sign { item, .. } => direct(item),
            Action::Batch(batch) => batch.items.iter_mut().flatten().for_each(direct),
            Action::End { .. }
            | Action::Holds(_)
            | Action::Sweep(_)
            | Action::SetLimits(_)
            | Action::Record(_) => {}
        }
    }
}

impl Writer {
    /// The only writer of a file.
    const SOLE: Self = Self { lease: Lease::SOLE, fees: Vec::new() };
}

/// A number nobody holds, with its stripes of the house's accounts.
async fn take_number(db: &Db) -> Result<Writer, DbError> {
    let lease = db.write_locked(store::writers::take).await?;
    let fees = db.write(move |tx| directory::fee_stripes(tx, lease.writer)).await?;
    tracing::info!(writer = lease.writer, "payments are written under a number of our own");
    Ok(Writer { lease, fees })
}

struct Commits {
    db: Db,
    ledger: Arc<Mutex<Ledger>>,
    writer: Arc<RwLock<Writer>>,
    is_shared: bool,
    metrics: Arc<Metrics>,
}

impl Commits {
    async fn run(self, mut commands: mpsc::UnboundedReceiver<Waiting>) {
        while let Some(first) = commands.recv().await {
            let (mut works, mut replies, mut payments) = (Vec::new(), Vec::new(), 0);
            let mut causes = Vec::new();
            let mut next = Some(first);
            while let Some(Waiting { work, reply, trace, .. }) = next {
                // Nobody waits any more for an answer, and nothing was begun that would have to be finished.
                if !reply.is_closed() {
                    payments += size(&work);
                    works.push(work);
                    replies.push(reply);
                    causes.extend(trace);
                }
                next = if payments < COMMIT_PAYMENTS_MAX { commands.try_recv().ok() } else { None };
            }
            if works.is_empty() {
                continue;
            }
            let began = Instant::now();
            let outcomes = match Span::for_all(self.db.env(), "ledger.commit", &causes) {
                Some(mut span) => {
                    span.set("q.payments", i64::try_from(payments).unwrap_or(i64::MAX));
                    let outcomes = q_trace::scope(span.context().clone(), self.carry_out(works)).await;
                    span.finish();
                    outcomes
                }
                None => self.carry_out(works).await,
            };
            self.metrics.committed(payments, began.elapsed());
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

    /// One commit, made anew as long as nothing of it happened and doing it again decides otherwise: another process was
    /// faster with a key, so now it is found; or our number is another's, so now we have a new one.
    async fn commit(&self, works: &Arc<Vec<Work>>, from: usize, to: usize) -> Result<Vec<Outcome>, DbError> {
        let mut tries = 1;
        loop {
            let outcome = self.try_commit(works, from, to).await;
            let (is_lease_lost, has_learnt) = {
                let ledger = self.ledger.lock();
                (ledger.is_lease_lost(), ledger.has_learnt())
            };
            match &outcome {
                Err(_) if is_lease_lost && tries < TRIES_MAX => self.take_another_number().await?,
                Err(_) if has_learnt && tries < TRIES_MAX => {}
                Err(error) if self.is_shared && is_taken_key(error) && tries < TRIES_MAX => {}
                _ => return outcome,
            }
            tries += 1;
        }
    }

    async fn take_another_number(&self) -> Result<(), DbError> {
        let taken = take_number(&self.db).await?;
        tracing::warn!(
            lost = self.writer.read().lease.writer,
            taken = taken.lease.writer,
            "another process continues our chain, because we were not heard of; we begin another"
        );
        self.ledger.lock().begin_chain(taken.lease);
        *self.writer.write() = taken;
        Ok(())
    }

    async fn try_commit(
        &self,
        works: &Arc<Vec<Work>>,
        from: usize,
        to: usize,
    ) -> Result<Vec<Outcome>, DbError> {
        let (ledger, range) = (self.ledger.clone(), works.clone());
        let written = self.db.write_locked(move |tx| ledger.lock().run(tx, &range[from..to]));
        match written.await {
            Ok(outcomes) => {
                self.ledger.lock().keep();
                Ok(outcomes)
            }
            Err(error) => {
                let (wanted, lease) = {
                    let mut ledger = self.ledger.lock();
                    let wanted = (ledger.wanted(), ledger.lease());
                    ledger.forget();
                    wanted
                };
                let (DbError::OutcomeUnknown(_), Some((commit, head))) = (&error, wanted) else {
                    return Err(error);
                };
                // The connection broke during the commit: the chain tells whether it happened. It is
                // never simply tried again.
                let stored = self.db.write_locked(move |tx| {
                    // The server may still be committing what we lost sight of; the row is free when it has.
                    store::writers::hold(tx, lease)?;
                    store::ledger::head_of(tx, commit)
                });
                let stored = stored.await.map_err(|_: DbError| error.clone())?;
                if stored != Some(head) {
                    return Err(error);
                }
                let (ledger, range) = (self.ledger.clone(), works.clone());
                // Everything is stored, so each command now finds itself carried out.
                let found = self.db.write_locked(move |tx| ledger.lock().run(tx, &range[from..to])).await?;
                self.ledger.lock().keep();
                Ok(found)
            }
        }
    }
}

/// Whether another process used one of the keys or nonces between our looking for it and our writing it.
fn is_taken_key(error: &DbError) -> bool {
    ["requests_pkey", "nonces_pkey", "nonces_nonce"].into_iter().any(|name| error.is_unique(name))
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
        Action::Holds(batch) => batch.changes.len(),
        Action::Pay(_)
        | Action::Sign { .. }
        | Action::End { .. }
        | Action::Sweep(_)
        | Action::SetLimits(_)
        | Action::Record(_) => 1,
    }
}
