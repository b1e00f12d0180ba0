//! `cargo xtask drill faults`: the fault drills of the journeys, one line each.
//!
//! The drills are ordinary tests of `q-tests`, so `cargo xtask test` runs them too; here each runs alone, and what it
//! says held is shown.

use crate::machine;
use crate::oracles;
use crate::postgres::{Cluster, Purpose};
use crate::verbs::{drill_rolling, drill_runbook};
use anyhow::{Context as _, Result, bail};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Which drills.
#[derive(clap::Subcommand)]
pub enum Args {
    /// Kill, full disk, cut store and bus, clock, damage, slow neighbours, partition
    Faults(Faults),
    /// Rolling restarts and updates under load, of one instance and of three replicas: what clients notice
    Rolling(drill_rolling::Rolling),
    /// The runbooks of qwallet and of the ecosystem, from top to bottom
    Runbook,
}

/// Which of the fault drills.
#[derive(clap::Args)]
pub struct Faults {
    /// Only those whose name contains this
    filter: Option<String>,
}

/// Names of tests that are drills: files of their own, killing, lost stores, and replicas killed or cut off.
const DRILLS: [&str; 6] =
    ["drill_", "kill::", "on_postgres::", "lost_and_old_stores::", "replicas::", "rolling_replicas::"];
/// What a drill that passed says begins with this (`q_tests::passed`).
const SAID: &str = "drill: ";

/// Runs them.
pub fn run(args: &Args) -> Result<()> {
    match args {
        Args::Faults(faults) => run_faults(faults),
        Args::Rolling(rolling) => drill_rolling::run(rolling),
        Args::Runbook => drill_runbook::run(),
    }
}

fn run_faults(Faults { filter }: &Faults) -> Result<()> {
    let cluster = Cluster::start(Purpose::Tests)?;
    let journeys = Journeys::prepare(&machine::build_q(false)?, &cluster)?;
    let names = machine::output(Command::new(&journeys.program).args(["--list", "--format", "terse"]))?;
    let names: Vec<&str> = names
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .filter(|name| DRILLS.iter().any(|drill| name.starts_with(drill)))
        .filter(|name| filter.as_ref().is_none_or(|filter| name.contains(filter.as_str())))
        .collect();
    println!("\n{:<8} {:>8}  drill", "outcome", "seconds");
    let mut failed = 0;
    for name in &names {
        machine::go_on()?;
        failed += usize::from(!journeys.run(name)?.show());
    }
    drop(cluster);
    if failed > 0 {
        bail!("{failed} of {} drills failed", names.len());
    }
    Ok(())
}

/// The program of the journeys, and where they find what they need.
pub(super) struct Journeys {
    program: PathBuf,
    surroundings: Vec<(&'static str, OsString)>,
}

/// How one of them ended.
pub(super) struct Ended {
    /// `held`, `skipped` or `FAILED`.
    pub outcome: &'static str,
    /// What it says that held, or why it was skipped.
    pub note: String,
    /// What it printed.
    pub said: String,
    seconds: f64,
}

impl Journeys {
    /// Builds them, for this `q` and the servers of `cluster`.
    pub fn prepare(q: &Path, cluster: &Cluster) -> Result<Self> {
        let oracles = oracles::prepare()?;
        let mut surroundings = vec![
            ("Q_BIN", q.into()),
            ("Q_ORACLES", oracles.folder.into()),
            ("Q_TEST_POSTGRES", cluster.url().into()),
        ];
        if machine::is_ci() {
            surroundings.push(("Q_REQUIRE_ORACLES", "1".into()));
        }
        Ok(Self { program: test_program()?, surroundings })
    }

    /// Tells them this as well.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: String) -> Self {
        self.surroundings.push((name, value.into()));
        self
    }

    /// Runs the one called `name`.
    pub fn run(&self, name: &str) -> Result<Ended> {
        let started = Instant::now();
        let mut command = Command::new(&self.program);
        command.envs(self.surroundings.iter().map(|(key, value)| (key, value)));
        command.args(["--exact", name, "--nocapture"]).stdin(Stdio::null());
        let output = command.output().with_context(|| format!("running {name}"))?;
        let seconds = started.elapsed().as_secs_f64();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let complained = String::from_utf8_lossy(&output.stderr).into_owned();
        // The name of the test may stand before what it says, on the same line.
        let held: Vec<_> = said.lines().filter_map(|line| Some(line.split_once(SAID)?.1)).collect();
        let skipped = complained.lines().find_map(|line| line.strip_prefix("skipped: "));
        let (outcome, note) = match (output.status.success(), skipped, held.is_empty()) {
            (false, ..) => ("FAILED", name.to_owned()),
            (true, Some(why), true) => ("skipped", format!("{name}: {why}")),
            (true, _, true) => ("held", name.to_owned()),
            (true, _, false) => ("held", held.join(" | ")),
        };
        Ok(Ended { outcome, note, said: said + &complained, seconds })
    }
}

impl Ended {
    /// Prints its line, and everything it said when it failed; whether it did not fail.
    fn show(&self) -> bool {
        println!("{:<8} {:>8.1}  {}", self.outcome, self.seconds, self.note);
        let has_failed = self.outcome == "FAILED";
        if has_failed {
            eprintln!("{}", self.said);
        }
        !has_failed
    }
}

/// Builds the journeys and returns their program.
fn test_program() -> Result<PathBuf> {
    let mut build = machine::cargo(&["test", "--package", "q-tests", "--test", "it", "--no-run"])?;
    let built = machine::output(build.arg("--message-format=json").stderr(Stdio::inherit()))?;
    let program = built.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_ours = message["target"]["name"] == "it" && message["profile"]["test"] == true;
        Some(PathBuf::from(message["executable"].as_str().filter(|_| is_ours)?))
    });
    program.context("cargo did not say where the journeys were built")
}
