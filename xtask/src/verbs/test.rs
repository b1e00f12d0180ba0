//! `cargo xtask test`: the README's test command, and what the build server runs.

use crate::machine;
use crate::oracles::{self, Oracles};
use crate::postgres::{Cluster, Purpose};
use crate::steps::Steps;
use crate::verbs::{check, drill_runbook, generate};
use anyhow::Result;
use std::path::PathBuf;
use std::process::Command;

/// What the tests are told.
#[derive(clap::Args)]
pub struct Args {
    /// Leave out format, lints and house rules
    #[arg(long)]
    only_tests: bool,
    /// Test one package only, with all oracles and PostgreSQL at hand
    #[arg(long, short, value_name = "NAME")]
    package: Option<String>,
    /// Use `cargo test` even where `cargo nextest` is installed
    #[arg(long)]
    no_nextest: bool,
    /// Passed on to the test runner, after `--`
    #[arg(last = true)]
    rest: Vec<String>,
}

/// Where the tests find what they need.
struct Surroundings {
    oracles: PathBuf,
    postgres: Option<String>,
    q: PathBuf,
}

/// Runs everything and prints the table.
pub fn run(args: &Args) -> Result<()> {
    println!("building into {} (set CARGO_TARGET_DIR to change it)", machine::target()?.display());
    let mut steps = Steps::default();
    if !args.only_tests && args.package.is_none() {
        check::add_to(&mut steps)?;
        steps.run("generated files", generate::compare)?;
    }
    let mut prepared = None;
    steps.run("oracles", || {
        let oracles = oracles::prepare()?;
        let note = format!("{} in {}", note_of(&oracles), oracles.folder.display());
        prepared = Some(oracles);
        Ok(note)
    })?;
    for missing in prepared.iter().flat_map(|oracles| &oracles.missing) {
        steps.skip("oracle", missing.clone());
    }
    // Lives until the end of this function: dropping it ends the server and removes its folder.
    let mut cluster = None;
    steps.run("postgresql", || {
        let started = Cluster::start(Purpose::Tests)?;
        let note = format!("{}, throw-away, fsync off", started.version());
        cluster = Some(started);
        Ok(note)
    })?;
    let mut q = PathBuf::new();
    steps.run("build of q", || {
        q = machine::build_q(false)?;
        Ok(String::new())
    })?;
    let oracles = prepared.map(|oracles| oracles.folder).unwrap_or_default();
    let surroundings = Surroundings { oracles, postgres: cluster.as_ref().map(Cluster::url), q };
    run_tests(&mut steps, args, &surroundings)?;
    drop(cluster);
    steps.finish()
}

fn run_tests(steps: &mut Steps, args: &Args, surroundings: &Surroundings) -> Result<()> {
    if let Some(package) = &args.package {
        return steps.run("tests", || surroundings.test(&["--package", package], args));
    }
    steps.run("tests", || surroundings.test(&["--workspace", "--exclude", "q-tests"], args))?;
    steps.run("examples in docs", || {
        let mut command = machine::cargo(&["test", "--workspace", "--doc", "--quiet"])?;
        machine::run(surroundings.tell(&mut command))?;
        Ok(String::new())
    })?;
    steps.run("journeys", || surroundings.journeys(Journeys::AllBut, args))?;
    steps.run("drill runbook", || drill_runbook::run().map(|()| String::new()))?;
    steps.run("constant sum", || surroundings.journeys(Journeys::Only, args))
}

/// The journey that keeps the machine busy for minutes: on both engines side by side, and beside nothing else, because
/// others measure time.
const LONGEST: &str = "constant_sum::";

/// Which journeys, by [`LONGEST`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Journeys {
    AllBut,
    Only,
}

impl Surroundings {
    fn tell<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        if self.oracles.is_dir() {
            command.env("Q_ORACLES", &self.oracles);
        }
        if let Some(url) = &self.postgres {
            command.env("Q_TEST_POSTGRES", url);
        }
        if machine::is_ci() {
            command.env("Q_REQUIRE_ORACLES", "1");
        }
        // hledger and ledger read their input in the locale's encoding.
        command.env("Q_BIN", &self.q).env("LC_ALL", "C.UTF-8")
    }

    fn journeys(&self, which: Journeys, args: &Args) -> Result<String> {
        let package = ["--package", "q-tests"];
        if has_nextest(args)? {
            let not = if which == Journeys::AllBut { "not " } else { "" };
            let filter = format!("{not}test(/^{LONGEST}/)");
            return self.test(&[package[0], package[1], "-E", &filter], args);
        }
        let mut command = machine::cargo(&["test", "--no-fail-fast", package[0], package[1], "--"])?;
        let selected: &[&str] =
            if which == Journeys::AllBut { &["--skip", LONGEST] } else { &[LONGEST, "--nocapture"] };
        machine::run(self.tell(command.args(selected).args(&args.rest)))?;
        Ok(WITHOUT_NEXTEST.to_owned())
    }

    fn test(&self, selection: &[&str], args: &Args) -> Result<String> {
        let has_nextest = has_nextest(args)?;
        let mut command = if has_nextest {
            machine::cargo(&["nextest", "run", "--no-fail-fast", "--no-tests", "pass"])?
        } else {
            machine::cargo(&["test", "--no-fail-fast"])?
        };
        command.args(selection);
        if !has_nextest && selection.contains(&"--workspace") {
            // Examples in documentation are a step of their own, because nextest cannot run them.
            command.args(["--lib", "--bins", "--tests"]);
        }
        command.args(&args.rest);
        machine::run(self.tell(&mut command))?;
        Ok(if has_nextest { "cargo nextest" } else { WITHOUT_NEXTEST }.to_owned())
    }
}

const WITHOUT_NEXTEST: &str = "cargo test (cargo nextest would be faster)";

fn has_nextest(args: &Args) -> Result<bool> {
    Ok(!args.no_nextest && machine::quietly(&mut machine::cargo(&["nextest", "--version"])?).is_ok())
}

fn note_of(oracles: &Oracles) -> String {
    if oracles.missing.is_empty() { "all".to_owned() } else { format!("all but {}", oracles.missing.len()) }
}
