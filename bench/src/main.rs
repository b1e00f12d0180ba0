//! `q-bench`: the measurements of the library as a program. Usually started by `cargo xtask bench`, which also runs the
//! other side; alone, it loads any running demonstration instance.
//!
//! **Invariant:** standard output carries figures, one JSON object a line, and nothing else.

use anyhow::Result;
use clap::{Parser, Subcommand};
use q_bench::crowd;
use q_bench::executor::InProcess;
use q_bench::generator::Pace;
use q_bench::history;
use q_bench::journal::Journal;
use q_bench::load::{Load, LoadPlan};
use q_bench::merchant::{Merchant, MerchantPlan};
use q_bench::orders::Shape;
use q_bench::rounds::{self, Subject};
use q_bench::steady::{self, SteadyPlan};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures the house.
#[derive(Parser)]
#[command(name = "q-bench", version, about)]
struct Cli {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Signed payments, one per request, on a running demonstration instance
    Payments {
        #[command(flatten)]
        load: LoadArgs,
        /// Open loop: start this many payments a second, whether or not earlier ones were answered
        #[arg(long, value_name = "PER_SECOND")]
        rate: Option<f64>,
        /// So many wallets of `crowd` pay one another
        #[arg(long, value_name = "ACCOUNTS")]
        crowd: Option<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// Writes many wallets into the store of an instance that is stopped, for `payments --crowd`
    Crowd {
        /// The file of the store
        #[arg(long)]
        store: PathBuf,
        /// How many
        #[arg(long, default_value_t = 1_000_000)]
        accounts: usize,
    },
    /// Signed batches on a running demonstration instance
    Batch {
        #[command(flatten)]
        load: LoadArgs,
        /// Payments in a batch
        #[arg(long, default_value_t = 256)]
        items: usize,
        #[command(flatten)]
        common: Common,
    },
    /// A steady load of payments and reads, each request noted with its moment; follows the lines `prepare` and `measure`
    Steady {
        #[command(flatten)]
        load: LoadArgs,
        /// Requests a second, half of them payments
        #[arg(long, default_value_t = 500.0, value_name = "PER_SECOND")]
        rate: f64,
        /// How long
        #[arg(long, default_value_t = 30)]
        seconds: u64,
    },
    /// The wallet's executor in process
    Executor {
        /// Payments in a batch, which has a commit of its own
        #[arg(long, default_value_t = 256)]
        items: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Many buyers on the wallet's executors, paying one merchant or one another
    Merchant {
        /// A PostgreSQL URL whose database is this run's own; a file of its own when not given
        #[arg(long)]
        database: Option<String>,
        /// Processes on the store, each with its own connections
        #[arg(long, default_value_t = 1)]
        replicas: usize,
        /// Lanes of each
        #[arg(long, default_value_t = 2)]
        lanes: usize,
        /// Stripes of the merchant's account
        #[arg(long, default_value_t = 0)]
        stripes: u8,
        /// Payments in flight, over all replicas
        #[arg(long, default_value_t = 192)]
        clients: usize,
        /// Pay one another instead of one merchant
        #[arg(long)]
        uniform: bool,
        #[command(flatten)]
        common: Common,
    },
    /// A long history on a store of its own: one step of generating it, asking about it, or proving it
    History {
        /// The folder of the store
        #[arg(long)]
        store: PathBuf,
        #[command(subcommand)]
        step: HistoryStep,
    },
    /// The anchor of the ledger: a bare SQLite loop writing the rows the wallet's executor writes
    Journal {
        /// Payments in a commit
        #[arg(long, default_value_t = 256)]
        items: usize,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Subcommand)]
enum HistoryStep {
    /// Pays until there are so many transfers
    Generate {
        #[arg(long, default_value_t = 1_000_000)]
        transfers: u64,
    },
    /// Asks for past balances and pages of statements, and looks up rows by their primary key
    Measure {
        #[arg(long, default_value_t = 2_000)]
        questions: u64,
    },
    /// Proves the books
    Verify {
        #[arg(long)]
        since: Option<i64>,
    },
}

#[derive(Parser)]
struct LoadArgs {
    /// Where the front door of the instance listens
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// What the instance calls itself
    #[arg(long, default_value = "http://qnode.localhost:8080")]
    origin: String,
    /// Connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Identities that pay one another
    #[arg(long, default_value_t = 128)]
    payers: usize,
}

#[derive(Parser)]
struct Common {
    /// Length of the measured window
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Follow the lines `prepare` and `measure` on standard input instead of measuring once
    #[arg(long)]
    rounds_by_line: bool,
}

fn main() -> Result<()> {
    match Cli::parse().what {
        What::Payments { load, rate, crowd, common } => {
            let pace = rate.map_or(Pace::Closed, |rate| Pace::Open { rate });
            on_instance(&load, Shape::Single, pace, crowd, &common)
        }
        What::Crowd { store, accounts } => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            let report = runtime.block_on(crowd::fill(&store, accounts))?;
            Ok(writeln!(io::stdout().lock(), "{report}")?)
        }
        What::Batch { load, items, common } => {
            on_instance(&load, Shape::Batch(items), Pace::Closed, None, &common)
        }
        What::Steady { load, rate, seconds } => {
            let span = Duration::from_secs(seconds);
            let plan = SteadyPlan { rate, clients: load.clients, payers: load.payers, span };
            steady::by_line(&load.url, &load.origin, plan, &mut io::stdin().lock(), &mut io::stdout().lock())
        }
        What::Executor { items, common } => {
            report(&mut InProcess::open(items, Duration::from_secs(common.seconds))?, &common)
        }
        What::Merchant { database, replicas, lanes, stripes, clients, uniform, common } => {
            let span = Duration::from_secs(common.seconds);
            let plan = MerchantPlan { database, replicas, lanes, stripes, clients, is_hot: !uniform, span };
            report(&mut Merchant::open(plan)?, &common)
        }
        What::History { store, step } => {
            // One worker, as the questions come one after another.
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
            let report = runtime.block_on(async {
                match step {
                    HistoryStep::Generate { transfers } => history::generate(&store, transfers).await,
                    HistoryStep::Measure { questions } => history::measure(&store, questions).await,
                    HistoryStep::Verify { since } => history::verify(&store, since).await,
                }
            })?;
            Ok(writeln!(io::stdout().lock(), "{report}")?)
        }
        What::Journal { items, common } => {
            report(&mut Journal::open(items, Duration::from_secs(common.seconds))?, &common)
        }
    }
}

fn on_instance(
    load: &LoadArgs,
    shape: Shape,
    pace: Pace,
    crowd: Option<usize>,
    common: &Common,
) -> Result<()> {
    let span = Duration::from_secs(common.seconds);
    let plan = LoadPlan { shape, clients: load.clients, payers: load.payers, crowd, span, pace };
    report(&mut Load::on(&load.url, &load.origin, plan)?, common)
}

fn report(subject: &mut dyn Subject, common: &Common) -> Result<()> {
    let mut output = io::stdout().lock();
    if common.rounds_by_line {
        rounds::by_line(subject, &mut io::stdin().lock(), &mut output)
    } else {
        rounds::once(subject, &mut output)
    }
}
