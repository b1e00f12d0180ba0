//! Carries ended spans to a collector: OTLP over HTTP with protobuf bodies (OTLP 1.x, section "OTLP/HTTP").

use std::{
    io,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use prost::Message as _;
use q_core::Env;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::Instant,
};

use crate::{otlp, span::Finished, tracer};

/// How many ended spans may wait; one more is dropped and counted. About 20 MB.
const QUEUE_SPANS_MAX: usize = 32_768;
/// The most spans of one message.
const MESSAGE_SPANS_MAX: usize = 2_048;
/// How long ended spans are gathered into one message.
const GATHER: Duration = Duration::from_secs(1);
/// How long a connection may take to stand.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long the collector may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How often a message is sent when the collector asks for patience or does not answer.
const ATTEMPTS_MAX: u32 = 3;
const ATTEMPT_PAUSE: Duration = Duration::from_millis(500);
/// How long the last spans may take when the process stops.
const STOP_MAX: Duration = Duration::from_secs(5);
/// The most of an answer that is read before its connection is used again.
const ANSWER_BYTES_MAX: usize = 1 << 16;

/// Where spans go, and how many.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Where the collector takes traces, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: Uri,
    /// The share of traces begun here that is recorded, from 0 to 1; a trace begun by others is recorded when they
    /// do.
    pub ratio: f64,
    /// How many traces begun here are recorded in a second at most; 0 for no bound.
    pub per_second: u32,
    /// What tells this process from its replicas: `service.instance.id`.
    pub instance: String,
}

/// An endpoint that spans cannot be sent to.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is no http:// or https:// URL of a collector, such as http://127.0.0.1:4318")]
pub struct EndpointError {
    given: String,
}

impl Options {
    /// Traces to the collector at `base`, such as `http://127.0.0.1:4318`, where the path of the signal is appended
    /// (OTLP exporter configuration, "Endpoint URLs for OTLP/HTTP").
    pub fn below(base: &str, ratio: f64, instance: String) -> Result<Self, EndpointError> {
        Self::at(&format!("{}/v1/traces", base.trim_end_matches('/')), ratio, instance)
    }

    /// Traces to exactly this URL.
    pub fn at(url: &str, ratio: f64, instance: String) -> Result<Self, EndpointError> {
        let refused = || EndpointError { given: url.to_owned() };
        let endpoint: Uri = url.parse().map_err(|_| refused())?;
        if !matches!(endpoint.scheme_str(), Some("http" | "https")) || endpoint.authority().is_none() {
            return Err(refused());
        }
        Ok(Self { endpoint, ratio, per_second: 0, instance })
    }
}

/// The task that exports.
static EXPORTER: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>> = Mutex::new(None);

/// Sends what has ended and stops, when the process does; gives up after five seconds.
pub async fn finish() {
    let exporter = EXPORTER.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((stop, task)) = exporter else { return };
    let _ = stop.send(());
    if tokio::time::timeout(STOP_MAX, task).await.is_err() {
        tracing::warn!("the collector did not take the last spans in time");
    }
}

/// Starts recording and exporting; `false` when this process does so already.
///
/// # Errors
/// When the host's certificate authorities cannot be read, by which an `https://` collector is known.
pub fn start(options: Options, env: &Env) -> io::Result<bool> {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_MAX));
    connector.enforce_http(false);
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let (queue, spans) = mpsc::channel(QUEUE_SPANS_MAX);
    if !tracer::install(options.ratio, options.per_second, queue, env.clone()) {
        return Ok(false);
    }
    let (stop, stopped) = oneshot::channel();
    let sender = Sender {
        client: Client::builder(TokioExecutor::new()).build(connector),
        options,
        env: env.clone(),
        is_taken: true,
    };
    let task = tokio::spawn(sender.run(spans, stopped));
    *EXPORTER.lock().unwrap_or_else(PoisonError::into_inner) = Some((stop, task));
    Ok(true)
}

struct Sender {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    options: Options,
    env: Env,
    /// Whether the last message was taken: trouble is told once, not with each message.
    is_taken: bool,
}

/// What the collector made of a message.
enum Taken {
    Yes,
    /// It may take it later.
    NotNow(String),
    /// It never will.
    Never(String),
}

impl Sender {
    async fn run(mut self, mut spans: mpsc::Receiver<Finished>, mut stopped: oneshot::Receiver<()>) {
        let mut is_stopping = false;
        while !is_stopping {
            let mut gathered = Vec::new();
            let first = tokio::select! {
                count = spans.recv_many(&mut gathered, MESSAGE_SPANS_MAX) => count,
                _ = &mut stopped => { is_stopping = true; 0 }
            };
            if first > 0 {
                let until = Instant::now() + GATHER;
                while gathered.len() < MESSAGE_SPANS_MAX && !is_stopping {
                    let room = MESSAGE_SPANS_MAX - gathered.len();
                    tokio::select! {
                        _ = spans.recv_many(&mut gathered, room) => {}
                        () = tokio::time::sleep_until(until) => break,
                        _ = &mut stopped => is_stopping = true,
                    }
                }
                self.send(gathered).await;
            }
        }
        loop {
            let mut rest = Vec::new();
            while rest.len() < MESSAGE_SPANS_MAX
                && let Ok(span) = spans.try_recv()
            {
                rest.push(span);
            }
            if rest.is_empty() {
                return;
            }
            self.send(rest).await;
        }
    }

    async fn send(&mut self, spans: Vec<Finished>) {
        let count = spans.len();
        let message = Bytes::from(otlp::request(spans, &self.options.instance).encode_to_vec());
        let mut attempt = 1;
        loop {
            let answer = tokio::time::timeout(ANSWER_MAX, self.post(message.clone())).await;
            let why = match answer.unwrap_or_else(|_| Taken::NotNow("no answer in time".to_owned())) {
                Taken::Yes => {
                    if !std::mem::replace(&mut self.is_taken, true) {
                        tracing::info!("the collector takes spans again");
                    }
                    return tracer::exported(count);
                }
                Taken::NotNow(_) if attempt < ATTEMPTS_MAX => {
                    tokio::time::sleep(self.pause(attempt)).await;
                    attempt += 1;
                    continue;
                }
                Taken::NotNow(why) | Taken::Never(why) => why,
            };
            tracer::dropped(count);
            if std::mem::replace(&mut self.is_taken, false) {
                let endpoint = self.options.endpoint.to_string();
                tracing::warn!(endpoint, why, "the collector does not take spans, they are dropped");
            }
            return;
        }
    }

    /// Grows with the attempts and is never twice the same, so that many processes do not come at once.
    fn pause(&self, attempt: u32) -> Duration {
        let [share] = self.env.random::<1>();
        ATTEMPT_PAUSE * 2_u32.pow(attempt - 1) * (255 + u32::from(share)) / 510
    }

    async fn post(&self, message: Bytes) -> Taken {
        let request = Request::post(self.options.endpoint.clone())
            .header(header::CONTENT_TYPE, "application/x-protobuf")
            .header(header::USER_AGENT, concat!("q/", env!("CARGO_PKG_VERSION")))
            .body(Full::new(message));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Taken::Never(error.to_string()),
        };
        let (head, body) = match self.client.request(request).await {
            Ok(answer) => answer.into_parts(),
            Err(error) => return Taken::NotNow(error.to_string()),
        };
        // Read to its end, so that the connection serves again.
        let _ = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        match head.status {
            status if status.is_success() => Taken::Yes,
            // The answers after which the protocol allows to send again.
            status @ (StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT) => Taken::NotNow(format!("it answered {status}")),
            status => Taken::Never(format!("it answered {status}")),
        }
    }
}
