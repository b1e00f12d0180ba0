//! `cargo xtask bench`: ours and its anchor side by side, one JSON report.

use crate::bench::child::Child;
use crate::bench::collector::Collector;
use crate::bench::history;
use crate::bench::memory;
use crate::bench::other::{self, Other};
use crate::bench::pgbench::Pgbench;
use crate::bench::{Comparison, Contender, alternate, refuse_memory_disk};
use crate::house::House;
use crate::machine;
use crate::postgres::{Cluster, Purpose};
use anyhow::{Context as _, Result, ensure};
use clap::{Parser, Subcommand};
use serde_json::Value;
use std::path::PathBuf;
use std::process::Command;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Signed payments, one per request, against pgbench TPC-B with as many clients
    Payments {
        /// Connections, each with one request in flight
        #[arg(long, default_value_t = 64)]
        clients: usize,
        /// Open loop: start this many payments a second, whether or not earlier ones were answered
        #[arg(long, value_name = "PER_SECOND")]
        rate: Option<f64>,
        /// Instead of pgbench: against the same program without metrics, traces and service levels, to see what they cost
        #[arg(long)]
        overhead: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Signed batches, each of this many payments, against a bare SQLite journal with as many per commit
    Batch {
        /// Payments in a batch
        #[arg(long, default_value_t = 256)]
        items: usize,
        /// Connections, each with one batch in flight
        #[arg(long, default_value_t = 1)]
        clients: usize,
        #[command(flatten)]
        common: Common,
    },
    /// The wallet's executor in process, against a bare SQLite loop that writes the same rows
    Executor {
        /// Payments in a commit
        #[arg(long, default_value_t = 256)]
        items: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Everybody pays one merchant on PostgreSQL: three replicas against one, the same number of clients
    Merchant {
        /// Processes on the store
        #[arg(long, default_value_t = 3)]
        replicas: usize,
        /// Stripes of the merchant's account
        #[arg(long, default_value_t = 6)]
        stripes: u8,
        /// Payments in flight, over all replicas
        #[arg(long, default_value_t = 192)]
        clients: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Past balances and pages of statements over a long history, against looking up rows by their primary key; and how
    /// fast the books are proved, in how much memory
    History(history::Args),
    /// What an instance holds in memory with a million wallets that pay one another
    Memory(memory::Args),
    /// Everybody pays one merchant on SQLite, against everybody paying one another
    HotPayee {
        /// Payments in flight
        #[arg(long, default_value_t = 192)]
        clients: usize,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Parser)]
struct Common {
    /// Length of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Measurements of each side, taken in turn; medians are reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Measure ours only
    #[arg(long, conflicts_with = "against")]
    no_anchor: bool,
    /// Measure this command in turn with ours instead of the anchor; a shell runs it to its end each time
    #[arg(long, value_name = "COMMAND", requires = "figure")]
    against: Option<String>,
    /// What stands before the number that the command prints as its figure, such as "tps ="
    #[arg(long, value_name = "LABEL", requires = "against")]
    figure: Option<String>,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

impl Common {
    /// Who takes turns with ours, and which of its figures is held against ours: the anchor made by `usual`, a program
    /// that the caller names, or nobody.
    fn anchor<C: Contender + 'static>(
        &self,
        figure: &'static str,
        usual: impl FnOnce() -> Result<C>,
    ) -> Result<(Option<Box<dyn Contender>>, &'static str)> {
        if let (Some(command), Some(label)) = (&self.against, &self.figure) {
            return Ok((Some(Box::new(Other::new(command, label))), other::FIGURE));
        }
        let usual = if self.no_anchor { None } else { Some(Box::new(usual()?) as Box<dyn Contender>) };
        Ok((usual, figure))
    }
}

/// Measures and prints.
pub fn run(args: &Args) -> Result<()> {
    refuse_memory_disk()?;
    if let What::History(args) = &args.what {
        return history::run(args);
    }
    let programs = Programs { q: machine::build_q(true)?, bench: machine::build_program("q-bench", true)? };
    let (mut report, common) = match &args.what {
        What::Payments { clients, rate, overhead: false, common } => {
            (programs.payments(*clients, *rate, common)?, common)
        }
        What::Payments { clients, rate, overhead: true, common } => {
            (programs.overhead(*clients, *rate, common)?, common)
        }
        What::Batch { items, clients, common } => (programs.batch(*items, *clients, common)?, common),
        What::Executor { items, common } => (programs.executor(*items, common)?, common),
        What::Merchant { replicas, stripes, clients, common } => {
            (programs.merchant(*replicas, *stripes, *clients, common)?, common)
        }
        What::Memory(args) => return memory::run(args, &programs.q, &programs.bench, UNLIMITED),
        What::History(_) => unreachable!("measured before"),
        What::HotPayee { clients, common } => (programs.hot_payee(*clients, common)?, common),
    };
    if let (Some(theirs), Some(payments)) =
        (report["anchor"][other::FIGURE].as_f64(), report["payments_per_second"].as_f64())
    {
        // Our transfers are legs, several to a payment; what another program counts may be either.
        report["payments_ratio"] = ((payments / theirs * 1_000.0).round() / 1_000.0).into();
    }
    if common.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print_summary(&report);
    }
    Ok(())
}

/// One machine plays thousands of payers: limits by address would measure the limits.
const UNLIMITED: &[(&str, &str)] = &[
    ("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"),
    ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0"),
    ("SQUID_REGISTRATIONS_PER_HOUR", "0"),
];

/// An instance that counts no requests, records no spans, and has nobody who watches it.
const UNWATCHED: &[(&str, &str)] = &[
    ("Q_TELEMETRY_METRICS", "off"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
    ("Q_OPS_URL", "http://127.0.0.1:9"),
];

struct Programs {
    q: PathBuf,
    bench: PathBuf,
}

impl Programs {
    fn payments(&self, clients: usize, rate: Option<f64>, common: &Common) -> Result<Value> {
        let house = House::start(&self.q, UNLIMITED)?;
        let mut command = self.load(&house, "payments", common)?;
        command.args(["--clients", &clients.to_string()]);
        if let Some(rate) = rate {
            command.args(["--rate", &rate.to_string()]);
        }
        let mut ours = Child::start("qwallet POST /payments", &mut command)?;
        let pgbench = || Pgbench::start(clients, common.seconds);
        let (mut anchor, figure) = common.anchor("transactions_per_second", pgbench)?;
        let comparison = Comparison { benchmark: "payments", ours: "payments_per_second", anchor: figure };
        alternate(&comparison, common.rounds, &mut ours, anchor.as_deref_mut())
    }

    /// The same program twice, both running all the time, loaded in turn.
    fn overhead(&self, clients: usize, rate: Option<f64>, common: &Common) -> Result<Value> {
        let collector = Collector::start()?;
        let watched: Vec<_> =
            UNLIMITED.iter().copied().chain([("Q_TELEMETRY_OTLP_ENDPOINT", collector.url())]).collect();
        let bare: Vec<_> = UNLIMITED.iter().copied().chain(UNWATCHED.iter().copied()).collect();
        let (watched, bare) = (House::start(&self.q, &watched)?, House::start(&self.q, &bare)?);
        let load = |house, name| -> Result<Child> {
            let mut command = self.load(house, "payments", common)?;
            command.args(["--clients", &clients.to_string()]);
            if let Some(rate) = rate {
                command.args(["--rate", &rate.to_string()]);
            }
            Child::start(name, &mut command)
        };
        let mut ours = load(&watched, "qwallet POST /payments with metrics, traces and service levels")?;
        let mut anchor = load(&bare, "the same without")?;
        let figure = "payments_per_second";
        let comparison = Comparison { benchmark: "overhead", ours: figure, anchor: figure };
        let mut report = alternate(&comparison, common.rounds, &mut ours, Some(&mut anchor))?;
        // Nothing sent would mean that tracing was not measured.
        ensure!(collector.bytes() > 0, "no trace reached the collector");
        report["trace_bytes"] = collector.bytes().into();
        Ok(report)
    }

    fn batch(&self, items: usize, clients: usize, common: &Common) -> Result<Value> {
        let house = House::start(&self.q, UNLIMITED)?;
        let mut command = self.load(&house, "batch", common)?;
        command.args(["--items", &items.to_string(), "--clients", &clients.to_string()]);
        let mut ours = Child::start("qwallet POST /payments/batch", &mut command)?;
        let report = self.beside_journal("batch", items, &mut ours, common)?;
        verify_books(&house, report)
    }

    fn executor(&self, items: usize, common: &Common) -> Result<Value> {
        let mut command = self.in_process("executor", items, common);
        let mut ours = Child::start("qwallet executor in process", &mut command)?;
        self.beside_journal("executor", items, &mut ours, common)
    }

    fn beside_journal(
        &self,
        benchmark: &'static str,
        items: usize,
        ours: &mut Child,
        common: &Common,
    ) -> Result<Value> {
        let journal = || {
            let mut command = self.in_process("journal", items, common);
            Child::start("bare SQLite loop writing the same rows, WAL, FULL, one thread", &mut command)
        };
        let (mut anchor, figure) = common.anchor("transfers_per_second", journal)?;
        let comparison = Comparison { benchmark, ours: "transfers_per_second", anchor: figure };
        alternate(&comparison, common.rounds, ours, anchor.as_deref_mut())
    }

    /// Two stores on one server, both there all the time, loaded in turn.
    fn merchant(&self, replicas: usize, stripes: u8, clients: usize, common: &Common) -> Result<Value> {
        let cluster = Cluster::start(Purpose::Measuring)?;
        let side = |name: &str, replicas: usize, stripes: u8| -> Result<Child> {
            let mut command = self.buyers(clients, common);
            let url = cluster.url_of(&format!("merchant_{replicas}"));
            command.args(["--database", &url, "--replicas", &replicas.to_string()]);
            command.args(["--stripes", &stripes.to_string()]);
            Child::start(name, &mut command)
        };
        let mut ours = side(&format!("{replicas} replicas, {stripes} stripes"), replicas, stripes)?;
        let (mut anchor, figure) =
            common.anchor("payments_per_second", || side("one replica, no stripes", 1, 0))?;
        let comparison = Comparison { benchmark: "merchant", ours: "payments_per_second", anchor: figure };
        alternate(&comparison, common.rounds, &mut ours, anchor.as_deref_mut())
    }

    fn hot_payee(&self, clients: usize, common: &Common) -> Result<Value> {
        let mut ours = Child::start("everybody pays one merchant", &mut self.buyers(clients, common))?;
        let uniform =
            || Child::start("everybody pays one another", self.buyers(clients, common).arg("--uniform"));
        let (mut anchor, figure) = common.anchor("payments_per_second", uniform)?;
        let comparison = Comparison { benchmark: "hot-payee", ours: "payments_per_second", anchor: figure };
        alternate(&comparison, common.rounds, &mut ours, anchor.as_deref_mut())
    }

    fn buyers(&self, clients: usize, common: &Common) -> Command {
        let mut command = Command::new(&self.bench);
        command.args(["merchant", "--rounds-by-line", "--seconds", &common.seconds.to_string()]);
        command.args(["--clients", &clients.to_string()]);
        command
    }

    fn load(&self, house: &House, what: &str, common: &Common) -> Result<Command> {
        let mut command = Command::new(&self.bench);
        command.args([what, "--rounds-by-line", "--seconds", &common.seconds.to_string()]);
        command.args(["--url", house.url()?, "--origin", house.origin()]);
        Ok(command)
    }

    fn in_process(&self, what: &str, items: usize, common: &Common) -> Command {
        let mut command = Command::new(&self.bench);
        command.args([
            what,
            "--rounds-by-line",
            "--seconds",
            &common.seconds.to_string(),
            "--items",
            &items.to_string(),
        ]);
        command
    }
}

/// A figure of a wallet whose books do not hold afterwards is no figure.
fn verify_books(house: &House, mut report: Value) -> Result<Value> {
    machine::quietly(&mut house.verb(&["verify", "qwallet", "--json"])).context("the books after the run")?;
    report["books"] = "verified after the run".into();
    Ok(report)
}

fn print_summary(report: &Value) {
    for name in [
        "program",
        "payments_per_second",
        "transfers_per_second",
        "p50_ms",
        "p99_ms",
        "errors",
        "error_codes",
    ] {
        println!("{name:<22} {}", report[name]);
    }
    if report["anchor"].is_object() {
        println!("{:<22} {}", "anchor", report["anchor"]["program"]);
        let figure =
            [other::FIGURE, "transactions_per_second", "transfers_per_second", "payments_per_second"]
                .into_iter()
                .find(|name| !report["anchor"][name].is_null());
        println!("{:<22} {}", "anchor's figure", report["anchor"][figure.unwrap_or_default()]);
        println!("{:<22} {} ({})", "ratio", report["ratio"], report["ratio_of"]);
        if !report["payments_ratio"].is_null() {
            println!("{:<22} {}", "ratio of payments", report["payments_ratio"]);
        }
    }
}
