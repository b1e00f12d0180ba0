//! The life of one connection: request after request, until its client, the house or another process ends it.
//!
//! **Invariant:** no connection is closed under a client that was not told so, unless it was silent for the grace.

use std::{
    future::poll_fn,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body};
use bytes::{Buf as _, Bytes};
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::{
    body::Incoming,
    server::conn::http1::{self, Connection, Parts},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    net::TcpStream,
    sync::watch,
};
use tower::ServiceExt as _;

use crate::{
    PeerAddress, Proxies,
    metrics::OpenConnection,
    server::{DRAIN_TIMEOUT, Ending, Passed, Place, begins},
};

/// The most header fields of one request.
const HEADERS_MAX: usize = 100;
/// The most bytes of one request head.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// How long a client may take to send a request head: bounds slow-drip clients.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a stopping house waits for one more request on a connection that is kept alive, to answer it with the word
/// that it is the last. Closed at once, it might be closed under a request on its way.
const LINGER: Duration = Duration::from_millis(500);

/// A connection to serve.
pub(crate) struct Accepted {
    pub(crate) listener: Arc<str>,
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    /// What another process has read of the next request.
    pub(crate) read: Bytes,
    /// Who may ask for others.
    pub(crate) proxies: Arc<Proxies>,
}

/// What the connection knows of its requests.
#[derive(Default)]
struct Course {
    /// A request has come: what was never asked has nothing to flush.
    was_asked: AtomicBool,
    /// The next answer is the last.
    ends_next: AtomicBool,
    /// The client was told, or has said, that no further request is answered here.
    is_last: AtomicBool,
}

impl Course {
    fn is(flag: &AtomicBool) -> bool {
        flag.load(Ordering::Relaxed)
    }

    fn set(flag: &AtomicBool) {
        flag.store(true, Ordering::Relaxed);
    }

    /// Notes what the answer says of the connection, and says that it is the last where it is.
    fn answered(&self, asked_to_close: bool, answer: &mut Response<Body>) {
        if Self::is(&self.ends_next) {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if asked_to_close || says_close(answer.headers()) {
            Self::set(&self.is_last);
        }
    }
}

/// Whether the fields end the connection (RFC 9112 section 9.3).
fn says_close(headers: &HeaderMap) -> bool {
    let has = |value: &HeaderValue, word: &str| {
        value.to_str().is_ok_and(|text| text.split(',').any(|one| one.trim().eq_ignore_ascii_case(word)))
    };
    headers.get_all(header::CONNECTION).iter().any(|value| has(value, "close"))
}

/// Serves the connection to its end.
pub(crate) async fn run(
    accepted: Accepted,
    router: Router,
    mut ending: watch::Receiver<Ending>,
    _place: Place,
) {
    let Accepted { listener, stream, peer, read, proxies } = accepted;
    let _open = OpenConnection::new();
    // Answers are small and waited for; collecting them into fuller packets only delays them.
    let _ = stream.set_nodelay(true);
    let course = Arc::new(Course::default());
    let service = {
        let course = course.clone();
        service_fn(move |mut request: Request<Incoming>| -> BoxFuture<'static, _> {
            Course::set(&course.was_asked);
            let client = proxies.client(peer, request.headers());
            request.extensions_mut().insert(PeerAddress(client));
            let asked_to_close = request.version() != Version::HTTP_11 || says_close(request.headers());
            let (course, router) = (course.clone(), router.clone());
            Box::pin(async move {
                let mut answer = router.oneshot(request).await?;
                course.answered(asked_to_close, &mut answer);
                Ok::<_, std::convert::Infallible>(answer)
            })
        })
    };
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let mut connection = builder.serve_connection(TokioIo::new(Resumed { read, stream }), service);
    let ended = tokio::select! {
        ended = served(&mut connection) => Some(ended),
        () = begins(&mut ending) => None,
    };
    let end = ending.borrow().clone();
    let is_well = match (ended, &end) {
        (Some(ended), _) => noted(ended),
        (None, Ending::PassOn(to)) => {
            return pass_on(connection, &course, |Resumed { stream, read }| {
                // A connection that cannot be sent is closed, like any whose process ends.
                if let Ok(stream) = stream.into_std() {
                    let _ = to.send(Passed { listener, stream, peer, read });
                }
            })
            .await;
        }
        (None, _) => leave(&mut connection, &course).await,
    };
    if is_well {
        let _ = connection.into_parts().io.into_inner().stream.shutdown().await;
    }
}

type Served<S> = Connection<TokioIo<Resumed>, S>;

/// Serves requests until there are no more; whatever was answered has been written then.
async fn served<S>(connection: &mut Served<S>) -> Result<(), hyper::Error>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Unpin,
{
    poll_fn(|context| connection.poll_without_shutdown(context)).await
}

/// Answers one more request, if it comes soon; whether the connection ended well.
async fn leave<S>(connection: &mut Served<S>, course: &Course) -> bool
where
    S: hyper::service::HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Unpin,
{
    Course::set(&course.ends_next);
    if let Ok(ended) = tokio::time::timeout(LINGER, served(connection)).await {
        return noted(ended);
    }
    if !Course::is(&course.was_asked) {
        return true;
    }
    Pin::new(&mut *connection).graceful_shutdown();
    tokio::time::timeout(DRAIN_TIMEOUT, served(connection)).await.is_ok_and(noted)
}

/// Finishes the request at hand and has `send` carry the connection away, unless that request was its last.
async fn pass_on<S>(mut connection: Served<S>, course: &Course, send: impl FnOnce(Resumed))
where
    S: hyper::service::HttpService<Incoming, ResBody = Body> + Unpin,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: Unpin,
{
    // A connection that was never asked anything has nothing to finish, and would be waited for.
    if Course::is(&course.was_asked) {
        Course::set(&course.ends_next);
        Pin::new(&mut connection).graceful_shutdown();
        if !tokio::time::timeout(DRAIN_TIMEOUT, served(&mut connection)).await.is_ok_and(noted) {
            return;
        }
    }
    let Parts { io, read_buf, .. } = connection.into_parts();
    let Resumed { read, mut stream } = io.into_inner();
    if Course::is(&course.is_last) {
        let _ = stream.shutdown().await;
        return;
    }
    let read = if read.is_empty() { read_buf } else { [read_buf, read].concat().into() };
    send(Resumed { read, stream });
}

fn noted(ended: Result<(), hyper::Error>) -> bool {
    match ended {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "a connection broke");
            false
        }
    }
}

/// A connection with what another process has read from it.
struct Resumed {
    read: Bytes,
    stream: TcpStream,
}

impl AsyncRead for Resumed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, into);
        }
        let count = self.read.len().min(into.remaining());
        into.put_slice(&self.read[..count]);
        self.read.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Resumed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
