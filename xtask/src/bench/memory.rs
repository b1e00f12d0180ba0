//! How much memory an instance holds whose wallets are many: it is filled while it is stopped, started, and paid at.

use super::{Contender as _, child::Child};
use crate::house::House;
use crate::machine;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::Command;

/// What a replica may hold (deploy/ limits its memory to as much).
const RESIDENT_BYTES_MAX: u64 = 1 << 30;

/// What to measure.
#[derive(clap::Args)]
pub struct Args {
    /// How many wallets
    #[arg(long, default_value_t = 1_000_000)]
    accounts: usize,
    /// How long they pay one another
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Connections, each with one request in flight
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Print the whole report as JSON
    #[arg(long)]
    json: bool,
}

/// Fills, starts, pays, and looks.
pub fn run(args: &Args, q: &Path, bench: &Path, settings: &[(&str, &str)]) -> Result<()> {
    let house = House::start(q, settings)?;
    let accounts = args.accounts.to_string();
    // The first start makes the store with the accounts of the house.
    let house = house.restarted(settings, |data| {
        let mut fill = Command::new(bench);
        fill.args(["crowd", "--accounts", &accounts, "--store"]).arg(data.join("qwallet.sqlite"));
        let filled = machine::output(&mut fill)?;
        eprintln!("filled: {}", filled.trim());
        Ok(())
    })?;
    let at_rest = resident(house.pid())?;
    let mut payments = Command::new(bench);
    payments.args(["payments", "--crowd", &accounts, "--rounds-by-line"]);
    payments.args(["--seconds", &args.seconds.to_string(), "--clients", &args.clients.to_string()]);
    payments.args(["--url", house.url()?, "--origin", house.origin()]);
    let mut load = Child::start("payments among all", &mut payments)?;
    load.prepare()?;
    let figures = load.measure()?;
    let (now, most) = (resident(house.pid())?, memory(house.pid(), "VmHWM:")?);
    let mut report = json!({
        "benchmark": "memory",
        "machine": super::machine_facts(),
        "accounts": args.accounts,
        "resident_mib_at_start": at_rest >> 20,
        "resident_mib": now >> 20,
        "resident_mib_most": most >> 20,
    });
    for name in ["payments_per_second", "p99_ms", "errors", "error_codes", "seconds"] {
        report[name] = figures[name].clone();
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        for (name, figure) in report.as_object().into_iter().flatten() {
            println!("{name:<24} {figure}");
        }
    }
    ensure!(figures["errors"] == 0, "payments failed: {}", figures["error_codes"]);
    ensure!(most < RESIDENT_BYTES_MAX, "it held {} MiB, and 1024 were promised", most >> 20);
    Ok(())
}

fn resident(pid: u32) -> Result<u64> {
    memory(pid, "VmRSS:")
}

/// A figure of proc(5), in bytes.
fn memory(pid: u32, label: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(label)).context("no such figure")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib << 10)
}
