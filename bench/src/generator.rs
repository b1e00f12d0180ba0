//! Clients that send as fast as they are answered (closed loop) or at a fixed rate (open loop).

use crate::connection::{Answer, Connection};
use crate::report::{Figures, Tally, Work};
use anyhow::Result;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is sent, and what an answer is worth.
pub trait Workload: Send + Sync + 'static {
    /// The next request of this client, as it is sent.
    fn request(&self, client: usize) -> Bytes;
    /// Counts an answer, or names the error it is.
    fn judge(&self, answer: &Answer) -> Result<Work, String>;
}

/// How the clients behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pace {
    /// Each client sends when it was answered.
    Closed,
    /// All clients together start this many requests a second, whether or not earlier ones were answered, as far as the
    /// number of clients allows; a late start counts as latency.
    Open {
        /// Requests a second over all clients.
        rate: f64,
    },
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Where the server listens.
    pub address: SocketAddr,
    /// Connections, each with one request in flight.
    pub clients: usize,
    /// Left out of the figures.
    pub warm_up: Duration,
    /// What is measured.
    pub span: Duration,
    /// Closed or open loop.
    pub pace: Pace,
}

/// Runs the plan.
pub async fn run<W: Workload>(plan: Plan, workload: Arc<W>) -> Figures {
    let started = Instant::now();
    let window = Window { opens: started + plan.warm_up, closes: started + plan.warm_up + plan.span };
    let ticks = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..plan.clients)
        .map(|client| {
            let client = Client { number: client, plan, window, started, ticks: Arc::clone(&ticks) };
            tokio::spawn(client.run(Arc::clone(&workload)))
        })
        .collect();
    let mut tally = Tally::new();
    for client in clients {
        match client.await {
            Ok(part) => tally.add(&part),
            Err(_) => tally.error("CLIENT_PANICKED"),
        }
    }
    tally.figures(plan.clients, plan.span)
}

#[derive(Clone, Copy)]
struct Window {
    opens: Instant,
    closes: Instant,
}

struct Client {
    number: usize,
    plan: Plan,
    window: Window,
    started: Instant,
    ticks: Arc<AtomicU64>,
}

impl Client {
    async fn run<W: Workload>(self, workload: Arc<W>) -> Tally {
        let mut connection = Connection::new(self.plan.address);
        let mut tally = Tally::new();
        loop {
            // Made before the clock starts: preparing (signing) a request is not the server's latency.
            let request = workload.request(self.number);
            let due = self.due().await;
            if due >= self.window.closes {
                return tally;
            }
            let answer = connection.send(&request).await;
            let answered = Instant::now();
            // An answer counts in the window in which it arrived, so that a stall at the edge is not lost.
            let is_counted = answered >= self.window.opens && answered < self.window.closes;
            match answer {
                Err(_) if is_counted => tally.error("CONNECTION_LOST"),
                Ok(answer) if is_counted => match workload.judge(&answer) {
                    Ok(work) => tally.success(work, answered - due),
                    Err(code) => tally.error(&code),
                },
                _ => {}
            }
        }
    }

    /// When the next request is due; waits until then.
    async fn due(&self) -> Instant {
        match self.plan.pace {
            Pace::Closed => Instant::now(),
            Pace::Open { rate } => {
                let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
                #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 requests")]
                let due = self.started + Duration::from_secs_f64(tick as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
                due
            }
        }
    }
}
