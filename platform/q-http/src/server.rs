//! A listener that serves a router until told to stop or to pass on, and returns when open work has ended.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
};

use crate::{Proxies, connection};

/// The network address a request came from.
#[derive(Debug, Clone, Copy)]
pub struct PeerAddress(pub SocketAddr);

/// The most connections one listener keeps open.
const CONNECTIONS_MAX: usize = 10_000;
/// How long open requests may take after the signal to stop.
pub(crate) const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// What somebody hears whose address has all the connections it gets (RFC 6585 section 4).
const TOO_MANY: &[u8] = b"HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\n\
    retry-after: 1\r\nconnection: close\r\ncontent-length: 83\r\n\r\n\
    {\"status\":429,\"code\":\"RATE_LIMITED\",\"title\":\"too many connections of this address\"}";

/// How a listener ends.
#[derive(Clone, Default)]
pub enum Ending {
    /// Not yet.
    #[default]
    No,
    /// For good: whoever is connected gets one more answer, with the word that it is the last.
    Close,
    /// Another process goes on with the sockets: connections between two requests are sent there, and their clients
    /// notice nothing.
    PassOn(mpsc::UnboundedSender<Passed>),
}

impl Ending {
    fn has_begun(&self) -> bool {
        !matches!(self, Self::No)
    }
}

/// A connection between two requests, on its way to another process.
pub struct Passed {
    /// The name of the listener that accepted it.
    pub listener: Arc<str>,
    /// The connection.
    pub stream: std::net::TcpStream,
    /// Who is at its other end.
    pub peer: SocketAddr,
    /// What has arrived on it and belongs to the next request.
    pub read: Bytes,
}

/// A socket to serve.
pub struct Listener {
    /// What another process knows it by when it takes over.
    pub name: Arc<str>,
    /// The socket.
    pub socket: TcpListener,
    /// Connections that another process accepted on it.
    pub begun: Vec<Passed>,
    /// The most connections one network address may have open here; 0 for no bound of its own.
    pub per_address: u32,
    /// Who may say for whom it asks.
    pub proxies: Proxies,
}

impl From<TcpListener> for Listener {
    /// A socket that nobody takes over, without a bound for one address.
    fn from(socket: TcpListener) -> Self {
        Self { name: "".into(), socket, begun: Vec::new(), per_address: 0, proxies: Proxies::default() }
    }
}

/// Serves `router` on `listener` until `ending` begins, then finishes what is open and returns.
pub async fn serve(listener: impl Into<Listener>, router: Router, ending: watch::Receiver<Ending>) {
    let Listener { name, socket, begun, per_address, proxies } = listener.into();
    let proxies = Arc::new(proxies);
    let places = Places::new(per_address);
    let mut connections = tokio::task::JoinSet::new();
    for Passed { stream, peer, read, .. } in begun {
        let (Ok(stream), Some(place)) = (TcpStream::from_std(stream), places.of_passed(peer)) else {
            continue;
        };
        let accepted =
            connection::Accepted { listener: name.clone(), stream, peer, read, proxies: proxies.clone() };
        connections.spawn(connection::run(accepted, router.clone(), ending.clone(), place));
    }
    let spawn =
        |connections: &mut tokio::task::JoinSet<()>, place, (stream, peer): (TcpStream, _)| match places
            .for_address(place, peer)
        {
            Some(place) => {
                let accepted = connection::Accepted {
                    listener: name.clone(),
                    stream,
                    peer,
                    read: Bytes::new(),
                    proxies: proxies.clone(),
                };
                connections.spawn(connection::run(accepted, router.clone(), ending.clone(), place));
            }
            None => refuse(&stream, peer),
        };
    let mut end = ending.clone();
    loop {
        let Some(place) = places.free().await else { break };
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            () = begins(&mut end) => break,
        };
        match accepted {
            Ok(accepted) => spawn(&mut connections, place, accepted),
            Err(error) => {
                // Out of file descriptors or a connection gone before it was taken: neither ends the listener.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    if matches!(*ending.borrow(), Ending::Close) {
        // Who has connected and was not accepted yet would be reset with the socket.
        while let (Some(place), Some(Ok(accepted))) = (places.try_free(), socket.accept().now_or_never()) {
            spawn(&mut connections, place, accepted);
        }
    }
    drop(socket);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        tracing::warn!("some requests did not end in time and are dropped");
    }
}

/// Waits until the end has begun.
pub(crate) async fn begins(ending: &mut watch::Receiver<Ending>) {
    // A sender that is gone means the process is going too.
    let _ = ending.wait_for(Ending::has_begun).await;
}

fn refuse(stream: &TcpStream, peer: SocketAddr) {
    tracing::debug!(%peer, "an address has all the connections it gets");
    // What does not fit into an empty send buffer is not worth waiting for.
    let _ = stream.try_write(TOO_MANY);
}

/// Who may connect how often.
struct Places {
    all: Arc<Semaphore>,
    by_address: Arc<Mutex<HashMap<IpAddr, u32>>>,
    per_address: u32,
}

/// The right to be connected, given back when dropped.
pub(crate) struct Place {
    _of_all: OwnedSemaphorePermit,
    address: IpAddr,
    by_address: Arc<Mutex<HashMap<IpAddr, u32>>>,
}

impl Places {
    fn new(per_address: u32) -> Self {
        Self { all: Arc::new(Semaphore::new(CONNECTIONS_MAX)), by_address: Arc::default(), per_address }
    }

    async fn free(&self) -> Option<OwnedSemaphorePermit> {
        self.all.clone().acquire_owned().await.ok()
    }

    fn try_free(&self) -> Option<OwnedSemaphorePermit> {
        self.all.clone().try_acquire_owned().ok()
    }

    /// A connection that was let in by another process is not turned away here.
    fn of_passed(&self, peer: SocketAddr) -> Option<Place> {
        let place = self.try_free()?;
        *self.by_address.lock().entry(peer.ip()).or_default() += 1;
        Some(Place { _of_all: place, address: peer.ip(), by_address: self.by_address.clone() })
    }

    fn for_address(&self, place: OwnedSemaphorePermit, peer: SocketAddr) -> Option<Place> {
        let mut by_address = self.by_address.lock();
        let count = by_address.entry(peer.ip()).or_default();
        if self.per_address > 0 && *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Place { _of_all: place, address: peer.ip(), by_address: self.by_address.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_address = self.by_address.lock();
        if let Some(count) = by_address.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.address);
            }
        }
    }
}
