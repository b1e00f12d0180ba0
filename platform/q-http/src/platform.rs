//! The endpoints every module has: health, readiness, metrics, its own description, its feed.

use std::sync::{Arc, atomic::Ordering};

use axum::{
    Router,
    body::Body,
    routing::{get, post},
};
use http::{HeaderValue, Request, Response, StatusCode, header};
use q_contract::{Access, Problem, codes};
use serde_json::{Value, json};

use crate::{PeerAddress, health::Dependency, mode, mounted::Mounted, pipeline, reply::problem_response};

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
            let is_isolated = mounted.db.mode().state() == q_db::ModeKind::Isolated;
            let is_ready = store_is_up && !is_isolated && !mounted.is_draining.load(Ordering::Relaxed);
            json_response(if is_ready { 200 } else { 503 }, &json!({"ready": is_ready}))
        }
    };
    let metrics = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { metrics(&mounted, request) }
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
        move |request: Request<Body>| async move { mode::show(&mounted, request).await }
    };
    let mode_set = {
        let mounted = mounted.clone();
        move |request: Request<Body>| async move { mode::set(&mounted, request).await }
    };
    Router::new()
        .route("/feed", get(feed))
        .route("/mode", get(mode_shown).post(mode_set))
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
    let checks = health.dependencies.iter().map(|(name, dependency)| (*name, check_details(dependency)));
    body["dependencies"] = checks.map(|(name, details)| (name.to_owned(), details)).collect::<Value>();
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
    if let Err(problem) =
        caller.and_then(|caller| pipeline::permits_access(mounted, Access::Operator, &caller))
    {
        return problem_response(&problem);
    }
    match (mounted.verify)().await {
        Ok(findings) => json_response(200, &json!({"module": mounted.api.module, "findings": findings})),
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

fn check_details(dependency: &Dependency) -> Value {
    json!({
        "status": dependency.status,
        "latency": dependency.latency,
        "required": dependency.is_required,
        "lastSuccess": dependency.last_success,
        "lastError": dependency.error,
    })
}

fn metrics(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    let is_local =
        head.extensions.get::<PeerAddress>().is_none_or(|PeerAddress(peer)| peer.ip().is_loopback());
    if !is_local && let Err(problem) = operator_only(mounted, &head) {
        return problem_response(&problem);
    }
    let text = mounted.metrics.render();
    typed(200, "application/openmetrics-text; version=1.0.0; charset=utf-8", text.into_bytes())
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
