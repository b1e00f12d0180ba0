//! One signed POST: the part of Standard Webhooks that alerts and the modules' webhooks have in common.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
    vec,
};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{HttpConnector, dns::Name},
    },
    rt::TokioExecutor,
};
use tower::{service_fn, util::BoxCloneSyncService};

use crate::{Reach, SendError, reach::bare};

/// How long one attempt may take, from looking up the name to the end of the answer.
pub const POST_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a connection may take to stand.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How much of an answer is read; the status is what counts.
const ANSWER_BYTES_MAX: usize = 16 << 10;

type Resolver = BoxCloneSyncService<Name, vec::IntoIter<SocketAddr>, io::Error>;
type Https = Client<HttpsConnector<HttpConnector<Resolver>>, Full<Bytes>>;

/// What is sent.
#[derive(Debug, Clone)]
pub struct Post {
    /// Names the message; the same at each attempt.
    pub id: String,
    /// The instant of the attempt, in seconds since 1970: receivers refuse what is older than five minutes.
    pub at: i64,
    /// The signatures of id, instant and body, divided by spaces.
    pub signatures: String,
    /// JSON.
    pub body: Bytes,
}

/// Sends signed messages to web servers; the roots of trust are read when the first goes out.
pub struct Poster {
    reach: Arc<Reach>,
    client: OnceLock<Https>,
}

impl Poster {
    /// A sender that connects to what is within `reach`.
    pub fn new(reach: Reach) -> Self {
        Self { reach: Arc::new(reach), client: OnceLock::new() }
    }

    /// Where it may connect to.
    pub fn reach(&self) -> &Reach {
        &self.reach
    }

    /// Sends once and answers the status. Redirects are not followed: what is signed for one receiver is for no other.
    ///
    /// # Errors
    /// When no answer came, with the reason; final where the address is out of reach by its text.
    pub async fn post(&self, to: &Uri, post: Post) -> Result<u16, SendError> {
        self.reach.check(to).map_err(|error| SendError::refused(error.0))?;
        let request = Request::post(to)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("q/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &post.id)
            .header("webhook-timestamp", post.at)
            .header("webhook-signature", &post.signatures)
            .body(Full::new(post.body))
            .map_err(|error| SendError::refused(format!("the request cannot be made: {error}")))?;
        let client = self.client()?;
        let sending = async {
            let answer = client.request(request).await.map_err(|error| SendError::failed(chain(&error)))?;
            let (head, body) = answer.into_parts();
            // Read so that a receiver that looks for errors finds none, and no further than is bearable.
            let _ = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
            Ok(head.status.as_u16())
        };
        let late = || SendError::failed(format!("no answer within {} s", POST_TIMEOUT.as_secs()));
        tokio::time::timeout(POST_TIMEOUT, sending).await.map_err(|_| late())?
    }

    fn client(&self) -> Result<&Https, SendError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut connector = HttpConnector::new_with_resolver(resolver(self.reach.clone()));
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.enforce_http(false);
        let builder = HttpsConnectorBuilder::new();
        let builder = builder
            .with_native_roots()
            .map_err(|error| SendError::failed(format!("this host trusts no certificates: {error}")))?;
        let connector = builder.https_or_http().enable_http1().wrap_connector(connector);
        // A connection kept open would mostly be found dead when the next message goes out.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(self.client.get_or_init(|| client))
    }
}

impl std::fmt::Debug for Poster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Poster").field("reach", &self.reach).finish_non_exhaustive()
    }
}

/// Looks names up and hands on only the addresses within reach, which are then connected to.
fn resolver(reach: Arc<Reach>) -> Resolver {
    BoxCloneSyncService::new(service_fn(move |name: Name| {
        let reach = reach.clone();
        async move {
            let host = bare(name.as_str());
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let is_found = !found.is_empty();
            let within: Vec<_> =
                found.into_iter().filter(|address| reach.admits(&host, address.ip())).collect();
            if within.is_empty() && is_found {
                return Err(io::Error::other("the name leads to an address that is not a public one"));
            }
            Ok(within.into_iter())
        }
    }))
}

/// An error with its causes: "connection refused" stands three levels below what hyper says first.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
