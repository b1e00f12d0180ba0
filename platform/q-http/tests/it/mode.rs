//! What each state lets through, and what the others hear.

use serde_json::json;

use crate::echo::{quiet_wall, refusal, request, send};

const ALICE: (&str, &str) = ("authorization", "Name did:x:alice");
const OPERATOR: (&str, &str) = ("authorization", "Name did:x:operator");
const SERVICE: (&str, &str) = ("authorization", "Name did:x:service");
const KEY: (&str, &str) = ("idempotency-key", "k");

async fn order(router: &axum::Router, body: &serde_json::Value) -> serde_json::Value {
    let (head, text) = send(router, request("POST", "/mode", &[OPERATOR], &body.to_string())).await;
    assert_eq!(head.status(), 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

/// Read by anybody, written by alice, by a service, by an operator: the statuses.
async fn tried(router: &axum::Router) -> [u16; 4] {
    let ask = async |request| send(router, request).await.0.status().as_u16();
    [
        ask(request("GET", "/shouts/hello", &[], "")).await,
        ask(request("POST", "/shouts", &[ALICE, KEY], r#"{"text":"a"}"#)).await,
        ask(request("POST", "/shouts", &[SERVICE, KEY], r#"{"text":"a"}"#)).await,
        ask(request("POST", "/paint", &[OPERATOR, KEY], r#"{"text":"a"}"#)).await,
    ]
}

#[tokio::test]
async fn each_state_lets_through_what_its_name_says() {
    let router = quiet_wall();
    for (mode, extra, expected) in [
        ("normal", json!({}), [200, 201, 201, 200]),
        ("read-only", json!({}), [200, 503, 503, 503]),
        ("read-only", json!({"canaries": ["did:x:alice"]}), [200, 201, 503, 503]),
        ("maintenance", json!({}), [503, 503, 503, 503]),
        ("maintenance", json!({"canaries": ["did:x:alice"]}), [503, 201, 503, 503]),
        ("isolated", json!({}), [403, 403, 201, 200]),
        ("normal", json!({}), [200, 201, 201, 200]),
        ("write-stopped", json!({}), [200, 503, 503, 503]),
        // An order alone does not end a write stop.
        ("normal", json!({}), [200, 503, 503, 503]),
        ("normal", json!({"overrule": true}), [200, 201, 201, 200]),
    ] {
        let mut body = json!({"mode": mode, "reason": "a test"});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        order(&router, &body).await;
        assert_eq!(tried(&router).await, expected, "{body}");
        for path in ["/health", "/health/live", "/metrics", "/openapi.json"] {
            assert_eq!(send(&router, request("GET", path, &[], "")).await.0.status(), 200, "{mode} {path}");
        }
        let ready = send(&router, request("GET", "/health/ready", &[], "")).await.0.status();
        assert_eq!(ready, if mode == "isolated" { 503 } else { 200 });
    }
}

#[tokio::test]
async fn a_refusal_says_why_and_when_to_come_back() {
    let router = quiet_wall();
    let write = || request("POST", "/shouts", &[ALICE, KEY], r#"{"text":"a"}"#);
    // The wall's clock stands at 2026-11-21T09:00:00Z.
    let now = 1_795_251_600_i64;
    let until = q_core::Timestamp::from_seconds(now + 90).to_string();
    for (mode, status, code) in [("read-only", 503, "READ_ONLY"), ("maintenance", 503, "MAINTENANCE")] {
        order(&router, &json!({"mode": mode, "reason": "new disks", "until": until})).await;
        let (head, text) = send(&router, write()).await;
        let problem: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((head.status().as_u16(), problem["code"].as_str()), (status, Some(code)));
        assert_eq!(
            (head.headers()["retry-after"].to_str().unwrap(), &problem["detail"]),
            ("90", &json!("new disks"))
        );
        assert!(problem["hint"].is_string());
    }
    order(&router, &json!({"mode": "isolated", "reason": "an incident"})).await;
    let (status, problem) = refusal(&router, write()).await;
    assert_eq!((status, &problem["code"]), (403, &json!("ISOLATED")));
    // A tool call is a request like any other.
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "wall.shout", "arguments": {"text": "a"}}});
    let (_, text) = send(&router, request("POST", "/mcp", &[ALICE], &call.to_string())).await;
    assert!(text.contains("ISOLATED") && text.contains(r#""isError":true"#), "{text}");
}

#[tokio::test]
async fn operators_and_the_desk_order_everybody_sees_the_gauge() {
    let router = quiet_wall();
    let body = json!({"mode": "read-only", "reason": "x"}).to_string();
    for (who, status) in [(&[][..], 401), (&[ALICE], 403), (&[SERVICE], 403), (&[OPERATOR], 200)] {
        let answer = send(&router, request("POST", "/mode", who, &body)).await;
        assert_eq!(answer.0.status(), status, "{who:?} {}", answer.1);
    }
    for (who, status) in [(&[][..], 401), (&[ALICE], 403), (&[SERVICE], 200), (&[OPERATOR], 200)] {
        assert_eq!(send(&router, request("GET", "/mode", who, "")).await.0.status(), status, "{who:?}");
    }
    for wrong in [
        json!({"mode": "asleep", "reason": "x"}),
        json!({"mode": "read-only"}),
        json!({"mode": "isolated", "reason": "x", "canaries": ["did:x:alice"]}),
        json!({"mode": "write-stopped", "reason": "x", "overrule": true}),
        json!({"mode": "normal", "soon": true}),
    ] {
        let (status, problem) =
            refusal(&router, request("POST", "/mode", &[OPERATOR], &wrong.to_string())).await;
        assert_eq!((status, &problem["code"]), (400, &json!("INVALID_REQUEST")), "{wrong}");
    }
    let (_, shown) = send(&router, request("GET", "/mode", &[OPERATOR], "")).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(
        (&shown["state"], &shown["by"], &shown["module"]),
        (&json!("read-only"), &json!("did:x:operator"), &json!("wall"))
    );
    let (_, metrics) = send(&router, request("GET", "/metrics", &[], "")).await;
    for line in ["q_mode{mode=\"read-only\"} 1", "q_mode{mode=\"normal\"} 0", "q_write_stopped 0"] {
        assert!(metrics.contains(line), "{line} is missing in {metrics}");
    }
    let (_, detailed) = send(&router, request("GET", "/health/detailed", &[OPERATOR], "")).await;
    assert!(detailed.contains(r#""state":"read-only""#), "{detailed}");
}

/// What was announced is told apart from what broke, so that it burns nobody's budget.
#[tokio::test]
async fn a_refusal_that_was_announced_is_counted_as_excused() {
    const DESK: (&str, &str) = ("authorization", "Name did:x:desk");
    let router = quiet_wall();
    let write = || request("POST", "/shouts", &[ALICE, KEY], r#"{"text":"a"}"#);
    let told = async || send(&router, request("GET", "/metrics", &[], "")).await.1;
    let count = |told: &str, labels: &str| {
        let line = format!("http_requests_total{{method=\"POST\",route=\"/shouts\",{labels}}} ");
        told.lines()
            .find_map(|told| told.strip_prefix(&line).and_then(|count| count.parse().ok()))
            .unwrap_or(0)
    };
    for (by, mode, excused, failed) in [
        (OPERATOR, "maintenance", 1, 0),
        (DESK, "maintenance", 2, 0),
        (DESK, "read-only", 3, 0),
        // Closed by hand, without an announcement: people were refused what they were promised.
        (OPERATOR, "read-only", 3, 1),
        (OPERATOR, "write-stopped", 3, 2),
    ] {
        let body = json!({"mode": mode, "reason": "a test"}).to_string();
        assert_eq!(send(&router, request("POST", "/mode", &[by], &body)).await.0.status(), 200);
        assert_eq!(send(&router, write()).await.0.status(), 503);
        let told = told().await;
        assert_eq!(count(&told, r#"status="503",excused="maintenance""#), excused, "{mode}: {told}");
        assert_eq!(count(&told, r#"status="503""#), failed, "{mode}: {told}");
        let timed =
            format!("http_request_duration_seconds_count{{method=\"POST\",route=\"/shouts\"}} {failed}\n");
        assert!(told.contains(&timed), "a refusal in no time makes nothing fast: {told}");
    }
    // A tool call as well.
    let body = json!({"mode": "maintenance", "reason": "a test"}).to_string();
    send(&router, request("POST", "/mode", &[DESK], &body)).await;
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "wall.shout", "arguments": {"text": "a"}}});
    send(&router, request("POST", "/mcp", &[ALICE], &call.to_string())).await;
    assert_eq!(count(&told().await, r#"status="503",excused="maintenance""#), 4);
    // Operators who look see no trouble of the module's own making.
    let (_, detailed) = send(&router, request("GET", "/health/detailed", &[OPERATOR], "")).await;
    let detailed: serde_json::Value = serde_json::from_str(&detailed).unwrap();
    assert_eq!(detailed["requests"]["errors"], 2, "{detailed}");
}
