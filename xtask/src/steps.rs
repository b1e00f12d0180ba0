//! A run made of named steps, and the table at its end.
//!
//! **Invariant:** a step is reported as passed, failed or skipped with its reason; nothing is left out silently.

use crate::machine;
use anyhow::{Result, bail};
use std::time::Instant;

enum Outcome {
    Passed(String),
    Failed(String),
    Skipped(String),
}

struct Step {
    name: &'static str,
    outcome: Outcome,
    seconds: f64,
}

/// The steps run so far.
#[derive(Default)]
pub struct Steps(Vec<Step>);

impl Steps {
    /// Runs one step. A failure is noted and the next steps still run, unless the user interrupted us.
    pub fn run(&mut self, name: &'static str, body: impl FnOnce() -> Result<String>) -> Result<()> {
        machine::go_on()?;
        println!("\n== {name}");
        let started = Instant::now();
        let outcome = match body() {
            Ok(note) => Outcome::Passed(note),
            Err(error) => {
                eprintln!("{name}: {error:#}");
                Outcome::Failed(format!("{error:#}").lines().next().unwrap_or_default().to_owned())
            }
        };
        self.0.push(Step { name, outcome, seconds: started.elapsed().as_secs_f64() });
        machine::go_on()
    }

    /// Notes that a step is left out, and why. On a build server that is a failure.
    pub fn skip(&mut self, name: &'static str, reason: String) {
        let outcome = if machine::is_ci() { Outcome::Failed(reason) } else { Outcome::Skipped(reason) };
        self.0.push(Step { name, outcome, seconds: 0.0 });
    }

    /// Prints the table and refuses if a step failed.
    pub fn finish(self) -> Result<()> {
        println!("\n{:<22} {:<8} {:>8}  notes", "step", "outcome", "seconds");
        for step in &self.0 {
            let (word, note) = match &step.outcome {
                Outcome::Passed(note) => ("passed", note),
                Outcome::Failed(note) => ("FAILED", note),
                Outcome::Skipped(note) => ("skipped", note),
            };
            println!("{:<22} {word:<8} {:>8.1}  {note}", step.name, step.seconds);
        }
        let total: f64 = self.0.iter().map(|step| step.seconds).sum();
        println!("{:<22} {:<8} {total:>8.1}", "total", "");
        let failed = self.0.iter().filter(|step| matches!(step.outcome, Outcome::Failed(_))).count();
        if failed > 0 {
            bail!("{failed} of {} steps failed", self.0.len());
        }
        Ok(())
    }
}
