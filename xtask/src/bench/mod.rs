//! Side-by-side runs: ours and its anchor in turn, on the same disk, in the same minutes.
//!
//! **Invariant:** a ratio is only ever formed from two medians of one run; figures of different runs are not compared.

pub mod child;
pub mod collector;
pub mod history;
pub mod memory;
pub mod other;
pub mod pgbench;

use crate::machine;
use anyhow::{Result, ensure};
use serde_json::{Map, Value, json};
use std::fs;
use std::process::Command;

/// One side of a run.
pub trait Contender {
    /// What it is, for the report.
    fn name(&self) -> String;
    /// Anything that must be ready before the clock starts, while the other side rests.
    fn prepare(&mut self) -> Result<()>;
    /// One measurement: a JSON object of figures.
    fn measure(&mut self) -> Result<Value>;
}

/// Which figure of each side makes the ratio.
pub struct Comparison {
    /// The name of the benchmark.
    pub benchmark: &'static str,
    /// The member of our figures.
    pub ours: &'static str,
    /// The member of the anchor's figures.
    pub anchor: &'static str,
}

/// Runs both sides in turn, `rounds` times, and reports medians and their ratio.
pub fn alternate(
    comparison: &Comparison,
    rounds: usize,
    ours: &mut dyn Contender,
    mut anchor: Option<&mut (dyn Contender + 'static)>,
) -> Result<Value> {
    ensure!(rounds > 0, "at least one round");
    let mut our_rounds = Vec::new();
    let mut anchor_rounds = Vec::new();
    for round in 1..=rounds {
        ours.prepare()?;
        our_rounds.push(ours.measure()?);
        eprintln!("round {round}: {} {}", ours.name(), our_rounds[round - 1][comparison.ours]);
        if let Some(anchor) = anchor.as_deref_mut() {
            anchor.prepare()?;
            anchor_rounds.push(anchor.measure()?);
            eprintln!("round {round}: {} {}", anchor.name(), anchor_rounds[round - 1][comparison.anchor]);
        }
    }
    let mut report = medians(&our_rounds);
    report.insert("benchmark".into(), comparison.benchmark.into());
    report.insert("program".into(), ours.name().into());
    report.insert("machine".into(), machine_facts());
    report.insert("rounds".into(), our_rounds.into());
    if let Some(anchor) = anchor {
        let theirs = medians(&anchor_rounds);
        let ratio = number(report.get(comparison.ours)) / number(theirs.get(comparison.anchor));
        report.insert("ratio".into(), json!((ratio * 1_000.0).round() / 1_000.0));
        report
            .insert("ratio_of".into(), format!("{} / anchor.{}", comparison.ours, comparison.anchor).into());
        let mut theirs = theirs;
        theirs.insert("program".into(), anchor.name().into());
        theirs.insert("rounds".into(), anchor_rounds.into());
        report.insert("anchor".into(), theirs.into());
    }
    Ok(report.into())
}

/// The median over the rounds of each number; errors are summed, for one is one too many.
fn medians(rounds: &[Value]) -> Map<String, Value> {
    let mut report = Map::new();
    let Some(first) = rounds.first().and_then(Value::as_object) else { return report };
    for (name, value) in first {
        if !value.is_number() {
            report.insert(name.clone(), value.clone());
            continue;
        }
        let mut values: Vec<f64> = rounds.iter().map(|round| number(round.get(name))).collect();
        let summary = if name == "errors" {
            json!(rounds.iter().filter_map(|round| round[name].as_u64()).sum::<u64>())
        } else if rounds.iter().all(|round| round.get(name) == Some(value)) {
            value.clone()
        } else {
            values.sort_by(f64::total_cmp);
            // Of an even number the lower middle one: a figure that was measured, and not the flattering one.
            json!(values[(values.len() - 1) / 2])
        };
        report.insert(name.clone(), summary);
    }
    report
}

fn number(value: Option<&Value>) -> f64 {
    value.and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// What a reader needs to know to place the figures.
fn machine_facts() -> Value {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let folder = std::env::temp_dir();
    let filesystem =
        machine::output(Command::new("stat").args(["-f", "-c", "%T"]).arg(&folder)).unwrap_or_default();
    json!({
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "cpu": cpu.trim_start_matches([' ', '\t', ':']).trim(),
        "load_at_end": load.split(' ').next().unwrap_or_default(),
        "filesystem": filesystem.trim(),
    })
}

/// Refuses to measure durable writes where nothing is durable.
pub fn refuse_memory_disk() -> Result<()> {
    let folder = std::env::temp_dir();
    let filesystem =
        machine::output(Command::new("stat").args(["-f", "-c", "%T"]).arg(&folder)).unwrap_or_default();
    ensure!(
        !matches!(filesystem.trim(), "tmpfs" | "ramfs"),
        "{} is in memory, so commits there cost nothing: set TMPDIR to a folder on a disk",
        folder.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static str, Vec<f64>);

    impl Contender for Fixed {
        fn name(&self) -> String {
            self.0.to_owned()
        }
        fn prepare(&mut self) -> Result<()> {
            Ok(())
        }
        fn measure(&mut self) -> Result<Value> {
            Ok(json!({ "tps": self.1.remove(0), "errors": 1, "clients": 4 }))
        }
    }

    #[test]
    fn the_ratio_is_of_medians_and_errors_add_up() {
        let comparison = Comparison { benchmark: "x", ours: "tps", anchor: "tps" };
        let (mut ours, mut anchor) =
            (Fixed("ours", vec![30.0, 10.0, 20.0]), Fixed("anchor", vec![10.0, 40.0, 9.0]));
        let report = alternate(&comparison, 3, &mut ours, Some(&mut anchor)).unwrap();
        assert_eq!((&report["tps"], &report["ratio"]), (&json!(20.0), &json!(2.0)));
        assert_eq!((&report["errors"], &report["clients"]), (&json!(3), &json!(4)));
        assert_eq!(report["anchor"]["rounds"].as_array().map(Vec::len), Some(3));
    }
}
