//! A long history: three steps of `q-bench history` on one store, each in a process of its own.

use crate::machine;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// How many transfers to pay before anything is asked; three a payment
    #[arg(long, default_value_t = 1_000_000)]
    transfers: u64,
    /// How many questions of each kind
    #[arg(long, default_value_t = 2_000)]
    questions: u64,
    /// Keep the store in this folder, and use the one that is there; a throw-away one when not given
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

/// How many times a look-up by primary key a question about the past may cost (sheet of qwallet, section 7).
const RATIO_MAX: f64 = 3.0;

/// What is held against that: a past balance against one bare row by its primary key through the same connections, of a
/// wallet like any other, of one that nobody asked for before, and of one with a long history; a page against as many such
/// rows in one statement. What is asked with cold caches is told, and is the disk's.
const RATIOS: [&str; 5] = [
    "balance_ratio",
    "first_balance_ratio",
    "balance_of_the_merchant_ratio",
    "page_ratio",
    "page_of_the_merchant_ratio",
];

/// Generates, asks, verifies, and prints.
pub fn run(args: &Args) -> Result<()> {
    let bench = machine::build_program("q-bench", true)?;
    let throw_away = tempfile::Builder::new().prefix("q-history-").tempdir()?;
    let store = args.store.as_deref().unwrap_or_else(|| throw_away.path());
    let is_there = store.join("qwallet.sqlite").is_file();
    let mut report = json!({ "benchmark": "history", "machine": super::machine_facts() });
    if !is_there {
        report["generate"] = step(&bench, store, &["generate", "--transfers", &args.transfers.to_string()])?;
        eprintln!("generated: {}", report["generate"]);
    }
    report["measure"] = step(&bench, store, &["measure", "--questions", &args.questions.to_string()])?;
    report["verify"] = step(&bench, store, &["verify"])?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for part in ["generate", "measure", "verify"] {
            for (name, figure) in report[part].as_object().into_iter().flatten() {
                println!("{part:<10} {name:<34} {figure}");
            }
        }
    }
    for ratio in RATIOS {
        let found = report["measure"][ratio].as_f64().context("a ratio is missing")?;
        ensure!(found <= RATIO_MAX, "{ratio} is {found}, and at most {RATIO_MAX} was promised");
    }
    Ok(())
}

fn step(bench: &Path, store: &Path, words: &[&str]) -> Result<Value> {
    let answer = machine::output(Command::new(bench).args(["history", "--store"]).arg(store).args(words))?;
    serde_json::from_str(&answer).with_context(|| format!("q-bench history {} answered {answer}", words[0]))
}
