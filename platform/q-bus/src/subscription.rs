//! What a module wants to hear, and what it does then.

use std::{future::Future, pin::Pin, sync::Arc};

use q_core::Event;
use q_db::{AuditRow, DbError};

use crate::source::Stream;

/// Why a reaction did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReactError {
    /// It may work later: delivered again after a growing pause, and nothing overtakes it.
    #[error("{0}")]
    Retry(String),
    /// It will never work: the event is parked, where an operator sees it, and the next one comes.
    #[error("{0}")]
    Fail(String),
}

impl ReactError {
    /// It may work later.
    pub fn retry(reason: impl std::fmt::Display) -> Self {
        Self::Retry(reason.to_string())
    }

    /// It will never work.
    pub fn fail(reason: impl std::fmt::Display) -> Self {
        Self::Fail(reason.to_string())
    }
}

impl From<DbError> for ReactError {
    /// A store that is full, busy or away comes back; a defect or a broken rule stays.
    fn from(error: DbError) -> Self {
        let stays = matches!(
            error,
            DbError::Constraint { .. }
                | DbError::Statement(_)
                | DbError::Aborted
                | DbError::BadRow { .. }
                | DbError::NotOneRow(_)
                | DbError::Json(_)
                | DbError::Panicked(_)
                | DbError::IdempotencyKeyReused
        );
        if stays { Self::fail(error) } else { Self::retry(error) }
    }
}

/// Consecutive audit rows of one producer, without gaps.
#[derive(Debug, Clone)]
pub struct AuditBatch {
    /// The module that wrote them.
    pub producer: String,
    /// The name of the cursor. A reaction that writes moves it in its own commit
    /// (`tx.set_cursor(&batch.cursor, batch.last_position())`); otherwise the bus moves it afterwards.
    pub cursor: String,
    /// The rows, by position.
    pub rows: Vec<AuditRow>,
    /// The newest position the producer's store has, as far as it is known. Below the cursor when that store was
    /// rolled back; the batch has no rows then.
    pub head: i64,
}

impl AuditBatch {
    /// The position of the last row.
    pub fn last_position(&self) -> i64 {
        self.rows.last().map_or(0, |row| row.position)
    }
}

type Reacting = Pin<Box<dyn Future<Output = Result<(), ReactError>> + Send>>;
pub(crate) type OnEvent = Arc<dyn Fn(Event) -> Reacting + Send + Sync>;
pub(crate) type OnAudit = Arc<dyn Fn(AuditBatch) -> Reacting + Send + Sync>;

/// A wish to hear from other modules.
#[derive(Clone)]
pub struct Subscription {
    /// One module, or `None` for every one.
    pub(crate) producer: Option<String>,
    pub(crate) kind: Kind,
}

#[derive(Clone)]
pub(crate) enum Kind {
    Events { topics: Vec<String>, is_durable: bool, react: OnEvent },
    Audit { react: OnAudit },
}

impl Subscription {
    /// The events of `producer` whose topic begins with one of `topics`, from its first one, each at
    /// least once, in order; the cursor is kept in the subscriber's store.
    ///
    /// A reaction that writes says `if tx.seen(&event.id)? { return Ok(()) }` first, so that a second
    /// delivery (after a crash between its commit and the cursor's) changes nothing.
    pub fn durable<F, R>(producer: &str, topics: &[&str], react: F) -> Self
    where
        F: Fn(Event) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        Self::events(producer, topics, true, react)
    }

    /// Like [`Subscription::durable`], but from the first event again at each start: for what is kept
    /// in memory only.
    pub fn replayed<F, R>(producer: &str, topics: &[&str], react: F) -> Self
    where
        F: Fn(Event) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        Self::events(producer, topics, false, react)
    }

    /// The audit rows of every module, the subscriber's own included, in batches without gaps.
    ///
    /// No row is ever passed over: a batch whose reaction fails comes again until it succeeds. A producer whose store
    /// ends before what was heard of it is told once, as a batch without rows.
    pub fn audit<F, R>(react: F) -> Self
    where
        F: Fn(AuditBatch) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        Self { producer: None, kind: Kind::Audit { react: Arc::new(move |batch| Box::pin(react(batch))) } }
    }

    fn events<F, R>(producer: &str, topics: &[&str], is_durable: bool, react: F) -> Self
    where
        F: Fn(Event) -> R + Send + Sync + 'static,
        R: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        let topics = topics.iter().map(ToString::to_string).collect();
        let react: OnEvent = Arc::new(move |event| Box::pin(react(event)));
        Self { producer: Some(producer.to_owned()), kind: Kind::Events { topics, is_durable, react } }
    }

    /// What of the producer is followed.
    pub(crate) const fn stream(&self) -> Stream {
        match self.kind {
            Kind::Events { .. } => Stream::Events,
            Kind::Audit { .. } => Stream::Audit,
        }
    }

    /// The name of the cursor in the subscriber's store. Other topics make another cursor, which
    /// begins at the first event: what was not listened for before is heard then.
    pub(crate) fn cursor(&self, producer: &str) -> String {
        match &self.kind {
            Kind::Events { topics, .. } => format!("events of {producer}: {}", topics.join(" ")),
            Kind::Audit { .. } => format!("audit of {producer}"),
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subscription({})", self.cursor(self.producer.as_deref().unwrap_or("every module")))
    }
}
