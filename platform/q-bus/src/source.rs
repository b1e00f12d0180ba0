//! Where a producer's rows are read: its store in this process, or its feed from another one.

use std::time::Duration;

use q_contract::Client;
use q_db::{AuditRow, Db, DbError, OutboxRow};
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{
    feed::{Page, Remote, WAIT_MAX},
    nats::{Nats, Reader, Take},
};

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
    Elsewhere(Box<Client>),
}

/// How long a stream that is heard is waited for before looking whether anything was lost.
const STREAM_WAIT: Duration = Duration::from_secs(1);
/// How long a stream that is not heard is waited for: what it has kept comes at once.
const KEPT_WAIT: Duration = Duration::from_millis(50);
/// How long the producer is waited for while its stream does not have what follows.
const GAP_WAIT: Duration = Duration::from_millis(500);

/// A producer as one follower reads it.
pub(crate) enum Source {
    /// In this process, where other processes may write to its store as well and say so.
    Here(Db, Option<watch::Receiver<u64>>),
    Elsewhere(Box<Remote>),
    Streamed(Box<Streamed>),
    /// Neither in this process nor known to be in another one.
    Nowhere,
}

/// A producer elsewhere whose rows come by NATS, and from itself what does not.
pub(crate) struct Streamed {
    producer: String,
    nats: Nats,
    reader: Reader,
    remote: Remote,
}

impl Streamed {
    async fn next<T: DeserializeOwned>(
        &self,
        stream: Stream,
        after: i64,
        limit: u32,
    ) -> Result<Page<T>, ReadError> {
        let wait = if self.nats.is_connected() {
            let said = self.nats.head(&self.producer, stream);
            let wait = if said.is_some() { STREAM_WAIT } else { KEPT_WAIT };
            let taken = self.reader.take(after, limit, wait).await;
            // Said after the wait: silence is no loss when the producer says that there was nothing to hear.
            let said = self.nats.head(&self.producer, stream);
            match (taken, said) {
                (Take::Rows(rows), said) => {
                    let head = said.unwrap_or_default();
                    return Ok(Page { module: self.producer.clone(), head, rows });
                }
                // One that says less than was heard may have been rolled back, which it is asked itself.
                (Take::Nothing, Some(head)) if head == after => {
                    return Ok(Page { module: self.producer.clone(), head: after, rows: Vec::new() });
                }
                // There is more than came: the consumer did not survive something.
                (Take::Nothing, Some(_)) => {
                    self.reader.close().await;
                    Duration::ZERO
                }
                (Take::Elsewhere, Some(_)) => GAP_WAIT,
                (_, None) => WAIT_MAX,
            }
        } else {
            WAIT_MAX
        };
        self.remote.next_within(stream, after, limit, wait).await
    }

    /// Whether something written there arrives here: by the one way or the other.
    fn is_connected(&self) -> bool {
        self.nats.head(&self.producer, Stream::Events).is_some() || self.remote.is_connected()
    }

    async fn head(&self, stream: Stream) -> Result<i64, ReadError> {
        match (self.remote.head(stream).await, self.nats.head(&self.producer, stream)) {
            (Err(_), Some(said)) => Ok(said),
            (asked, _) => asked,
        }
    }
}

impl Source {
    pub fn of(producer: &str, place: Option<Place>, stream: Stream, nats: Option<&Nats>) -> Self {
        match (place, nats) {
            (Some(Place::Here(db)), nats) => Self::Here(db, nats.map(|nats| nats.producer(producer).news())),
            (Some(Place::Elsewhere(client)), None) => {
                Self::Elsewhere(Box::new(Remote::new(producer, *client)))
            }
            (Some(Place::Elsewhere(client)), Some(nats)) => Self::Streamed(Box::new(Streamed {
                producer: producer.to_owned(),
                reader: Reader::new(nats.clone(), producer, stream),
                nats: nats.clone(),
                remote: Remote::new(producer, *client),
            })),
            (None, _) => Self::Nowhere,
        }
    }

    /// Whether something written there arrives here.
    pub fn is_connected(&self) -> bool {
        match self {
            Self::Here(..) => true,
            Self::Elsewhere(remote) => remote.is_connected(),
            Self::Streamed(streamed) => streamed.is_connected(),
            Self::Nowhere => false,
        }
    }

    /// The newest position; 0 when the producer is nowhere.
    pub async fn head(&self, stream: Stream) -> Result<i64, ReadError> {
        match self {
            Self::Here(db, _) => Ok(stream.head(db).await?),
            Self::Elsewhere(remote) => remote.head(stream).await,
            Self::Streamed(streamed) => streamed.head(stream).await,
            Self::Nowhere => Ok(0),
        }
    }

    /// The events after a position. From elsewhere, waits for some; may be empty.
    /// What rows of the outbox stand for comes with them, from this process only if it is `wanted`.
    pub async fn events_after(
        &self,
        after: i64,
        limit: u32,
        wanted: &[String],
    ) -> Result<Vec<OutboxRow>, ReadError> {
        match self {
            Self::Here(db, _) => Ok(db.events_after(after, limit, Some(wanted)).await?),
            Self::Elsewhere(remote) => Ok(remote.next(Stream::Events, after, limit).await?.rows),
            Self::Streamed(streamed) => Ok(streamed.next(Stream::Events, after, limit).await?.rows),
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
        let page = match self {
            Self::Here(db, _) => return Ok((db.audit_after(after, limit).await?, None)),
            Self::Elsewhere(remote) => remote.next(Stream::Audit, after, limit).await?,
            Self::Streamed(streamed) => {
                let page = streamed.next::<AuditRow>(Stream::Audit, after, limit).await?;
                // Rows that came prove that the store has them; a heartbeat from before does not disprove it.
                let head = page.rows.last().map_or(page.head, |last| page.head.max(last.position));
                Page { head, ..page }
            }
            Self::Nowhere => return Ok((Vec::new(), None)),
        };
        Ok((page.rows, Some(page.head)))
    }

    /// What tells that a read may be worth while.
    pub fn news(&self) -> News {
        match self {
            Self::Here(db, elsewhere) => News::Told(db.changes(), elsewhere.clone()),
            Self::Elsewhere(_) | Self::Streamed(_) | Self::Nowhere => News::AskedFor,
        }
    }
}

/// When to read again.
pub(crate) enum News {
    /// Counts up with every commit of this process, and with those of its replicas where they can be heard.
    Told(watch::Receiver<u64>, Option<watch::Receiver<u64>>),
    /// A read waits by itself.
    AskedFor,
}

impl News {
    /// Marks what is known; called before reading, so that what is written during the reading wakes again.
    pub fn mark(&mut self) {
        if let Self::Told(changes, elsewhere) = self {
            changes.borrow_and_update();
            elsewhere.as_mut().map(|elsewhere| *elsewhere.borrow_and_update());
        }
    }

    /// Waits until a further read makes sense, after one that gave something or nothing.
    pub async fn wait(&mut self, has_read: bool) {
        match self {
            Self::Told(..) if has_read => {}
            Self::Told(changes, elsewhere) => {
                let elsewhere = async {
                    match elsewhere {
                        Some(elsewhere) => changed(elsewhere).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = changed(changes) => {}
                    () = elsewhere => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
            Self::AskedFor => tokio::time::sleep(GATHER).await,
        }
    }
}

async fn changed(news: &mut watch::Receiver<u64>) {
    if news.changed().await.is_err() {
        std::future::pending::<()>().await; // the producer is closed
    }
}
