//! Copies the rows of one store into their stream: by one process at a time, and in order even when two try.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{message::PublishMessage, stream};
use bytes::Bytes;
use q_db::{Db, DbError, Standing};
use serde::Serialize;
use tokio::sync::watch;

use super::{HEARTBEAT_EVERY, MARK, NEWS_PAUSE, Nats, POSITION, Place, head_parts, row_parts};
use crate::source::{LOOK_EVERY, Stream};

/// How many rows are sent before their receipts are waited for.
const ROWS_MAX: u32 = 512;
/// How many of the newest rows a new stream begins with; older ones are asked for at the producer.
const BACKLOG: i64 = 10_000;
/// The largest row sent; servers take a MiB at most unless told otherwise. The producer is asked for a larger one.
const ROW_BYTES_MAX: usize = 900 << 10;
/// The pauses before trying again.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// The relay of one module's store.
pub(crate) struct Relay {
    pub nats: Nats,
    pub module: String,
    pub db: Db,
    pub standing: watch::Receiver<Standing>,
}

/// A row ready to be sent.
struct Sent {
    position: i64,
    id: String,
    subject: String,
    body: Vec<u8>,
}

/// Why relaying has to begin anew.
enum Broken {
    /// The store is closed: this process stops.
    Closed,
    Failed(String),
}

impl From<DbError> for Broken {
    fn from(error: DbError) -> Self {
        match error {
            DbError::Closed => Self::Closed,
            error => Self::Failed(error.to_string()),
        }
    }
}

impl Relay {
    /// Relays until `stop`.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let relay = Arc::new(self);
        let one = |stream| {
            let (relay, mut stop) = (relay.clone(), stop.clone());
            async move {
                tokio::select! {
                    () = relay.keep_relaying(stream) => {}
                    _ = stop.wait_for(|is_stopping| *is_stopping) => {}
                }
            }
        };
        let mut stopping = stop.clone();
        let saying = async {
            tokio::select! {
                () = relay.keep_announcing() => {}
                () = relay.keep_beating() => {}
                _ = stopping.wait_for(|is_stopping| *is_stopping) => {}
            }
        };
        tokio::join!(one(Stream::Events), one(Stream::Audit), saying);
    }

    /// Tells the other replicas of the store that this process wrote to it.
    async fn keep_announcing(&self) {
        let mut changes = self.db.changes();
        while changes.changed().await.is_ok() {
            if self.standing.borrow().replicas > 1 {
                let me = Bytes::copy_from_slice(self.nats.0.me.as_bytes());
                self.nats.say(&self.module, "news", me).await;
                tokio::time::sleep(NEWS_PAUSE).await;
            }
        }
        std::future::pending::<()>().await; // the store is closed
    }

    /// Says how far the store has come.
    async fn keep_beating(&self) {
        loop {
            let is_leader = self.standing.borrow().is_leader;
            if is_leader
                && let (Ok(events), Ok(audit)) = (self.db.outbox_head().await, self.db.audit_head().await)
            {
                let text = format!("{events} {audit}");
                let mark = self.nats.0.settings.key.mark(&head_parts(&self.module, &text));
                let text = format!("{text} {mark}");
                self.nats.say(&self.module, "head", Bytes::from(text)).await;
            }
            tokio::time::sleep(HEARTBEAT_EVERY).await;
        }
    }

    async fn keep_relaying(&self, stream: Stream) {
        let mut pause = PAUSE;
        loop {
            let mut standing = self.standing.clone();
            if standing.wait_for(|standing| standing.is_leader).await.is_err() {
                return;
            }
            let began_at = tokio::time::Instant::now();
            match self.relay(stream).await {
                Ok(()) => {}
                Err(Broken::Closed) => return,
                Err(Broken::Failed(reason)) => {
                    tracing::debug!(
                        module = self.module,
                        stream = stream.name(),
                        reason,
                        "relaying begins anew"
                    );
                }
            }
            pause = if began_at.elapsed() > PAUSE_MAX { PAUSE } else { (pause * 2).min(PAUSE_MAX) };
            tokio::time::sleep(pause).await;
        }
    }

    /// Relays while this process leads.
    async fn relay(&self, stream: Stream) -> Result<(), Broken> {
        let (mut sequence, mut position) = self.begin(stream).await?;
        let mut changes = self.db.changes();
        let mut news = self.nats.producer(&self.module).news();
        while self.standing.borrow().is_leader {
            changes.borrow_and_update();
            news.borrow_and_update();
            let rows = self.rows(stream, position, ROWS_MAX).await?;
            let Some(last) = rows.last().map(|row| row.position) else {
                tokio::select! {
                    changed = changes.changed() => changed.map_err(|_| Broken::Closed)?,
                    _ = news.changed() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
                continue;
            };
            sequence = self.send(stream, rows, sequence).await?;
            position = last;
        }
        Ok(())
    }

    /// Finds where the stream ends; makes it when there is none, or when it is of another past than the store.
    async fn begin(&self, stream: Stream) -> Result<(u64, i64), Broken> {
        let failed = |error: &dyn std::fmt::Display| Broken::Failed(error.to_string());
        let config = self.nats.stream_config(&self.module, stream);
        let made = self.nats.0.jetstream.get_or_create_stream(config.clone()).await;
        let made = made.map_err(|error| failed(&error))?;
        let place = self.nats.last(&made).await.map_err(Broken::Failed)?;
        if let Some(Place { sequence, position, id, .. }) = place {
            if self.rows(stream, position - 1, 1).await?.first().is_some_and(|row| row.id == id) {
                return Ok((sequence, position));
            }
            tracing::warn!(
                module = self.module,
                stream = stream.name(),
                position,
                "the stream is ahead of the store, which is an older copy: it begins anew"
            );
        }
        self.anew(&made, config, stream).await
    }

    /// Begins the stream again with the newest rows; followers ask the producer for older ones.
    async fn anew(
        &self,
        old: &stream::Stream,
        config: stream::Config,
        stream: Stream,
    ) -> Result<(u64, i64), Broken> {
        let head = stream.head(&self.db).await?;
        let is_unused = old.cached_info().state.last_sequence == 0;
        if !is_unused {
            let jetstream = &self.nats.0.jetstream;
            let deleted = jetstream.delete_stream(&config.name).await;
            deleted.map_err(|error| Broken::Failed(error.to_string()))?;
            let made = jetstream.create_stream(config).await;
            made.map_err(|error| Broken::Failed(error.to_string()))?;
        }
        Ok((0, (head - BACKLOG).max(0)))
    }

    /// Sends the rows after the one at `sequence` and waits until the server has kept them all.
    async fn send(&self, stream: Stream, rows: Vec<Sent>, mut sequence: u64) -> Result<u64, Broken> {
        let name = self.nats.stream_name(&self.module, stream);
        let failed = |error: &dyn std::fmt::Display| Broken::Failed(error.to_string());
        let mut receipts = Vec::with_capacity(rows.len());
        for row in rows {
            let position = row.position.to_string();
            let mark = self.nats.0.settings.key.mark(&row_parts(&name, &position, &row.body));
            let mut message = PublishMessage::build()
                .message_id(&row.id)
                .expected_last_sequence(sequence)
                .header(POSITION, position.as_str())
                .header(MARK, mark.as_str());
            if row.body.len() <= ROW_BYTES_MAX {
                message = message.payload(Bytes::from(row.body));
            }
            let sent = self.nats.0.jetstream.send_publish(row.subject, message).await;
            receipts.push(sent.map_err(|error| failed(&error))?);
            sequence += 1;
        }
        let first = sequence - receipts.len() as u64 + 1;
        for (receipt, expected) in receipts.into_iter().zip(first..) {
            let kept = receipt.await.map_err(|error| failed(&error))?;
            // A duplicate is a row that another process sent: this one does not know where the stream ends.
            if kept.duplicate || kept.sequence != expected {
                return Err(Broken::Failed("another process relays as well".to_owned()));
            }
        }
        Ok(sequence)
    }

    async fn rows(&self, stream: Stream, after: i64, limit: u32) -> Result<Vec<Sent>, Broken> {
        let subject = |rest: &str| self.nats.subject(&self.module, stream, rest);
        Ok(match stream {
            Stream::Events => {
                let rows = self.db.events_after(after, limit, None).await?;
                let sent = rows.iter().map(|row| {
                    sent(row.position, row.event.id.to_string(), subject(&token(&row.event.topic)), row)
                });
                sent.collect::<Result<_, _>>()?
            }
            Stream::Audit => {
                let rows = self.db.audit_after(after, limit).await?;
                let sent =
                    rows.iter().map(|row| sent(row.position, row.id.to_string(), subject("rows"), row));
                sent.collect::<Result<_, _>>()?
            }
        })
    }
}

fn sent<T: Serialize>(position: i64, id: String, subject: String, row: &T) -> Result<Sent, Broken> {
    let body = serde_json::to_vec(row).map_err(|error| Broken::Failed(error.to_string()))?;
    Ok(Sent { position, id, subject, body })
}

/// A topic as part of a subject: its dots divide, and what NATS would read as a pattern is replaced.
fn token(topic: &str) -> String {
    topic
        .chars()
        .map(|letter| if letter.is_whitespace() || "*>".contains(letter) { '_' } else { letter })
        .collect()
}
