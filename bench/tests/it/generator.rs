//! What the generator counts, and that a stalled server cannot hide its stall.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use q_bench::connection::{Answer, laid_out};
use q_bench::generator::{Pace, Plan, Workload, run};
use q_bench::report::{Figures, Work};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// Answers `ok`, or 429 where the body says `refuse`; its first answer stalls for `stall`.
struct Server {
    served: AtomicU64,
    stall: Duration,
}

impl Server {
    async fn start(stall: Duration) -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self { served: AtomicU64::new(0), stall });
        let own = Arc::clone(&server);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let server = Arc::clone(&own);
                let service = service_fn(move |request| Arc::clone(&server).answer(request));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service),
                );
            }
        });
        (address, server)
    }

    async fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> Result<Response<Full<Bytes>>, Infallible> {
        if self.served.fetch_add(1, Ordering::Relaxed) == 0 {
            tokio::time::sleep(self.stall).await;
        }
        let body = request.into_body().collect().await.unwrap().to_bytes();
        let mut response = Response::new(Full::new(Bytes::from_static(b"ok")));
        if body == "refuse" {
            *response.status_mut() = StatusCode::TOO_MANY_REQUESTS;
        }
        Ok(response)
    }
}

/// Every third request of client 0 is refused.
struct Mixed(AtomicU64);

impl Workload for Mixed {
    fn request(&self, client: usize) -> Bytes {
        let is_refused = client == 0 && self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(3);
        let body = if is_refused { "refuse" } else { "pay" };
        laid_out(&Request::post("/payments").header("host", "q").body(Bytes::from(body)).unwrap())
    }

    fn judge(&self, answer: &Answer) -> Result<Work, String> {
        match answer.status {
            StatusCode::OK if answer.body == "ok" => Ok(Work { payments: 1, transfers: 3 }),
            other => Err(other.as_u16().to_string()),
        }
    }
}

fn plan(address: SocketAddr, clients: usize, pace: Pace) -> Plan {
    Plan { address, clients, warm_up: Duration::ZERO, span: Duration::from_millis(600), pace }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
fn answered(figures: &Figures) -> u64 {
    (figures.requests_per_second * figures.seconds).round() as u64
}

#[tokio::test]
async fn a_closed_loop_counts_what_was_answered_and_names_what_was_refused() {
    let (address, server) = Server::start(Duration::ZERO).await;
    let figures = run(plan(address, 2, Pace::Closed), Arc::new(Mixed(AtomicU64::new(0)))).await;
    assert!(figures.payments_per_second > 100.0, "{figures:?}");
    assert!((figures.transfers_per_second - 3.0 * figures.payments_per_second).abs() < 1e-6, "{figures:?}");
    assert!(figures.errors > 0 && figures.error_codes.get("429") == Some(&figures.errors), "{figures:?}");
    // Each client may have had one answer arrive after the window closed.
    let counted = answered(&figures) + figures.errors;
    let served = server.served.load(Ordering::Relaxed);
    assert!((counted..=counted + 2).contains(&served), "served {served}, counted {counted}");
}

#[tokio::test]
async fn an_open_loop_keeps_its_rate_and_shows_a_stall_as_latency() {
    let (address, _) = Server::start(Duration::from_millis(450)).await;
    let figures = run(plan(address, 1, Pace::Open { rate: 200.0 }), Arc::new(Mixed(AtomicU64::new(1)))).await;
    // One client stalled for 450 of 600 ms: three of four requests were due during the stall and waited for its end.
    assert!(figures.max_ms >= 440.0, "{figures:?}");
    assert!(figures.p50_ms >= 75.0, "requests that were due during the stall must count it: {figures:?}");
    let sent = answered(&figures) + figures.errors;
    assert!((60..=121).contains(&sent), "200 requests a second for 0.6 s, not {sent}");
}

#[tokio::test]
async fn a_dead_server_is_an_error_and_not_a_hang() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let figures = run(plan(address, 1, Pace::Open { rate: 50.0 }), Arc::new(Mixed(AtomicU64::new(1)))).await;
    assert_eq!(answered(&figures), 0);
    assert!(figures.error_codes.get("CONNECTION_LOST").is_some_and(|count| *count > 5), "{figures:?}");
}
