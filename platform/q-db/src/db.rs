//! The handle: sends closures to the engine's threads and waits for their answers.

use std::{sync::Arc, sync::atomic::Ordering, thread::JoinHandle};

use crossbeam_channel::{Receiver, Sender};
use parking_lot::{Mutex, RwLock};
use q_core::{Env, RequestKey};
use q_trace::{Kind, Span};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{Semaphore, oneshot, watch};

use crate::{
    DbConfig, DbError, Migrations, OpenError,
    job::{Bookkeeping, Isolation, Read, ReadJob, Write, WriteJob},
    postgres,
    shared::Shared,
    sqlite,
    tx::{Reader, Tx},
};

/// How many reads, and how many writes, may wait in line; further callers wait for a place.
pub(crate) const QUEUE_JOBS_MAX: usize = 8_192;

/// One open store. Cheap to clone; the last clone to go stops the threads.
#[derive(Clone)]
pub struct Db(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    config: DbConfig,
    migrations: Migrations,
    pub(crate) shared: Arc<Shared>,
    queues: RwLock<Option<Queues>>,
    /// PostgreSQL only: gives positions to events and audit rows, one batch at a time.
    sequencer: RwLock<Option<Sender<Box<dyn WriteJob>>>>,
    write_places: Arc<Semaphore>,
    read_places: Arc<Semaphore>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Held while the mode changes in the store and in memory.
    pub(crate) mode_changing: tokio::sync::Mutex<()>,
}

pub(crate) type AnyWrite = Box<dyn WriteJob>;
pub(crate) type AnyRead = Box<dyn ReadJob>;

/// The ways into the threads.
#[derive(Clone)]
pub(crate) struct Queues {
    writes: Sender<Box<dyn WriteJob>>,
    reads: Sender<Box<dyn ReadJob>>,
}

/// What becomes of a store that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It is made.
    Make,
    /// It was there before, so it is not opened: an empty one in its place would pass for a sound one.
    Refuse,
}

/// What an engine hands over once it runs.
pub(crate) struct Engine {
    pub shared: Arc<Shared>,
    pub queues: Queues,
    pub sequencer: Option<Sender<Box<dyn WriteJob>>>,
    pub threads: Vec<JoinHandle<()>>,
}

impl Queues {
    pub fn new() -> (Self, Receiver<AnyWrite>, Receiver<AnyRead>) {
        let (writes, write_jobs) = crossbeam_channel::bounded(QUEUE_JOBS_MAX);
        let (reads, read_jobs) = crossbeam_channel::bounded(QUEUE_JOBS_MAX);
        (Self { writes, reads }, write_jobs, read_jobs)
    }
}

/// What a write that carries an idempotency key answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer<T> {
    /// The answer, now or then.
    pub value: T,
    /// Whether it is the stored answer of an earlier request.
    pub replayed: bool,
}

impl Db {
    /// Opens the store, makes it if it does not exist, and brings its schema up to date.
    pub async fn open(config: &DbConfig, migrations: &Migrations, env: &Env) -> Result<Self, OpenError> {
        Self::open_as(Absent::Make, config, migrations, env).await
    }

    /// Opens a store that has been there before and brings its schema up to date; makes nothing:
    /// [`OpenError::Missing`] when the file, the database, or our tables in it are gone.
    pub async fn open_existing(
        config: &DbConfig,
        migrations: &Migrations,
        env: &Env,
    ) -> Result<Self, OpenError> {
        Self::open_as(Absent::Refuse, config, migrations, env).await
    }

    async fn open_as(
        absent: Absent,
        config: &DbConfig,
        migrations: &Migrations,
        env: &Env,
    ) -> Result<Self, OpenError> {
        migrations.check()?;
        let (config, migrations, env) = (config.clone(), *migrations, env.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let engine = match &config {
                DbConfig::Sqlite { path } => sqlite::open(path, absent, &migrations, &env)?,
                DbConfig::Postgres { url } => postgres::open(url, absent, &migrations, &env)?,
            };
            Ok(Self(Arc::new(Inner {
                config,
                migrations,
                shared: engine.shared,
                queues: RwLock::new(Some(engine.queues)),
                sequencer: RwLock::new(engine.sequencer),
                write_places: Arc::new(Semaphore::new(QUEUE_JOBS_MAX)),
                read_places: Arc::new(Semaphore::new(QUEUE_JOBS_MAX)),
                threads: Mutex::new(engine.threads),
                mode_changing: tokio::sync::Mutex::default(),
            })))
        });
        let opened: Result<Self, OpenError> =
            opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let db = opened?;
        db.refresh_mode().await?;
        db.keep_mode();
        Ok(db)
    }

    /// Runs `body` on a snapshot, on a database thread.
    pub async fn read<T, E>(
        &self,
        body: impl FnOnce(&mut Reader<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let permit =
            self.0.read_places.clone().acquire_owned().await.map_err(|_| E::from(DbError::Closed))?;
        let (answer, answered) = oneshot::channel();
        let queue = self.0.queues.read().as_ref().map(|queues| queues.reads.clone());
        let queue = queue.ok_or(DbError::Closed)?;
        queue.send(Box::new(Read { body, answer, permit })).map_err(|_| DbError::Closed)?;
        answered.await.unwrap_or_else(|_| Err(DbError::Closed.into()))
    }

    /// Runs `body` in a transaction and commits it; the only way to change a store.
    ///
    /// An `Err` rolls back. The answer comes when the commit is on disk. The body may run twice, so
    /// every effect goes through the transaction; nothing slow belongs inside. When a statement
    /// inside fails, the write is over, on every engine: let the error out with `?`.
    pub async fn write<T, E>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let queue = self.0.queues.read().as_ref().map(|queues| queues.writes.clone());
        self.send(queue, Isolation::Serializable, Bookkeeping::No, body).await
    }

    /// Like [`Db::write`], for what the platform notes about the store itself: not held up by a write stop.
    pub(crate) async fn write_always<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let queue = self.0.queues.read().as_ref().map(|queues| queues.writes.clone());
        self.send(queue, Isolation::Serializable, Bookkeeping::Yes, body).await
    }

    /// Like [`Db::write`], for bodies that lock the rows they decide on (`query_for_update`): on
    /// PostgreSQL it runs at READ COMMITTED and so never fails to serialise.
    pub async fn write_locked<T, E>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let queue = self.0.queues.read().as_ref().map(|queues| queues.writes.clone());
        self.send(queue, Isolation::ReadCommitted, Bookkeeping::No, body).await
    }

    /// Like [`Db::write`], and remembers the answer under `key` in the same commit: the same request
    /// again gets the same answer and changes nothing.
    ///
    /// An `Err` is not remembered, so a refused request may be tried again. Not for answers that hold
    /// secrets: those use [`Tx::claim`].
    pub async fn write_once<T, E>(
        &self,
        key: Option<&RequestKey>,
        mut body: impl FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<Answer<T>, E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let key = key.cloned();
        self.write(move |tx| tx.once(key.as_ref(), &mut body)).await
    }

    /// Counts up with every commit that wrote events or audit rows, in this process.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.shared.news()
    }

    /// Has every connection to the server made anew before its next use; what is under way is finished first. Answers
    /// whether there are any: a file has none.
    pub fn reconnect(&self) -> bool {
        self.0.shared.renewals.fetch_add(1, Ordering::Relaxed);
        self.is_postgres()
    }

    /// The module the store belongs to.
    pub fn module(&self) -> &str {
        &self.0.shared.module
    }

    /// The present instant by the store's clock, which never goes back.
    pub fn now(&self) -> q_core::Timestamp {
        self.0.shared.now()
    }

    /// Clock and entropy.
    pub fn env(&self) -> &Env {
        &self.0.shared.env
    }

    /// How far the host's clock has jumped ahead of the time that passed since it was last believed; zero while it is
    /// believed. The store does not follow such a jump: nothing expires by it.
    pub fn clock_jump(&self) -> q_core::Span {
        self.0.shared.clock.jump(&self.0.shared.env)
    }

    /// Where the store is.
    pub fn config(&self) -> &DbConfig {
        &self.0.config
    }

    /// Finishes the writes in line, stops the threads and closes the files. Later calls answer
    /// [`DbError::Closed`].
    pub async fn close(&self) {
        self.0.queues.write().take();
        self.0.sequencer.write().take();
        let threads = std::mem::take(&mut *self.0.threads.lock());
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a database thread had panicked");
                }
            }
        });
        if joined.await.is_err() {
            tracing::error!("the database threads could not be joined");
        }
    }

    pub(crate) fn migrations(&self) -> &Migrations {
        &self.0.migrations
    }

    /// How many commits there were, and how many writes they carried.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.0.shared.commits.load(Ordering::Relaxed), self.0.shared.writes.load(Ordering::Relaxed))
    }

    /// How many reads and how many writes wait for a thread.
    pub(crate) fn waiting(&self) -> (usize, usize) {
        let queues = self.0.queues.read();
        queues.as_ref().map_or((0, 0), |queues| (queues.reads.len(), queues.writes.len()))
    }

    pub(crate) fn thread_count(&self) -> usize {
        self.0.threads.lock().len()
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self.0.config, DbConfig::Postgres { .. })
    }

    /// Runs `body` where positions are given: the sequencer's thread.
    pub(crate) async fn sequence<T: Send + 'static>(
        &self,
        body: impl FnMut(&mut Tx<'_>) -> Result<T, DbError> + Send + 'static,
    ) -> Result<T, DbError> {
        let queue = self.0.sequencer.read().clone();
        self.send(queue, Isolation::ReadCommitted, Bookkeeping::Yes, body).await
    }

    #[cfg(feature = "testing")]
    pub(crate) fn shared(&self) -> &Shared {
        &self.0.shared
    }

    async fn send<T, E>(
        &self,
        queue: Option<Sender<Box<dyn WriteJob>>>,
        isolation: Isolation,
        bookkeeping: Bookkeeping,
        body: impl FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let queue = queue.ok_or(DbError::Closed)?;
        if bookkeeping == Bookkeeping::No {
            self.0.shared.writes_go_on()?;
        }
        let permit =
            self.0.write_places.clone().acquire_owned().await.map_err(|_| E::from(DbError::Closed))?;
        let (answer, answered) = oneshot::channel();
        // From the place in line to the answer: the wait, the body and the sync.
        let span = Span::child("db.write", Kind::Client);
        let trace = q_trace::current();
        let job = Write { body, isolation, bookkeeping, trace, result: None, answer, permit };
        queue.send(Box::new(job)).map_err(|_| DbError::Closed)?;
        drop(queue);
        let answer = answered.await.unwrap_or_else(|_| Err(DbError::Closed.into()));
        if let Some(mut span) = span {
            span.set("db.system.name", if self.is_postgres() { "postgresql" } else { "sqlite" });
            span.set("db.namespace", self.0.shared.module.clone());
            span.set("db.operation.name", "COMMIT");
            if answer.is_err() {
                span.fail("rolled back");
            }
            span.finish();
        }
        answer
    }
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Db({} at {})", self.0.shared.module, self.0.config)
    }
}
