//! A server that ends: what its clients notice of it, byte by byte.

use axum::{Router, routing::get};
use q_http::{Ending, Listener, Passed, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};

const QUESTION: &[u8] = b"GET /who HTTP/1.1\r\nhost: q\r\n\r\n";

struct Server {
    address: std::net::SocketAddr,
    ending: watch::Sender<Ending>,
    running: JoinHandle<()>,
}

impl Server {
    /// Answers `/who` with `name`.
    async fn start(name: &'static str, begun: Vec<Passed>, per_address: u32) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let ending = watch::Sender::new(Ending::No);
        let router = Router::new().route("/who", get(move || async move { name }));
        let listener =
            Listener { name: "door".into(), socket, begun, per_address, proxies: q_http::Proxies::default() };
        let running = tokio::spawn(serve(listener, router, ending.subscribe()));
        Self { address, ending, running }
    }

    /// Ends it with its connections sent along.
    async fn pass_on(self) -> Vec<Passed> {
        let (sender, mut receiver) = mpsc::unbounded_channel();
        self.ending.send_replace(Ending::PassOn(sender));
        self.running.await.unwrap();
        self.ending.send_replace(Ending::Close);
        let mut passed = Vec::new();
        while let Some(one) = receiver.recv().await {
            passed.push(one);
        }
        passed
    }
}

/// Reads one answer whose body has no more than 16 bytes.
async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    loop {
        let mut piece = [0; 1024];
        let count = stream.read(&mut piece).await.unwrap();
        assert_ne!(count, 0, "closed after {:?}", String::from_utf8_lossy(&text));
        text.extend_from_slice(&piece[..count]);
        let said = String::from_utf8_lossy(&text).to_lowercase();
        if let Some((head, body)) = said.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() == length.parse::<usize>().unwrap() {
                return said;
            }
        }
    }
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(QUESTION).await.unwrap();
    answer(stream).await
}

#[tokio::test]
async fn connections_between_two_requests_go_along_and_their_clients_notice_nothing() {
    let old = Server::start("old", Vec::new(), 0).await;
    let mut used = TcpStream::connect(old.address).await.unwrap();
    let said = ask(&mut used).await;
    assert!(said.ends_with("old") && !said.contains("connection: close"), "{said}");
    let mut silent = TcpStream::connect(old.address).await.unwrap();
    let mut halfway = TcpStream::connect(old.address).await.unwrap();
    // A first answer shows that those before it were accepted, and that the half of a head has arrived.
    halfway.write_all(&QUESTION[..9]).await.unwrap();
    let mut last = TcpStream::connect(old.address).await.unwrap();
    ask(&mut last).await;
    ask(&mut used).await;
    used.write_all(&QUESTION[..20]).await.unwrap();

    let passed = old.pass_on().await;
    assert_eq!(passed.len(), 4);
    assert!(passed.iter().all(|one| &*one.listener == "door"));
    let _new = Server::start("new", passed, 0).await;
    used.write_all(&QUESTION[20..]).await.unwrap();
    halfway.write_all(&QUESTION[9..]).await.unwrap();
    for stream in [&mut used, &mut halfway] {
        assert!(answer(stream).await.ends_with("new"));
    }
    for stream in [&mut silent, &mut last, &mut used] {
        let said = ask(stream).await;
        assert!(said.ends_with("new") && !said.contains("connection: close"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_stops_answers_once_more_and_says_that_it_was_the_last_time() {
    let server = Server::start("old", Vec::new(), 0).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    ask(&mut stream).await;
    server.ending.send_replace(Ending::Close);
    let said = ask(&mut stream).await;
    assert!(said.contains("connection: close") && said.ends_with("old"), "{said}");
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0, "and then it is closed");
    server.running.await.unwrap();
}

#[tokio::test]
async fn one_address_has_its_share_of_the_connections_and_no_more() {
    let server = Server::start("old", Vec::new(), 2).await;
    let mut first = TcpStream::connect(server.address).await.unwrap();
    let mut second = TcpStream::connect(server.address).await.unwrap();
    ask(&mut first).await;
    ask(&mut second).await;
    let mut third = TcpStream::connect(server.address).await.unwrap();
    let mut said = String::new();
    third.read_to_string(&mut said).await.unwrap();
    let (head, body) = said.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 429 ") && head.contains(&format!("content-length: {}", body.len())),
        "{said}"
    );
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(problem["code"], "RATE_LIMITED");
    assert!(ask(&mut first).await.ends_with("old"));
}
