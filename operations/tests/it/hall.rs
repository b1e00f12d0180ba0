//! A world with two shops and the desk, whose regular work is done when the test says so.

use std::sync::{Arc, atomic::Ordering};

use futures_util::future::BoxFuture;
use q_auth::{KeyDirectory, LogLoader, Revocations, directory::DirectoryError};
use q_contract::{CallError, Client, Endpoint, Problem};
use q_core::{Caller, Span, Timestamp};
use q_db::{Db, Mode};
use q_ops::Ops;
use q_ops_api::{
    incidents::{Incident, ListIncidents, ListIncidentsRequest},
    maintenance::{GetMaintenance, MaintenanceId, Window, WindowRequest},
};
use q_runtime::{Ground, Module as _};
use q_testkit::{World, identity};

use crate::shop::{MIGRATIONS, Shop, Switches, TILL_MIGRATIONS};

pub struct Hall {
    pub world: World,
    pub shop: Arc<Switches>,
    pub shop_db: Db,
    pub ops: Arc<Ops>,
    pub folder: tempfile::TempDir,
}

/// Identities have no logs here; did:key needs none.
struct NoLogs;

impl LogLoader for NoLogs {
    fn load<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<String>, DirectoryError>> {
        Box::pin(async { Ok(None) })
    }
}

impl Hall {
    pub async fn new(world: World) -> Self {
        world.make_operator(&identity("olga").0);
        Self::raised(world, Arc::default(), tempfile::tempdir().unwrap()).await
    }

    /// The same hall after its process stopped and started.
    pub async fn restart(self) -> Self {
        let Self { world, shop, shop_db, ops, folder } = self;
        drop((ops, shop_db));
        Self::raised(world.restart().await, shop, folder).await
    }

    async fn raised(mut world: World, shop: Arc<Switches>, folder: tempfile::TempDir) -> Self {
        let Ground { db, .. } = world.ground("shop", &MIGRATIONS, &[]).await;
        let shop_db = db.clone();
        let first = Shop { name: "shop", db, switches: shop.clone(), checks: Vec::new() };
        world.raise(Arc::new(first)).await;
        let Ground { db, .. } = world.ground("till", &TILL_MIGRATIONS, &[]).await;
        let second = Shop { name: "till", db, switches: Arc::default(), checks: Vec::new() };
        world.raise(Arc::new(second)).await;
        let ground = world.ground(q_ops::NAME, &q_ops::MIGRATIONS, q_ops::SETTINGS).await;
        let revocations = Arc::new(Revocations::new());
        let handles = q_ops::Handles {
            is_operator: Arc::new(|caller: &Caller| caller.did() == Some(&identity("olga").0)),
            identities: KeyDirectory::new(world.env.clone(), Arc::new(NoLogs), revocations),
            watched: vec!["shop".into(), "till".into(), "ops".into()],
            data: folder.path().to_owned(),
            keys: folder.path().join("keys"),
        };
        let ops = q_ops::open(ground, handles).await.unwrap();
        world.raise(ops.clone()).await;
        Self { world, shop, shop_db, ops, folder }
    }

    /// The desk, as the operator Olga.
    pub fn desk(&self) -> Client {
        let key = q_core::hash::hex(&self.world.env.random::<16>());
        self.world.client("ops", &identity("olga").0).with_key(key)
    }

    pub async fn ask<E: Endpoint>(&self, request: &E::Request) -> E::Response {
        self.desk().call::<E>(request).await.unwrap()
    }

    /// What the desk says to a request it refuses.
    pub async fn refused<E: Endpoint>(&self, request: &E::Request) -> Problem {
        match self.desk().call::<E>(request).await {
            Err(CallError::Problem(problem)) => problem,
            Err(other) => panic!("no answer: {other}"),
            Ok(_) => panic!("it was not refused"),
        }
    }

    /// Does one round of the regular work called `name`.
    pub async fn round(&self, name: &str) {
        let job = self.ops.jobs().into_iter().find(|job| job.name == name).unwrap();
        (job.run)().await.unwrap();
    }

    /// Lets time pass, and the windows be kept.
    pub async fn pass(&self, span: Span) {
        self.world.clock.advance(span);
        self.round("keep-maintenance-windows").await;
    }

    pub async fn window(&self, id: MaintenanceId) -> Window {
        self.ask::<GetMaintenance>(&WindowRequest { id }).await
    }

    pub async fn incidents(&self) -> Vec<Incident> {
        self.ask::<ListIncidents>(&ListIncidentsRequest::default()).await.items
    }

    /// What a module lets through, as it says itself.
    pub async fn mode(&self, module: &str) -> Mode {
        let client = self.world.client(module, &identity("olga").0);
        let answer = client.send("GET", "/mode", bytes::Bytes::new(), "").await.unwrap();
        serde_json::from_slice(answer.body()).unwrap()
    }

    /// Sets it, as the operator Olga.
    pub async fn set_mode(&self, module: &str, body: &serde_json::Value) {
        let client = self.world.client(module, &identity("olga").0);
        let body = body.to_string().into();
        let answer = client.send("POST", "/mode", body, "application/json").await.unwrap();
        assert!(answer.status().is_success(), "{answer:?}");
    }

    pub fn damage(&self, is_damaged: bool) {
        self.shop.is_damaged.store(is_damaged, Ordering::SeqCst);
    }

    pub fn now(&self) -> Timestamp {
        self.world.env.now()
    }
}

/// A receiver of webhooks.
pub struct Receiver(Arc<Heard>);

#[derive(Default)]
struct Heard {
    bodies: parking_lot::Mutex<Vec<serde_json::Value>>,
    refusals: std::sync::atomic::AtomicU32,
}

impl Receiver {
    pub async fn listen() -> (Self, std::net::SocketAddr) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Heard::default());
        let receiver = Self(heard.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let heard = heard.clone();
                tokio::spawn(async move { answer(stream, &heard).await });
            }
        });
        (receiver, address)
    }

    /// Answers the next `count` requests with 503.
    pub fn refuse(&self, count: u32) {
        self.0.refusals.store(count, Ordering::SeqCst);
    }

    pub fn heard(&self) -> Vec<serde_json::Value> {
        self.0.bodies.lock().clone()
    }
}

async fn answer(mut stream: tokio::net::TcpStream, heard: &Heard) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut read = Vec::new();
    let body = loop {
        let mut buffer = [0; 4_096];
        let count = stream.read(&mut buffer).await.unwrap_or_default();
        if count == 0 {
            return;
        }
        read.extend_from_slice(&buffer[..count]);
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        });
        if body.len() >= length.unwrap_or_default() {
            break body.to_owned();
        }
    };
    let is_refused =
        heard.refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let status = if is_refused { "503 Service Unavailable" } else { "204 No Content" };
    if !is_refused {
        heard.bodies.lock().push(serde_json::from_str(&body).unwrap());
    }
    let _ = stream
        .write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").as_bytes())
        .await;
}
