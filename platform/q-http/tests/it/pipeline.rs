//! Station by station.

use std::net::SocketAddr;

use q_http::{PeerAddress, RateLimits};
use serde_json::Value;

use crate::echo::{quiet_wall, refusal, request, send, wall};

/// Method, path, headers, body, and the status and code of the refusal.
type Row<'a> = (&'a str, &'a str, Vec<(&'a str, &'a str)>, &'a str, u16, &'a str);

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
    let rows: &[Row] = &[
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
    let router = wall(RateLimits { per_address_per_minute: 2, ..RateLimits::NONE }, Vec::new(), false);
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

/// Whoever is named by what was sent, and not by a token, is counted like everybody; with both, once.
#[tokio::test]
async fn who_proves_to_be_somebody_by_the_body_is_counted_as_them() {
    let router = wall(RateLimits { per_identity_per_minute: 2, ..RateLimits::NONE }, Vec::new(), false);
    let from = async |who: &str, headers: &[(&str, &str)]| {
        let request = request("GET", &format!("/shouts/from%20did:x:{who}"), headers, "");
        send(&router, request).await.0.status().as_u16()
    };
    assert_eq!([from("bob", &[]).await, from("bob", &[]).await, from("bob", &[]).await], [200, 200, 429]);
    let alice = [from("alice", &[ALICE]).await, from("alice", &[ALICE]).await, from("alice", &[ALICE]).await];
    assert_eq!(alice, [200, 200, 429]);
}

#[tokio::test]
async fn while_draining_whoever_comes_is_answered_and_nobody_else_is_sent() {
    let router = wall(RateLimits::default(), Vec::new(), true);
    let (head, _) = send(&router, request("GET", "/shouts/hello", &[], "")).await;
    assert_eq!(head.status(), 200);
    let (written, _) = send(&router, request("POST", "/shouts", &[ALICE, KEY], r#"{"text":"x"}"#)).await;
    assert!(written.status().is_success(), "{}", written.status());
    let (ready, _) = send(&router, request("GET", "/health/ready", &[], "")).await;
    assert_eq!(ready.status(), 503);
}

/// An address of version 6 is worth nothing by itself: who has one has 2^64 of them.
#[tokio::test]
async fn the_addresses_of_one_network_are_counted_together() {
    let router = wall(RateLimits { per_address_per_minute: 2, ..RateLimits::NONE }, Vec::new(), false);
    let ask = async |address: &str| {
        let mut request = request("GET", "/shouts/hello", &[], "");
        request.extensions_mut().insert(PeerAddress(address.parse::<SocketAddr>().unwrap()));
        send(&router, request).await.0.status().as_u16()
    };
    let v6 = [
        ask("[2001:db8:1:2::1]:1").await,
        ask("[2001:db8:1:2:ffff::9]:1").await,
        ask("[2001:db8:1:2:8:8:8:8]:1").await,
    ];
    assert_eq!(v6, [200, 200, 429]);
    assert_eq!(ask("[2001:db8:1:3::1]:1").await, 200, "another network");
    let v4 = [ask("192.0.2.1:1").await, ask("[::ffff:192.0.2.1]:1").await, ask("192.0.2.1:2").await];
    assert_eq!(v4, [200, 200, 429], "one address, spelled in two ways");
}

/// A token narrowed to one thing must not open everything because its owner is an operator.
#[tokio::test]
async fn a_narrowed_token_of_an_operator_is_no_operators_token() {
    let paint = async |who: &str| {
        let request = request("POST", "/paint", &[("authorization", who), KEY], r#"{"text":"blue"}"#);
        send(&quiet_wall(), request).await.0.status().as_u16()
    };
    assert_eq!(paint("Name did:x:operator").await, 200);
    assert_eq!(paint("Name did:x:operator instance:admin").await, 200);
    assert_eq!(paint("Name did:x:operator wall:shout").await, 403);
    assert_eq!(paint("Bearer did:x:operator").await, 403, "a token anybody can use is no operator's token");
    assert_eq!(paint("Name did:x:ada instance:admin").await, 403);
}

/// A caller may wait less than the thirty seconds everybody is given at most.
#[tokio::test]
async fn a_body_that_drips_is_given_up() {
    let drip = futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
    let mut slow = request("POST", "/shouts", &[ALICE, KEY, ("q-deadline", "50")], "");
    *slow.body_mut() = axum::body::Body::from_stream(drip);
    let answer = tokio::time::timeout(std::time::Duration::from_secs(20), refusal(&quiet_wall(), slow)).await;
    let (status, problem) = answer.expect("it was waited for without end");
    assert_eq!((status, problem["code"].as_str().unwrap()), (504, "DEADLINE_EXCEEDED"));
}
