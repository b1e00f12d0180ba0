//! A real socket: typed calls, a stop that waits, a peer that is gone.

use std::{sync::Arc, time::Duration};

use axum::{Router, routing::get};
use q_contract::{CallError, Client, HttpTransport, InProcess, Unreachable, codes};
use q_http::Ending;
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
};

use crate::echo::{GetShout, PaintWall, Shout, quiet_wall};

async fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    (listener, base)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typed_call_travels_over_a_socket() {
    let (listener, base) = listening().await;
    let (stop, stopping) = watch::channel(Ending::No);
    let serving = tokio::spawn(q_http::serve(listener, quiet_wall(), stopping));
    let client = Client::new(Arc::new(HttpTransport::new(base)));
    let odd = Shout { text: "a/b ?#%20 ü".into() };
    assert_eq!(client.call::<GetShout>(&odd).await.unwrap().text, odd.text);
    let refused = client.call::<PaintWall>(&odd).await.unwrap_err();
    assert!(refused.problem().is_some_and(|problem| problem.is(&codes::UNAUTHENTICATED)), "{refused}");
    drop(client);
    stop.send(Ending::Close).unwrap();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_carries_the_trace_over_either_transport() {
    let (listener, base) = listening().await;
    let (stop, stopping) = watch::channel(Ending::No);
    let serving = tokio::spawn(q_http::serve(listener, quiet_wall(), stopping));
    let slot = Arc::new(std::sync::OnceLock::from(q_http::local_handler(quiet_wall())));
    let env = q_core::Env::system();
    let span = q_trace::Span::begin(&env, "work", q_trace::Kind::Internal, &"here".into(), None);
    let work = span.requested_as(Some("from-the-balancer".into())).context().clone();
    for client in
        [Client::new(Arc::new(HttpTransport::new(base))), Client::new(Arc::new(InProcess::new("wall", slot)))]
    {
        let said = |answer: &http::Response<bytes::Bytes>, name: &str| {
            answer.headers()[name].to_str().unwrap().to_owned()
        };
        let asking = client.send("GET", "/shouts/one", bytes::Bytes::new(), "");
        let answer = q_trace::scope(work.clone(), asking).await.unwrap();
        assert_eq!(said(&answer, "q-trace-id"), work.trace.to_string());
        assert_eq!(said(&answer, "x-request-id"), "from-the-balancer");
        // Without work at hand each request begins a trace, and is known by its own span.
        let answer = client.send("GET", "/shouts/one", bytes::Bytes::new(), "").await.unwrap();
        assert_ne!(said(&answer, "q-trace-id"), work.trace.to_string());
        assert_eq!(said(&answer, "x-request-id").len(), 16);
        let loud = Shout { text: "a".into() };
        let refused = q_trace::scope(work.clone(), client.call::<PaintWall>(&loud)).await.unwrap_err();
        let told = refused.problem().and_then(|problem| problem.trace_id.clone());
        assert_eq!(told, Some(work.trace.to_string()), "{refused}");
    }
    stop.send(Ending::Close).unwrap();
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_the_answer_that_is_being_made() {
    let (listener, base) = listening().await;
    let (stop, stopping) = watch::channel(Ending::No);
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let router = {
        let (begun, finish) = (begun.clone(), finish.clone());
        Router::new().route(
            "/slow",
            get(move || async move {
                begun.notify_one();
                finish.notified().await;
                "done"
            }),
        )
    };
    let serving = tokio::spawn(q_http::serve(listener, router, stopping));
    let asking = tokio::spawn(async move {
        Client::new(Arc::new(HttpTransport::new(base))).send("GET", "/slow", bytes::Bytes::new(), "").await
    });
    begun.notified().await;
    stop.send(Ending::Close).unwrap();
    assert!(!serving.is_finished());
    finish.notify_one();
    assert_eq!(asking.await.unwrap().unwrap().body(), "done");
    serving.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_is_gone_is_not_asked_again_and_again() {
    let (listener, base) = listening().await;
    drop(listener);
    let client = Client::new(Arc::new(HttpTransport::new(base))).within(Duration::from_secs(5));
    let mut last = None;
    for _ in 0..4 {
        last = client.call::<GetShout>(&Shout { text: "hello".into() }).await.err();
    }
    assert!(matches!(last, Some(CallError::Unreachable(Unreachable::CircuitOpen(_)))), "{last:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_waits_for_one_that_has_just_started_if_it_was_told_to() {
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let starting = move || {
        let nth = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async move {
            use axum::response::IntoResponse as _;
            let problem = serde_json::to_vec(&q_contract::Problem::new(&codes::NOT_READY)).unwrap();
            if nth % 3 < 2 {
                (http::StatusCode::SERVICE_UNAVAILABLE, problem).into_response()
            } else {
                "ready".into_response()
            }
        }
    };
    let (listener, base) = listening().await;
    let (stop, stopping) = watch::channel(Ending::No);
    let router = Router::new().route("/", get(starting));
    let serving = tokio::spawn(q_http::serve(listener, router, stopping));
    let client = Client::new(Arc::new(HttpTransport::new(base)));
    let ask =
        async |client: &Client| client.send("GET", "/", bytes::Bytes::new(), "").await.unwrap().status();
    assert_eq!(ask(&client).await, 503, "by itself it does not wait");
    let patient = client.clone().waiting_for_start(Duration::from_secs(30));
    assert_eq!(ask(&patient).await, 200);
    drop((client, patient));
    stop.send(Ending::Close).unwrap();
    serving.await.unwrap();
}
