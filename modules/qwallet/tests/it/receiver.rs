//! A web server that webhooks are sent to, and what it was told.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, Response, StatusCode},
};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub path: String,
    pub id: String,
    pub timestamp: i64,
    pub signature: String,
    pub body: String,
}

impl Told {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// What the paths answer: `/ok` 204, `/gone` 410, `/down` 503, `/moved` a redirect, `/big` ten megabytes, `/slow` nothing
/// before the receiver is released.
pub struct Receiver {
    pub address: SocketAddr,
    told: Arc<Mutex<Vec<Told>>>,
    changes: watch::Sender<usize>,
    pub release: watch::Sender<bool>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let told: Arc<Mutex<Vec<Told>>> = Arc::default();
        let (changes, release) = (watch::Sender::new(0), watch::Sender::new(false));
        let (heard, changed, released) = (told.clone(), changes.clone(), release.clone());
        let router = Router::new().fallback(move |request: Request<Body>| {
            let (heard, changed, mut released) = (heard.clone(), changed.clone(), released.subscribe());
            async move {
                let (head, body) = request.into_parts();
                let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
                let path = head.uri.path().to_owned();
                heard.lock().push(told_of(&path, &head.headers, &body));
                changed.send_modify(|count| *count += 1);
                if path == "/slow" {
                    let _ = released.wait_for(|is_released| *is_released).await;
                }
                answer(&path)
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, told, changes, release }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Everything it was told so far.
    pub fn told(&self) -> Vec<Told> {
        self.told.lock().clone()
    }

    /// What it was told at `path`.
    pub fn told_at(&self, path: &str) -> Vec<Told> {
        self.told().into_iter().filter(|told| told.path == path).collect()
    }

    /// Waits until it was told so often.
    pub async fn reached(&self, count: usize) {
        let mut changes = self.changes.subscribe();
        let waiting = changes.wait_for(|told| *told >= count);
        tokio::time::timeout(Duration::from_mins(1), waiting).await.expect("it is told in a minute").unwrap();
    }
}

fn told_of(path: &str, headers: &HeaderMap, body: &[u8]) -> Told {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    Told {
        path: path.to_owned(),
        id: header("webhook-id"),
        timestamp: header("webhook-timestamp").parse().unwrap(),
        signature: header("webhook-signature"),
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

fn answer(path: &str) -> Response<Body> {
    let (status, body) = match path {
        "/gone" => (StatusCode::GONE, Body::empty()),
        "/down" => (StatusCode::SERVICE_UNAVAILABLE, Body::empty()),
        "/moved" => (StatusCode::FOUND, Body::empty()),
        "/big" => (StatusCode::OK, Body::from(vec![b'x'; 10_000_000])),
        _ => (StatusCode::NO_CONTENT, Body::empty()),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if path == "/moved" {
        let metadata = "http://169.254.169.254/latest/meta-data".parse().unwrap();
        response.headers_mut().insert("location", metadata);
    }
    response
}
