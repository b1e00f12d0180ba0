//! A module with nothing but a wall to shout at.

use std::sync::{Arc, atomic::AtomicBool};

use axum::{Router, body::Body};
use http::{Request, Response, request::Parts};
use http_body_util::BodyExt as _;
use q_contract::{
    Access, Authenticate, Endpoint as _, ErrorCode, Problem, Target, codes, endpoint, json_types,
};
use q_core::{Caller, Clock, Env, SystemEntropy, Timestamp, caller::Principal};
use q_db::{Db, Migrations, testing::TestStores};
use q_http::{
    Api, Check, Context, Prompt, PromptArgument, RateLimiter, RateLimits, Resource, Shell, Written,
    metrics::{self, Metrics},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt as _;

pub(crate) const TOO_LOUD: ErrorCode = ErrorCode::new("TOO_LOUD", 422, "the wall does not take this");

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Shout {
    pub(crate) text: String,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Echo {
    pub(crate) text: String,
    pub(crate) key: Option<String>,
}
json_types!(Echo);

endpoint! {
    /// Answers what it hears.
    pub(crate) PostShout = POST "/shouts" (Shout) -> Echo;
    status 201;
    access Access::Identity("wall:shout");
    errors [TOO_LOUD];
    tool "wall.shout";
    body_max 1 << 10;
}

endpoint! {
    /// Listens without being asked who.
    pub(crate) GetShout = GET "/shouts/{text}" (Shout) -> Echo;
    access Access::Public("a wall is public");
}

endpoint! {
    /// Paints the wall.
    pub(crate) PaintWall = POST "/paint" (Shout) -> Echo;
    access Access::Operator;
}

/// Believes `Authorization: Name <did> [scope]`, and that `did:x:service` and `did:x:desk` are modules.
struct Names;

impl Authenticate for Names {
    fn authenticate(&self, head: &Parts, _: Target<'_>) -> Result<Caller, Problem> {
        let Some(value) = head.headers.get("authorization") else { return Ok(Caller::Anonymous) };
        let mut words = value.to_str().unwrap_or_default().split(' ').skip(1);
        let did =
            words.next().and_then(|did| did.parse().ok()).ok_or(Problem::new(&codes::UNAUTHENTICATED))?;
        let principal = Principal {
            scopes: words.map(str::to_owned).collect(),
            is_sender_bound: !value.as_bytes().starts_with(b"Bearer"),
            ..Principal::new(did, Timestamp::default())
        };
        for (did, service) in [("did:x:service", "other"), ("did:x:desk", "ops")] {
            if principal.did.as_str() == did {
                return Ok(Caller::Service(principal, service.into()));
            }
        }
        Ok(Caller::Identity(principal))
    }
}

struct Noon;

impl Clock for Noon {
    fn now(&self) -> Timestamp {
        Timestamp::from_seconds(1_795_251_600)
    }
}

async fn answer(_: Arc<()>, context: Context, shout: Shout) -> Result<Echo, Problem> {
    if shout.text.contains('!') {
        return Err(Problem::new(&TOO_LOUD).hint("say it quietly"));
    }
    if let Some(who) = shout.text.strip_prefix("from ") {
        let did = who.parse().map_err(|_| Problem::new(&TOO_LOUD))?;
        context.gate.admit(&Principal::new(did, Noon.now()))?;
    }
    Ok(Echo { text: shout.text, key: context.request_key.map(|key| key.key) })
}

pub(crate) fn wall(limits: RateLimits, checks: Vec<Check>, is_draining: bool) -> Router {
    let api = Api::build("wall", "A wall.", Arc::new(()))
        .on::<PostShout, _, _, _>(answer)
        .on::<GetShout, _, _, _>(answer)
        .on::<PaintWall, _, _, _>(answer)
        .resource(Resource {
            uri: "wall://shouts/{text}",
            name: "shout",
            about: "What the wall answers.",
            operation: GetShout::OPERATION,
            reader_as: None,
        })
        .resource(Resource {
            uri: "wall://mine",
            name: "mine",
            about: "Who the wall thinks you are.",
            operation: GetShout::OPERATION,
            reader_as: Some("text"),
        })
        .prompt(Prompt {
            name: "describe",
            about: "Describes a shout.",
            arguments: &[
                PromptArgument { name: "text", about: "What was shouted.", is_required: true },
                PromptArgument { name: "style", about: "How to say it.", is_required: false },
            ],
            write: |arguments| Written {
                text: format!("Describe it {}.", arguments.get("style").map_or("plainly", String::as_str)),
                resource: Some(format!("wall://shouts/{}", arguments["text"])),
            },
        })
        .done();
    let (stores, db) = store();
    Shell {
        db,
        env: Env { clock: Arc::new(Noon), entropy: Arc::new(SystemEntropy) },
        auth: Arc::new(Names),
        is_operator: Arc::new(|caller| caller.did().is_some_and(|did| did.as_str() == "did:x:operator")),
        limiter: RateLimiter::new(limits),
        bases: vec!["http://wall.test".into()],
        checks,
        details: Arc::new(move || {
            // The store's folder lives as long as the wall.
            let _ = &stores;
            Box::pin(async { json!({"bricks": 7}) })
        }),
        verify: Arc::new(|_| Box::pin(async { Ok(Some(json!([]))) })),
        feed: Arc::new(|query| Box::pin(async move { Ok(format!("[{query:?}]").into_bytes()) })),
        recover: Arc::new(|_| Box::pin(async { Vec::new() })),
        metrics: Arc::new(Metrics::new(metrics::Options {
            token: Some("figures, please".into()),
            ..metrics::Options::default()
        })),
        is_draining: Arc::new(AtomicBool::new(is_draining)),
        node: Arc::default(),
        is_informed: Arc::new(AtomicBool::new(true)),
    }
    .mount(api)
}

/// A store of its own, opened on another thread so that a test need not wait for it.
fn store() -> (TestStores, Db) {
    let opened = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let stores = TestStores::sqlite();
        let db = runtime.block_on(stores.open(&Migrations::new("wall", &[], &[]), &Env::system())).unwrap();
        (stores, db)
    });
    opened.join().unwrap()
}

pub(crate) fn quiet_wall() -> Router {
    wall(RateLimits::NONE, Vec::new(), false)
}

pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut builder = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Body::from(body.to_owned())).unwrap()
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> (Response<()>, String) {
    let response = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    (Response::from_parts(head, ()), String::from_utf8(bytes.to_vec()).unwrap())
}

pub(crate) async fn refusal(router: &Router, request: Request<Body>) -> (u16, Value) {
    let (head, body) = send(router, request).await;
    assert_eq!(head.headers()["content-type"], "application/problem+json", "{body}");
    (head.status().as_u16(), serde_json::from_str(&body).unwrap())
}
