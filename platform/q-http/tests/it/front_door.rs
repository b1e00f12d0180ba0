//! The front door: which path leads where, and what is not let through.

use std::{collections::BTreeMap, net::SocketAddr};

use axum::{Router, body::Body, routing::get};
use http::{HeaderMap, Request};
use q_http::{Check, Ending, FrontDoor, PeerAddress, RateLimits, Upstream};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

use crate::echo::{quiet_wall, request, send, wall};

fn local() -> Router {
    let modules = [("wall".to_owned(), Upstream::Local(quiet_wall()))].into();
    FrontDoor::new(modules, vec![("/id", "wall".into())]).router()
}

/// A request as it can come from the wire, where hyper reads targets that no builder makes.
fn with_target(target: &str) -> Request<Body> {
    let mut request = request("GET", "/", &[], "");
    *request.uri_mut() = target.parse().unwrap();
    request
}

#[tokio::test]
async fn a_path_leads_to_its_module() {
    let door = local();
    for (path, status) in [
        ("/wall/shouts/hello", 200),
        ("/wall/health", 200),
        ("/wall", 404),
        ("/wall/", 404),
        ("/other/shouts/hello", 404),
        ("/", 200),
    ] {
        let (head, body) = send(&door, request("GET", path, &[], "")).await;
        assert_eq!(head.status(), status, "{path}: {body}");
    }
}

/// Whoever reads such a path in another way than the front door would find another module behind it.
#[tokio::test]
async fn an_odd_target_leads_nowhere_and_breaks_nothing() {
    let door = local();
    for target in [
        "*",
        "//wall/shouts/hello",
        "///wall/shouts/hello",
        "//\u{e9}",
        "/\u{e9}/x",
        "/wall//shouts/hello",
        "/x/../wall/shouts/hello",
        "/%77all/shouts/hello",
        "/wall/%2e%2e/wall/shouts/hello",
    ] {
        let Ok(uri) = target.parse::<http::Uri>() else { continue };
        let (head, _) = send(&door, with_target(&uri.to_string())).await;
        assert_eq!(head.status(), 404, "{target}");
    }
    let mut connect = request("CONNECT", "/", &[], "");
    *connect.uri_mut() = "wall.test:80".parse().unwrap();
    let (head, _) = send(&door, connect).await;
    assert_eq!(head.status(), 404);
}

/// A module in another process that tells which headers reached it.
async fn remote() -> (Router, watch::Sender<Ending>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let told = |headers: HeaderMap| async move {
        let names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        names.join(" ")
    };
    let module = Router::new().route("/headers", get(told)).route("/metrics", get(|| async { "figures" }));
    let (stop, stopping) = watch::channel(Ending::No);
    tokio::spawn(q_http::serve(listener, module, stopping));
    let modules: BTreeMap<_, _> = [("wall".to_owned(), Upstream::remote("wall", &url))].into();
    (FrontDoor::new(modules, Vec::new()).router(), stop)
}

fn from(address: &str, mut request: Request<Body>) -> Request<Body> {
    request.extensions_mut().insert(PeerAddress(address.parse::<SocketAddr>().unwrap()));
    request
}

/// RFC 9110 section 7.6.1: what concerns one connection, and what that connection names, ends there.
#[tokio::test]
async fn headers_of_one_connection_are_not_passed_on() {
    let (door, _stop) = remote().await;
    let headers = [
        ("connection", "keep-alive, x-secret-hop"),
        ("x-secret-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("te", "trailers"),
        ("upgrade", "websocket"),
        ("proxy-authorization", "Basic eDp5"),
        ("x-kept", "1"),
    ];
    let (head, names) = send(&door, request("GET", "/wall/headers", &headers, "")).await;
    assert_eq!(head.status(), 200);
    let names: Vec<_> = names.split(' ').collect();
    assert!(names.contains(&"x-kept"), "{names:?}");
    for gone in ["connection", "x-secret-hop", "keep-alive", "te", "upgrade", "proxy-authorization"] {
        assert!(!names.contains(&gone), "{gone} in {names:?}");
    }
}

/// To a module elsewhere every request of the front door comes from the front door's own address.
#[tokio::test]
async fn figures_meant_for_this_host_are_not_shown_to_others_through_the_door() {
    let (door, _stop) = remote().await;
    let (here, _) = send(&door, from("127.0.0.1:9", request("GET", "/wall/metrics", &[], ""))).await;
    assert_eq!(here.status(), 200);
    let (away, body) = send(&door, from("192.0.2.7:9", request("GET", "/wall/metrics", &[], ""))).await;
    assert_eq!(away.status(), 403, "{body}");
}

/// A module elsewhere, twice, and an address at which nobody answers between the two.
async fn replicas(limits: RateLimits) -> (Router, watch::Sender<Ending>) {
    let (stop, stopping) = watch::channel(Ending::No);
    let mut urls = Vec::new();
    for at in 0..3 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        urls.push(format!("http://{}", listener.local_addr().unwrap()));
        if at != 1 {
            tokio::spawn(q_http::serve(listener, wall(limits, Vec::new(), false), stopping.clone()));
        }
    }
    let modules: BTreeMap<_, _> = [("wall".to_owned(), Upstream::remote("wall", &urls.join(", ")))].into();
    (FrontDoor::new(modules, Vec::new()).router(), stop)
}

#[tokio::test]
async fn a_replica_that_is_gone_is_passed_over_and_nobody_notices() {
    let (door, _stop) = replicas(RateLimits::default()).await;
    for number in 0..20 {
        let (head, body) = send(&door, request("GET", "/wall/shouts/hello", &[], "")).await;
        assert_eq!(head.status(), 200, "{body}");
        // Not connected to is not acted on: even a write without a key goes to the next one.
        let body = format!(r#"{{"text":"{number}"}}"#);
        let json = ("content-type", "application/json");
        let (head, said) = send(&door, request("POST", "/wall/shouts", &[json], &body)).await;
        assert_ne!(head.status(), 503, "{said}");
    }
}

/// Each client has a limit of its own, although the module sees the front door's address only; and none gets another
/// one by saying that it asks for somebody else.
#[tokio::test]
async fn clients_are_counted_one_by_one_behind_the_door() {
    let (door, _stop) = replicas(RateLimits { per_address_per_minute: 2, ..RateLimits::NONE }).await;
    let ask = async |address: &str, said: &str| {
        let asked = request("GET", "/wall/shouts/hello", &[("forwarded", said)], "");
        send(&door, from(address, asked)).await.0.status().as_u16()
    };
    // Two replicas that do not know of each other: twice the limit.
    for number in 0..4 {
        assert_eq!(ask("198.51.100.1:1", &format!("for=203.0.113.{number}")).await, 200);
    }
    assert_eq!(ask("198.51.100.1:1", "for=203.0.113.9").await, 429);
    assert_eq!(ask("198.51.100.2:1", "for=198.51.100.1").await, 200);
}

#[tokio::test]
async fn the_first_page_says_where_to_look() {
    let (head, page) = send(&local(), request("GET", "/", &[], "")).await;
    assert_eq!(head.headers()["content-type"], "text/plain; charset=utf-8");
    for path in ["/wall/health", "/wall/openapi.json", "/wall/metrics", "/wall/mcp"] {
        assert!(page.contains(path), "{path} in {page}");
    }
    assert!(page.lines().any(|line| line.starts_with("/health ")), "{page}");
}

async fn health(modules: Vec<(&str, Upstream)>) -> (u16, Value) {
    let modules = modules.into_iter().map(|(name, upstream)| (name.to_owned(), upstream)).collect();
    let door = FrontDoor::new(modules, Vec::new()).router();
    let (head, body) = send(&door, request("GET", "/health", &[], "")).await;
    (head.status().as_u16(), serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn one_answer_tells_the_state_of_all_modules() {
    let with = |check: Check| Upstream::Local(wall(RateLimits::default(), vec![check], false));
    let up = || with(Check::required("store", || async { Ok(()) }));
    let degraded = || with(Check::optional("squid", || async { Err("away".into()) }));
    let down = || with(Check::required("store", || async { Err("disk".into()) }));
    // A port that was free a moment ago and that nobody listens on.
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let away = || Upstream::remote("wall", &format!("http://{nobody}"));
    let rows = [
        (vec![("a", up()), ("b", up())], 200, "healthy", ["healthy", "healthy"]),
        (vec![("a", up()), ("b", degraded())], 200, "degraded", ["healthy", "degraded"]),
        (vec![("a", down()), ("b", degraded())], 503, "unhealthy", ["unhealthy", "degraded"]),
        (vec![("a", up()), ("b", away())], 503, "unhealthy", ["healthy", "unreachable"]),
    ];
    for (modules, status, word, each) in rows {
        let (actual, body) = health(modules).await;
        assert_eq!((actual, &body["status"]), (status, &json!(word)), "{body}");
        let modules = json!({"a": {"status": each[0]}, "b": {"status": each[1]}});
        assert_eq!(body["modules"], modules);
    }
    let (head, _) = send(&local(), request("POST", "/health", &[], "")).await;
    assert_eq!(head.status(), 405);
}

/// Nobody makes the door ask every module over the network as often as he likes.
#[tokio::test]
async fn many_questions_about_health_are_one_to_each_module() {
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let count = asked.clone();
    let module = Router::new().route(
        "/health",
        get(move || async move {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            r#"{"status":"healthy"}"#
        }),
    );
    let door = FrontDoor::new([("wall".to_owned(), Upstream::Local(module))].into(), Vec::new()).router();
    for _ in 0..100 {
        assert_eq!(send(&door, request("GET", "/health", &[], "")).await.0.status(), 200);
    }
    // Once; a machine that is very busy may need another second.
    assert!(asked.load(std::sync::atomic::Ordering::SeqCst) < 10, "{asked:?}");
}
