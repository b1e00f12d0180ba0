//! One HTTP/1.1 connection that is kept alive.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use tokio::net::TcpStream;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of the response.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// A kept-alive connection that opens itself anew after it broke.
pub struct Connection {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Connection {
    /// A connection to this address; it opens with the first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, sender: None }
    }

    /// Sends one request and reads the whole answer. After a failure the next call connects anew.
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        let outcome = self.try_send(request).await;
        if outcome.is_err() {
            self.sender = None;
        }
        outcome
    }

    async fn try_send(&mut self, request: Request<Full<Bytes>>) -> Result<Answer> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.sender = Some(connect(self.address).await?);
        }
        let sender = self.sender.as_mut().context("no connection")?;
        sender.ready().await.context("connection")?;
        let response = sender.send_request(request).await.context("request")?;
        let status = response.status();
        let body = response.into_body().collect().await.context("body")?.to_bytes();
        Ok(Answer { status, body })
    }
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
    stream.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
    // The driver ends with the connection; its error shows as the error of the request it broke.
    tokio::spawn(driver);
    Ok(sender)
}
