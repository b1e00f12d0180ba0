//! A closure on its way to a database thread, and its answer on the way back.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::{
    DbError,
    tx::{Reader, Tx},
};

/// How a write is kept apart from concurrent ones. SQLite has one writer and needs none of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// As if alone; collisions are retried.
    Serializable,
    /// Sees what others commit meanwhile; takes row locks itself (`query_for_update`).
    ReadCommitted,
}

/// Whether a write is the platform's own note about the store, which a write stop lets through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bookkeeping {
    /// A module's write.
    No,
    /// The mode itself, positions of rows that are committed already.
    Yes,
}

/// What became of running a write's body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// Whether its changes are to be committed.
    pub is_kept: bool,
    /// Whether it wrote events or audit rows.
    pub has_news: bool,
}

/// A write, with its types forgotten.
pub(crate) trait WriteJob: Send {
    fn isolation(&self) -> Isolation;
    /// Whether nobody waits for the answer any more.
    fn is_abandoned(&self) -> bool;
    /// Runs the body. A panic in it is an answer like any other.
    fn attempt(&mut self, tx: &mut Tx<'_>) -> Attempt;
    /// Answers: with the body's result if the commit succeeded, else with its error.
    fn answer(self: Box<Self>, commit: Result<(), DbError>);
}

/// A read, with its types forgotten.
pub(crate) trait ReadJob: Send {
    fn is_abandoned(&self) -> bool;
    fn run(self: Box<Self>, reader: &mut Reader<'_>);
    fn refuse(self: Box<Self>, error: DbError);
}

pub(crate) struct Write<T, E, F> {
    pub body: F,
    pub isolation: Isolation,
    pub bookkeeping: Bookkeeping,
    pub trace: Option<q_trace::Context>,
    pub result: Option<Result<T, E>>,
    pub answer: oneshot::Sender<Result<T, E>>,
    /// One place in the queue, given back with the answer.
    pub permit: OwnedSemaphorePermit,
}

impl<T, E, F> WriteJob for Write<T, E, F>
where
    T: Send,
    E: From<DbError> + Send,
    F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send,
{
    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn attempt(&mut self, tx: &mut Tx<'_>) -> Attempt {
        if self.bookkeeping == Bookkeeping::No
            && let Err(stopped) = tx.writes_go_on()
        {
            // Stopped while this one stood in line.
            self.result = Some(Err(stopped.into()));
            return Attempt { is_kept: false, has_news: false };
        }
        tx.set_trace(self.trace.clone());
        let mut result = catch_unwind(AssertUnwindSafe(|| (self.body)(tx)))
            .unwrap_or_else(|payload| Err(panicked(payload).into()));
        if result.is_ok() && tx.failure().is_some() {
            // The body swallowed a failed statement. PostgreSQL would roll back, so both engines do.
            result = Err(DbError::Aborted.into());
        }
        let is_kept = result.is_ok();
        self.result = Some(result);
        Attempt { is_kept, has_news: false }
    }

    fn answer(self: Box<Self>, commit: Result<(), DbError>) {
        let Self { answer, result, permit, .. } = *self;
        let result = match (commit, result) {
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => Err(DbError::Closed.into()),
            (Err(error), _) => Err(error.into()),
        };
        drop(permit);
        // Nobody waits any more: the write happened (or not) all the same.
        let _ = answer.send(result);
    }
}

pub(crate) struct Read<T, E, F> {
    pub body: F,
    pub answer: oneshot::Sender<Result<T, E>>,
    pub permit: OwnedSemaphorePermit,
}

impl<T, E, F> ReadJob for Read<T, E, F>
where
    T: Send,
    E: From<DbError> + Send,
    F: FnOnce(&mut Reader<'_>) -> Result<T, E> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.answer.is_closed()
    }

    fn run(self: Box<Self>, reader: &mut Reader<'_>) {
        let Self { body, answer, permit } = *self;
        let result = catch_unwind(AssertUnwindSafe(|| body(reader)))
            .unwrap_or_else(|payload| Err(panicked(payload).into()));
        drop(permit);
        let _ = answer.send(result);
    }

    fn refuse(self: Box<Self>, error: DbError) {
        let _ = self.answer.send(Err(error.into()));
    }
}

/// What a panic's payload tells. `Row::get` unwinds with a [`DbError`].
fn panicked(payload: Box<dyn Any + Send>) -> DbError {
    match payload.downcast::<DbError>() {
        Ok(error) => *error,
        Err(payload) => {
            let text = payload
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or_else(|| payload.downcast_ref::<String>().cloned());
            let message = text.unwrap_or_else(|| "no message".into());
            tracing::error!(message, "the code inside a transaction panicked");
            DbError::Panicked(message)
        }
    }
}
