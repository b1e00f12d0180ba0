//! Station by station.

use std::net::SocketAddr;

use q_http::{PeerAddress, RateLimits};
use serde_json::Value;

use crate::echo::{quiet_wall, refusal, request, send, wall};

const ALICE: (&str, &str) = ("authorization", "Name did:x:alice");
const KEY: (&str, &str) = ("idempotency-key", "k1");

#[tokio::test]
async fn a_good_request_is_answered_with_its_trace() {
    let given = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let (head, body) =
        send(&quiet_wall(), request("POST", "/shouts", &[ALICE, KEY, given], r#"{"text":"hello"}"#)).await;
    assert_eq!(head.status(), 201);
    assert_eq!(head.headers()["q-trace-id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(head.headers()["x-content-type-options"], "nosniff");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, serde_json::json!({"text": "hello", "key": "k1"}));
}

#[tokio::test]
async fn each_station_refuses_in_its_own_words() {
    let big = format!("{{\"text\":\"{}\"}}", "x".repeat(1 << 10));
    let long_key = "k".repeat(256);
    let form = ("content-type", "text/xml");
    let quiet = r#"{"text":"hello"}"#;
    // method, path, headers, body, status, code
    let rows: &[(&str, &str, Vec<(&str, &str)>, &str, u16, &str)] = &[
        ("POST", "/shouts", vec![], quiet, 401, "UNAUTHENTICATED"),
        ("POST", "/shouts", vec![("authorization", "Name x")], quiet, 401, "UNAUTHENTICATED"),
        (
            "POST",
            "/shouts",
            vec![("authorization", "Name did:x:a other:scope"), KEY],
            quiet,
            403,
            "FORBIDDEN",
        ),
        ("POST", "/paint", vec![ALICE, KEY], quiet, 403, "FORBIDDEN"),
        ("POST", "/shouts", vec![ALICE, KEY], &big, 413, "PAYLOAD_TOO_LARGE"),
        ("POST", "/shouts", vec![ALICE, KEY, form], quiet, 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("POST", "/shouts", vec![ALICE], quiet, 400, "IDEMPOTENCY_KEY_REQUIRED"),
        ("POST", "/shouts", vec![ALICE, ("idempotency-key", "")], quiet, 400, "INVALID_REQUEST"),
        ("POST", "/shouts", vec![ALICE, ("idempotency-key", &long_key)], quiet, 400, "INVALID_REQUEST"),
        ("POST", "/shouts", vec![ALICE, KEY], "{\"text\":1}", 400, "INVALID_REQUEST"),
        ("POST", "/shouts", vec![ALICE, KEY], "{\"text\":\"a\",\"text\":\"b\"}", 400, "INVALID_REQUEST"),
        ("POST", "/shouts", vec![ALICE, KEY], "{\"text\":\"a\",\"more\":1}", 400, "INVALID_REQUEST"),
        ("POST", "/shouts", vec![ALICE, KEY], r#"{"text":"hello!"}"#, 422, "TOO_LOUD"),
        ("GET", "/nowhere", vec![], "", 404, "NOT_FOUND"),
        ("DELETE", "/shouts", vec![], "", 405, "METHOD_NOT_ALLOWED"),
    ];
    for (method, path, headers, body, status, code) in rows {
        let (actual, problem) = refusal(&quiet_wall(), request(method, path, headers, body)).await;
        assert_eq!(
            (actual, problem["code"].as_str().unwrap()),
            (*status, *code),
            "{method} {path} {headers:?}"
        );
    }
}

#[tokio::test]
async fn a_refusal_says_what_to_do_next() {
    let (status, problem) =
        refusal(&quiet_wall(), request("POST", "/shouts", &[ALICE, KEY], r#"{"text":"hello!"}"#)).await;
    assert_eq!(status, 422);
    assert_eq!(problem["hint"], "say it quietly");
    assert_eq!(problem["type"], "urn:q:problem:TOO_LOUD");
    assert_eq!(problem["traceId"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn too_many_requests_of_one_address_wait() {
    let router =
        wall(RateLimits { per_address_per_minute: 2, per_identity_per_minute: 0 }, Vec::new(), false);
    let from = |address: &str| {
        let mut request = request("GET", "/shouts/hello", &[], "");
        request.extensions_mut().insert(PeerAddress(address.parse::<SocketAddr>().unwrap()));
        request
    };
    let (first, _) = send(&router, from("192.0.2.1:1000")).await;
    assert_eq!(first.headers()["ratelimit"], "\"default\";r=1;t=60");
    send(&router, from("192.0.2.1:1001")).await;
    let (third, _) = send(&router, from("192.0.2.1:1002")).await;
    assert_eq!(third.status(), 429);
    assert_eq!(third.headers()["retry-after"], "31");
    let (other, _) = send(&router, from("192.0.2.2:1000")).await;
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn while_draining_reads_are_answered_and_writes_are_not() {
    let router = wall(RateLimits::default(), Vec::new(), true);
    let (head, _) = send(&router, request("GET", "/shouts/hello", &[], "")).await;
    assert_eq!(head.status(), 200);
    let (status, problem) =
        refusal(&router, request("POST", "/shouts", &[ALICE, KEY], r#"{"text":"x"}"#)).await;
    assert_eq!((status, problem["code"].as_str().unwrap()), (503, "DRAINING"));
    let (ready, _) = send(&router, request("GET", "/health/ready", &[], "")).await;
    assert_eq!(ready.status(), 503);
}
