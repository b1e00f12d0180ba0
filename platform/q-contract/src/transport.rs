//! The two ways a request reaches a module: through memory, or over HTTP.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use parking_lot::Mutex;

/// The largest response body accepted, in bytes.
pub const RESPONSE_BYTES_MAX: usize = 256 << 20;

/// The target gave no answer. Whether it acted is unknown.
#[derive(Debug, thiserror::Error)]
pub enum Unreachable {
    /// The module does not run in this process and has no address.
    #[error("{0} is neither part of this process nor configured with a URL")]
    NotConfigured(String),
    /// No connection came about, so it certainly did nothing.
    #[error("{0} cannot be connected to")]
    NotConnected(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The connection broke.
    #[error("no answer from {0}")]
    NoAnswer(String, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// The time allowed is over.
    #[error("no answer from {0} in time")]
    TimedOut(String),
    /// Recent calls failed; the next attempt waits a moment.
    #[error("{0} failed repeatedly and is not called for a moment")]
    CircuitOpen(String),
}

impl Unreachable {
    /// Whether the target certainly did nothing, so that another one may be asked in its place.
    pub const fn has_not_acted(&self) -> bool {
        matches!(self, Self::NotConfigured(_) | Self::NotConnected(..) | Self::CircuitOpen(_))
    }
}

/// Carries requests to one module.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`, whose URI is path and query only, and waits at most `timeout` for the whole answer.
    fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Unreachable>>;

    /// Whether the target shares this process, so that a typed caller needs no token.
    fn is_in_process(&self) -> bool;
}

/// A module's router as a function, as q-http makes it.
pub type LocalHandler = Arc<dyn Fn(Request<Bytes>) -> BoxFuture<'static, Response<Bytes>> + Send + Sync>;

/// Calls a module of this process. The slot is filled when the module is up, which may be after its callers are.
#[derive(Clone)]
pub struct InProcess {
    module: String,
    slot: Arc<OnceLock<LocalHandler>>,
}

impl InProcess {
    /// A transport to `module`, whose router will be put into `slot`.
    pub fn new(module: impl Into<String>, slot: Arc<OnceLock<LocalHandler>>) -> Self {
        Self { module: module.into(), slot }
    }
}

impl Transport for InProcess {
    fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Unreachable>> {
        Box::pin(async move {
            let handler =
                self.slot.get().ok_or_else(|| Unreachable::NotConfigured(self.module.clone()))?.clone();
            tokio::time::timeout(timeout, handler(request))
                .await
                .map_err(|_| Unreachable::TimedOut(self.module.clone()))
        })
    }

    fn is_in_process(&self) -> bool {
        true
    }
}

/// Calls a module over HTTP/1.1 with pooled connections and a circuit breaker.
pub struct HttpTransport {
    base: String,
    client: HyperClient<HttpConnector, Full<Bytes>>,
    breaker: Mutex<Breaker>,
}

/// Failures in a row, and until when no call is tried because of them.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    open_until: Option<tokio::time::Instant>,
}

impl Breaker {
    const FAILURES_MAX: u32 = 5;
    const PAUSE: Duration = Duration::from_secs(1);

    fn is_open(&self) -> bool {
        self.open_until.is_some_and(|until| tokio::time::Instant::now() < until)
    }

    fn note(&mut self, has_answered: bool) {
        if has_answered {
            *self = Self::default();
            return;
        }
        self.failures += 1;
        if self.failures >= Self::FAILURES_MAX {
            self.open_until = Some(tokio::time::Instant::now() + Self::PAUSE);
        }
    }
}

impl HttpTransport {
    /// A transport to the module at `base`, such as `http://127.0.0.1:3010`.
    pub fn new(base: impl Into<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(2)));
        Self {
            base: base.into().trim_end_matches('/').to_owned(),
            client: HyperClient::builder(TokioExecutor::new()).build(connector),
            breaker: Mutex::default(),
        }
    }

    /// Where the module is.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Whether calls failed in a row lately, so that none is tried for a moment.
    pub fn is_open(&self) -> bool {
        self.breaker.lock().is_open()
    }

    /// Notes whether the address answered somebody who sends on its own, as the front door does.
    pub fn note(&self, has_answered: bool) {
        self.breaker.lock().note(has_answered);
    }

    async fn exchange(&self, mut request: Request<Bytes>) -> Result<Response<Bytes>, Unreachable> {
        let broken =
            |error: Box<dyn std::error::Error + Send + Sync>| Unreachable::NoAnswer(self.base.clone(), error);
        let uri: Uri =
            format!("{}{}", self.base, request.uri()).parse().map_err(|error| broken(Box::new(error)))?;
        *request.uri_mut() = uri;
        let response = self.client.request(request.map(Full::new)).await.map_err(|error| {
            if error.is_connect() {
                Unreachable::NotConnected(self.base.clone(), Box::new(error))
            } else {
                broken(Box::new(error))
            }
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, RESPONSE_BYTES_MAX).collect().await.map_err(broken)?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }
}

impl Transport for HttpTransport {
    fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Unreachable>> {
        Box::pin(async move {
            if self.breaker.lock().is_open() {
                return Err(Unreachable::CircuitOpen(self.base.clone()));
            }
            let answer = tokio::time::timeout(timeout, self.exchange(request))
                .await
                .unwrap_or_else(|_| Err(Unreachable::TimedOut(self.base.clone())));
            self.breaker.lock().note(answer.is_ok());
            answer
        })
    }

    fn is_in_process(&self) -> bool {
        false
    }
}
