//! One subscription being served: reads ahead of its cursor, delivers, moves the cursor.

use std::time::Duration;

use q_db::{Db, DbError};
use tokio::sync::watch;

use crate::{
    ReactError,
    subscription::{Reaction, Subscription},
};

/// How many entries are read at a time.
const BATCH_ROWS: u32 = 256;
const RETRY_FIRST: Duration = Duration::from_millis(20);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// Where a line is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    /// Everything up to here was delivered or passed over; `None` before the cursor was read.
    pub(crate) delivered: Option<i64>,
    /// Events passed over because their reaction can never succeed.
    pub(crate) failed: u64,
    /// Why the newest attempt has to be repeated, while it has.
    pub(crate) retrying: Option<String>,
}

pub(crate) struct Line {
    pub(crate) subscriber: String,
    pub(crate) subscriber_db: Db,
    pub(crate) producer_db: Db,
    pub(crate) subscription: Subscription,
    pub(crate) progress: watch::Sender<Progress>,
}

impl Line {
    /// Delivers until `stop` turns true; what is being delivered then is finished.
    pub(crate) async fn run(self, mut stop: watch::Receiver<bool>) {
        let mut changes = self.producer_db.changes();
        let mut position = loop {
            match self.start_position().await {
                Ok(position) => break position,
                Err(error) if paused(RETRY_LAST, &mut stop).await => return self.gave_up(&error),
                Err(_) => {}
            }
        };
        let mut pause = RETRY_FIRST;
        self.progress.send_modify(|progress| progress.delivered = Some(position));
        loop {
            changes.mark_unchanged();
            match self.deliver_after(&mut position).await {
                Ok(0) => {
                    pause = RETRY_FIRST;
                    let is_stopping = stop.wait_for(|is_stopping| *is_stopping);
                    tokio::select! {
                        changed = changes.changed() => if changed.is_err() { return },
                        _ = is_stopping => return,
                    }
                }
                Ok(_) => pause = RETRY_FIRST,
                Err(reason) => {
                    tracing::warn!(subscriber = self.subscriber, producer = self.subscription.producer, %reason,
                        "a reaction will be tried again");
                    self.progress.send_modify(|progress| progress.retrying = Some(reason));
                    if paused(pause, &mut stop).await {
                        return;
                    }
                    pause = (pause * 2).min(RETRY_LAST);
                }
            }
            if *stop.borrow() {
                return;
            }
        }
    }

    async fn start_position(&self) -> Result<i64, DbError> {
        if self.subscription.is_durable {
            self.subscriber_db.cursor(&self.subscription.cursor_name()).await
        } else {
            Ok(0)
        }
    }

    /// Delivers the next batch and returns how many entries it had; `position` ends at the last one done.
    async fn deliver_after(&self, position: &mut i64) -> Result<usize, String> {
        let before = *position;
        let outcome = match &self.subscription.reaction {
            Reaction::Events { .. } => self.deliver_events(position).await,
            Reaction::Audit { .. } => self.deliver_audit(position).await,
        };
        if *position != before {
            self.keep(*position).await.map_err(|error| error.to_string())?;
        }
        outcome
    }

    async fn deliver_events(&self, position: &mut i64) -> Result<usize, String> {
        let Reaction::Events { topics, react } = &self.subscription.reaction else { return Ok(0) };
        let rows =
            self.producer_db.outbox_after(*position, BATCH_ROWS).await.map_err(|error| error.to_string())?;
        let count = rows.len();
        for row in rows {
            if topics.iter().any(|topic| row.event.topic.starts_with(topic)) {
                self.settle(react(row.event).await, row.position)?;
            }
            *position = row.position;
        }
        Ok(count)
    }

    async fn deliver_audit(&self, position: &mut i64) -> Result<usize, String> {
        let Reaction::Audit { react } = &self.subscription.reaction else { return Ok(0) };
        let rows =
            self.producer_db.audit_after(*position, BATCH_ROWS).await.map_err(|error| error.to_string())?;
        let (count, last) = (rows.len(), rows.last().map(|row| row.position));
        if let Some(last) = last {
            self.settle(react(rows).await, last)?;
            *position = last;
        }
        Ok(count)
    }

    /// Whether to go on after a reaction: a hopeless one is reported and passed over.
    fn settle(&self, outcome: Result<(), ReactError>, position: i64) -> Result<(), String> {
        match outcome {
            Ok(()) => Ok(()),
            Err(ReactError::Retry(reason)) => Err(reason),
            Err(ReactError::Fail(reason)) => {
                tracing::error!(subscriber = self.subscriber, producer = self.subscription.producer, position,
                    %reason, "an event is passed over: its reaction can never succeed");
                self.progress.send_modify(|progress| progress.failed += 1);
                Ok(())
            }
        }
    }

    async fn keep(&self, position: i64) -> Result<(), DbError> {
        if self.subscription.is_durable {
            let name = self.subscription.cursor_name();
            self.subscriber_db.write(move |tx| tx.set_cursor(&name, position)).await?;
        }
        self.progress.send_modify(|progress| {
            progress.delivered = Some(position);
            progress.retrying = None;
        });
        Ok(())
    }

    fn gave_up(&self, error: &DbError) {
        tracing::warn!(subscriber = self.subscriber, %error, "stopped before the cursor could be read");
    }
}

/// Waits `pause`; true when the process is stopping.
async fn paused(pause: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, stop.wait_for(|is_stopping| *is_stopping)).await.is_ok()
}
