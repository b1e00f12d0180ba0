//! The typed call: the same for a module in this process and one across the network.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, header};
use q_core::Caller;
use q_trace::{Kind, Span};

use crate::{Declaration, Endpoint, Problem, Replicas, Reply, Transport, TrustedCaller, Unreachable, wire};

/// The header that carries the milliseconds left until the caller gives up.
pub const DEADLINE_HEADER: &str = "q-deadline";
/// The header that makes a write repeatable.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// The header that carries the trace (W3C Trace Context).
pub const TRACE_HEADER: &str = "traceparent";
/// The header that carries the id under which the request is known where it was first made.
pub const REQUEST_ID_HEADER: &str = "x-request-id";

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The target refused, and said why.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// The target gave no answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    /// Request or response do not have the declared form.
    #[error("{0}")]
    NotReadable(String),
}

impl CallError {
    /// The refusal, if the target answered with one.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }
}

/// Proves to a remote target who is asking: a token, a signature.
pub trait Credential: Send + Sync + 'static {
    /// Adds the proof to `request`, whose URI is path and query below `base`.
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>>;
}

/// Calls the endpoints of one module. Cheap to clone; the `with_…` methods return a changed copy.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    credential: Option<Arc<dyn Credential>>,
    caller: Caller,
    key: Option<String>,
    timeout: Duration,
    start_within: Duration,
}

impl Client {
    const TIMEOUT: Duration = Duration::from_secs(30);
    /// How often one that waits for a start asks again.
    const STARTING: Duration = Duration::from_millis(200);
    const ATTEMPTS_MAX: u32 = 3;

    /// A client without credentials.
    pub fn new(transport: Arc<dyn Transport>) -> Self {
        Self {
            transport,
            credential: None,
            caller: Caller::Anonymous,
            key: None,
            timeout: Self::TIMEOUT,
            start_within: Duration::ZERO,
        }
    }

    /// Asks as `caller`; counts only in process, where code vouches for it.
    #[must_use]
    pub fn as_caller(mut self, caller: Caller) -> Self {
        self.caller = caller;
        self
    }

    /// Proves itself with `credential` to remote targets.
    #[must_use]
    pub fn with_credential(mut self, credential: Arc<dyn Credential>) -> Self {
        self.credential = Some(credential);
        self
    }

    /// Makes the next write repeatable under `key`.
    #[must_use]
    pub fn with_key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Waits at most `timeout`, which travels along as the deadline.
    #[must_use]
    pub fn within(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Asks again, for `patience` at most, while the target refuses to begin because it has just started: so that who
    /// starts an instance and asks it the next moment is answered. By itself a client does not wait.
    #[must_use]
    pub fn waiting_for_start(mut self, patience: Duration) -> Self {
        self.start_within = patience;
        self
    }

    /// Calls `E`.
    ///
    /// Reads, and writes under a key, are tried up to three times when no answer comes; other calls once.
    pub async fn call<E: Endpoint>(&self, request: &E::Request) -> Result<E::Response, CallError> {
        self.call_with::<E>(request, Declaration::of::<E>().media_type()).await
    }

    /// Calls `E`, whose raw body is of one of the media types it reads.
    pub async fn call_with<E: Endpoint>(
        &self,
        request: &E::Request,
        media_type: &str,
    ) -> Result<E::Response, CallError> {
        let (uri, body) =
            wire::encode::<E>(request).map_err(|error| CallError::NotReadable(error.to_string()))?;
        let answer = self.send(E::METHOD.as_str(), &uri, body, media_type).await?;
        let status = answer.status().as_u16();
        if (200..300).contains(&status) {
            return E::Response::decode(answer.body())
                .map_err(|error| CallError::NotReadable(error.to_string()));
        }
        Err(problem_in(status, answer.body()))
    }

    /// Sends a request that no declaration describes here, as `q call` does.
    pub async fn send(
        &self,
        method: &str,
        uri: &str,
        body: Bytes,
        media_type: &str,
    ) -> Result<http::Response<Bytes>, CallError> {
        let span = self.span(method, uri);
        let answer = self.attempts(method, uri, body, media_type, span.as_ref().map(Span::context)).await;
        if let Some(span) = span {
            ended(span, &answer);
        }
        answer
    }

    /// The work of asking, as part of the work at hand.
    fn span(&self, method: &str, uri: &str) -> Option<Span> {
        let mut span = Span::child("call", Kind::Client)?;
        // Without a template for the path only the method names it (semantic conventions for HTTP).
        span.rename(|| method.to_owned());
        span.set("http.request.method", method.to_owned());
        span.set("url.path", uri.split('?').next().unwrap_or_default().to_owned());
        span.set("q.transport", if self.transport.is_in_process() { "memory" } else { "http" });
        Some(span)
    }

    async fn attempts(
        &self,
        method: &str,
        uri: &str,
        body: Bytes,
        media_type: &str,
        trace: Option<&q_trace::Context>,
    ) -> Result<http::Response<Bytes>, CallError> {
        let may_repeat = method == "GET" || self.key.is_some();
        let started = tokio::time::Instant::now();
        let mut attempt = 1;
        loop {
            let left = self.timeout.saturating_sub(started.elapsed());
            let request = self.request(method, uri, body.clone(), media_type, left, trace).await?;
            match self.transport.send(request, left).await {
                Err(Unreachable::NoAnswer(..) | Unreachable::NotConnected(..))
                    if may_repeat && attempt < Self::ATTEMPTS_MAX =>
                {
                    attempt += 1;
                }
                Ok(answer)
                    if started.elapsed() < self.start_within && Replicas::has_refused_to_begin(&answer) =>
                {
                    tokio::time::sleep(Self::STARTING).await;
                }
                answer => return Ok(answer?),
            }
        }
    }

    async fn request(
        &self,
        method: &str,
        uri: &str,
        body: Bytes,
        media_type: &str,
        left: Duration,
        trace: Option<&q_trace::Context>,
    ) -> Result<Request<Bytes>, CallError> {
        let has_body = !body.is_empty();
        let mut request = Request::builder()
            .method(method)
            .uri(uri)
            .header(DEADLINE_HEADER, u64::try_from(left.as_millis()).unwrap_or(u64::MAX))
            .body(body)
            .map_err(|error| CallError::NotReadable(error.to_string()))?;
        let headers = request.headers_mut();
        if let Some(trace) = trace.cloned().or_else(q_trace::current) {
            carry(&trace, headers);
        }
        if has_body {
            let value = HeaderValue::from_str(media_type)
                .map_err(|error| CallError::NotReadable(error.to_string()))?;
            headers.insert(header::CONTENT_TYPE, value);
        }
        if let Some(key) = &self.key {
            let value =
                HeaderValue::from_str(key).map_err(|error| CallError::NotReadable(error.to_string()))?;
            headers.insert(IDEMPOTENCY_HEADER, value);
        }
        if self.transport.is_in_process() {
            request.extensions_mut().insert(TrustedCaller(self.caller.clone()));
        } else if let Some(credential) = &self.credential {
            credential.attach(&mut request).await?;
        }
        Ok(request)
    }
}

/// Hands the trace and the request's id on, so that both find everything it causes.
fn carry(trace: &q_trace::Context, headers: &mut HeaderMap) {
    let mut set = |name, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    };
    set(TRACE_HEADER, trace.traceparent());
    set(REQUEST_ID_HEADER, trace.request_id());
}

fn ended(mut span: Span, answer: &Result<http::Response<Bytes>, CallError>) {
    match answer {
        Ok(answer) => {
            span.set("http.response.status_code", answer.status().as_u16());
            if answer.status().is_client_error() || answer.status().is_server_error() {
                span.fail("refused");
            }
        }
        Err(error) => span.fail(error.to_string()),
    }
    span.finish();
}

fn problem_in(status: u16, body: &[u8]) -> CallError {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => CallError::Problem(problem),
        Err(_) => CallError::NotReadable(format!("status {status} without a problem body")),
    }
}
