//! One process of an instance, cut off by an operator: it is not ready, and refuses everybody but operators.
//!
//! What is cut off is the process and nothing it keeps; the other replicas of its modules go on. Signing in, health and
//! figures go on here too, or nobody could lift it. It lasts until it is lifted or the process ends: one that is started
//! again is another process.

use axum::body::Body;
use http::{Request, Response};
use parking_lot::RwLock;
use q_contract::{Access, Declaration, Problem, codes};
use q_core::Caller;
use serde::Deserialize;
use serde_json::json;

use crate::{mounted::Mounted, pipeline, platform::json_response, reply::problem_response};

/// Where credentials are fetched.
const SIGN_IN: &str = "/oauth2/";
/// The largest order, in bytes.
const ORDER_BYTES_MAX: usize = 8 << 10;

/// Whether this process is cut off, and why. All its modules share one.
#[derive(Debug, Default)]
pub struct Node(RwLock<Option<String>>);

impl Node {
    /// Whether it is cut off.
    pub fn is_isolated(&self) -> bool {
        self.0.read().is_some()
    }
}

/// An operator's word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    isolated: bool,
    #[serde(default)]
    reason: String,
}

/// Whether this process lets the request in.
pub(crate) fn admits(mounted: &Mounted, declaration: &Declaration, caller: &Caller) -> Result<(), Problem> {
    if !mounted.node.is_isolated() || declaration.path.starts_with(SIGN_IN) {
        return Ok(());
    }
    if caller.is_service() || pipeline::permits_access(mounted, Access::Operator, caller).is_err() {
        return Err(Problem::new(&codes::ISOLATED)
            .detail("this process is cut off")
            .hint("ask again: another process may answer"));
    }
    Ok(())
}

/// `POST /node`: for operators.
pub(crate) async fn set(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    match try_set(mounted, request).await {
        Ok(is_isolated) => json_response(200, &json!({"isolated": is_isolated, "pid": std::process::id()})),
        Err(problem) => problem_response(&problem),
    }
}

async fn try_set(mounted: &Mounted, request: Request<Body>) -> Result<bool, Problem> {
    let (head, body) = request.into_parts();
    let caller = pipeline::authenticated(mounted, &head, "POST", &mut None)?;
    if caller.is_service() {
        return Err(Problem::new(&codes::FORBIDDEN).detail("processes are cut off by operators"));
    }
    pipeline::permits_access(mounted, Access::Operator, &caller)?;
    let body = pipeline::read_body(body, ORDER_BYTES_MAX, pipeline::deadline(&head.headers)).await?;
    let order: Order = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(&codes::INVALID_REQUEST).detail(error.to_string()))?;
    if order.isolated && order.reason.trim().is_empty() {
        return Err(Problem::new(&codes::INVALID_REQUEST).detail("say the reason"));
    }
    tracing::warn!(isolated = order.isolated, reason = %order.reason, by = ?caller.did(), "an operator cut this process off, or lets it in again");
    *mounted.node.0.write() = order.isolated.then_some(order.reason);
    Ok(order.isolated)
}
