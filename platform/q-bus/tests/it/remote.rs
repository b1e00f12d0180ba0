//! A producer in another process: it comes and goes, and tells only modules of the instance.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicBool},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderValue, Request, request::Parts};
use q_bus::{Bus, Subscription};
use q_contract::{Authenticate, CallError, Client, Credential, HttpTransport, Problem, Target};
use q_core::{Caller, Env, Timestamp, caller::Principal};
use q_db::{Db, testing::TestStores};
use q_http::{Api, Ending, RateLimiter, RateLimits, Shell, metrics::Metrics};
use serde_json::json;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

use crate::{Counted, LISTENER, Log, PRODUCER, TOPICS, until};

const WHO: &str = "q-test-caller";

/// A module's HTTP server with nothing but what the platform adds.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: watch::Sender<bool>,
    ending: watch::Sender<Ending>,
    running: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn of(db: &Db, address: &str) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, ending) = (watch::Sender::new(false), watch::Sender::new(Ending::No));
        let router = shell(db.clone(), stop.subscribe())
            .mount(Api::build("producer", "Nothing.", Arc::new(())).done());
        let running = tokio::spawn(q_http::serve(listener, router, ending.subscribe()));
        Self { address, stop, ending, running }
    }

    pub(crate) async fn stop(self) {
        self.stop.send_replace(true);
        self.ending.send_replace(Ending::Close);
        self.running.await.unwrap();
    }
}

fn shell(db: Db, stop: watch::Receiver<bool>) -> Shell {
    Shell {
        env: Env::system(),
        db: db.clone(),
        auth: Arc::new(Named),
        is_operator: Arc::new(|_| false),
        limiter: RateLimiter::new(RateLimits {
            per_address_per_minute: 1,
            per_identity_per_minute: 1,
            ..RateLimits::NONE
        }),
        bases: Vec::new(),
        checks: Vec::new(),
        details: Arc::new(|| Box::pin(async { json!({}) })),
        verify: Arc::new(|_| Box::pin(async { Ok(Some(json!([]))) })),
        feed: Arc::new(move |query| {
            let (db, stop) = (db.clone(), stop.clone());
            Box::pin(async move { q_bus::feed::answer(&db, &query, stop).await })
        }),
        recover: Arc::new(|_| Box::pin(async { Vec::new() })),
        metrics: Arc::new(Metrics::default()),
        is_draining: Arc::new(AtomicBool::new(false)),
        node: Arc::default(),
        is_informed: Arc::new(AtomicBool::new(true)),
    }
}

/// Believes a header that names a module, or a person by an upper-case name.
struct Named;

impl Authenticate for Named {
    fn authenticate(&self, head: &Parts, _: Target<'_>) -> Result<Caller, Problem> {
        let Some(name) = head.headers.get(WHO) else { return Ok(Caller::Anonymous) };
        let name = name.to_str().unwrap().to_owned();
        let principal = Principal::new(format!("did:x:{name}").parse().unwrap(), Timestamp::default());
        let is_person = name.starts_with(char::is_uppercase);
        Ok(if is_person { Caller::Identity(principal) } else { Caller::Service(principal, name) })
    }
}

struct Name(&'static str);

impl Credential for Name {
    fn attach<'a>(&'a self, request: &'a mut Request<Bytes>) -> BoxFuture<'a, Result<(), CallError>> {
        request.headers_mut().insert(WHO, HeaderValue::from_static(self.0));
        Box::pin(async { Ok(()) })
    }
}

/// A client of the server at `address` that says it is `name`.
pub(crate) fn client(address: SocketAddr, name: &'static str) -> Client {
    Client::new(Arc::new(HttpTransport::new(format!("http://{address}"))))
        .with_credential(Arc::new(Name(name)))
}

async fn count(db: &Db, number: i64) {
    db.write(move |tx| tx.emit(&Counted { subject: "a".into(), number })).await.unwrap();
}

fn heard(log: &Log) -> impl Fn(q_core::Event) -> std::future::Ready<Result<(), q_bus::ReactError>> + use<> {
    let log = log.clone();
    move |event| {
        log.push(&event);
        std::future::ready(Ok(()))
    }
}

async fn stores() -> (TestStores, Db, Db) {
    let (stores, env) = (TestStores::sqlite(), Env::system());
    let producer = stores.open(&PRODUCER, &env).await.unwrap();
    let listener = stores.open(&LISTENER, &env).await.unwrap();
    (stores, producer, listener)
}

#[test]
fn a_producer_that_comes_back_is_heard_on_from_where_it_was_left() {
    q_db::testing::run(async {
        let (_stores, producer, listener) = stores().await;
        let server = Server::of(&producer, "127.0.0.1:0").await;
        let address = server.address;
        let (bus, stop, log) = (Bus::new(), watch::Sender::new(false), Log::default());
        bus.add_remote_producer("producer", client(address, "other"));
        bus.subscribe("listener", listener.clone(), Subscription::durable("producer", TOPICS, heard(&log)));
        let running = bus.start(stop.subscribe());
        count(&producer, 1).await;
        assert!(bus.settled().await);
        until(|| bus.lags()[0].is_connected).await;

        // Stopping is not held up by the follower that waits for news.
        tokio::time::timeout(std::time::Duration::from_secs(5), server.stop())
            .await
            .expect("it stops at once");
        count(&producer, 2).await;
        until(|| !bus.lags()[0].is_connected && bus.lags()[0].failures > 1).await;
        assert!(bus.lags()[0].last_error.as_deref().unwrap().contains("the feed of producer"));
        assert_eq!(log.numbers(), [1]);

        let server = Server::of(&producer, &address.to_string()).await;
        until(|| log.numbers() == [1, 2]).await;
        count(&producer, 3).await;
        assert!(bus.settled().await);
        assert_eq!(log.numbers(), [1, 2, 3]);
        let lag = &bus.lags()[0];
        assert_eq!((lag.waiting(), lag.failures, lag.is_connected), (0, 0, true));
        stop.send_replace(true);
        tokio::time::timeout(std::time::Duration::from_secs(5), running)
            .await
            .expect("it stops at once")
            .unwrap();
        server.stop().await;
    });
}

#[test]
fn nobody_but_a_module_is_told() {
    q_db::testing::run(async {
        let (_stores, producer, _listener) = stores().await;
        count(&producer, 1).await;
        let server = Server::of(&producer, "127.0.0.1:0").await;
        let ask = async |client: Client, query: &str| {
            let uri = format!("/feed?{query}");
            let answer = client.send("GET", &uri, Bytes::new(), "application/json").await.unwrap();
            (answer.status().as_u16(), String::from_utf8(answer.body().to_vec()).unwrap())
        };
        let all = "stream=events&after=0&limit=9";
        let nobody = Client::new(Arc::new(HttpTransport::new(format!("http://{}", server.address))));
        assert_eq!(ask(nobody.clone(), all).await.0, 401);
        // The one request a minute of this address is used up; modules are not counted.
        assert_eq!(ask(nobody, all).await.0, 429);
        for _ in 0..3 {
            let (status, body) = ask(client(server.address, "other"), all).await;
            assert!(status == 200 && body.contains("\"number\":1") && body.contains("\"head\":1"), "{body}");
        }
        for (query, said) in [("stream=secrets", "secrets"), ("after=x", "after"), ("from=1", "from")] {
            let (status, body) = ask(client(server.address, "other"), query).await;
            assert!(status == 400 && body.contains(said), "{body}");
        }
        server.stop().await;

        let server = Server::of(&producer, "127.0.0.1:0").await;
        assert_eq!(ask(client(server.address, "Person"), all).await.0, 403);
        server.stop().await;
    });
}

#[test]
fn another_module_at_the_address_is_not_taken_for_the_producer() {
    q_db::testing::run(async {
        let (_stores, producer, listener) = stores().await;
        let server = Server::of(&producer, "127.0.0.1:0").await;
        let (bus, stop, log) = (Bus::new(), watch::Sender::new(false), Log::default());
        bus.add_remote_producer("elsewhere", client(server.address, "other"));
        bus.subscribe("listener", listener.clone(), Subscription::durable("elsewhere", TOPICS, heard(&log)));
        let running = bus.start(stop.subscribe());
        count(&producer, 1).await;
        until(|| bus.lags()[0].failures > 1).await;
        assert!(bus.lags()[0].last_error.as_deref().unwrap().contains("producer answers at its address"));
        assert_eq!((log.numbers().len(), bus.lags()[0].position), (0, 0));
        stop.send_replace(true);
        running.await.unwrap();
        server.stop().await;
    });
}
