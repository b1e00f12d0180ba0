//! Receivers that would keep a sender: one that says nothing, one that never stops talking.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use bytes::Bytes;
use q_notify::{POST_TIMEOUT, Post, Poster, Reach, Uri};

/// A web server that reads each request and goes on as `answer` does.
fn server(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            // The head ends with an empty line.
            let _ = lines.by_ref().find(|line| line.as_ref().is_ok_and(String::is_empty));
            answer(connection);
        }
    });
    address
}

async fn post(to: SocketAddr) -> Result<u16, q_notify::SendError> {
    let poster = Poster::new(Reach::Anywhere);
    let to: Uri = format!("http://{to}/hook").parse().unwrap();
    let post = Post { id: "msg_1".into(), at: 1, signatures: "v1,x".into(), body: Bytes::from_static(b"{}") };
    poster.post(&to, post).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_is_given_up_after_fifteen_seconds() {
    assert_eq!(POST_TIMEOUT, Duration::from_secs(15));
    // Until the sender hangs up.
    let silent = server(|mut connection| drop(connection.read(&mut [0; 1])));
    let (began, other) = (
        Instant::now(),
        server(|mut connection| {
            connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }),
    );
    let (late, answered) = tokio::join!(post(silent), async {
        let answered = post(other).await;
        assert!(began.elapsed() < POST_TIMEOUT, "one receiver waited for another");
        answered
    });
    let waited = began.elapsed();
    assert!(late.unwrap_err().to_string().contains("no answer within 15 s"));
    assert!(waited >= POST_TIMEOUT && waited < 2 * POST_TIMEOUT, "{waited:?}");
    assert_eq!(answered.unwrap(), 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_never_stops_talking_is_heard_no_further() {
    let endless = server(|mut connection| {
        let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
        let chunk = [b"1000\r\n".as_slice(), &[b'x'; 0x1000], b"\r\n"].concat();
        let mut is_heard = connection.write_all(head).is_ok();
        while is_heard {
            is_heard = connection.write_all(&chunk).is_ok();
        }
    });
    let began = Instant::now();
    assert_eq!(post(endless).await.unwrap(), 200, "what was heard of it is an answer");
    assert!(began.elapsed() < POST_TIMEOUT);
}
