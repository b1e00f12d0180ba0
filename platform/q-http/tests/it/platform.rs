//! Health, metrics and the description.

use q_http::{Check, PeerAddress, RateLimits};
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
async fn health_waits_for_nothing_that_hangs() {
    let hanging = || Check::required("store", std::future::pending);
    let router =
        wall(RateLimits::default(), vec![hanging(), Check::optional("squid", || async { Ok(()) })], false);
    let began = std::time::Instant::now();
    let (status, body) = get(&router, "/health").await;
    let took = began.elapsed().as_millis();
    // Not down: it may yet answer. The bound is 300 ms; the rest is for a busy machine.
    assert_eq!((status, body["status"].as_str()), (200, Some("degraded")), "{body}");
    assert!(took < 1_500, "{took} ms");
    let store = &body["dependencies"]["store"];
    assert_eq!(store["status"], "degraded", "{body}");
    assert!(store["latency"].as_u64().unwrap() >= 300, "{body}");
    assert_eq!(body["dependencies"]["squid"]["status"], "up", "{body}");
}

#[tokio::test]
async fn the_body_of_health_is_the_one_of_the_runbook() {
    let squid = Check::optional("squid", || async { Ok(()) });
    let (_, body) = get(&wall(RateLimits::default(), vec![squid], false), "/health").await;
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&body), ["dependencies", "status", "timestamp", "version"]);
    assert_eq!(keys(&body["dependencies"]["squid"]), ["latency", "status"]);
    assert_eq!(body["timestamp"], "2026-11-21T09:00:00Z");
    assert!(body["dependencies"]["squid"]["latency"].is_u64());
}

#[tokio::test]
async fn details_are_for_operators() {
    let router = quiet_wall();
    assert_eq!(get(&router, "/health/detailed").await.0, 401);
    let operator = ("authorization", "Name did:x:operator");
    let (head, body) = send(&router, request("GET", "/health/detailed", &[operator], "")).await;
    assert_eq!(head.status(), 200);
    let body = serde_json::from_str::<Value>(&body).unwrap();
    assert_eq!(body["bricks"], 7);
    let process = &body["process"];
    assert!(process["residentBytes"].as_u64() < process["memoryLimitBytes"].as_u64(), "{body}");
    assert_eq!(body["build"]["version"], env!("CARGO_PKG_VERSION"));
    for figure in
        ["/requests/count", "/connections/open", "/pool/threads", "/mode/state", "/process/openFiles"]
    {
        assert!(body.pointer(figure).is_some_and(|value| !value.is_null()), "{figure} in {body}");
    }
}

#[tokio::test]
async fn details_remember_what_went_wrong() {
    let squid = Check::optional("squid", || async { Err("away".into()) });
    let router = wall(RateLimits::default(), vec![squid], false);
    let operator = [("authorization", "Name did:x:operator")];
    let (_, body) = send(&router, request("GET", "/health/detailed", &operator, "")).await;
    let body = serde_json::from_str::<Value>(&body).unwrap();
    let squid = &body["dependencies"]["squid"];
    assert_eq!((squid["lastError"].as_str(), squid["lastSuccess"].is_null()), (Some("away"), true), "{body}");
    assert_eq!((&squid["lastErrorAt"], &body["since"]), (&body["timestamp"], &body["timestamp"]));
    assert!(squid["latencyP99"].as_f64() >= squid["latencyP50"].as_f64(), "{body}");
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
    for sample in [
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_max_fds",
        "process_start_time_seconds",
        r#"http_request_duration_seconds_bucket{le="0.2",method="GET",route="/shouts/{text}"} 2"#,
        r#"http_request_duration_seconds_bucket{le="0.5",method="GET",route="/shouts/{text}"} 2"#,
        r#"q_health{status="healthy"} 1"#,
        r#"q_db_queue_depth{kind="write"} 0"#,
        r#"q_build_info{module="wall""#,
        "# TYPE http_requests_total counter",
    ] {
        assert!(text.contains(sample), "{sample} in {text}");
    }
}

#[tokio::test]
async fn a_scraper_gets_the_format_it_asks_for() {
    let router = quiet_wall();
    for (accept, media_type, has_end) in [
        ("", "text/plain; version=0.0.4; charset=utf-8", false),
        ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8", false),
        (
            "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            true,
        ),
    ] {
        let (head, text) = send(&router, request("GET", "/metrics", &[("accept", accept)], "")).await;
        assert_eq!(head.headers()["content-type"], media_type);
        assert_eq!(text.ends_with("# EOF\n"), has_end, "{text}");
    }
}

#[tokio::test]
async fn figures_are_for_this_host_operators_services_and_bearers_of_the_token() {
    let router = quiet_wall();
    for (from, headers, status) in [
        ("127.0.0.1:9", &[][..], 200),
        ("[::1]:9", &[], 200),
        ("127.0.0.1:9", &[("x-forwarded-for", "192.0.2.7")], 401),
        ("192.0.2.7:9", &[], 401),
        ("192.0.2.7:9", &[("authorization", "Name did:x:ada")], 403),
        ("192.0.2.7:9", &[("authorization", "Name did:x:operator")], 200),
        ("192.0.2.7:9", &[("authorization", "Name did:x:service")], 200),
        ("192.0.2.7:9", &[("authorization", "Bearer figures, please")], 200),
        ("192.0.2.7:9", &[("authorization", "bearer  figures, please")], 200),
        ("192.0.2.7:9", &[("authorization", "Bearer figures, pleas")], 401),
        ("192.0.2.7:9", &[("authorization", "Bearer ")], 401),
    ] {
        let mut request = request("GET", "/metrics", headers, "");
        request.extensions_mut().insert(PeerAddress(from.parse().unwrap()));
        let (head, _) = send(&router, request).await;
        assert_eq!(head.status(), status, "{from} {headers:?}");
    }
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
