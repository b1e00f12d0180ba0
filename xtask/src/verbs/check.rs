//! `cargo xtask check` and `cargo xtask tidy`: what can be said about the code without running it.

use crate::machine;
use crate::steps::Steps;
use crate::tidy as rules;
use anyhow::{Result, bail};

/// Format, lints, house rules.
pub fn run() -> Result<()> {
    let mut steps = Steps::default();
    add_to(&mut steps)?;
    steps.finish()
}

/// The house rules alone.
pub fn tidy() -> Result<()> {
    report_findings().map(|note| println!("{note}"))
}

/// Adds the steps of `check` to a longer run.
pub fn add_to(steps: &mut Steps) -> Result<()> {
    steps.run("format", || {
        machine::run(&mut machine::cargo(&["fmt", "--all", "--check"])?)?;
        Ok(String::new())
    })?;
    steps.run("house rules", report_findings)?;
    steps.run("lints", || {
        machine::run(&mut machine::cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])?)?;
        Ok(String::new())
    })
}

fn report_findings() -> Result<String> {
    let findings = rules::check(&machine::root())?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} house rules broken", findings.len());
    }
    Ok("no findings".to_owned())
}
