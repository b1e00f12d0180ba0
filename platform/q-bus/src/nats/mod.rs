//! The bus over a NATS server: JetStream carries what the stores keep.
//!
//! The producer's store stays the truth. A relay copies its outbox and its audit rows into a stream each, in order and
//! without gaps; followers read the stream from where their cursor is, and ask the producer itself for whatever the
//! stream does not have. So NATS may be stopped, emptied or cut off at any time: deliveries come later, none is lost.
//!
//! Three more things are said without being kept (core subjects): that somebody wrote (so that the replicas of a store
//! look at once), how far a store has come (the heartbeat by which silence is told from loss), and what replicas tell
//! each other about their callers.
//!
//! **Invariant:** a stream holds one store's rows by position, ascending by one; nothing is appended after a row that
//! is not the one before it.

mod mark;
mod murmur;
mod reader;
mod relay;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_nats::{
    ConnectOptions,
    connection::State,
    jetstream::{self, stream},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::RwLock;
use tokio::{sync::watch, time::Instant};

pub use mark::BusKey;
pub use murmur::Murmur;
pub(crate) use reader::{Reader, Take};
pub(crate) use relay::Relay;

use crate::source::Stream;

/// How often the producer says how far its store has come.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(1);
/// Without a heartbeat for this long, silence may be loss, and the producer is asked.
const SILENCE_MAX: Duration = Duration::from_secs(3);
/// The shortest pause between two announcements that somebody wrote.
const NEWS_PAUSE: Duration = Duration::from_millis(2);
/// How long the server may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);
/// The position of a row, beside it.
const POSITION: &str = "Q-Position";
/// What proves that a row is of this instance, beside it.
const MARK: &str = "Q-Mark";

/// How a NATS server is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatsSettings {
    /// `nats://host:port`, or several with commas between them; `tls://` for TLS; user and password, or a token, may
    /// stand before the host.
    pub url: String,
    /// A file with the credentials of an account (`.creds`), where the server wants them.
    pub credentials: Option<std::path::PathBuf>,
    /// Which instance this is: the first part of every subject, so that instances may share a server.
    pub namespace: String,
    /// What the processes of the instance know each other's words by.
    pub key: BusKey,
    /// How many servers of a cluster keep each stream.
    pub copies: usize,
    /// How long rows stay in a stream.
    pub age_max: Duration,
    /// How large a stream may grow, in bytes; the oldest rows make room.
    pub bytes_max: i64,
}

impl NatsSettings {
    /// Streams on one server, for a week or a GiB.
    pub fn new(url: &str, namespace: &str, key: BusKey) -> Self {
        Self {
            url: url.to_owned(),
            credentials: None,
            namespace: namespace.to_owned(),
            key,
            copies: 1,
            age_max: Duration::from_hours(7 * 24),
            bytes_max: 1 << 30,
        }
    }
}

/// The connection of a process to the NATS server. Cheap to clone.
#[derive(Clone)]
pub struct Nats(Arc<Inner>);

struct Inner {
    settings: NatsSettings,
    /// This process, by a name no other has.
    me: String,
    client: async_nats::Client,
    jetstream: jetstream::Context,
    producers: RwLock<BTreeMap<String, Arc<Producer>>>,
}

/// What is heard of a producer besides its rows.
pub(crate) struct Producer {
    /// How far its store is known to have come, events and audit rows, and when that was said.
    said: RwLock<Option<(i64, i64, Instant)>>,
    /// The furthest it was ever said to have come.
    furthest: RwLock<(i64, i64)>,
    /// Counts up when another process wrote to its store.
    news: watch::Sender<u64>,
}

impl Nats {
    /// Begins to connect; what cannot be reached now is tried again and again.
    ///
    /// # Errors
    /// A URL or credentials that cannot be read.
    pub async fn connect(settings: NatsSettings, me: &str) -> Result<Self, String> {
        let options = match &settings.credentials {
            Some(file) => {
                let text = tokio::fs::read_to_string(file).await;
                let text = text.map_err(|error| format!("{}: {error}", file.display()))?;
                ConnectOptions::with_credentials(&text)
                    .map_err(|error| format!("{}: {error}", file.display()))?
            }
            None => ConnectOptions::new(),
        };
        let options = options
            .name(format!("q {me}"))
            .retry_on_initial_connect()
            .connection_timeout(ANSWER_MAX)
            .request_timeout(Some(ANSWER_MAX))
            .ping_interval(Duration::from_secs(2))
            .reconnect_delay_callback(|attempts| {
                Duration::from_millis(50 * u64::try_from(attempts.min(20)).unwrap_or(20))
            });
        let servers: Vec<&str> = settings.url.split(',').map(str::trim).collect();
        // Without the URL: it may hold a password, and this is logged.
        let client = options.connect(servers).await.map_err(|error| format!("its url: {error}"))?;
        let jetstream = jetstream::context::ContextBuilder::new()
            .timeout(ANSWER_MAX)
            .max_ack_inflight(4_096)
            .build(client.clone());
        let (me, producers) = (me.to_owned(), RwLock::default());
        let nats = Self(Arc::new(Inner { settings, me, client, jetstream, producers }));
        Ok(nats)
    }

    /// Whether the server is reached.
    pub fn is_connected(&self) -> bool {
        self.0.client.connection_state() == State::Connected
    }

    /// What is heard of `module`, from the first question on.
    pub(crate) fn producer(&self, module: &str) -> Arc<Producer> {
        if let Some(producer) = self.0.producers.read().get(module) {
            return producer.clone();
        }
        let mut producers = self.0.producers.write();
        let fresh = || Arc::new(Producer::default());
        producers.entry(module.to_owned()).or_insert_with(fresh).clone()
    }

    /// How far the store of `module` has come by what was said in the last seconds; nothing is said when nobody relays
    /// it or the server is away.
    pub(crate) fn head(&self, module: &str, stream: Stream) -> Option<i64> {
        let said = *self.producer(module).said.read();
        let (events, audit, at) = said?;
        let head = match stream {
            Stream::Events => events,
            Stream::Audit => audit,
        };
        (self.is_connected() && at.elapsed() < SILENCE_MAX).then_some(head)
    }

    /// Listens to heartbeats and announcements until `stop`.
    pub(crate) async fn listen(self, mut stop: watch::Receiver<bool>) {
        let topic = format!("{}.*.said.*", self.0.settings.namespace);
        let mut said = match self.0.client.subscribe(topic).await {
            Ok(said) => said,
            Err(error) => return tracing::error!(%error, "the bus cannot be listened to"),
        };
        loop {
            let message = tokio::select! {
                message = said.next() => message,
                _ = stop.wait_for(|is_stopping| *is_stopping) => return,
            };
            let Some(message) = message else { return };
            self.take_in(&message.subject, &message.payload);
        }
    }

    fn take_in(&self, subject: &str, payload: &[u8]) {
        let mut parts = subject.split('.').skip(1);
        let (Some(module), Some(_), Some(what)) = (parts.next(), parts.next(), parts.next()) else { return };
        let text = std::str::from_utf8(payload).unwrap_or_default();
        match what {
            "head" => {
                let Some((text, mark)) = text.rsplit_once(' ') else { return };
                if !self.0.settings.key.is_mark(mark.as_bytes(), &head_parts(module, text)) {
                    return tracing::debug!(module, "a heartbeat that is none of this instance");
                }
                let mut numbers = text.split(' ').map_while(|number| number.parse().ok());
                if let (Some(events), Some(audit)) = (numbers.next(), numbers.next()) {
                    self.producer(module).has_come_to(events, audit);
                }
            }
            "news" if text != self.0.me => self.producer(module).news.send_modify(|count| *count += 1),
            _ => {}
        }
    }

    /// Says something that is not kept.
    async fn say(&self, module: &str, what: &str, payload: Bytes) {
        // While the server is away nothing is queued up to be said too late.
        if self.is_connected() {
            let subject = format!("{}.{module}.said.{what}", self.0.settings.namespace);
            if let Err(error) = self.0.client.publish(subject, payload).await {
                tracing::debug!(%error, module, what, "not said");
            }
        }
    }

    fn stream_name(&self, module: &str, stream: Stream) -> String {
        format!("{}_{module}_{}", self.0.settings.namespace, stream.name())
    }

    fn subject(&self, module: &str, stream: Stream, rest: &str) -> String {
        format!("{}.{module}.{}.{rest}", self.0.settings.namespace, stream.name())
    }

    fn stream_config(&self, module: &str, stream: Stream) -> stream::Config {
        let settings = &self.0.settings;
        stream::Config {
            name: self.stream_name(module, stream),
            subjects: vec![self.subject(module, stream, ">")],
            description: Some(format!("{} of {module}, by position", stream.name())),
            storage: stream::StorageType::File,
            retention: stream::RetentionPolicy::Limits,
            discard: stream::DiscardPolicy::Old,
            max_age: settings.age_max,
            max_bytes: settings.bytes_max,
            num_replicas: settings.copies,
            duplicate_window: Duration::from_mins(2),
            ..stream::Config::default()
        }
    }

    /// The last row in a stream: its sequence and its position. `None` for a stream without rows.
    async fn last<I>(&self, stream: &stream::Stream<I>) -> Result<Option<Place>, String> {
        let info = stream.get_info().await.map_err(|error| error.to_string())?;
        if info.state.messages == 0 {
            return Ok(None);
        }
        let last = stream.get_raw_message(info.state.last_sequence).await;
        let last = last.map_err(|error| error.to_string())?;
        let position = last.headers.get(POSITION).and_then(|value| value.as_str().parse().ok());
        let position: i64 = position.ok_or_else(|| "the stream holds something that is no row".to_owned())?;
        let id = last.headers.get("Nats-Msg-Id").map(|id| id.as_str().to_owned()).unwrap_or_default();
        let first = i64::try_from(info.state.first_sequence).unwrap_or_default();
        let sequence = info.state.last_sequence;
        let first = position - (i64::try_from(sequence).unwrap_or_default() - first);
        Ok(Some(Place { sequence, position, first, id }))
    }
}

/// What the mark of a heartbeat covers.
fn head_parts<'a>(module: &'a str, text: &'a str) -> [&'a [u8]; 3] {
    [b"head", module.as_bytes(), text.as_bytes()]
}

/// What the mark of a row covers.
fn row_parts<'a>(stream: &'a str, position: &'a str, body: &'a [u8]) -> [&'a [u8]; 4] {
    [b"row", stream.as_bytes(), position.as_bytes(), body]
}

impl Default for Producer {
    fn default() -> Self {
        Self { said: RwLock::default(), furthest: RwLock::default(), news: watch::Sender::new(0) }
    }
}

impl Producer {
    /// Takes in a heartbeat. One that says less than an earlier one is of a store that was rolled back, or is said again
    /// by somebody who wants rows to be missed: it proves nothing, and the producer is asked.
    fn has_come_to(&self, events: i64, audit: i64) {
        let mut furthest = self.furthest.write();
        let is_further = events >= furthest.0 && audit >= furthest.1;
        *furthest = (furthest.0.max(events), furthest.1.max(audit));
        *self.said.write() = is_further.then(|| (events, audit, Instant::now()));
    }

    pub fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }
}

/// Where a stream ends.
struct Place {
    sequence: u64,
    position: i64,
    /// The position of the oldest row in the stream.
    first: i64,
    /// The id of the last row.
    id: String,
}
