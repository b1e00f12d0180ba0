//! Endpoints marked as tools, and what a module offers besides ([`crate::offers`]), over the Model Context Protocol
//! (2025-06-18, streamable HTTP).
//!
//! Stateless: each POST is one JSON-RPC message and its answer; there is no stream to open. A call of a tool, and a look
//! at a resource, is a request to its endpoint: counted, timed and shed with the others.
//!
//! **Invariant:** nothing is reached here that the caller could not ask of an endpoint.

mod prompts;
mod resources;

use std::{collections::BTreeMap, sync::Arc};

use axum::{Router, body::Body, routing::post};
use http::{HeaderMap, Request, Response, StatusCode, header, request::Parts};
use q_contract::{Problem, codes};
use q_core::{Caller, RequestKey};
use serde_json::{Value, json};

use crate::{
    Context, Gate,
    api::{Input, Route},
    metrics::{Answer, RouteMetrics},
    mode,
    mounted::Mounted,
    pipeline, platform,
    reply::{Encoded, problem_response},
};

const PROTOCOL_VERSION: &str = "2025-06-18";
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// JSON-RPC 2.0 section 5.1.
const PARSE_ERROR: i32 = -32_700;
const METHOD_NOT_FOUND: i32 = -32_601;
const INVALID_PARAMS: i32 = -32_602;

pub(crate) fn routes(mounted: &Arc<Mounted>) -> Router {
    let is_read = |route: &&Route| {
        mounted.api.resources.iter().any(|resource| resource.operation == route.declaration.operation)
    };
    let endpoints = mounted.api.routes.iter();
    let endpoints = endpoints.filter(|route| route.declaration.tool.is_some() || is_read(route));
    let endpoints = endpoints.map(|route| {
        let counted = mounted.metrics.route(&route.declaration);
        (route.declaration.operation, OfferedEndpoint { route: route.clone(), counted })
    });
    let (mounted, offered) = (mounted.clone(), Arc::new(Offered(endpoints.collect())));
    let handler = move |request: Request<Body>| {
        let (mounted, offered) = (mounted.clone(), offered.clone());
        async move { message(&mounted, &offered, request).await }
    };
    Router::new().route("/mcp", post(handler))
}

/// An endpoint that models reach.
struct OfferedEndpoint {
    route: Route,
    counted: RouteMetrics,
}

/// The endpoints that models reach, by operation.
struct Offered(BTreeMap<&'static str, OfferedEndpoint>);

impl Offered {
    fn endpoint(&self, operation: &str) -> Option<&OfferedEndpoint> {
        self.0.get(operation)
    }

    fn tool(&self, name: &str) -> Option<&OfferedEndpoint> {
        self.0.values().find(|endpoint| endpoint.route.declaration.tool == Some(name))
    }
}

async fn message(mounted: &Mounted, offered: &Offered, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    if !is_from_here(mounted, &head.headers) {
        let detail = "a page of another origin may not use these tools";
        return problem_response(&Problem::new(&codes::FORBIDDEN).detail(detail));
    }
    let caller = match pipeline::authenticated(mounted, &head, "POST", &mut None) {
        Ok(Caller::Anonymous) => return problem_response(&pipeline::unauthenticated()),
        Ok(caller) => caller,
        Err(problem) => return problem_response(&problem),
    };
    let body = match pipeline::read_body(body, MESSAGE_BYTES_MAX, pipeline::deadline(&head.headers)).await {
        Ok(body) => body,
        Err(problem) => return problem_response(&problem),
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return platform::json_response(200, &failure(&Value::Null, PARSE_ERROR, "not JSON"));
    };
    let Some(id) = message.get("id") else {
        // A notification has no answer.
        let mut accepted = Response::new(Body::empty());
        *accepted.status_mut() = StatusCode::ACCEPTED;
        return accepted;
    };
    let parameters = message.get("params").cloned().unwrap_or_default();
    let answer = match message.get("method").and_then(Value::as_str).unwrap_or_default() {
        "initialize" => success(id, &introduction(mounted)),
        "ping" => success(id, &json!({})),
        "tools/list" => {
            success(id, &json!({"tools": q_contract::openapi::tools(&mounted.api.declarations())}))
        }
        "tools/call" => call(mounted, offered, &head, caller, id, &parameters).await,
        "resources/list" => success(id, &resources::list(&mounted.api.resources)),
        "resources/templates/list" => success(id, &resources::templates(&mounted.api.resources)),
        "resources/read" => resources::read(mounted, offered, &head, caller, id, &parameters).await,
        "prompts/list" => success(id, &prompts::list(&mounted.api.prompts)),
        "prompts/get" => prompts::get(mounted, offered, &head, caller, id, &parameters).await,
        method => failure(id, METHOD_NOT_FOUND, &format!("no method {method}")),
    };
    platform::json_response(200, &answer)
}

/// Whether a browser that sends this shows a page of this instance. The protocol demands the look ("Security
/// Warning" of its transports), so that a foreign page cannot talk to a server on its reader's own machine.
fn is_from_here(mounted: &Mounted, headers: &HeaderMap) -> bool {
    let is_ours = |origin: &str| {
        let below =
            |base: &String| base.strip_prefix(origin).map(|rest| rest.is_empty() || rest.starts_with('/'));
        !origin.is_empty() && mounted.bases.iter().filter_map(below).any(|is_below| is_below)
    };
    headers.get_all(header::ORIGIN).iter().all(|origin| origin.to_str().is_ok_and(is_ours))
}

fn introduction(mounted: &Mounted) -> Value {
    let mut capabilities = json!({"tools": {}});
    if !mounted.api.resources.is_empty() {
        capabilities["resources"] = json!({});
    }
    if !mounted.api.prompts.is_empty() {
        capabilities["prompts"] = json!({});
    }
    json!({
        "protocolVersion": PROTOCOL_VERSION,
        "capabilities": capabilities,
        "serverInfo": {"name": mounted.api.module, "version": env!("CARGO_PKG_VERSION")},
        "instructions": mounted.api.about,
    })
}

async fn call(
    mounted: &Mounted,
    offered: &Offered,
    head: &Parts,
    caller: Caller,
    id: &Value,
    parameters: &Value,
) -> Value {
    let name = parameters.get("name").and_then(Value::as_str).unwrap_or_default();
    let Some(endpoint) = offered.tool(name) else {
        return failure(id, INVALID_PARAMS, &format!("no tool {name}"));
    };
    let fields = parameters.get("arguments").cloned().unwrap_or_else(|| json!({}));
    match ask(mounted, endpoint, head, caller, fields).await {
        Ok(encoded) => {
            let text = String::from_utf8_lossy(&encoded.body).into_owned();
            let mut result = json!({"content": [{"type": "text", "text": text}], "isError": false});
            if let Ok(structured @ Value::Object(_)) = serde_json::from_str::<Value>(&text) {
                result["structuredContent"] = structured;
            }
            success(id, &result)
        }
        // A refusal is a result the model should read, not a fault of the protocol.
        Err(problem) => {
            let text = serde_json::to_string(&problem).unwrap_or_default();
            success(id, &json!({"content": [{"type": "text", "text": text}], "isError": true}))
        }
    }
}

/// Asks an endpoint, counted like any request to it.
async fn ask(
    mounted: &Mounted,
    OfferedEndpoint { route, counted }: &OfferedEndpoint,
    head: &Parts,
    caller: Caller,
    fields: Value,
) -> Result<Encoded, Problem> {
    let started = tokio::time::Instant::now();
    let in_flight = counted.begun();
    let answered = invoke(mounted, head, caller, route, fields).await;
    drop(in_flight);
    let (status, is_excused) = match &answered {
        Ok(encoded) => (encoded.status, false),
        Err(problem) => (problem.status, mode::is_announced(mounted, problem)),
    };
    counted.ended(Answer { status, is_excused }, started.elapsed());
    answered
}

async fn invoke(
    mounted: &Mounted,
    head: &Parts,
    caller: Caller,
    route: &Route,
    fields: Value,
) -> Result<Encoded, Problem> {
    pipeline::permits_access(mounted, route.declaration.access, &caller)?;
    mode::admits(mounted, &route.declaration, &caller)?;
    let _place = pipeline::place(mounted, &caller)?;
    let given =
        head.headers.get(q_contract::client::IDEMPOTENCY_HEADER).map(pipeline::checked_key).transpose()?;
    let key = given.map_or_else(|| q_core::hash::hex(&mounted.env.random::<16>()), str::to_owned);
    let operation = format!("tool {}", route.declaration.operation);
    let request_key = route
        .declaration
        .method
        .is_write()
        .then(|| RequestKey::new(&caller, &operation, &key, fields.to_string().as_bytes()));
    let mut span = pipeline::span(mounted, &head.headers);
    span.rename(|| match route.declaration.tool {
        Some(tool) => format!("tools/call {tool}"),
        None => format!("resources/read {}", route.declaration.operation),
    });
    let context = Context {
        gate: Gate::of(mounted, &caller),
        caller,
        request_key,
        trace_id: span.context().trace.to_string(),
        peer: pipeline::peer(head),
        headers: head.headers.clone(),
    };
    let answering = pipeline::in_time(&head.headers, (route.handler)(context, Input::Json(fields)));
    let answer = q_trace::scope(span.context().clone(), async {
        let answer = answering.await;
        if let Err(problem) = &answer {
            pipeline::note_failure(&route.declaration, problem);
        }
        answer
    });
    let answer = answer.await;
    if let Err(problem) = &answer {
        span.set("error.type", problem.code.clone());
    }
    span.finish();
    answer
}

fn success(id: &Value, result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn failure(id: &Value, code: i32, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
