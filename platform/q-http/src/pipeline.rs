//! The way of a request: bounds, limits, caller, access, key, decoding, handler, answer.
//!
//! One function per station, in the order they are passed; no handler repeats any of it.

use std::{net::IpAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::RawPathParams,
    routing::{MethodFilter, MethodRouter, on},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header, request::Parts};
use q_contract::{
    Access, Declaration, Method, Problem, Target, TrustedCaller,
    client::{self, DEADLINE_HEADER, IDEMPOTENCY_HEADER, REQUEST_ID_HEADER},
    codes,
};
use q_core::{Caller, Principal, RequestKey, request_key::IDEMPOTENCY_KEY_BYTES_MAX};
use q_trace::{Kind, Remote, Span};

use crate::{
    Context, Gate, PeerAddress,
    api::{Input, Route},
    body,
    metrics::{Answer, RouteMetrics},
    mode,
    mounted::Mounted,
    rate_limit::Allowance,
    recover::Place,
    reply::{Encoded, problem_response},
};

/// The longest a handler may take, whatever the caller would allow.
const HANDLER_TIMEOUT: Duration = Duration::from_secs(30);
/// The scope that a token narrowed by scopes needs for what only operators may do.
const OPERATOR_SCOPE: &str = "instance:admin";
/// The header under which a request is found in the logs.
const TRACE_HEADER: &str = "q-trace-id";

/// The router entry of one endpoint.
pub(crate) fn endpoint(mounted: &Arc<Mounted>, route: Route) -> MethodRouter {
    let filter = match route.declaration.method {
        Method::GET => MethodFilter::GET,
        Method::POST => MethodFilter::POST,
        Method::PUT => MethodFilter::PUT,
        Method::PATCH => MethodFilter::PATCH,
        Method::DELETE => MethodFilter::DELETE,
    };
    let mounted = mounted.clone();
    let counted = mounted.metrics.route(&route.declaration);
    let route = Arc::new((route, counted));
    on(filter, move |parameters: RawPathParams, request: Request<Body>| {
        let (mounted, route) = (mounted.clone(), route.clone());
        let path =
            parameters.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect::<Vec<_>>();
        async move { measured(&mounted, &route.0, &route.1, path, request).await }
    })
}

/// Counts and times the request, and turns whatever happened into a response.
async fn measured(
    mounted: &Mounted,
    route: &Route,
    counted: &RouteMetrics,
    path: Vec<(String, String)>,
    request: Request<Body>,
) -> Response<Body> {
    let started = tokio::time::Instant::now();
    let declaration = &route.declaration;
    let in_flight = counted.begun();
    let mut span = span(mounted, request.headers());
    span.rename(|| format!("{} {}", declaration.method.as_str(), declaration.path));
    let trace_id = span.context().trace.to_string();
    let request_id = span.context().request_id();
    let mut allowance = None;
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let answering = answered(mounted, route, path, request, &trace_id, &mut allowance);
    // The trace travels into every log line, call, event and audit row that this request causes.
    let answered = q_trace::scope(span.context().clone(), async {
        let answered = answering.await;
        if let Err(problem) = &answered {
            note_failure(declaration, problem);
        }
        answered
    });
    let answered = answered.await;
    let is_excused = answered.as_ref().is_err_and(|problem| mode::is_announced(mounted, problem));
    let mut response = match answered {
        Ok(encoded) => match declaration.cached_seconds {
            Some(seconds) => encoded.into_cached_response(seconds, known.as_ref()),
            None => encoded.into_response(),
        },
        Err(mut problem) => {
            problem.trace_id = Some(trace_id.clone());
            if span.context().is_sampled {
                span.set("error.type", problem.code.clone());
            }
            problem_response(&problem)
        }
    };
    drop(in_flight);
    let (method, path) = (declaration.method.as_str(), declaration.path);
    let status = response.status().as_u16();
    counted.ended(Answer { status, is_excused }, started.elapsed());
    decorate(response.headers_mut(), &trace_id, &request_id, allowance);
    if span.context().is_sampled {
        span.set("http.request.method", method);
        span.set("http.route", path);
        span.set("http.response.status_code", status);
        if status >= 500 {
            span.fail("");
        }
    }
    span.finish();
    response
}

/// Writes down what went wrong on our side, in the trace of the request.
pub(crate) fn note_failure(declaration: &Declaration, problem: &Problem) {
    if problem.status >= 500 {
        tracing::warn!(operation = declaration.operation, code = %problem.code, "request failed");
    }
}

async fn answered(
    mounted: &Mounted,
    route: &Route,
    path: Vec<(String, String)>,
    request: Request<Body>,
    trace_id: &str,
    allowance: &mut Option<Allowance>,
) -> Result<Encoded, Problem> {
    let (head, body) = request.into_parts();
    let caller = admitted(mounted, &route.declaration, &head, allowance)?;
    mode::admits(mounted, &route.declaration, &caller)?;
    let _place = place(mounted, &caller)?;
    let body = whole_body(&head, body, &route.declaration).await?;
    let request_key = request_key(&route.declaration, &head, &caller, &body)?;
    let is_vouched_for = head.extensions.get::<TrustedCaller>().is_some();
    let gate = if is_vouched_for { Gate::open() } else { Gate::of(mounted, &caller) };
    let context = Context {
        caller,
        gate,
        request_key,
        trace_id: trace_id.to_owned(),
        peer: peer(&head),
        headers: head.headers.clone(),
    };
    let query = head.uri.query().map(str::to_owned);
    let handling = (route.handler)(context, Input::Http { path, query, body });
    in_time(&head.headers, handling).await
}

/// A place among the requests being answered, unless load is being shed. What modules ask of each other is part of a
/// request that was let in elsewhere.
pub(crate) fn place<'a>(mounted: &'a Mounted, caller: &Caller) -> Result<Option<Place<'a>>, Problem> {
    if caller.is_service() {
        return Ok(None);
    }
    mounted.shed.enter(mounted.env.now()).map(Some)
}

/// The outcome of a handler, unless the caller's deadline or ours passes first.
pub(crate) async fn in_time(
    headers: &HeaderMap,
    handling: impl Future<Output = Result<Encoded, Problem>>,
) -> Result<Encoded, Problem> {
    tokio::time::timeout(deadline(headers), handling).await.map_err(|_| {
        Problem::new(&codes::DEADLINE_EXCEEDED)
            .hint("ask again with the same Idempotency-Key to learn the outcome")
    })?
}

/// Rate limits, authentication and the endpoint's access rule.
pub(crate) fn admitted(
    mounted: &Mounted,
    declaration: &Declaration,
    head: &Parts,
    allowance: &mut Option<Allowance>,
) -> Result<Caller, Problem> {
    let caller = authenticated(mounted, head, declaration.method.as_str(), allowance)?;
    permits_access(mounted, declaration.access, &caller)?;
    Ok(caller)
}

/// Rate limits and authentication.
pub(crate) fn authenticated(
    mounted: &Mounted,
    head: &Parts,
    method: &str,
    allowance: &mut Option<Allowance>,
) -> Result<Caller, Problem> {
    // Vouched for by code of this process: neither limited nor authenticated again.
    if let Some(TrustedCaller(caller)) = head.extensions.get::<TrustedCaller>() {
        return Ok(caller.clone());
    }
    let now = mounted.env.now();
    if let Some(address) = peer(head) {
        *allowance = mounted.limiter.address(address, now)?;
    }
    let target = Target { bases: &mounted.bases, method, path: head.uri.path(), module: mounted.api.module };
    let caller = mounted.auth.authenticate(head, target)?;
    if matches!(caller, Caller::Identity(_)) {
        informed(mounted)?;
    }
    if let Caller::Identity(principal) = &caller
        && let Some(tighter) = mounted.limiter.identity(principal, now)?
    {
        *allowance = Some(tighter);
    }
    Ok(caller)
}

/// Believes nobody's token before it is known which were revoked. Modules prove themselves by keys of this instance, and
/// could not start together if they waited for each other.
fn informed(mounted: &Mounted) -> Result<(), Problem> {
    if mounted.is_informed.load(std::sync::atomic::Ordering::Relaxed) {
        return Ok(());
    }
    Err(uninformed())
}

/// The refusal while it is not known what was revoked.
pub(crate) fn uninformed() -> Problem {
    Problem::new(&codes::NOT_READY)
        .detail("it is not known here yet, or not any more, which tokens and permissions were revoked")
        .hint("try again; `q health` says which service is not heard")
        .with("retryAfter", 1)
}

/// Lets only modules of this instance in, as often as they like: one that follows another asks whenever something
/// happens. Everybody else is counted by address as always.
pub(crate) fn service_only(mounted: &Mounted, head: &Parts) -> Result<(), Problem> {
    let caller = if let Some(TrustedCaller(caller)) = head.extensions.get::<TrustedCaller>() {
        Ok(caller.clone())
    } else {
        let path = head.uri.path();
        let module = mounted.api.module;
        mounted.auth.authenticate(head, Target { bases: &mounted.bases, method: "GET", path, module })
    };
    if let Ok(Caller::Service(..)) = caller {
        return Ok(());
    }
    if let Some(address) = peer(head) {
        mounted.limiter.address(address, mounted.env.now())?;
    }
    permits_access(mounted, Access::Service, &caller?)
}

/// Whether an access rule lets the caller in.
#[expect(clippy::match_same_arms, reason = "the rules are read from top to bottom, like the table they are")]
pub(crate) fn permits_access(mounted: &Mounted, access: Access, caller: &Caller) -> Result<(), Problem> {
    match (access, caller) {
        (Access::Public(_) | Access::Signed, _) => Ok(()),
        (_, Caller::Anonymous) => Err(unauthenticated()),
        (Access::Identity(_) | Access::Service, Caller::Service(..)) => Ok(()),
        (Access::Identity(scope), Caller::Identity(principal)) => holds_scope(principal, scope),
        (Access::Service, Caller::Identity(_)) => {
            Err(Problem::new(&codes::FORBIDDEN).detail("only modules of this instance may call this"))
        }
        (Access::Operator, _) if !(mounted.is_operator)(caller) => {
            Err(Problem::new(&codes::FORBIDDEN).detail("only operators of this instance may call this"))
        }
        (Access::Operator, _) => caller.principal().map_or(Ok(()), as_operator),
    }
}

/// What an operator's credential must be: able to administer, and useless to a thief without the key (RFC 9449).
fn as_operator(principal: &Principal) -> Result<(), Problem> {
    // A token narrowed to less does not open everything because its owner is an operator.
    holds_scope(principal, OPERATOR_SCOPE)?;
    if principal.is_sender_bound {
        return Ok(());
    }
    Err(Problem::new(&codes::FORBIDDEN)
        .detail("operators prove here that they hold their key; this token is not bound to one")
        .hint("`q auth headers METHOD URL` prints a bound token with its proof"))
}

/// The refusal of somebody who did not say who they are.
pub(crate) fn unauthenticated() -> Problem {
    Problem::new(&codes::UNAUTHENTICATED)
        .hint("send an access token: `q auth headers METHOD URL` prints one bound to your key")
}

fn holds_scope(principal: &Principal, scope: &str) -> Result<(), Problem> {
    if principal.scopes.is_empty() || principal.scopes.iter().any(|held| held == scope) {
        return Ok(());
    }
    Err(Problem::new(&codes::FORBIDDEN)
        .detail(format!("the token lacks the scope {scope}"))
        .hint("ask for a token with this scope"))
}

/// Reads a body of at most `bound` bytes; one that drips is given up after `patience`.
pub(crate) async fn read_body(body: Body, bound: usize, patience: Duration) -> Result<Bytes, Problem> {
    let collected = tokio::time::timeout(patience, body::collect(body, bound)).await;
    collected.unwrap_or_else(|_| {
        Err(Problem::new(&codes::DEADLINE_EXCEEDED).detail("the body did not arrive in time"))
    })
}

async fn whole_body(head: &Parts, body: Body, declaration: &Declaration) -> Result<Bytes, Problem> {
    let bound = declaration.body_bytes_max;
    let announced =
        head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: usize| length > bound) {
        return Err(body::too_large(bound));
    }
    let body = read_body(body, bound, deadline(&head.headers)).await?;
    let expected = declaration.consumes.map_or("application/json", |(media_type, _)| media_type);
    let actual = head.headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_expected = |actual: &str| {
        let essence = actual.split(';').next().unwrap_or_default().trim();
        expected.split(", ").any(|known| essence.eq_ignore_ascii_case(known)) || is_form(declaration, essence)
    };
    if !body.is_empty() && !actual.is_none_or(is_expected) {
        return Err(
            Problem::new(&codes::UNSUPPORTED_MEDIA_TYPE).detail(format!("this endpoint reads {expected}"))
        );
    }
    if actual.is_some_and(|actual| is_form(declaration, actual.split(';').next().unwrap_or_default().trim()))
    {
        return form_as_json(&body);
    }
    Ok(body)
}

/// OAuth (RFC 6749) sends forms; where an endpoint says so by its path, a form is read as an object of texts.
fn is_form(declaration: &Declaration, essence: &str) -> bool {
    declaration.path.starts_with("/oauth2/")
        && essence.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

fn form_as_json(body: &[u8]) -> Result<Bytes, Problem> {
    let mut fields = serde_json::Map::new();
    for (name, value) in q_contract::wire::form_pairs(body) {
        if fields.insert(name.clone(), value.into()).is_some() {
            return Err(
                Problem::new(&codes::INVALID_REQUEST).detail(format!("the field {name} is given twice"))
            );
        }
    }
    Ok(serde_json::to_vec(&fields).unwrap_or_default().into())
}

fn request_key(
    declaration: &Declaration,
    head: &Parts,
    caller: &Caller,
    body: &[u8],
) -> Result<Option<RequestKey>, Problem> {
    let Some(value) = head.headers.get(IDEMPOTENCY_HEADER) else {
        if declaration.needs_key() {
            return Err(Problem::new(&codes::IDEMPOTENCY_KEY_REQUIRED)
                .hint("send a fresh random Idempotency-Key, and the same one when you repeat the request"));
        }
        return Ok(None);
    };
    let key = checked_key(value)?;
    if !declaration.method.is_write() {
        return Ok(None);
    }
    let operation = format!("{} {}", declaration.method.as_str(), head.uri);
    Ok(Some(RequestKey::new(caller, &operation, key, body)))
}

/// The text of an `Idempotency-Key`.
pub(crate) fn checked_key(value: &HeaderValue) -> Result<&str, Problem> {
    let key = value.to_str().unwrap_or_default();
    if key.is_empty() || key.len() > IDEMPOTENCY_KEY_BYTES_MAX {
        let detail =
            format!("an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_BYTES_MAX} visible ASCII characters");
        return Err(Problem::new(&codes::INVALID_REQUEST).detail(detail));
    }
    Ok(key)
}

pub(crate) fn deadline(headers: &HeaderMap) -> Duration {
    let asked = headers.get(DEADLINE_HEADER).and_then(|value| value.to_str().ok()?.parse().ok());
    asked.map_or(HANDLER_TIMEOUT, |millis| HANDLER_TIMEOUT.min(Duration::from_millis(millis)))
}

pub(crate) fn peer(head: &Parts) -> Option<IpAddr> {
    head.extensions.get::<PeerAddress>().map(|PeerAddress(address)| address.ip())
}

/// The work of answering: in the trace of a W3C `traceparent` header, or in a new one.
pub(crate) fn span(mounted: &Mounted, headers: &HeaderMap) -> Span {
    let given = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let remote = given(client::TRACE_HEADER).and_then(Remote::parse);
    let request = given(REQUEST_ID_HEADER).and_then(q_trace::Context::checked_request_id);
    Span::begin(&mounted.env, "request", Kind::Server, &mounted.module, remote).requested_as(request)
}

fn decorate(headers: &mut HeaderMap, trace_id: &str, request_id: &str, allowance: Option<Allowance>) {
    for (name, text) in [(TRACE_HEADER, trace_id), (REQUEST_ID_HEADER, request_id)] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    if let Some(Allowance { limit, remaining }) = allowance {
        let set = |headers: &mut HeaderMap, name, text: String| {
            if let Ok(value) = HeaderValue::from_str(&text) {
                headers.insert(name, value);
            }
        };
        set(headers, "ratelimit-policy", format!("\"default\";q={limit};w=60"));
        set(headers, "ratelimit", format!("\"default\";r={remaining};t=60"));
    }
}
