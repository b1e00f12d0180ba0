//! `cargo xtask drill rolling`: restarts and updates under load, and what the clients noticed.
//!
//! One instance on the embedded engine, asked by two load generators at the same time over kept-alive connections: ours,
//! paying and reading, and `wrk`, which is not ours, reading. Then three replicas on PostgreSQL and NATS behind haproxy:
//! the journey of that name, here with a release, at the full rate, and with its promise of latency. Nobody tries a
//! failed request again.

use crate::bench::child::Child;
use crate::bench::refuse_memory_disk;
use crate::house::House;
use crate::machine;
use crate::postgres::{Cluster, Purpose};
use crate::verbs::drill::Journeys;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How hard and how long.
#[derive(clap::Args)]
pub struct Rolling {
    /// Requests a second, half of them payments and half of them reads
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Restarts, every second one with another file of the program
    #[arg(long, default_value_t = 4)]
    restarts: u32,
    /// Only the three replicas
    #[arg(long, conflicts_with = "json")]
    replicas: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Between two restarts: the second that counts as the hand-over's, and enough to measure outside it.
const BETWEEN: Duration = Duration::from_secs(6);
/// Before the first one.
const BEFORE: Duration = Duration::from_secs(5);
/// What is due within this time of a hand-over waits for it.
const HANDOVER_MS: u64 = 1_000;
/// The promise outside of that second.
const P99_MAX_MS: f64 = 200.0;
/// Requests a second of the other load generator, and its connections.
const WRK_RATE: u32 = 100;
const WRK_CONNECTIONS: u32 = 10;

const UNLIMITED: &[(&str, &str)] = &[
    ("Q_LIMITS_PER_ADDRESS_PER_MINUTE", "0"),
    ("Q_LIMITS_PER_IDENTITY_PER_MINUTE", "0"),
    ("SQUID_REGISTRATIONS_PER_HOUR", "0"),
];

/// What `q-bench steady` tells.
#[derive(Deserialize)]
struct Record {
    began_at_ms: u64,
    samples: Vec<Sample>,
    failures: std::collections::BTreeMap<String, Vec<u64>>,
}

#[derive(Deserialize)]
struct Sample {
    due_ms: u64,
    micros: u64,
}

#[derive(Deserialize)]
struct Ready {
    path: String,
    token: String,
}

/// One restart as `q restart` told it, and when it was asked for.
struct Restart {
    asked_at_ms: u64,
    kind: &'static str,
    told: Value,
}

/// The journey of three replicas, and how it hears of the rate.
const OF_REPLICAS: &str = "rolling_replicas::an_update_of_three_replicas_fails_no_request";
const RATE: &str = "Q_ROLLING_RATE";

/// Runs the drill.
pub fn run(arguments: &Rolling) -> Result<()> {
    refuse_memory_disk()?;
    let q = machine::build_q(true)?;
    if arguments.replicas {
        println!("replicas {}", of_replicas(&q, arguments.rate)?);
        return Ok(());
    }
    let bench = machine::build_program("q-bench", true)?;
    let house = House::start(&q, UNLIMITED)?;
    let span = BEFORE + BETWEEN * arguments.restarts;
    let mut command = Command::new(&bench);
    command.args(["steady", "--url", house.url()?, "--origin", house.origin()]);
    command.args(["--clients", "64", "--payers", "32", "--rate", &arguments.rate.to_string()]);
    command.args(["--seconds", &span.as_secs().to_string()]);
    let mut load = Child::start("payments and reads", &mut command)?;
    let ready: Ready = serde_json::from_str(&load.ask("prepare")?).context("the load is not ready")?;
    let folder = tempfile::tempdir()?;
    let other = folder.path().join("q-updated");
    fs::copy(&q, &other)?;
    let wrk = Wrk::command(house.url()?, &ready, span, folder.path())?;

    let (record, wrk, restarts) = thread::scope(|scope| {
        let measuring = scope.spawn(|| load.ask("measure"));
        let foreign = wrk.map(|mut wrk| scope.spawn(move || machine::output(&mut wrk)));
        let restarts = restart(&house, arguments.restarts, [&q, &other]);
        let record = measuring.join().expect("the conductor does not panic");
        let foreign = foreign.map(|one| one.join().expect("the conductor does not panic"));
        (record, foreign, restarts)
    });
    let restarts = restarts?;
    let record: Record = serde_json::from_str(&record?).context("the record of the load")?;
    machine::quietly(&mut house.verb(&["verify"])).context("the books after the drill")?;
    drop(house);
    let replicas = of_replicas(&q, arguments.rate)?;
    report(arguments, &record, wrk.transpose()?.as_deref(), &restarts, &replicas)
}

/// Has three replicas updated, and says what held.
fn of_replicas(q: &Path, rate: u32) -> Result<String> {
    let cluster = Cluster::start(Purpose::Measuring)?;
    let ended = Journeys::prepare(q, &cluster)?.with(RATE, rate.to_string()).run(OF_REPLICAS)?;
    ensure!(ended.outcome != "FAILED", "the update of three replicas:\n{}", ended.said);
    Ok(format!("{}: {}", ended.outcome, ended.note))
}

/// Restarts one time after another, with this program and the other one in turn.
fn restart(house: &House, count: u32, programs: [&Path; 2]) -> Result<Vec<Restart>> {
    machine::pause(BEFORE)?;
    let mut restarts = Vec::new();
    for number in 0..count {
        let is_update = number % 2 == 1;
        let program = programs[usize::from(number % 4 == 1 || number % 4 == 2)];
        let asked_at_ms = now_ms();
        let mut command = house.verb(&["restart", "--rolling", "--json"]);
        command.arg("--binary").arg(program);
        let told: Value = serde_json::from_str(&machine::output(&mut command)?)?;
        let kind = if is_update { "update" } else { "restart" };
        restarts.push(Restart { asked_at_ms, kind, told: told[0].clone() });
        machine::pause(BETWEEN)?;
    }
    Ok(restarts)
}

struct Wrk;

impl Wrk {
    /// The command of a load generator by other people; nothing when this machine has none.
    fn command(url: &str, ready: &Ready, span: Duration, folder: &Path) -> Result<Option<Command>> {
        let Some(program) = machine::find_program("wrk") else {
            eprintln!("skipped: wrk, a load generator by other people: apt-get install wrk");
            return Ok(None);
        };
        // Each connection waits, so that all together keep the rate.
        let pause = 1_000 * WRK_CONNECTIONS / WRK_RATE;
        let script = folder.join("pace.lua");
        fs::write(&script, format!("function delay() return {pause} end\n"))?;
        let mut command = Command::new(program);
        command.args(["-t1", &format!("-c{WRK_CONNECTIONS}"), &format!("-d{}s", span.as_secs())]);
        command.arg("-s").arg(&script).args(["--timeout", "10s"]);
        command.arg("-H").arg(format!("Authorization: Bearer {}", ready.token));
        command.arg(format!("{url}{}", ready.path));
        Ok(Some(command))
    }
}

#[expect(clippy::disallowed_methods, reason = "compared with the clock of another process of this machine")]
fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or_default()
}

/// Prints what happened and refuses what was promised not to.
fn report(
    arguments: &Rolling,
    record: &Record,
    wrk: Option<&str>,
    restarts: &[Restart],
    replicas: &str,
) -> Result<()> {
    let windows: Vec<(u64, u64)> = restarts
        .iter()
        .map(|restart| restart.asked_at_ms.saturating_sub(record.began_at_ms))
        .map(|begun| (begun, begun + HANDOVER_MS))
        .collect();
    let is_inside = |sample: &&Sample| windows.iter().any(|(from, to)| (*from..*to).contains(&sample.due_ms));
    let (inside, outside): (Vec<_>, Vec<_>) = record.samples.iter().partition(is_inside);
    let failed: usize = record.failures.values().map(Vec::len).sum();
    let (p99_outside, p99_inside) = (p99_ms(&outside), p99_ms(&inside));
    let slowest = record.samples.iter().map(|sample| sample.micros).max().unwrap_or_default() / 1_000;
    let figures = serde_json::json!({
        "rate": arguments.rate,
        "answered": record.samples.len(),
        "failed": failed,
        "failures": record.failures,
        "p99_ms_outside_the_handover_seconds": p99_outside,
        "p99_ms_inside": p99_inside,
        "slowest_ms": slowest,
        "restarts": restarts.iter().map(|one| serde_json::json!({"kind": one.kind, "told": one.told})).collect::<Vec<_>>(),
        "wrk": wrk,
        "replicas": replicas,
    });
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        for one in restarts {
            println!(
                "{:<8} paused for {} ms ({} ms of it finishing requests), {} kept-alive connections went along",
                one.kind, one.told["pauseMs"], one.told["drainMs"], one.told["connections"]
            );
        }
        println!(
            "ours     {} answered, {failed} failed, at {} a second",
            record.samples.len(),
            arguments.rate
        );
        println!(
            "p99      {p99_outside:.1} ms outside the hand-over seconds, {p99_inside:.1} ms in them; slowest {slowest} ms"
        );
        println!("wrk      {}", wrk.map_or("not here".to_owned(), summary));
        println!("replicas {replicas}");
    }
    ensure!(failed == 0, "{failed} requests failed: {:?}", record.failures);
    ensure!(p99_outside < P99_MAX_MS, "p99 is {p99_outside:.1} ms outside the hand-over seconds");
    if let Some(said) = wrk
        && (said.contains("Socket errors") || said.contains("Non-2xx"))
    {
        bail!("wrk saw errors:\n{said}");
    }
    Ok(())
}

/// How many requests it made, and what it complains about.
fn summary(said: &str) -> String {
    let lines = said.lines().map(str::trim);
    let told = lines.filter(|line| {
        line.contains("requests in") || line.contains("Socket errors") || line.contains("Non-2xx")
    });
    format!("{}; it complains about nothing else", told.collect::<Vec<_>>().join(", "))
}

fn p99_ms(samples: &[&Sample]) -> f64 {
    let mut micros: Vec<u64> = samples.iter().map(|sample| sample.micros).collect();
    micros.sort_unstable();
    let at = (micros.len() * 99).div_ceil(100).saturating_sub(1);
    #[expect(clippy::cast_precision_loss, reason = "a latency is far below 2^52 microseconds")]
    let millis = micros.get(at).map_or(0.0, |micros| *micros as f64 / 1_000.0);
    millis
}
