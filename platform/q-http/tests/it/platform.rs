//! Health, metrics and the description.

use q_http::{Check, RateLimits};
use serde_json::Value;

use crate::echo::{quiet_wall, request, send, wall};

async fn get(router: &axum::Router, path: &str) -> (u16, Value) {
    let (head, body) = send(router, request("GET", path, &[], "")).await;
    (head.status().as_u16(), serde_json::from_str(&body).unwrap_or(Value::String(body)))
}

#[tokio::test]
async fn health_tells_degraded_from_down() {
    let up = || Check::required("store", || async { Ok(()) });
    let rows = [
        (vec![up()], 200, "healthy"),
        (vec![up(), Check::optional("squid", || async { Err("away".into()) })], 200, "degraded"),
        (vec![Check::required("store", || async { Err("disk".into()) })], 503, "unhealthy"),
    ];
    for (checks, status, word) in rows {
        let router = wall(RateLimits::default(), checks, false);
        let (actual, body) = get(&router, "/health").await;
        assert_eq!((actual, body["status"].as_str().unwrap()), (status, word));
        assert!(body["version"].is_string() && body["timestamp"].is_string());
        assert!(!body.to_string().contains("disk"), "why it is down is for operators only");
    }
}

#[tokio::test]
async fn details_are_for_operators() {
    let router = quiet_wall();
    assert_eq!(get(&router, "/health/detailed").await.0, 401);
    let operator = ("authorization", "Name did:x:operator");
    let (head, body) = send(&router, request("GET", "/health/detailed", &[operator], "")).await;
    assert_eq!(head.status(), 200);
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap()["bricks"], 7);
}

#[tokio::test]
async fn metrics_count_by_route_and_not_by_path() {
    let router = quiet_wall();
    get(&router, "/shouts/one").await;
    get(&router, "/shouts/two").await;
    let (_, text) = get(&router, "/metrics").await;
    let text = text.as_str().unwrap();
    let line = r#"http_requests_total{method="GET",route="/shouts/{text}",status="200"} 2"#;
    assert!(text.contains(line), "{text}");
    assert!(text.contains("process_resident_memory_bytes"));
}

#[tokio::test]
async fn the_description_follows_the_declarations() {
    let (_, document) = get(&quiet_wall(), "/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let shout = &document["paths"]["/shouts"]["post"];
    assert_eq!(shout["operationId"], "PostShout");
    assert!(shout["responses"]["422"]["description"].as_str().unwrap().contains("TOO_LOUD"));
    assert_eq!(document["paths"]["/shouts/{text}"]["get"]["security"], serde_json::json!([]));
}

#[tokio::test]
async fn the_feed_is_for_modules_only() {
    let wall = quiet_wall();
    let ask = async |who: &str| {
        let headers = [("authorization", who)];
        let headers = if who.is_empty() { &[][..] } else { &headers[..] };
        let (head, body) = send(&wall, request("GET", "/feed?stream=events&after=3", headers, "")).await;
        (head.status().as_u16(), body)
    };
    assert_eq!(ask("").await.0, 401);
    assert_eq!(ask("Name did:x:ada").await.0, 403);
    assert_eq!(ask("Name did:x:operator").await.0, 403);
    assert_eq!(ask("Name did:x:service").await, (200, "[\"stream=events&after=3\"]".to_owned()));
}
