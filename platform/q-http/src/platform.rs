//! The endpoints every module has: health, readiness, metrics, its own description, its feed.

use std::sync::{Arc, OnceLock, atomic::Ordering};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use q_contract::{Access, Problem, codes};
use serde_json::{Value, json};

use crate::{
    PeerAddress,
    metrics::{self, open_connections},
    mode,
    mounted::Mounted,
    node, pipeline, recover,
    reply::problem_response,
};

/// How the program was built.
pub(crate) const PROFILE: &str = if cfg!(debug_assertions) { "debug" } else { "release" };

/// Which of the releases kept here this process is: one process, one program.
static RELEASE: OnceLock<Value> = OnceLock::new();

/// Lets `/health/detailed` tell that this process runs release `number`, whose program has this SHA-256.
pub fn runs_release(number: u32, program: &str) {
    // A process does not become another release.
    let _ = RELEASE.set(json!({"number": number, "program": program}));
}

pub(crate) fn routes(mounted: &Arc<Mounted>) -> Router {
    let health = {
        let mounted = mounted.clone();
        move || async move {
            let health = mounted.monitor.health(&mounted.env).await;
            json_response(if health.is_serving() { 200 } else { 503 }, &json!(health))
        }
    };
    let detailed = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { detailed(&mounted, request).await }
    };
    let ready = {
        let mounted = mounted.clone();
        move || async move {
            let health = mounted.monitor.health(&mounted.env).await;
            let store_is_up = health.dependencies.get("store").is_none_or(|store| store.error.is_none());
            // An isolated module is not sent work; one that only reads is.
            let is_isolated =
                mounted.node.is_isolated() || mounted.db.mode().state() == q_db::ModeKind::Isolated;
            let is_informed = mounted.is_informed.load(Ordering::Relaxed);
            let is_ready =
                store_is_up && !is_isolated && is_informed && !mounted.is_draining.load(Ordering::Relaxed);
            json_response(if is_ready { 200 } else { 503 }, &json!({"ready": is_ready}))
        }
    };
    let metrics = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { scraped(&mounted, request).await }
    };
    let openapi = {
        let mounted = mounted.clone();
        move || async move { typed(200, "application/json", mounted.openapi.clone()) }
    };
    let verify = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { verify(&mounted, request).await }
    };
    let feed = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { feed(&mounted, request).await }
    };
    let mode_shown = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { mode::show(&mounted, request) }
    };
    let node_set = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { node::set(&mounted, request).await }
    };
    let mode_set = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { mode::set(&mounted, request).await }
    };
    let recovered = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { recover::recover(&mounted, request).await }
    };
    Router::new()
        .route("/recover", post(recovered))
        .route("/feed", get(feed))
        .route("/mode", get(mode_shown).post(mode_set))
        .route("/node", post(node_set))
        .route("/health/verify", post(verify))
        .route("/health", get(health))
        .route("/health/detailed", get(detailed))
        .route("/health/ready", get(ready))
        .route("/health/live", get(|| async { json_response(200, &json!({"live": true})) }))
        .route("/metrics", get(metrics))
        .route("/openapi.json", get(openapi))
}

async fn detailed(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    if let Err(problem) = operator_only(mounted, &head) {
        return problem_response(&problem);
    }
    let health = mounted.monitor.health(&mounted.env).await;
    let mut body = json!(health);
    body["dependencies"] = json!(mounted.monitor.details(&health));
    body["since"] = json!(mounted.monitor.since());
    body["requests"] = json!(mounted.metrics.recent());
    body["process"] = json!(mounted.metrics.usage());
    body["process"]["id"] = json!(std::process::id());
    body["connections"] = json!({"open": open_connections()});
    let figures = mounted.db.figures();
    body["pool"] = json!({
        "threads": figures.threads,
        "readsWaiting": figures.reads_waiting,
        "writesWaiting": figures.writes_waiting,
        "waitingMax": figures.waiting_max,
    });
    body["build"] =
        json!({"version": env!("CARGO_PKG_VERSION"), "profile": PROFILE, "release": RELEASE.get()});
    if let (Value::Object(body), Value::Object(details)) = (&mut body, (mounted.details)().await) {
        body.extend(details);
    }
    body["mode"] = mode::shown(&mounted.db);
    json_response(200, &body)
}

/// Runs the module's integrity check while it serves: the online half of `q verify`.
async fn verify(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    let caller = pipeline::authenticated(mounted, &head, "POST", &mut None);
    let admitted = caller.and_then(|caller| {
        if mode::is_desk(&caller) {
            return Ok(());
        }
        pipeline::permits_access(mounted, Access::Operator, &caller)
    });
    if let Err(problem) = admitted {
        return problem_response(&problem);
    }
    let asked = head.uri.query().filter(|query| !query.is_empty());
    let since = asked.map(|query| query.strip_prefix("since=")?.parse().ok());
    if since == Some(None) {
        let problem = Problem::new(&codes::INVALID_REQUEST);
        return problem_response(&problem.detail("since is the number of a commit"));
    }
    let since = since.flatten();
    match (mounted.verify)(since).await {
        Ok(None) => {
            let problem = Problem::new(&codes::INVALID_REQUEST);
            problem_response(&problem.detail("this module is verified as a whole").hint("leave since out"))
        }
        Ok(Some(findings)) => {
            json_response(200, &json!({"module": mounted.api.module, "findings": findings}))
        }
        Err(error) => {
            tracing::error!(module = mounted.api.module, %error, "the store could not be verified");
            problem_response(&Problem::new(&codes::STORAGE_UNAVAILABLE).detail("the store could not be read"))
        }
    }
}

/// Events and audit rows for the other modules of this instance, and nobody else.
async fn feed(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    if let Err(problem) = pipeline::service_only(mounted, &head) {
        return problem_response(&problem);
    }
    match (mounted.feed)(head.uri.query().unwrap_or_default().to_owned()).await {
        Ok(page) => typed(200, "application/json", page),
        Err(problem) => problem_response(&problem),
    }
}

async fn scraped(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    if let Err(problem) = may_scrape(mounted, &head) {
        return problem_response(&problem);
    }
    // What is told of dependencies is as fresh as `/health`, and costs as little.
    mounted.monitor.health(&mounted.env).await;
    mounted.metrics.refresh().await;
    let text = mounted.metrics.render();
    let accepted = head.headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accepted.contains("application/openmetrics-text") {
        return typed(200, metrics::OPEN_METRICS, text.into_bytes());
    }
    typed(200, metrics::PROMETHEUS, metrics::plain(&text).into_bytes())
}

/// This host, the bearer of the token for scrapers, operators, and services of this instance.
fn may_scrape(mounted: &Mounted, head: &http::request::Parts) -> Result<(), Problem> {
    let is_local =
        head.extensions.get::<PeerAddress>().is_none_or(|PeerAddress(peer)| peer.ip().is_loopback());
    // A proxy on this host asks for somebody elsewhere.
    let is_passed_on = ["forwarded", "x-forwarded-for"].iter().any(|name| head.headers.contains_key(*name));
    if is_local && !is_passed_on {
        return Ok(());
    }
    let given = head.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = given
        .and_then(|value| value.split_once(' ').filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")));
    if let Some((_, token)) = token
        && mounted.metrics.knows_token(token.trim())
    {
        return Ok(());
    }
    let caller = pipeline::authenticated(mounted, head, "GET", &mut None)?;
    if caller.is_service() {
        return Ok(());
    }
    pipeline::permits_access(mounted, Access::Operator, &caller)
}

fn operator_only(mounted: &Mounted, head: &http::request::Parts) -> Result<(), Problem> {
    let caller = pipeline::authenticated(mounted, head, "GET", &mut None)?;
    pipeline::permits_access(mounted, Access::Operator, &caller)
}

pub(crate) async fn not_found(request: Request<Body>) -> Response<Body> {
    let problem = Problem::new(&codes::NOT_FOUND)
        .detail(format!("no endpoint at {}", request.uri().path()))
        .hint("/openapi.json lists the endpoints");
    problem_response(&problem)
}

pub(crate) async fn method_not_allowed(request: Request<Body>) -> Response<Body> {
    let problem = Problem::new(&codes::METHOD_NOT_ALLOWED)
        .detail(format!("{} is not answered at {}", request.method(), request.uri().path()))
        .hint("/openapi.json lists the methods");
    problem_response(&problem)
}

pub(crate) fn json_response(status: u16, body: &Value) -> Response<Body> {
    typed(status, "application/json", serde_json::to_vec(body).unwrap_or_default())
}

fn typed(status: u16, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
