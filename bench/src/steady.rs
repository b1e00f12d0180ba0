//! A steady load of payments and reads, each request noted with its moment: for what happens to clients while an
//! instance is restarted under them.
//!
//! Nothing is tried again: a request that was not answered well counts as failed, whatever the reason.

use crate::connection::{Answer, Connection};
use crate::generator::Workload as _;
use crate::orders::{Orders, Shape};
use crate::world::{House, Reader};
use anyhow::{Context as _, Result, bail};
use q_core::Env;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How to load.
#[derive(Debug, Clone, Copy)]
pub struct SteadyPlan {
    /// Requests a second, half of them payments and half of them reads.
    pub rate: f64,
    /// Kept-alive connections, each with one request in flight.
    pub clients: usize,
    /// Identities that pay one another and read their wallets.
    pub payers: usize,
    /// How long.
    pub span: Duration,
}

/// What happened.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Record {
    /// When it began, in milliseconds of the Unix epoch.
    pub began_at_ms: u64,
    /// The requests that were answered well.
    pub samples: Vec<Sample>,
    /// The failed ones by reason, with the moments at which they were due, in milliseconds since the begin.
    pub failures: BTreeMap<String, Vec<u64>>,
    /// The transactions of the payments that were answered as settled. Not told by line: there are many, and whoever
    /// holds them against the books has the record in memory.
    #[serde(skip)]
    pub paid: Vec<String>,
}

/// One request that was answered well.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Sample {
    /// When it was due, in milliseconds since the begin.
    pub due_ms: u64,
    /// From then to the last byte of its answer, in microseconds: what waits for a stalled server is counted.
    pub micros: u64,
}

impl Record {
    /// How many requests were not answered well.
    pub fn failed(&self) -> usize {
        self.failures.values().map(Vec::len).sum()
    }

    /// The latency, in milliseconds, that 99 of 100 requests stay within, of those not due in any of `windows`
    /// (milliseconds since the begin).
    pub fn p99_ms(&self, windows: &[(u64, u64)]) -> f64 {
        let is_outside =
            |sample: &&Sample| !windows.iter().any(|(from, to)| (*from..*to).contains(&sample.due_ms));
        let mut micros: Vec<u64> =
            self.samples.iter().filter(is_outside).map(|sample| sample.micros).collect();
        micros.sort_unstable();
        let at = (micros.len() * 99).div_ceil(100).saturating_sub(1);
        #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
        let millis = micros.get(at).map_or(0.0, |micros| *micros as f64 / 1_000.0);
        millis
    }

    fn add(&mut self, other: Self) {
        self.samples.extend(other.samples);
        self.paid.extend(other.paid);
        for (reason, moments) in other.failures {
            self.failures.entry(reason).or_default().extend(moments);
        }
    }
}

/// A load that is ready to begin.
pub struct Steady {
    plan: SteadyPlan,
    address: SocketAddr,
    orders: Arc<Orders>,
    readers: Arc<Vec<Reader>>,
    is_over: Arc<AtomicBool>,
}

impl Steady {
    /// Makes payers on `house`, and signs all orders.
    pub async fn on(mut house: House, plan: SteadyPlan) -> Result<Self> {
        let (orders, readers) = house.orders_and_readers(Shape::Single, plan.clients, plan.payers).await?;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a positive number of orders"
        )]
        // Every second request is a payment.
        let total = (plan.rate * plan.span.as_secs_f64() / 2.0).ceil() as usize + plan.clients * 4;
        orders.fill(total);
        let (orders, readers) = (Arc::new(orders), Arc::new(readers));
        Ok(Self { plan, address: house.address, orders, readers, is_over: Arc::default() })
    }

    /// What it follows.
    pub fn plan(&self) -> &SteadyPlan {
        &self.plan
    }

    /// Ends the load before the time of the plan is over: what was sent is still answered and noted.
    pub fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Loads for the time of the plan, or until it is ended.
    pub async fn run(&self) -> Record {
        let began_at = Env::system().now();
        let started = Instant::now();
        let ticks = Arc::new(AtomicU64::new(0));
        let clients: Vec<_> = (0..self.plan.clients)
            .map(|number| {
                let client = Client {
                    number,
                    plan: self.plan,
                    address: self.address,
                    started,
                    ticks: ticks.clone(),
                    orders: self.orders.clone(),
                    readers: self.readers.clone(),
                    is_over: self.is_over.clone(),
                };
                tokio::spawn(client.run())
            })
            .collect();
        let began_at_ms = u64::try_from(began_at.micros() / 1_000).unwrap_or_default();
        let mut record = Record { began_at_ms, ..Record::default() };
        for client in clients {
            match client.await {
                Ok(part) => record.add(part),
                Err(_) => record.failures.entry("CLIENT_PANICKED".to_owned()).or_default().push(0),
            }
        }
        record
    }
}

/// What a measurement is taken with besides: a question for other programs that read the same wallet.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ready {
    /// The path below the front door.
    pub path: String,
    /// The token that opens it.
    pub token: String,
}

/// Follows a conductor: the line `prepare` is answered by a [`Ready`], the line `measure` by a [`Record`].
pub fn by_line(
    url: &str,
    origin: &str,
    plan: SteadyPlan,
    input: &mut dyn BufRead,
    output: &mut dyn Write,
) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut steady = None;
    for line in input.lines() {
        match line?.trim() {
            "prepare" => {
                let made = runtime.block_on(Steady::on(House::at(url, origin)?, plan))?;
                let (path, token) = made.readers.first().context("it takes two to pay")?.question();
                let ready = Ready { path: path.to_owned(), token: token.to_owned() };
                writeln!(output, "{}", serde_json::to_string(&ready)?)?;
                steady = Some(made);
            }
            "measure" => {
                let steady = steady.as_ref().context("nothing is prepared")?;
                writeln!(output, "{}", serde_json::to_string(&runtime.block_on(steady.run()))?)?;
            }
            other => bail!("neither `prepare` nor `measure`: {other}"),
        }
        output.flush()?;
    }
    Ok(())
}

/// What is read of the answer to a payment.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Paid {
    transaction_id: String,
}

struct Client {
    number: usize,
    plan: SteadyPlan,
    address: SocketAddr,
    started: Instant,
    ticks: Arc<AtomicU64>,
    orders: Arc<Orders>,
    readers: Arc<Vec<Reader>>,
    is_over: Arc<AtomicBool>,
}

impl Client {
    async fn run(self) -> Record {
        let mut connection = Connection::new(self.address);
        let mut record = Record::default();
        loop {
            let tick = self.ticks.fetch_add(1, Ordering::Relaxed);
            #[expect(clippy::cast_precision_loss, reason = "a run has far fewer than 2^52 requests")]
            let due = Duration::from_secs_f64(tick as f64 / self.plan.rate);
            if due >= self.plan.span || self.is_over.load(Ordering::Relaxed) {
                return record;
            }
            let is_payment = tick.is_multiple_of(2);
            let request = if is_payment { self.orders.request(self.number) } else { self.read(tick) };
            tokio::time::sleep_until((self.started + due).into()).await;
            let answer = connection.send(&request).await;
            let taken = self.started.elapsed().saturating_sub(due);
            let due_ms = u64::try_from(due.as_millis()).unwrap_or(u64::MAX);
            match answer
                .map_err(|error| format!("{error:#}"))
                .and_then(|answer| self.judge(is_payment, &answer))
            {
                Ok(paid) => {
                    record.paid.extend(paid);
                    let micros = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
                    record.samples.push(Sample { due_ms, micros });
                }
                Err(reason) => record.failures.entry(reason).or_default().push(due_ms),
            }
        }
    }

    /// Reads a balance.
    fn read(&self, tick: u64) -> bytes::Bytes {
        let reader = &self.readers[usize::try_from(tick / 2).unwrap_or(0) % self.readers.len()];
        reader.request()
    }

    /// The transaction of a payment.
    fn judge(&self, is_payment: bool, answer: &Answer) -> Result<Option<String>, String> {
        if is_payment {
            self.orders.judge(answer)?;
            let paid: Paid =
                serde_json::from_slice(&answer.body).map_err(|_| "ANSWER_NOT_READABLE".to_owned())?;
            return Ok(Some(paid.transaction_id));
        }
        let has_balance = answer.body.windows(10).any(|part| part == b"\"balances\"");
        if answer.status.is_success() && has_balance {
            return Ok(None);
        }
        Err(format!("READ_{}", answer.status.as_u16()))
    }
}
