//! Where a producer's rows are read: its store in this process, or its feed from another one.

use std::time::Duration;

use q_contract::Client;
use q_db::{AuditRow, Db, DbError, OutboxRow};
use tokio::sync::watch;

use crate::feed::Remote;

/// How often to look although nothing was announced: a replica in another process may have written.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The pause after a page from elsewhere, so that a busy producer is asked for tens of rows and not for each.
const GATHER: Duration = Duration::from_millis(5);

/// What a producer offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    Events,
    Audit,
}

impl Stream {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Audit => "audit",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        [Self::Events, Self::Audit].into_iter().find(|stream| stream.name() == name)
    }

    /// The newest position in a store.
    pub async fn head(self, db: &Db) -> Result<i64, DbError> {
        match self {
            Self::Events => db.outbox_head().await,
            Self::Audit => db.audit_head().await,
        }
    }
}

/// Why nothing could be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The store is closed: this process stops.
    Closed,
    /// It may work later.
    Failed(String),
}

impl From<DbError> for ReadError {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Closed => Self::Closed,
            error => Self::Failed(error.to_string()),
        }
    }
}

/// Where a producer is, as the bus was told.
#[derive(Clone)]
pub(crate) enum Place {
    Here(Db),
    Elsewhere(Client),
}

/// A producer as one follower reads it.
pub(crate) enum Source {
    Here(Db),
    Elsewhere(Box<Remote>),
    /// Neither in this process nor known to be in another one.
    Nowhere,
}

impl Source {
    pub fn of(producer: &str, place: Option<Place>) -> Self {
        match place {
            Some(Place::Here(db)) => Self::Here(db),
            Some(Place::Elsewhere(client)) => Self::Elsewhere(Box::new(Remote::new(producer, client))),
            None => Self::Nowhere,
        }
    }

    /// Whether something written there arrives here.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::Elsewhere(remote) => remote.is_connected(),
            Self::Nowhere => false,
        }
    }

    /// The newest position; 0 when the producer is nowhere.
    pub async fn head(&self, stream: Stream) -> Result<i64, ReadError> {
        match self {
            Self::Here(db) => Ok(stream.head(db).await?),
            Self::Elsewhere(remote) => remote.head(stream).await,
            Self::Nowhere => Ok(0),
        }
    }

    /// The events after a position. From elsewhere, waits for some; may be empty.
    pub async fn events_after(&self, after: i64, limit: u32) -> Result<Vec<OutboxRow>, ReadError> {
        match self {
            Self::Here(db) => Ok(db.outbox_after(after, limit).await?),
            Self::Elsewhere(remote) => Ok(remote.next(Stream::Events, after, limit).await?.rows),
            Self::Nowhere => Ok(Vec::new()),
        }
    }

    /// The audit rows after a position, and the newest position where it came with them. From elsewhere, waits for
    /// some; may be empty.
    pub async fn audit_after(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, Option<i64>), ReadError> {
        match self {
            Self::Here(db) => Ok((db.audit_after(after, limit).await?, None)),
            Self::Elsewhere(remote) => {
                let page = remote.next(Stream::Audit, after, limit).await?;
                Ok((page.rows, Some(page.head)))
            }
            Self::Nowhere => Ok((Vec::new(), None)),
        }
    }

    /// What tells that a read may be worth while.
    pub fn news(&self) -> News {
        match self {
            Self::Here(db) => News::Told(db.changes()),
            Self::Elsewhere(_) | Self::Nowhere => News::AskedFor,
        }
    }
}

/// When to read again.
pub(crate) enum News {
    /// Counts up with every commit of this process.
    Told(watch::Receiver<u64>),
    /// A read waits by itself.
    AskedFor,
}

impl News {
    /// Marks what is known; called before reading, so that what is written during the reading wakes again.
    pub fn mark(&mut self) {
        if let Self::Told(changes) = self {
            changes.borrow_and_update();
        }
    }

    /// Waits until a further read makes sense, after one that gave something or nothing.
    pub async fn wait(&mut self, has_read: bool) {
        match self {
            Self::Told(_) if has_read => {}
            Self::Told(changes) => {
                let changed = async {
                    if changes.changed().await.is_err() {
                        std::future::pending::<()>().await; // the producer is closed
                    }
                };
                let _ = tokio::time::timeout(LOOK_EVERY, changed).await;
            }
            Self::AskedFor => tokio::time::sleep(GATHER).await,
        }
    }
}
