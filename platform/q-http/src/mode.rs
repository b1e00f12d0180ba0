//! What the module lets through at present (`q_db::Mode`): one station of the pipeline, one platform endpoint.
//!
//! | State | Refused | Goes on |
//! |---|---|---|
//! | read-only | writes, by people and by services | reads, signing in, taking rights back, canaries |
//! | maintenance | everything, operators' own requests too | signing in, canaries |
//! | isolated | everybody but operators and services | signing in |
//! | write-stopped | writes, by whomever | reads |
//!
//! In every state health, metrics, `/mode`, verification, and the feed of events and audit rows to other modules go
//! on: they say how things are, or carry on what is committed already. Services are refused like people, because a
//! module's write on somebody's behalf is that person's write; reactions to events and jobs do not pass here, and
//! are held up by nothing but a write stop, which the store itself enforces.
//!
//! **Invariant:** what is let through is decided here and nowhere else in the way of a request.

use axum::body::Body;
use http::{Request, Response};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};
use q_contract::{Access, Declaration, Problem, codes};
use q_core::{Caller, Timestamp};
use q_db::{Db, Mode, ModeKind, ModeOrder, StopCause};
use serde_json::{Value, json};

use crate::{mounted::Mounted, node, pipeline, platform::json_response, reply::problem_response};

/// The service that may set modes besides operators: the operator desk, which keeps maintenance windows.
const DESK: &str = "ops";
/// Where credentials are fetched: open in every state, or nobody could prove to be an operator.
const SIGN_IN: &str = "/oauth2/";
/// When to ask again where nobody said how long it takes, in seconds.
const RETRY_AFTER: i64 = 30;
/// The largest order, in bytes.
const ORDER_BYTES_MAX: usize = 64 << 10;

/// Whether the module's state lets this request in.
pub(crate) fn admits(mounted: &Mounted, declaration: &Declaration, caller: &Caller) -> Result<(), Problem> {
    node::admits(mounted, declaration, caller)?;
    let mode = mounted.db.mode();
    if mode.is_normal() || declaration.path.starts_with(SIGN_IN) {
        return Ok(());
    }
    let is_write = declaration.method.is_write() && !declaration.when_read_only;
    let is_let_in = match mode.state() {
        ModeKind::Normal => true,
        ModeKind::ReadOnly => !is_write || mode.is_canary(caller.did()),
        ModeKind::WriteStopped => !is_write,
        ModeKind::Maintenance => mode.is_canary(caller.did()),
        ModeKind::Isolated => {
            caller.is_service() || pipeline::permits_access(mounted, Access::Operator, caller).is_ok()
        }
    };
    if is_let_in { Ok(()) } else { Err(refusal(&mode, mounted.env.now())) }
}

/// Whether a refusal was announced, so that no promise covers it: maintenance, and read-only windows of the desk. What
/// operators close in an emergency (read-only by hand, isolation) or the store itself (a write stop) breaks promises.
pub(crate) fn is_announced(mounted: &Mounted, problem: &Problem) -> bool {
    problem.code == codes::MAINTENANCE.code
        || problem.code == codes::READ_ONLY.code && mounted.db.mode().by == DESK
}

fn refusal(mode: &Mode, now: Timestamp) -> Problem {
    let wait = mode.until.map_or(RETRY_AFTER, |until| until.since(now).as_seconds().max(1));
    let because = |problem: Problem| {
        if mode.reason.is_empty() { problem } else { problem.detail(mode.reason.clone()) }
    };
    match mode.state() {
        ModeKind::Maintenance => because(Problem::new(&codes::MAINTENANCE))
            .hint("try again later; /health/detailed and the status page say more")
            .with("retryAfter", wait),
        ModeKind::Isolated => {
            because(Problem::new(&codes::ISOLATED)).hint("ask the operators of this instance")
        }
        ModeKind::WriteStopped => write_stopped(mode.write_stop.as_ref().map(|stop| stop.cause)),
        ModeKind::ReadOnly | ModeKind::Normal => because(Problem::new(&codes::READ_ONLY))
            .hint("reads are answered; try again later with the same Idempotency-Key")
            .with("retryAfter", wait),
    }
}

/// What the cause was stays with the operators: it may name rows.
pub(crate) fn write_stopped(cause: Option<StopCause>) -> Problem {
    let problem = Problem::new(&codes::WRITE_STOPPED);
    if cause == Some(StopCause::FailedSync) {
        // The module looks after this by itself, in seconds.
        return problem.hint("try again with the same Idempotency-Key").with("retryAfter", 5);
    }
    problem.hint("reads are answered; the operators see the reason in /mode and end it with `q verify`")
}

/// Whether the operator desk asks, which has the modules checked after maintenance.
pub(crate) fn is_desk(caller: &Caller) -> bool {
    matches!(caller, Caller::Service(_, name) if name == DESK)
}

/// What a caller sees of the mode.
pub(crate) fn shown(db: &Db) -> Value {
    let mode = db.mode();
    let mut shown = json!(*mode);
    shown["state"] = json!(mode.state());
    shown
}

/// `GET /mode`: for operators and services.
pub(crate) fn show(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    let (head, _) = request.into_parts();
    let admitted = pipeline::authenticated(mounted, &head, "GET", &mut None).and_then(|caller| {
        if caller.is_service() {
            return Ok(());
        }
        pipeline::permits_access(mounted, Access::Operator, &caller)
    });
    match admitted {
        Ok(()) => answer(mounted),
        Err(problem) => problem_response(&problem),
    }
}

/// `POST /mode`: for operators and the operator desk; other modules may only stop writes.
pub(crate) async fn set(mounted: &Mounted, request: Request<Body>) -> Response<Body> {
    match try_set(mounted, request).await {
        Ok(()) => answer(mounted),
        Err(problem) => problem_response(&problem),
    }
}

fn answer(mounted: &Mounted) -> Response<Body> {
    let mut body = shown(&mounted.db);
    body["module"] = json!(mounted.api.module);
    json_response(200, &body)
}

async fn try_set(mounted: &Mounted, request: Request<Body>) -> Result<(), Problem> {
    let (head, body) = request.into_parts();
    let caller = pipeline::authenticated(mounted, &head, "POST", &mut None)?;
    if !caller.is_service() {
        pipeline::permits_access(mounted, Access::Operator, &caller)?;
    }
    let body = pipeline::read_body(body, ORDER_BYTES_MAX, pipeline::deadline(&head.headers)).await?;
    let order: ModeOrder = serde_json::from_slice(&body)
        .map_err(|error| Problem::new(&codes::INVALID_REQUEST).detail(error.to_string()))?;
    check(&order)?;
    let by = match &caller {
        // Who sees that this store is an older copy of itself may stop it, and nothing more.
        Caller::Service(_, name) if name != DESK && order.kind != ModeKind::WriteStopped => {
            let detail = format!("{name} may stop the writes of another module, and set no other mode");
            return Err(Problem::new(&codes::FORBIDDEN).detail(detail));
        }
        Caller::Service(_, name) => name.clone(),
        caller => caller.did().map(ToString::to_string).unwrap_or_default(),
    };
    mounted.db.set_mode(&order, &by).await.map(|_| ()).map_err(|error| crate::storage_problem(&error))
}

fn check(order: &ModeOrder) -> Result<(), Problem> {
    let invalid = |detail: &str| Err(Problem::new(&codes::INVALID_REQUEST).detail(detail));
    if order.kind != ModeKind::Normal && order.reason.trim().is_empty() {
        return invalid("say the reason: those who are refused are told it");
    }
    let has_canaries = matches!(order.kind, ModeKind::ReadOnly | ModeKind::Maintenance);
    if order.overrule && order.kind == ModeKind::WriteStopped {
        return invalid("writes are stopped, or a stop is overruled; not both");
    }
    if !order.canaries.is_empty() && !has_canaries {
        return invalid("canaries are let in by read-only mode and by maintenance only");
    }
    Ok(())
}

/// The state as gauges: one per state, 1 for the one that holds, and whether writes are stopped.
pub(crate) struct ModeGauges(pub(crate) Db);

impl std::fmt::Debug for ModeGauges {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ModeGauges")
    }
}

impl Collector for ModeGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mode = self.0.mode();
        let help = "What the module lets through: 1 for the state that holds";
        let mut family = encoder.encode_descriptor("q_mode", help, None, MetricType::Gauge)?;
        for kind in ModeKind::ALL {
            let value = ConstGauge::new(i64::from(kind == mode.state()));
            value.encode(family.encode_family(&[("mode", kind.name())])?)?;
        }
        let help = "Whether writes are stopped because something was found wrong";
        let stopped = ConstGauge::new(i64::from(mode.write_stop.is_some()));
        stopped.encode(encoder.encode_descriptor("q_write_stopped", help, None, stopped.metric_type())?)?;
        let help =
            "How far the host's clock has jumped ahead of the time that passed; 0 while it is believed";
        let jump = ConstGauge::new(self.0.clock_jump().as_seconds());
        jump.encode(encoder.encode_descriptor("q_clock_jump_seconds", help, None, jump.metric_type())?)
    }
}
