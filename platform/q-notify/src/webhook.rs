//! HTTP POST, signed by the Standard Webhooks specification.

use std::sync::OnceLock;

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::{Message, Secret, SendError};

type Https = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// Sends webhooks; the roots of trust are read when the first goes out.
#[derive(Default)]
pub(crate) struct Webhooks {
    client: OnceLock<Https>,
}

impl Webhooks {
    /// Sends once. Redirects are not followed: what is signed for one receiver is for no other.
    pub(crate) async fn send(
        &self,
        to: &Uri,
        secret: &Secret,
        message: &Message,
        now: i64,
    ) -> Result<String, SendError> {
        let body = message.body();
        let request = Request::post(to)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("q/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", secret.sign(&message.id, now, &body))
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| SendError::refused(format!("the request cannot be made: {error}")))?;
        let answer =
            self.client()?.request(request).await.map_err(|error| SendError::failed(chain(&error)))?;
        let status = answer.status();
        match status.as_u16() {
            200..=299 => Ok(format!("answered {status}")),
            // The receiver says that it is gone for good.
            410 => Err(SendError::refused(format!("answered {status}"))),
            _ => Err(SendError::failed(format!("answered {status}"))),
        }
    }

    fn client(&self) -> Result<&Https, SendError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let builder = HttpsConnectorBuilder::new();
        let builder = builder
            .with_native_roots()
            .map_err(|error| SendError::failed(format!("this host trusts no certificates: {error}")))?;
        let connector = builder.https_or_http().enable_http1().build();
        // Alerts are rare: a connection kept open would mostly be found dead.
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(self.client.get_or_init(|| client))
    }
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
