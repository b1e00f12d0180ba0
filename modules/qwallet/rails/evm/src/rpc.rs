//! JSON-RPC 2.0 over the house's HTTP client.
//!
//! A dozen calls are all the rail needs; the libraries for it bring fifty to seventy further crates to build.
//!
//! **Invariant:** an answer is bounded in time and size, and nothing in it is believed for its being well formed.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use qwallet_rails::RailError;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

/// The longest a node may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The most it may say: a block with all its transactions has a few megabytes.
const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most of its complaint that is repeated.
const COMPLAINT_CHARS_MAX: usize = 300;

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// One node.
#[derive(Debug)]
pub(crate) struct Node {
    url: Uri,
    client: OnceLock<Https>,
    next_id: AtomicU64,
}

#[derive(Deserialize)]
struct Reply {
    id: u64,
    // Absent and null are different things: a block that does not exist is the result null.
    #[serde(default, deserialize_with = "present")]
    result: Option<Value>,
    error: Option<Complaint>,
}

#[derive(Deserialize)]
struct Complaint {
    code: i64,
    message: String,
}

fn present<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

impl Node {
    pub(crate) fn new(url: Uri) -> Self {
        Self { url, client: OnceLock::new(), next_id: AtomicU64::new(1) }
    }

    /// Calls a method.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        params: Value,
    ) -> Result<T, RailError> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let body = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string();
        let answered = tokio::time::timeout(TIMEOUT, self.post(body)).await;
        let bytes =
            answered.map_err(|_| RailError::Unreachable(format!("no answer to {method} in time")))??;
        let unreadable =
            |error| RailError::Unbelievable(format!("its answer to {method} cannot be read: {error}"));
        let reply: Reply = serde_json::from_slice(&bytes).map_err(unreadable)?;
        match reply {
            Reply { id: answered, .. } if answered != id => {
                Err(RailError::Unbelievable(format!("it answered another question than {method}")))
            }
            Reply { error: Some(complaint), .. } => {
                let message: String = complaint.message.chars().take(COMPLAINT_CHARS_MAX).collect();
                Err(RailError::Refused(format!("{method}: {message} ({})", complaint.code)))
            }
            Reply { result: Some(result), .. } => serde_json::from_value(result).map_err(unreadable),
            Reply { .. } => Err(RailError::Unbelievable(format!("its answer to {method} is empty"))),
        }
    }

    async fn post(&self, body: String) -> Result<Bytes, RailError> {
        let request = Request::post(&self.url)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| RailError::Unreachable(error.to_string()))?;
        let answer =
            self.client()?.request(request).await.map_err(|error| RailError::Unreachable(chain(&error)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| RailError::Unreachable(format!("its answer breaks off: {error}")))?;
        // Some nodes put their complaints into answers with an error status: those are read like others.
        if status.is_server_error() || status.is_redirection() {
            return Err(RailError::Unreachable(format!("it answered {status}")));
        }
        Ok(body.to_bytes())
    }

    fn client(&self) -> Result<&Https, RailError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| RailError::Unreachable(format!("this host trusts no certificates: {error}")))?
            .https_or_http()
            .enable_http1()
            .build();
        Ok(self.client.get_or_init(|| Client::builder(TokioExecutor::new()).build(connector)))
    }
}

/// An error with its causes: what hyper says first is never why.
fn chain(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
