//! One origin for everything: `/<module>/…` leads to the module, and a few fixed paths to the one that owns them.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody as _},
};
use futures_util::future::join_all;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header, uri::PathAndQuery};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use q_contract::{Problem, Replicas, client::IDEMPOTENCY_HEADER, codes};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::{PeerAddress, forwarded, platform, reply::problem_response};

/// How long the state of all modules is repeated before they are asked again: one question here is one to each.
const HEALTH_CACHED_FOR: Duration = Duration::from_secs(1);
/// How long a module may take to say how it is; longer than one of its own checks.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest body that is kept for a second replica.
const REPLAYED_BYTES_MAX: u64 = 1 << 20;
/// The longest answer about health that is read.
const HEALTH_BYTES_MAX: usize = 1 << 16;

/// The public status page, where a module answers at it.
const STATUS_PAGE: &str = "/status";

/// What concerns one connection only (RFC 9110 section 7.6.1), and what is said to proxies.
const HOP_BY_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Where a module is.
#[derive(Clone)]
pub enum Upstream {
    /// In this process.
    Local(Router),
    /// In other processes, at these base URLs.
    Remote(Arc<Replicas>),
}

impl Upstream {
    /// The module in other processes, at one base URL or several with commas between them.
    pub fn remote(module: &str, urls: &str) -> Self {
        Self::Remote(Arc::new(Replicas::new(module, &Replicas::urls(urls))))
    }
}

/// The routes of the front door.
pub struct FrontDoor {
    modules: BTreeMap<String, Upstream>,
    fixed: Vec<(&'static str, String)>,
    client: Client<HttpConnector, Body>,
    health: tokio::sync::Mutex<Option<(Instant, Value)>>,
}

impl FrontDoor {
    /// A front door to `modules`; a path that begins with an entry of `fixed` leads to the named module unchanged.
    pub fn new(modules: BTreeMap<String, Upstream>, fixed: Vec<(&'static str, String)>) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { modules, fixed, client, health: tokio::sync::Mutex::default() }
    }

    /// The router that answers on the front door's port.
    pub fn router(self) -> Router {
        let door = Arc::new(self);
        Router::new().fallback(move |request: Request<Body>| {
            let door = door.clone();
            async move { door.pass(request).await }
        })
    }

    async fn pass(&self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        match path.as_str() {
            "/" => return self.index(),
            "/health" if matches!(*request.method(), Method::GET | Method::HEAD) => {
                return self.health().await;
            }
            "/health" => return platform::method_not_allowed(request).await,
            _ => {}
        }
        let Some((upstream, rest)) = self.upstream(&path) else {
            let names: Vec<_> = self.modules.keys().map(String::as_str).collect();
            let problem = Problem::new(&codes::NOT_FOUND)
                .detail(format!("no module answers at {path}"))
                .hint(format!("paths begin with one of: {}", names.join(", ")));
            return problem_response(&problem);
        };
        let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
        let Ok(target) = format!("{rest}{query}").parse::<PathAndQuery>() else {
            return problem_response(&Problem::new(&codes::NOT_FOUND));
        };
        match upstream {
            Upstream::Local(router) => {
                *request.uri_mut() = Uri::from(target);
                match router.clone().oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
            // There the request would come from the front door's own address, to which figures are shown.
            Upstream::Remote(_) if target.path() == "/metrics" && !is_local(&request) => problem_response(
                &Problem::new(&codes::FORBIDDEN).detail("figures are shown to this host only"),
            ),
            Upstream::Remote(replicas) => self.forward(replicas, &target, request).await,
        }
    }

    fn upstream<'a>(&'a self, path: &'a str) -> Option<(&'a Upstream, &'a str)> {
        for (prefix, module) in &self.fixed {
            if path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
                return Some((self.modules.get(module)?, path));
            }
        }
        // Exactly one slash: what another program might read as the same path would not be the path that was proved.
        let path = path.strip_prefix('/')?;
        let (name, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
        Some((self.modules.get(name)?, if rest.is_empty() { "/" } else { rest }))
    }

    /// Passes the request to a replica, and to the next one where the first certainly did nothing with it, or where
    /// doing it twice is doing it once.
    async fn forward(
        &self,
        replicas: &Replicas,
        target: &PathAndQuery,
        mut request: Request<Body>,
    ) -> Response<Body> {
        request.headers_mut().remove(header::HOST);
        end_at_this_hop(request.headers_mut());
        // The module counts its callers by address, and would count us for all of them.
        let client = request.extensions().get::<PeerAddress>().map(|PeerAddress(peer)| peer.ip());
        forwarded::set(request.headers_mut(), client);
        let may_repeat = matches!(*request.method(), Method::GET | Method::HEAD)
            || request.headers().contains_key(IDEMPOTENCY_HEADER);
        let (head, body) = request.into_parts();
        let mut body = match Replayable::of(body).await {
            Ok(body) => body,
            Err(problem) => return problem_response(&problem),
        };
        for replica in replicas.in_turn() {
            let Ok(uri) = format!("{}{target}", replica.base()).parse::<Uri>() else { break };
            let Some(body) = body.take() else { break };
            let mut head = head.clone();
            head.uri = uri;
            match self.client.request(Request::from_parts(head, body)).await {
                Ok(mut response) => {
                    replica.note(true);
                    end_at_this_hop(response.headers_mut());
                    return response.map(Body::new);
                }
                Err(error) => {
                    replica.note(false);
                    tracing::warn!(%error, base = replica.base(), "a module did not answer the front door");
                    if !may_repeat && !error.is_connect() {
                        break;
                    }
                }
            }
        }
        problem_response(&Problem::new(&codes::DEPENDENCY_UNAVAILABLE).with("retryAfter", 1))
    }

    fn index(&self) -> Response<Body> {
        let mut page = String::from("Q\n\n/health   all modules in one answer\n");
        if self.upstream(STATUS_PAGE).is_some_and(|(_, path)| path == STATUS_PAGE) {
            let _ = writeln!(
                page,
                "{STATUS_PAGE}   how it is and was, for people; also {STATUS_PAGE}.json, {STATUS_PAGE}.atom and {STATUS_PAGE}.ics"
            );
        }
        page.push('\n');
        for name in self.modules.keys() {
            let _ = writeln!(page, "/{name}/health   /{name}/openapi.json   /{name}/metrics   /{name}/mcp");
        }
        let mut response = Response::new(Body::from(page));
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        response
    }

    /// How every module is, and how the worst of them is.
    async fn health(&self) -> Response<Body> {
        // Whoever asks meanwhile waits for this answer instead of asking the modules once more.
        let mut last = self.health.lock().await;
        let body = match &*last {
            Some((at, body)) if at.elapsed() < HEALTH_CACHED_FOR => body.clone(),
            _ => last.insert((Instant::now(), self.ask_all().await)).1.clone(),
        };
        platform::json_response(if body["status"] == "unhealthy" { 503 } else { 200 }, &body)
    }

    async fn ask_all(&self) -> Value {
        let asked = self.modules.iter().map(|(name, upstream)| async move {
            let answer = tokio::time::timeout(HEALTH_TIMEOUT, self.ask(upstream)).await.ok().flatten();
            (name.clone(), answer.unwrap_or("unreachable"))
        });
        let modules: BTreeMap<String, &str> = join_all(asked).await.into_iter().collect();
        let is = |status| modules.values().any(|one| *one == status);
        let worst = if is("unhealthy") || is("unreachable") {
            "unhealthy"
        } else if is("degraded") {
            "degraded"
        } else {
            "healthy"
        };
        let modules: BTreeMap<_, _> =
            modules.into_iter().map(|(name, status)| (name, json!({"status": status}))).collect();
        json!({"status": worst, "version": env!("CARGO_PKG_VERSION"), "modules": modules})
    }

    /// What a module says of itself; nothing when what comes is no such answer.
    async fn ask(&self, upstream: &Upstream) -> Option<&'static str> {
        let request = |uri: String| Request::builder().uri(uri).body(Body::empty()).ok();
        let body = match upstream {
            Upstream::Local(router) => match router.clone().oneshot(request("/health".to_owned())?).await {
                Ok(response) => response.into_body(),
                Err(never) => match never {},
            },
            Upstream::Remote(replicas) => {
                let mut answer = None;
                for replica in replicas.in_turn() {
                    let request = request(format!("{}/health", replica.base()))?;
                    answer = self.client.request(request).await.ok();
                    replica.note(answer.is_some());
                    if answer.is_some() {
                        break;
                    }
                }
                Body::new(answer?.into_body())
            }
        };
        let body = Limited::new(body, HEALTH_BYTES_MAX).collect().await.ok()?.to_bytes();
        let body: Value = serde_json::from_slice(&body).ok()?;
        ["healthy", "degraded", "unhealthy"].into_iter().find(|status| body["status"] == *status)
    }
}

/// A body that can be sent again when it is small, and once when it is not.
enum Replayable {
    Small(Bytes),
    Large(Option<Body>),
}

impl Replayable {
    async fn of(body: Body) -> Result<Self, Problem> {
        // A body of unknown length may be a long one that arrives slowly, and is not held up here.
        if body.size_hint().exact().is_none_or(|length| length > REPLAYED_BYTES_MAX) {
            return Ok(Self::Large(Some(body)));
        }
        match body.collect().await {
            Ok(body) => Ok(Self::Small(body.to_bytes())),
            Err(error) => {
                Err(Problem::new(&codes::INVALID_REQUEST).detail(format!("the body broke off: {error}")))
            }
        }
    }

    fn take(&mut self) -> Option<Body> {
        match self {
            Self::Small(bytes) => Some(Body::from(bytes.clone())),
            Self::Large(body) => body.take(),
        }
    }
}

/// Whether the request comes from this host, or from within this process.
fn is_local(request: &Request<Body>) -> bool {
    request.extensions().get::<PeerAddress>().is_none_or(|PeerAddress(peer)| peer.ip().is_loopback())
}

/// Removes what concerns the connection a message came by, and what that connection names as such.
fn end_at_this_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|names| names.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // Nobody makes the front door drop what proves who is asking, or how long the body is.
        .filter(|name| {
            !matches!(*name, header::AUTHORIZATION | header::CONTENT_LENGTH | header::CONTENT_TYPE)
        })
        .collect();
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}
