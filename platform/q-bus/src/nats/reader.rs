//! Reads one producer's stream from a position on.

use std::time::Duration;

use async_nats::{
    Message,
    jetstream::consumer::{DeliverPolicy, pull},
};
use futures_util::{FutureExt as _, StreamExt as _};
use serde::de::DeserializeOwned;
use tokio::{sync::Mutex, time::Instant};

use super::{MARK, Nats, POSITION, row_parts};
use crate::source::Stream;

/// How long opening a stream may take.
const OPEN_MAX: Duration = Duration::from_secs(2);
/// How long a stream that could not be opened is left alone.
const CLOSED_FOR: Duration = Duration::from_millis(500);
/// A consumer nobody reads any more is forgotten by the server after this long.
const MESSAGES_MAX: i64 = 512;

/// What a stream had to give.
pub(crate) enum Take<T> {
    /// The rows that follow.
    Rows(Vec<T>),
    /// Nothing yet.
    Nothing,
    /// What follows is not in the stream, or the stream cannot be read: the producer is to be asked.
    Elsewhere,
}

/// A stream as one follower reads it.
pub(crate) struct Reader {
    nats: Nats,
    producer: String,
    stream: Stream,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Option<Open>,
    /// The oldest position the stream had when it was last looked at: what comes before is not looked for there.
    first: i64,
    closed_until: Option<Instant>,
}

struct Open {
    messages: pull::Ordered,
    /// The position of the next message.
    next: i64,
}

impl Reader {
    pub fn new(nats: Nats, producer: &str, stream: Stream) -> Self {
        Self { nats, producer: producer.to_owned(), stream, state: Mutex::default() }
    }

    /// The rows after a position, as soon as there are some and for no longer than `wait`.
    pub async fn take<T: DeserializeOwned>(&self, after: i64, limit: u32, wait: Duration) -> Take<T> {
        let mut state = self.state.lock().await;
        if after + 1 < state.first || state.closed_until.is_some_and(|until| Instant::now() < until) {
            return Take::Elsewhere;
        }
        if state.open.as_ref().is_none_or(|open| open.next != after + 1) {
            state.open = None;
            match tokio::time::timeout(OPEN_MAX, self.open(after)).await {
                Ok(Ok((open, first))) => (state.open, state.first) = (open, first),
                Ok(Err(reason)) => {
                    tracing::debug!(producer = self.producer, reason, "the stream cannot be read");
                }
                Err(_) => {}
            }
        }
        let Some(open) = &mut state.open else {
            state.closed_until = Some(Instant::now() + CLOSED_FOR);
            return Take::Elsewhere;
        };
        let taken = self.taken(open, limit, wait).await;
        if matches!(taken, Take::Elsewhere) {
            state.open = None;
        }
        taken
    }

    /// Forgets the open stream, so that the next reading opens it anew.
    pub async fn close(&self) {
        self.state.lock().await.open = None;
    }

    /// The messages after a position; none when the stream begins later, or is not there.
    async fn open(&self, after: i64) -> Result<(Option<Open>, i64), String> {
        let name = self.nats.stream_name(&self.producer, self.stream);
        let stream = self.nats.0.jetstream.get_stream_no_info(&name).await;
        let stream = stream.map_err(|error| error.to_string())?;
        let Some(place) = self.nats.last(&stream).await? else { return Ok((None, 0)) };
        if after + 1 < place.first {
            return Ok((None, place.first));
        }
        let sequence = i64::try_from(place.sequence).unwrap_or(i64::MAX) + (after + 1 - place.position);
        // A cursor ahead of the stream: the stream began anew and has not come so far, or the store was rolled back.
        let start_sequence = u64::try_from(sequence).ok().filter(|_| after <= place.position);
        let Some(start_sequence) = start_sequence else { return Ok((None, place.first)) };
        let config = pull::OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence { start_sequence },
            max_batch: MESSAGES_MAX,
            ..pull::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| error.to_string())?;
        let messages = consumer.messages().await.map_err(|error| error.to_string())?;
        Ok((Some(Open { messages, next: after + 1 }), place.first))
    }

    async fn taken<T: DeserializeOwned>(&self, open: &mut Open, limit: u32, wait: Duration) -> Take<T> {
        let mut rows = Vec::new();
        let Ok(mut next) = tokio::time::timeout(wait, open.messages.next()).await else {
            return Take::Nothing;
        };
        loop {
            let Some(Ok(message)) = &next else { return after_all(rows) };
            // An empty message stands for a row that was too large to send.
            let row = if self.is_ours(message, open.next) {
                serde_json::from_slice(&message.payload).ok()
            } else {
                None
            };
            let Some(row) = row else { return after_all(rows) };
            rows.push(row);
            open.next += 1;
            if rows.len() >= limit as usize {
                return Take::Rows(rows);
            }
            match open.messages.next().now_or_never() {
                Some(further) => next = further,
                None => return Take::Rows(rows),
            }
        }
    }

    /// Whether a message is the row at `position`, by the word of a process of this instance.
    fn is_ours(&self, message: &Message, position: i64) -> bool {
        let header = |name| message.headers.as_ref().and_then(|headers| headers.get(name));
        let (Some(said), Some(mark)) = (header(POSITION), header(MARK)) else { return false };
        let (name, said) = (self.nats.stream_name(&self.producer, self.stream), said.as_str());
        let is_marked = self
            .nats
            .0
            .settings
            .key
            .is_mark(mark.as_str().as_bytes(), &row_parts(&name, said, &message.payload));
        if !is_marked {
            tracing::warn!(
                stream = name,
                position,
                "the stream holds a row that this instance has not written"
            );
        }
        is_marked && said.parse() == Ok(position)
    }
}

/// What was read before something unexpected came; that is met again by whoever opens the stream at its place.
fn after_all<T>(rows: Vec<T>) -> Take<T> {
    if rows.is_empty() { Take::Elsewhere } else { Take::Rows(rows) }
}
