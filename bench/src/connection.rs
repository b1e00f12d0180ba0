//! One HTTP/1.1 connection that is kept alive, as lean as a client can be: it shares the machine with what it measures.
//!
//! A request is laid out as bytes before the clock starts and sent with one write; of an answer are read its status, its
//! length, whether it is the last, and the body.

use anyhow::{Context as _, Result, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use http::{Request, StatusCode};
use std::io::ErrorKind;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most bytes of an answer's head.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status of the response.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// The bytes of a request (RFC 9112), with its length where it has a body or could have one.
pub fn laid_out(request: &Request<Bytes>) -> Bytes {
    let body = request.body();
    let mut bytes = Vec::with_capacity(256 + body.len());
    bytes.extend_from_slice(format!("{} {} HTTP/1.1\r\n", request.method(), request.uri()).as_bytes());
    for (name, value) in request.headers() {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if !body.is_empty() || request.method() == http::Method::POST {
        bytes.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes.into()
}

/// A kept-alive connection that opens itself anew after it broke or was said to end.
pub struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    read: BytesMut,
}

/// What the head of an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    status: StatusCode,
    bytes: usize,
    body_bytes: usize,
    is_last: bool,
}

impl Connection {
    /// A connection to this address; it opens with the first request.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, read: BytesMut::new() }
    }

    /// Sends one request and reads the whole answer. After a failure the next call connects anew.
    pub async fn send(&mut self, request: &Bytes) -> Result<Answer> {
        let outcome = self.try_send(request).await;
        if !matches!(outcome, Ok((_, false))) {
            self.stream = None;
        }
        outcome.map(|(answer, _)| answer)
    }

    async fn try_send(&mut self, request: &Bytes) -> Result<(Answer, bool)> {
        if self.stream.as_ref().is_none_or(was_closed) {
            let address = self.address;
            let stream =
                TcpStream::connect(address).await.with_context(|| format!("connecting to {address}"))?;
            stream.set_nodelay(true)?;
            self.stream = Some(stream);
            self.read.clear();
        }
        let stream = self.stream.as_mut().context("no connection")?;
        stream.write_all(request).await.context("request")?;
        let head = loop {
            if let Some(head) = head_of(&self.read)? {
                break head;
            }
            self.read.reserve(4 << 10);
            if stream.read_buf(&mut self.read).await.context("answer")? == 0 {
                bail!("the connection ended instead of an answer");
            }
        };
        while self.read.len() < head.bytes + head.body_bytes {
            self.read.reserve(head.bytes + head.body_bytes - self.read.len());
            if stream.read_buf(&mut self.read).await.context("body")? == 0 {
                bail!("the connection ended within an answer");
            }
        }
        self.read.advance(head.bytes);
        let body = self.read.split_to(head.body_bytes).freeze();
        Ok((Answer { status: head.status, body }, head.is_last))
    }
}

/// Whether the other side has ended the connection since the last answer: a request on it would be lost.
fn was_closed(stream: &TcpStream) -> bool {
    // Without a system call as long as nothing has come; what comes before it is asked for is no answer either.
    !matches!(stream.try_read(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock)
}

/// The head at the beginning of what was read, once it is whole.
fn head_of(read: &[u8]) -> Result<Option<Head>> {
    let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") else {
        if read.len() > HEAD_BYTES_MAX {
            bail!("the head of the answer does not end");
        }
        return Ok(None);
    };
    let head = std::str::from_utf8(&read[..end]).context("the head of the answer is not text")?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let mut found = Head {
        status: status.context("the answer does not begin as HTTP/1.1 does")?,
        bytes: end + 4,
        body_bytes: 0,
        is_last: false,
    };
    let mut has_length = false;
    for line in lines {
        let (name, value) = line.split_once(':').context("a line of the answer's head is no field")?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            found.body_bytes = value.parse().context("the length of the answer")?;
            has_length = true;
        } else if name.eq_ignore_ascii_case("connection") {
            found.is_last |= value.split(',').any(|word| word.trim().eq_ignore_ascii_case("close"));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the answer comes in pieces of {value}, which is not read here");
        }
    }
    let needs_none = matches!(found.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if !has_length && !needs_none {
        bail!("the answer does not say how long it is");
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn a_request_is_laid_out_as_the_standard_says() {
        let request = Request::post("/a?b=c").header("host", "x:1").body(Bytes::from("{}")).unwrap();
        let expected: &[u8] = b"POST /a?b=c HTTP/1.1\r\nhost: x:1\r\ncontent-length: 2\r\n\r\n{}";
        assert_eq!(laid_out(&request), expected);
        let request = Request::get("/").body(Bytes::new()).unwrap();
        assert_eq!(laid_out(&request), b"GET / HTTP/1.1\r\n\r\n".as_slice());
    }

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let head = |text: &str| head_of(text.as_bytes());
        assert_eq!(head("HTTP/1.1 201 Created\r\nContent-Length: 3\r\n").unwrap(), None);
        let whole = "HTTP/1.1 201 Created\r\nContent-Length: 3\r\nconnection: keep-alive, Close\r\n\r\nabc";
        let expected =
            Head { status: StatusCode::CREATED, bytes: whole.len() - 3, body_bytes: 3, is_last: true };
        assert_eq!(head(whole).unwrap(), Some(expected));
        for text in [
            "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
            "HTTP/1.1 2\r\n\r\n",
        ] {
            assert!(head(text).is_err(), "{text}");
        }
        assert!(head_of(&vec![b'x'; HEAD_BYTES_MAX + 1]).is_err());
    }

    #[tokio::test]
    async fn answers_in_pieces_are_put_together_and_an_ended_connection_is_opened_anew() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            for answers in [
                ["HTTP/1.1 200 OK\r\ncontent-", "length: 4\r\n\r\nab|cd"].as_slice(),
                &["HTTP/1.1 503 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"],
            ] {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut asked = [0; 18];
                stream.read_exact(&mut asked).await.unwrap();
                for piece in answers.iter().flat_map(|answer| answer.split('|')) {
                    stream.write_all(piece.as_bytes()).await.unwrap();
                    tokio::task::yield_now().await;
                }
            }
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 18]).await.unwrap();
        });
        let request = laid_out(&Request::get("/").body(Bytes::new()).unwrap());
        assert_eq!(request.len(), 18);
        let mut connection = Connection::new(address);
        let first = connection.send(&request).await.unwrap();
        assert_eq!((first.status, &*first.body), (StatusCode::OK, b"abcd".as_slice()));
        // The server ended the first connection without a word, and the second one with one.
        connection.stream.as_ref().unwrap().readable().await.unwrap();
        assert_eq!(connection.send(&request).await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(connection.stream.is_none());
        assert!(connection.send(&request).await.is_err());
        server.await.unwrap();
    }
}
