//! A thread with a connection: serves jobs, runs collisions again, reconnects.

use std::{
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::Receiver;

use crate::{
    DbError,
    engine::Connection,
    error::ConstraintKind,
    job::{Attempt, Isolation, ReadJob, WriteJob},
    postgres::PgConnection,
    shared::Shared,
    tx::{Reader, Tx},
};

/// How often a colliding write is run again. A body that locks its rows hardly ever needs it.
const COLLISIONS_MAX: u32 = 8;
/// How often a serialisable write that met a taken key is run again. The second time it sees who took it.
const TAKEN_KEYS_MAX: u32 = 2;
/// Writes that collided stand in line here before they run again, so that they do not collide with each other.
const LINE_LOCK: i64 = 0x71_6c69_6e65; // "qline"
/// How often to try to reach the server before answering; with the pauses below about a second.
const CONNECTS_MAX: u32 = 6;
const CONNECT_PAUSE: Duration = Duration::from_millis(20);
const COLLISION_PAUSE: Duration = Duration::from_millis(2);

/// One thread's state.
pub(super) struct Worker {
    pub config: postgres::Config,
    pub shared: Arc<Shared>,
    pub connection: Option<PgConnection>,
    /// Whether its commits show in the figures; giving positions is no write of the module.
    pub is_counted: bool,
    /// Which renewal the connection is of.
    pub renewal: u64,
}

/// What one run of a write came to.
enum Outcome {
    /// Decided: committed, or rolled back because the body said so.
    Done(Result<(), DbError>, bool),
    /// Certainly nothing was committed, and running it again may succeed.
    Again(DbError),
}

impl Worker {
    /// Serves writes until the queue is closed.
    pub fn run_writes(mut self, queue: &Receiver<Box<dyn WriteJob>>) {
        for mut job in queue {
            if job.is_abandoned() {
                continue;
            }
            let (outcome, has_news) = self.write(job.as_mut());
            if let Err(error) = &outcome {
                tracing::warn!(error = %error, store = self.shared.module, "a write failed");
            } else if self.is_counted {
                self.shared.committed(1, has_news);
            }
            job.answer(outcome);
        }
    }

    /// Serves reads until the queue is closed.
    pub fn run_reads(mut self, queue: &Receiver<Box<dyn ReadJob>>) {
        for job in queue {
            if job.is_abandoned() {
                continue;
            }
            match self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY") {
                Ok(()) => self.read(job),
                Err(error) => job.refuse(error),
            }
        }
    }

    fn read(&mut self, job: Box<dyn ReadJob>) {
        let shared = self.shared.clone();
        let connection = self.connection();
        job.run(&mut Reader::new(Connection::Postgres(&mut *connection), &shared));
        self.roll_back();
    }

    fn write(&mut self, job: &mut dyn WriteJob) -> (Result<(), DbError>, bool) {
        let mut collisions = 0;
        loop {
            let outcome = if collisions == 0 { self.try_write(job) } else { self.try_write_in_line(job) };
            match outcome {
                Outcome::Done(outcome, has_news) => return (outcome, has_news),
                // The key is taken for good, which is for the body to say.
                Outcome::Again(DbError::Constraint { .. }) if collisions >= TAKEN_KEYS_MAX => {
                    return (Ok(()), false);
                }
                Outcome::Again(error) if collisions == COLLISIONS_MAX => return (Err(error), false),
                Outcome::Again(_) => {
                    pause(&self.shared, COLLISION_PAUSE, collisions);
                    collisions += 1;
                }
            }
        }
    }

    /// One more run of a write that collided, after the others that did. The line is the connection's: a snapshot
    /// taken while waiting inside the transaction would be too old.
    fn try_write_in_line(&mut self, job: &mut dyn WriteJob) -> Outcome {
        if let Err(error) = self.begin(&format!("SELECT pg_advisory_lock({LINE_LOCK})")) {
            return Outcome::Done(Err(error), false);
        }
        let outcome = self.try_write(job);
        let leave = format!("SELECT pg_advisory_unlock({LINE_LOCK})");
        if self.connection.as_mut().is_some_and(|connection| connection.run(&leave).is_err()) {
            // The lock goes with the connection.
            self.connection = None;
        }
        outcome
    }

    fn try_write(&mut self, job: &mut dyn WriteJob) -> Outcome {
        let begin = match job.isolation() {
            Isolation::Serializable => SERIALIZABLE,
            Isolation::ReadCommitted => READ_COMMITTED,
        };
        if let Err(error) = self.begin(begin) {
            // The gate may have stayed closed after the transaction had begun.
            self.roll_back();
            return Outcome::Done(Err(error), false);
        }
        let shared = self.shared.clone();
        let mut tx = Tx::new(Connection::Postgres(self.connection()), &shared);
        let Attempt { is_kept, .. } = job.attempt(&mut tx);
        let has_news = tx.has_news();
        match tx.into_failure() {
            Some(error) if deserves_another_run(&error, job.isolation()) => {
                self.roll_back();
                Outcome::Again(error)
            }
            _ if is_kept => self.commit(has_news),
            _ => {
                self.roll_back();
                Outcome::Done(Ok(()), false)
            }
        }
    }

    fn commit(&mut self, has_news: bool) -> Outcome {
        let began = Instant::now();
        match self.connection().run("COMMIT") {
            Ok(()) => {
                if self.is_counted {
                    self.shared.commit_times.note(began.elapsed());
                }
                Outcome::Done(Ok(()), has_news)
            }
            Err(error @ DbError::Conflict(_)) => {
                self.roll_back();
                Outcome::Again(error)
            }
            Err(DbError::Unavailable(source)) => {
                self.connection = None;
                Outcome::Done(Err(DbError::OutcomeUnknown(source)), false)
            }
            Err(error) => {
                self.roll_back();
                Outcome::Done(Err(error), false)
            }
        }
    }

    /// Opens a transaction, on a new connection if the old one is gone.
    fn begin(&mut self, sql: &str) -> Result<(), DbError> {
        let mut attempt = 0;
        loop {
            let began = self.connected().and_then(|connection| connection.run(sql));
            match began {
                Err(DbError::Unavailable(source)) => {
                    self.connection = None;
                    attempt += 1;
                    if attempt == CONNECTS_MAX {
                        return Err(DbError::Unavailable(source));
                    }
                    pause(&self.shared, CONNECT_PAUSE, attempt);
                }
                other => return other,
            }
        }
    }

    fn connected(&mut self) -> Result<&mut PgConnection, DbError> {
        let renewal = self.shared.renewals.load(Ordering::Relaxed);
        let is_old = std::mem::replace(&mut self.renewal, renewal) != renewal;
        if is_old || self.connection.as_ref().is_none_or(PgConnection::is_closed) {
            self.connection = Some(PgConnection::connect(&self.config)?);
        }
        Ok(self.connection())
    }

    fn roll_back(&mut self) {
        let is_usable = self.connection.as_mut().is_some_and(|connection| connection.run("ROLLBACK").is_ok());
        if !is_usable {
            self.connection = None;
        }
    }

    fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("begin has opened the connection")
    }
}

/// How a write begins. The table is the gate at which writers wait while a backup has the stores at rest: taken first by
/// all, so that nobody who waits there holds what the backup waits for. `LOCK` takes no snapshot, so what is waited for
/// is seen; and locks of this kind cost the server no shared memory.
const SERIALIZABLE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE q_store IN ROW SHARE MODE";
const READ_COMMITTED: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; LOCK TABLE q_store IN ROW SHARE MODE";

/// Collisions, connections lost before the commit, and two writers taking the same key at once: the second run
/// finds what the other one wrote. The server reports some of these as a taken key where a writer that runs as if
/// alone would have seen the other's row and decided otherwise.
fn deserves_another_run(error: &DbError, isolation: Isolation) -> bool {
    let is_taken_key = matches!(error, DbError::Constraint { kind: ConstraintKind::Unique, .. });
    matches!(error, DbError::Conflict(_) | DbError::Unavailable(_))
        || (is_taken_key && isolation == Isolation::Serializable)
        || error.is_unique("q_idempotency_pkey")
        || error.is_unique("q_inbox_pkey")
}

/// Sleeps between half and the whole of `base` doubled `exponent` times, so that colliders part.
fn pause(shared: &Shared, base: Duration, exponent: u32) {
    let whole = base * 2_u32.saturating_pow(exponent.min(6));
    let [share] = shared.env.random::<1>();
    thread::sleep(whole / 2 + whole / 2 * u32::from(share) / 255);
}
