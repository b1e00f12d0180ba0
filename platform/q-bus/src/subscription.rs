//! What a module wants to hear, and what it does then.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use q_core::Event;
use q_db::AuditRow;

/// Why a reaction did not succeed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReactError {
    /// Something is away for now: the event is delivered again after a pause, and later ones wait.
    #[error("not now: {0}")]
    Retry(String),
    /// This event can never be reacted to: it is reported and passed over.
    #[error("never: {0}")]
    Fail(String),
}

impl From<q_db::DbError> for ReactError {
    fn from(error: q_db::DbError) -> Self {
        Self::Retry(error.to_string())
    }
}

pub(crate) type EventReaction =
    Arc<dyn Fn(Event) -> BoxFuture<'static, Result<(), ReactError>> + Send + Sync>;
pub(crate) type AuditReaction =
    Arc<dyn Fn(Vec<AuditRow>) -> BoxFuture<'static, Result<(), ReactError>> + Send + Sync>;

#[derive(Clone)]
pub(crate) enum Reaction {
    Events { topics: Vec<String>, react: EventReaction },
    Audit { react: AuditReaction },
}

/// One producer followed by one reaction.
#[derive(Clone)]
pub struct Subscription {
    pub(crate) producer: String,
    pub(crate) reaction: Reaction,
    pub(crate) is_durable: bool,
}

impl Subscription {
    /// Hears each event of `producer` whose topic begins with one of `topics`; goes on after a restart where it was.
    pub fn durable<F>(
        producer: &str,
        topics: &[&str],
        react: impl Fn(Event) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        Self::events(producer, topics, true, react)
    }

    /// Hears every such event from the producer's first one at each start, for knowledge kept in memory.
    pub fn replayed<F>(
        producer: &str,
        topics: &[&str],
        react: impl Fn(Event) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        Self::events(producer, topics, false, react)
    }

    /// Hears the audit entries of `producer` in batches with contiguous positions; durable.
    pub fn audit<F>(producer: &str, react: impl Fn(Vec<AuditRow>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        let react: AuditReaction = Arc::new(move |rows| Box::pin(react(rows)));
        Self { producer: producer.to_owned(), reaction: Reaction::Audit { react }, is_durable: true }
    }

    fn events<F>(
        producer: &str,
        topics: &[&str],
        is_durable: bool,
        react: impl Fn(Event) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), ReactError>> + Send + 'static,
    {
        let react: EventReaction = Arc::new(move |event| Box::pin(react(event)));
        let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
        Self { producer: producer.to_owned(), reaction: Reaction::Events { topics, react }, is_durable }
    }

    /// The name of its cursor: what it hears from whom.
    pub(crate) fn cursor_name(&self) -> String {
        match &self.reaction {
            Reaction::Events { topics, .. } => format!("events {} {}", self.producer, topics.join(",")),
            Reaction::Audit { .. } => format!("audit {}", self.producer),
        }
    }
}
