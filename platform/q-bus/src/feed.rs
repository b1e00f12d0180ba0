//! The events and audit rows of a module that runs in another process: what is asked and what is answered.
//!
//! `GET /feed?stream=events&after=41&limit=256&waitMs=20000` answers what follows position 41, at once or as soon
//! as something is committed, and nothing after the wait. Every module has it; only modules of the same instance
//! may ask. A page is JSON: `{"module": …, "head": …, "rows": […]}`.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use bytes::Bytes;
use q_contract::{Client, Problem, codes, wire};
use q_db::{AuditRow, Db, DbError, OutboxRow};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{sync::watch, time::Instant};

use crate::source::{LOOK_EVERY, ReadError, Stream};

/// Where every module answers.
pub const PATH: &str = "/feed";
/// The longest wait for something to tell. Connections that idle longer are cut by some networks.
pub(crate) const WAIT_MAX: Duration = Duration::from_secs(20);
/// The most rows of one page.
const ROWS_MAX: u32 = 1_024;
/// How much longer than the wait an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pause after an empty page that came early: the producer is stopping.
const EMPTY_PAUSE: Duration = Duration::from_millis(250);

#[derive(Debug, Clone, Copy)]
struct Request {
    stream: Stream,
    after: i64,
    limit: u32,
    wait: Duration,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Page<T> {
    /// Whose rows these are.
    pub module: String,
    /// The newest position.
    pub head: i64,
    pub rows: Vec<T>,
}

impl Request {
    fn parse(query: &str) -> Result<Self, String> {
        let mut request = Self { stream: Stream::Events, after: 0, limit: 0, wait: Duration::ZERO };
        for (name, value) in wire::form_pairs(query.as_bytes()) {
            let refused = || format!("{value:?} is no value for {name}");
            match name.as_str() {
                "stream" => request.stream = Stream::named(&value).ok_or_else(refused)?,
                "after" => request.after = value.parse().map_err(|_| refused())?,
                "limit" => request.limit = value.parse::<u32>().map_err(|_| refused())?.min(ROWS_MAX),
                "waitMs" => request.wait = Duration::from_millis(value.parse().map_err(|_| refused())?),
                _ => return Err(format!("there is no parameter {name}")),
            }
        }
        request.wait = request.wait.min(WAIT_MAX);
        Ok(request)
    }

    fn uri(self) -> String {
        let (stream, wait) = (self.stream.name(), self.wait.as_millis());
        format!("{PATH}?stream={stream}&after={}&limit={}&waitMs={wait}", self.after, self.limit)
    }
}

/// Answers the module's part of the feed from its store: a page as JSON. Waits no longer than `stop` allows.
///
/// # Errors
/// `INVALID_REQUEST` for a query that cannot be read, `STORAGE_UNAVAILABLE` when the store does not answer.
pub async fn answer(db: &Db, query: &str, mut stop: watch::Receiver<bool>) -> Result<Vec<u8>, Problem> {
    let request = Request::parse(query).map_err(|why| Problem::new(&codes::INVALID_REQUEST).detail(why))?;
    let ends_at = Instant::now() + request.wait;
    let mut news = db.changes();
    loop {
        // Marked before reading, so that what is written during the reading wakes us again.
        news.borrow_and_update();
        let is_last = Instant::now() >= ends_at || *stop.borrow() || request.limit == 0;
        let page = match request.stream {
            Stream::Events => {
                encoded(db, request, db.events_after(request.after, request.limit, None), is_last).await
            }
            Stream::Audit => {
                encoded(db, request, db.audit_after(request.after, request.limit), is_last).await
            }
        };
        match page {
            Ok(Some(page)) => return Ok(page),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(module = db.module(), %error, "the feed could not be read");
                return Err(Problem::new(&codes::STORAGE_UNAVAILABLE).detail("the store could not be read"));
            }
        }
        tokio::select! {
            _ = news.changed() => {}
            _ = stop.wait_for(|is_stopping| *is_stopping) => {}
            () = tokio::time::sleep_until(ends_at.min(Instant::now() + LOOK_EVERY)) => {}
        }
    }
}

/// The page, unless it is empty and there is still time to wait.
async fn encoded<T: Positioned + Serialize>(
    db: &Db,
    request: Request,
    rows: impl Future<Output = Result<Vec<T>, DbError>>,
    is_last: bool,
) -> Result<Option<Vec<u8>>, DbError> {
    let rows = if request.limit == 0 { Vec::new() } else { rows.await? };
    if rows.is_empty() && !is_last {
        return Ok(None);
    }
    // A page may end early where rows stand for many events.
    let is_whole =
        request.limit > 0 && rows.len() < request.limit as usize && !rows.iter().any(Positioned::may_be_cut);
    let head = match rows.last() {
        Some(last) if is_whole => last.position(),
        _ => request.stream.head(db).await?,
    };
    let page = Page { module: db.module().to_owned(), head, rows };
    Ok(Some(serde_json::to_vec(&page)?))
}

trait Positioned {
    fn position(&self) -> i64;

    /// Whether a page may end after this row although more follow.
    fn may_be_cut(&self) -> bool {
        false
    }
}

impl Positioned for OutboxRow {
    fn position(&self) -> i64 {
        self.position
    }

    fn may_be_cut(&self) -> bool {
        !self.derived.is_empty()
    }
}

impl Positioned for AuditRow {
    fn position(&self) -> i64 {
        self.position
    }
}

/// The feed of one module, for one follower.
pub(crate) struct Remote {
    producer: String,
    client: Client,
    is_connected: AtomicBool,
}

impl Remote {
    pub fn new(producer: &str, client: Client) -> Self {
        let client = client.within(WAIT_MAX + PATIENCE);
        Self { producer: producer.to_owned(), client, is_connected: AtomicBool::new(false) }
    }

    /// Whether the last question was answered.
    pub fn is_connected(&self) -> bool {
        self.is_connected.load(Ordering::Relaxed)
    }

    pub async fn head(&self, stream: Stream) -> Result<i64, ReadError> {
        let request = Request { stream, after: 0, limit: 0, wait: Duration::ZERO };
        Ok(self.ask::<serde::de::IgnoredAny>(request).await?.head)
    }

    /// What follows `after`, as soon as there is something; empty when there was nothing for a while.
    pub async fn next<T: DeserializeOwned>(
        &self,
        stream: Stream,
        after: i64,
        limit: u32,
    ) -> Result<Page<T>, ReadError> {
        self.next_within(stream, after, limit, WAIT_MAX).await
    }

    /// Like [`Remote::next`], and empty after `wait` at the latest.
    pub async fn next_within<T: DeserializeOwned>(
        &self,
        stream: Stream,
        after: i64,
        limit: u32,
        wait: Duration,
    ) -> Result<Page<T>, ReadError> {
        let asked_at = Instant::now();
        // The first question is not kept waiting, so that a connection is seen to stand.
        let wait = if self.is_connected() { wait } else { Duration::ZERO };
        let page = self.ask::<T>(Request { stream, after, limit, wait }).await?;
        if page.rows.is_empty() && !wait.is_zero() && asked_at.elapsed() < EMPTY_PAUSE {
            tokio::time::sleep(EMPTY_PAUSE).await;
        }
        Ok(page)
    }

    async fn ask<T: DeserializeOwned>(&self, request: Request) -> Result<Page<T>, ReadError> {
        let answer = self.page(request).await;
        self.is_connected.store(answer.is_ok(), Ordering::Relaxed);
        answer.map_err(|why| ReadError::Failed(format!("the feed of {}: {why}", self.producer)))
    }

    async fn page<T: DeserializeOwned>(&self, request: Request) -> Result<Page<T>, String> {
        let sent = self.client.send("GET", &request.uri(), Bytes::new(), "application/json").await;
        let answer = sent.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            return Err(match serde_json::from_slice::<Problem>(answer.body()) {
                Ok(problem) => problem.to_string(),
                Err(_) => format!("status {}", answer.status()),
            });
        }
        let page: Page<T> = serde_json::from_slice(answer.body()).map_err(|error| error.to_string())?;
        // A wrong URL must not move the cursor of another module's stream.
        if page.module != self.producer {
            return Err(format!("{} answers at its address", page.module));
        }
        Ok(page)
    }
}
