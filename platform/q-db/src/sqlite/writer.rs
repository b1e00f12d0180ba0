//! Group commit: the writes that queue up while one commit syncs share the next one.
//!
//! Each write runs under its own savepoint, so that one refusal undoes one write. Answers wait for
//! the commit, refusals too: a refusal may rest on a row of the same batch.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use crate::{
    DbError,
    engine::Connection,
    job::{Attempt, WriteJob},
    shared::Shared,
    sqlite::{SqliteConnection, changes::Keeper},
    tx::Tx,
};

/// The most writes one commit carries.
const BATCH_JOBS_MAX: usize = 1_024;
/// How long a batch may keep collecting. Bounds the wait of the first write in it.
const BATCH_COLLECT_MAX: Duration = Duration::from_millis(25);

pub(super) struct Writer {
    path: PathBuf,
    shared: Arc<Shared>,
    connection: Option<SqliteConnection>,
    keeper: Keeper,
    /// Held while this writer lives, so that no second process writes.
    lock: std::fs::File,
}

impl Writer {
    pub fn new(path: &Path, shared: Arc<Shared>, connection: SqliteConnection, lock: std::fs::File) -> Self {
        Self { path: path.to_owned(), shared, connection: Some(connection), keeper: Keeper::default(), lock }
    }

    /// Serves writes until the queue is closed, then folds the log into the file.
    pub fn run(mut self, queue: &Receiver<Box<dyn WriteJob>>) {
        while let Ok(first) = queue.recv() {
            self.batch(first, queue);
            self.keep_changes();
        }
        if self.keeps_changes()
            && let Some(connection) = &mut self.connection
        {
            self.keeper.end(&self.path, connection, &self.shared.changes);
        }
        if let Some(connection) = self.connection.take()
            && let Err(error) = connection.run("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::warn!(error = %error, store = self.shared.module, "the log stays beside the store");
        }
        drop(self.lock);
    }

    fn keeps_changes(&self) -> bool {
        self.shared.changes.is_on.load(Ordering::Relaxed)
    }

    /// Between two commits: reads what was committed before a checkpoint takes it away, and hands it over if asked.
    fn keep_changes(&mut self) {
        if !self.keeps_changes() {
            return;
        }
        if let Some(connection) = &mut self.connection {
            if let Err(error) = self.keeper.watch(connection) {
                tracing::warn!(%error, store = self.shared.module, "commits cannot be watched");
            }
            self.keeper.after_commits(&self.path, connection, &self.shared.changes);
        }
        let request = self.shared.changes.request.lock().take();
        if let Some(request) = request {
            self.keeper.cut(request, &self.path, self.connection.as_mut());
        }
    }

    fn batch(&mut self, first: Box<dyn WriteJob>, queue: &Receiver<Box<dyn WriteJob>>) {
        let mut jobs = Vec::new();
        let outcome = self.transaction(first, queue, &mut jobs);
        if let Err(error) = &outcome {
            tracing::error!(error = %error, store = self.shared.module, writes = jobs.len(), "a commit failed");
            self.shared.judge(error);
            self.recover(error);
        }
        for job in jobs {
            job.answer(outcome.clone());
        }
    }

    fn transaction(
        &mut self,
        first: Box<dyn WriteJob>,
        queue: &Receiver<Box<dyn WriteJob>>,
        jobs: &mut Vec<Box<dyn WriteJob>>,
    ) -> Result<(), DbError> {
        let began = Instant::now();
        let mut next = Some(first);
        let mut has_news = false;
        let mut is_dirty = false;
        if let Err(error) = self.begin() {
            jobs.extend(next.take());
            return Err(error);
        }
        while let Some(mut job) = next.take() {
            if !job.is_abandoned() {
                let attempt = self.attempt(job.as_mut());
                jobs.push(job);
                let attempt = attempt?;
                has_news |= attempt.has_news;
                is_dirty |= attempt.is_kept;
            }
            if jobs.len() < BATCH_JOBS_MAX && began.elapsed() < BATCH_COLLECT_MAX {
                next = queue.try_recv().ok();
            }
        }
        self.commit(is_dirty)?;
        self.shared.committed(jobs.len(), has_news);
        Ok(())
    }

    fn begin(&mut self) -> Result<(), DbError> {
        if self.connection.is_none() {
            let connection = super::open::writer_connection(&self.path)?;
            // The log was begun before a sync failed: everything committed goes into the file, synced, and a new log
            // begins behind it. One that readers hold open waits for the next time.
            connection.run("PRAGMA wal_checkpoint(TRUNCATE)")?;
            self.connection = Some(connection);
        }
        #[cfg(feature = "testing")]
        self.inject()?;
        self.connection().step("BEGIN IMMEDIATE")
    }

    /// Turns the switches of [`crate::testing::Faults`] into what the engine itself would report.
    #[cfg(feature = "testing")]
    fn inject(&mut self) -> Result<(), DbError> {
        let pages = if self.shared.faults.is_full.load(Ordering::SeqCst) { 1 } else { 4_294_967_294_u32 };
        // A bound below the present size means the present size.
        self.connection().query(&format!("PRAGMA max_page_count = {pages}"), &[], &mut |_| true)
    }

    /// Runs one write under its savepoint. An error here ends the whole batch.
    fn attempt(&mut self, job: &mut dyn WriteJob) -> Result<Attempt, DbError> {
        let shared = self.shared.clone();
        let connection = self.connection();
        connection.step("SAVEPOINT job")?;
        let mut tx = Tx::new(Connection::Sqlite(&mut *connection), &shared);
        let mut attempt = job.attempt(&mut tx);
        attempt.has_news = tx.has_news() && attempt.is_kept;
        let failure = tx.into_failure();
        if connection.is_idle() {
            // A full disk or a failed read made SQLite roll back everything, the earlier writes too.
            return Err(failure.unwrap_or(DbError::Aborted));
        }
        if !attempt.is_kept {
            connection.step("ROLLBACK TO job")?;
        }
        connection.step("RELEASE job")?;
        Ok(attempt)
    }

    fn commit(&mut self, is_dirty: bool) -> Result<(), DbError> {
        let clock = self.shared.clock.newest().micros();
        let connection = self.connection();
        if is_dirty {
            connection.execute(
                "UPDATE q_store SET value = $1 WHERE name = 'clock'",
                crate::params![clock.to_string()],
            )?;
        }
        #[cfg(feature = "testing")]
        if self.shared.faults.commit_fails.swap(false, Ordering::SeqCst) {
            return Err(crate::sqlite::failed_sync());
        }
        let began = Instant::now();
        self.connection().step("COMMIT")?;
        self.shared.commit_times.note(began.elapsed());
        Ok(())
    }

    /// Makes the handle usable again. After a failed sync the pages in memory are not trusted: the
    /// next write starts from a fresh connection.
    fn recover(&mut self, error: &DbError) {
        let Some(connection) = &self.connection else { return };
        let is_rolled_back = connection.is_idle() || connection.run("ROLLBACK").is_ok();
        if !is_rolled_back || matches!(error, DbError::Unavailable(_) | DbError::Corrupt(_)) {
            self.connection = None;
            self.keeper.lost_connection();
        }
    }

    fn connection(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("begin has opened the connection")
    }
}
