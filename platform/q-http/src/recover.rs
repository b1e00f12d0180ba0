//! Level 1: what a module does about its own trouble when asked, and what it says it did.
//!
//! `POST /recover`, for operators and the operator desk: `{"actions": ["restartTasks", "reconnect", "shedLoad"]}` is
//! answered with one line for each thing that was really done, or with why it was not.
//!
//! **Invariant:** no answer claims more than what happened; nothing here changes what the module keeps.

use std::sync::{
    Arc,
    atomic::{AtomicI64, AtomicUsize, Ordering},
};

use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use q_contract::{Access, Problem, codes};
use q_core::{Caller, Span, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{mounted::Mounted, pipeline, platform::json_response, reply::problem_response};

/// The service that may ask for it besides operators.
const DESK: &str = "ops";
/// The largest order, in bytes.
const ORDER_BYTES_MAX: usize = 4 << 10;
/// How long load is shed after one request for it.
const SHED_FOR: Span = Span::seconds(60);
/// Never fewer requests at a time than this: a module that answers nobody is down, not relieved.
const SHED_MIN: usize = 8;

/// What can be done about trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Recovery {
    /// Start tasks again that ended by a fault or do not come to an end.
    RestartTasks,
    /// Let go of connections to the store and to the bus, and make new ones.
    Reconnect,
    /// Refuse what exceeds a bound for a minute, so that the rest is answered in time.
    ShedLoad,
}

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Recovered {
    /// What was asked for.
    pub action: Recovery,
    /// Whether anything was done.
    pub is_done: bool,
    /// What was done, or why nothing.
    pub what: String,
}

/// Does what the composition can do: tasks and connections.
pub type Recover = Arc<dyn Fn(Recovery) -> BoxFuture<'static, Vec<Recovered>> + Send + Sync>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Order {
    actions: Vec<Recovery>,
    #[serde(default)]
    reason: String,
}

/// `POST /recover`.
pub(crate) async fn recover(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    match try_recover(mounted, request).await {
        Ok(done) => json_response(200, &json!({"module": mounted.api.module, "recovered": done})),
        Err(problem) => problem_response(&problem),
    }
}

async fn try_recover(mounted: &Mounted, request: Request<Body>) -> Result<Vec<Recovered>, Problem> {
    let (head, body) = request.into_parts();
    let caller = pipeline::authenticated(mounted, &head, "POST", &mut None)?;
    let by = match &caller {
        Caller::Service(_, name) if name == DESK => name.clone(),
        Caller::Service(..) => {
            return Err(Problem::new(&codes::FORBIDDEN).detail("modules do not recover each other"));
        }
        caller => {
            pipeline::permits_access(mounted, Access::Operator, caller)?;
            caller.did().map(ToString::to_string).unwrap_or_default()
        }
    };
    let body = pipeline::read_body(body, ORDER_BYTES_MAX, pipeline::deadline(&head.headers)).await?;
    let order: Order = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(&codes::INVALID_REQUEST).detail(error.to_string()))?;
    let mut recovered = Vec::new();
    for action in order.actions {
        recovered.extend(match action {
            Recovery::ShedLoad => vec![mounted.shed.begin(mounted.env.now())],
            other => (mounted.recover)(other).await,
        });
    }
    tracing::warn!(
        module = mounted.api.module,
        by,
        reason = order.reason,
        ?recovered,
        "recovery was asked for"
    );
    Ok(recovered)
}

/// Counts requests being answered and, for a while, refuses those beyond a bound.
#[derive(Debug, Default)]
pub(crate) struct Shed {
    in_flight: AtomicUsize,
    bound: AtomicUsize,
    /// Microseconds since the epoch; nothing is shed afterwards.
    until: AtomicI64,
}

/// A request being answered.
pub(crate) struct Place<'a>(&'a Shed);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shed {
    /// Lets a request in, unless load is being shed and there are enough.
    pub(crate) fn enter(&self, now: Timestamp) -> Result<Place<'_>, Problem> {
        let before = self.in_flight.fetch_add(1, Ordering::Relaxed);
        let place = Place(self);
        let until = self.until.load(Ordering::Relaxed);
        if now.micros() >= until || before < self.bound.load(Ordering::Relaxed) {
            return Ok(place);
        }
        // Those who were refused come back spread over what is left, at the latest when it is over.
        let left = (until - now.micros()) / 1_000_000;
        Err(Problem::new(&codes::OVERLOADED)
            .hint("try again later with the same Idempotency-Key")
            .with("retryAfter", left.clamp(1, 10)))
    }

    /// Halves what is answered at a time, for a minute.
    fn begin(&self, now: Timestamp) -> Recovered {
        let in_flight = self.in_flight.load(Ordering::Relaxed);
        let bound = (in_flight / 2).max(SHED_MIN);
        self.bound.store(bound, Ordering::Relaxed);
        self.until.store((now + SHED_FOR).micros(), Ordering::Relaxed);
        let what = format!(
            "for {} s at most {bound} requests are answered at a time ({in_flight} were); others get 503 and Retry-After",
            SHED_FOR.as_seconds()
        );
        Recovered { action: Recovery::ShedLoad, is_done: true, what }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_beyond_the_bound_is_refused_for_a_minute() {
        let shed = Shed::default();
        let now = Timestamp::from_seconds(1_795_251_600);
        let places: Vec<_> = (0..40).map(|_| shed.enter(now).ok().unwrap()).collect();
        assert!(shed.begin(now).what.contains("at most 20 requests"));
        let refused = shed.enter(now).err().unwrap();
        assert_eq!((refused.status, refused.code.as_ref()), (503, "OVERLOADED"));
        drop(places);
        // A refused request does not take a place; twenty fit again.
        let places: Vec<_> = (0..20).map(|_| shed.enter(now).ok().unwrap()).collect();
        assert!(shed.enter(now).is_err());
        let later = now + SHED_FOR;
        assert!(shed.enter(later).is_ok());
        drop(places);
        // Nothing in flight: the bound is never so low that nobody is answered.
        assert!(shed.begin(later).what.contains("at most 8 requests"));
    }
}
