//! Several processes that answer for one module, asked in turn.
//!
//! **Invariant:** a request that may have been acted on is never sent to another replica from here; whoever knows that
//! it may be repeated (a read, or a write under a key) sends it again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, Response, StatusCode};
use parking_lot::RwLock;
use tokio::time::Instant;

use crate::{HttpTransport, Problem, Transport, Unreachable, codes};

/// The addresses of one module, each with connections and a circuit breaker of its own.
pub struct Replicas {
    module: String,
    addresses: RwLock<Vec<Arc<HttpTransport>>>,
    turn: AtomicUsize,
}

impl Replicas {
    /// The replicas of `module` at these base URLs.
    pub fn new(module: impl Into<String>, urls: &[String]) -> Self {
        let replicas =
            Self { module: module.into(), addresses: RwLock::default(), turn: AtomicUsize::new(0) };
        replicas.set(urls);
        replicas
    }

    /// The addresses in a setting: one URL, or several with commas between them.
    pub fn urls(setting: &str) -> Vec<String> {
        let urls = setting.split(',').map(|url| url.trim().trim_end_matches('/'));
        urls.filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }

    /// Says where the replicas are now. An address that stays keeps its connections.
    pub fn set(&self, urls: &[String]) {
        let is_same = |addresses: &[Arc<HttpTransport>]| {
            addresses.len() == urls.len()
                && addresses.iter().zip(urls).all(|(known, url)| known.base() == url)
        };
        if is_same(&self.addresses.read()) {
            return;
        }
        let mut addresses = self.addresses.write();
        let kept = |url: &String| addresses.iter().find(|known| known.base() == url).cloned();
        *addresses =
            urls.iter().map(|url| kept(url).unwrap_or_else(|| Arc::new(HttpTransport::new(url)))).collect();
    }

    /// All of them, beginning with the one whose turn it is; those that failed lately come last.
    pub fn in_turn(&self) -> Vec<Arc<HttpTransport>> {
        let mut replicas = self.addresses.read().clone();
        if replicas.len() > 1 {
            let first = self.turn.fetch_add(1, Ordering::Relaxed) % replicas.len();
            replicas.rotate_left(first);
            replicas.sort_by_key(|replica| replica.is_open());
        }
        replicas
    }

    /// Whether an answer says that the replica refused to begin, because it has just started. One that stops answers
    /// what reaches it.
    pub fn has_refused_to_begin(answer: &Response<Bytes>) -> bool {
        answer.status() == StatusCode::SERVICE_UNAVAILABLE
            && serde_json::from_slice::<Problem>(answer.body())
                .is_ok_and(|problem| problem.code == codes::NOT_READY.code)
    }
}

impl Transport for Replicas {
    fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<Response<Bytes>, Unreachable>> {
        Box::pin(async move {
            let ends_at = Instant::now() + timeout;
            let mut outcome = Err(Unreachable::NotConfigured(self.module.clone()));
            for replica in self.in_turn() {
                let left = ends_at.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                outcome = replica.send(request.clone(), left).await;
                match &outcome {
                    Ok(answer) if Self::has_refused_to_begin(answer) => {}
                    Err(error) if error.has_not_acted() => {}
                    _ => break,
                }
            }
            outcome
        })
    }

    fn is_in_process(&self) -> bool {
        false
    }
}
