//! A wire between two programs that a test cuts, silences, slows and heals: netem in user space.
//!
//! Put it before a store, a bus or another module by giving its address instead of the target's.
//!
//! ```ignore
//! let wire = Proxy::to("127.0.0.1:5432").await;
//! open_store_at(wire.address()).await;
//! wire.cut();      // connections break, new ones are hung up on
//! wire.silence();  // a partition: everything stays open and nothing arrives
//! wire.delay(Duration::from_millis(300));
//! wire.heal();
//! ```

use std::{net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// How much is carried at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What the wire does to what passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    /// Carries.
    Fair,
    /// Is not there.
    Cut,
    /// Carries nothing, and tells nobody.
    Silent,
}

#[derive(Debug, Clone, Copy)]
struct State {
    weather: Weather,
    delay: Duration,
    /// Counts the cuts, so that a connection notices one that was healed at once.
    cuts: u64,
}

/// A wire to one target. Dropped, it is gone with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<watch::Sender<State>>,
    target: Arc<watch::Sender<String>>,
    open: watch::Receiver<usize>,
    /// Ends with the proxy.
    _running: JoinSet<()>,
}

impl Proxy {
    /// A wire from a free port to `target` (`host:port`), which need not answer yet.
    pub async fn to(target: impl Into<String>) -> Self {
        let wire = Self::loose().await;
        wire.aim(target);
        wire
    }

    /// A wire whose far end is not known yet: it hangs up until it is aimed.
    pub async fn loose() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let fair = State { weather: Weather::Fair, delay: Duration::ZERO, cuts: 0 };
        let (state, target) = (Arc::new(watch::Sender::new(fair)), Arc::new(watch::Sender::default()));
        let (count, open) = watch::channel(0);
        let mut running = JoinSet::new();
        running.spawn(accept(listener, target.clone(), state.clone(), Arc::new(count)));
        Self { address, state, target, open, _running: running }
    }

    /// Leads new connections to `target` (`host:port`, or a URL of nothing more).
    pub fn aim(&self, target: impl Into<String>) {
        let target: String = target.into();
        let place = target.split_once("://").map_or(target.as_str(), |(_, place)| place);
        self.target.send_replace(place.trim_end_matches('/').to_owned());
    }

    /// Where to connect instead of the target.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks every connection; new ones are hung up on until it heals.
    pub fn cut(&self) {
        self.state.send_modify(|state| {
            state.weather = Weather::Cut;
            state.cuts += 1;
        });
    }

    /// Lets nothing through any more and closes nothing: neither side learns of it.
    pub fn silence(&self) {
        self.state.send_modify(|state| state.weather = Weather::Silent);
    }

    /// Holds everything up by `delay`, each way, in the order it came.
    pub fn delay(&self, delay: Duration) {
        self.state.send_modify(|state| state.delay = delay);
    }

    /// Carries again, without delay. What was held back by a silence arrives.
    pub fn heal(&self) {
        self.state.send_modify(|state| {
            state.weather = Weather::Fair;
            state.delay = Duration::ZERO;
        });
    }

    /// How many connections are open: whether callers pile up.
    pub fn connections(&self) -> usize {
        *self.open.borrow()
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<watch::Sender<String>>,
    state: Arc<watch::Sender<State>>,
    count: Arc<watch::Sender<usize>>,
) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((near, _)) = listener.accept().await else { continue };
        if state.borrow().weather == Weather::Cut {
            continue; // dropped, and so hung up on
        }
        let (target, weather, count) = (target.borrow().clone(), state.subscribe(), count.clone());
        connections.spawn(async move {
            count.send_modify(|open| *open += 1);
            carry(near, &target, weather).await;
            count.send_modify(|open| *open -= 1);
        });
    }
}

async fn carry(near: TcpStream, target: &str, weather: watch::Receiver<State>) {
    let cuts = weather.borrow().cuts;
    let mut broken = weather.clone();
    let talk = async {
        let Ok(far) = TcpStream::connect(target).await else { return };
        let _ = (near.set_nodelay(true), far.set_nodelay(true));
        let (near, far) = (near.into_split(), far.into_split());
        tokio::join!(one_way(near.0, far.1, weather.clone()), one_way(far.0, near.1, weather));
    };
    tokio::select! {
        () = talk => {}
        _ = broken.wait_for(|state| state.cuts != cuts) => {}
    }
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut into: tokio::net::tcp::OwnedWriteHalf,
    mut weather: watch::Receiver<State>,
) {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = from.read(&mut chunk).await.unwrap_or(0);
        let Ok(State { delay, .. }) =
            weather.wait_for(|state| state.weather != Weather::Silent).await.map(|state| *state)
        else {
            return;
        };
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        if length == 0 || into.write_all(&chunk[..length]).await.is_err() {
            let _ = into.shutdown().await;
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut into) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut into).await;
                });
            }
        });
        address.to_string()
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_all(b"x").await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn breaks_and_heals() {
        let wire = Proxy::to(echo().await).await;
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), b'x');
        wire.cut();
        assert!(ask(&mut stream).await.is_err(), "the old connection is broken");
        let mut refused = TcpStream::connect(wire.address()).await.unwrap();
        assert!(ask(&mut refused).await.is_err(), "a new one is hung up on");
        wire.heal();
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), b'x');
    }

    #[tokio::test]
    async fn silence_is_no_end_and_delay_is_a_delay() {
        let wire = Proxy::to(echo().await).await;
        let mut stream = TcpStream::connect(wire.address()).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), b'x');
        wire.silence();
        let patience = Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, ask(&mut stream)).await.is_err(), "nothing comes back");
        wire.heal();
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        wire.delay(Duration::from_millis(40));
        let started = tokio::time::Instant::now();
        ask(&mut stream).await.unwrap();
        assert!(started.elapsed() >= Duration::from_millis(80), "held up each way");
    }
}
