//! Any other program as the other side of a run: it is run to its end each time, and prints its figure.

use super::Contender;
use crate::machine;
use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::process::Command;

/// The name of its figure in the report.
pub const FIGURE: &str = "figure";

/// A command and where its figure stands in what it prints.
pub struct Other {
    command: String,
    label: String,
}

impl Other {
    /// A command for the shell, and what stands before the number that is its figure.
    pub fn new(command: &str, label: &str) -> Self {
        Self { command: command.to_owned(), label: label.to_owned() }
    }
}

impl Contender for Other {
    fn name(&self) -> String {
        self.command.clone()
    }

    fn prepare(&mut self) -> Result<()> {
        Ok(())
    }

    fn measure(&mut self) -> Result<Value> {
        let said = machine::output(Command::new("sh").args(["-c", &self.command]))?;
        let figure = number_behind(&said, &self.label)
            .with_context(|| format!("no number stands behind {:?} in:\n{said}", self.label))?;
        Ok(json!({ FIGURE: figure }))
    }
}

/// The first number behind the last place of `label`. Programs write `load accepted = 51,234 tx/s` or `"tps": 51234.5`.
fn number_behind(said: &str, label: &str) -> Option<f64> {
    let (_, rest) = said.rsplit_once(label)?;
    let rest = rest.trim_start_matches([' ', '\t', '"', ':', '=']);
    let end = rest.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, '.' | ','));
    rest[..end.unwrap_or(rest.len())].trim_end_matches(['.', ',']).replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Comparison, alternate};

    #[test]
    fn figures_are_read_as_programs_write_them() {
        assert_eq!(number_behind("load accepted = 51,234 tx/s\n", "load accepted"), Some(51_234.0));
        assert_eq!(number_behind("tps = 1\ntps = 12.5 (without)\n", "tps ="), Some(12.5));
        assert_eq!(number_behind(r#"{"a":1,"per_second":700,"b":2}"#, "per_second"), Some(700.0));
        assert_eq!(number_behind("nothing", "tps"), None);
        assert_eq!(number_behind("tps = fast", "tps"), None);
    }

    #[test]
    fn another_program_takes_turns_and_gives_a_ratio() {
        // Prints a higher figure each time it is run, as two sides that share a file.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("runs");
        let command = |each: &str| {
            let file = file.display();
            format!("echo {each} >> {file}; echo \"done: $(wc -l < {file})0 per second\"")
        };
        let (mut ours, mut theirs) =
            (Other::new(&command("ours"), "done:"), Other::new(&command("theirs"), "done:"));
        let comparison = Comparison { benchmark: "x", ours: FIGURE, anchor: FIGURE };
        let report = alternate(&comparison, 3, &mut ours, Some(&mut theirs)).unwrap();
        // 10, 30, 50 against 20, 40, 60.
        assert_eq!((&report[FIGURE], &report["anchor"][FIGURE]), (&json!(30.0), &json!(40.0)));
        assert_eq!(report["ratio"], json!(0.75));
        let order = std::fs::read_to_string(&file).unwrap();
        assert_eq!(order.lines().collect::<Vec<_>>(), ["ours", "theirs"].repeat(3));
    }

    #[test]
    fn a_program_that_fails_or_tells_nothing_ends_the_run() {
        assert!(Other::new("exit 3", "tps").measure().is_err());
        let error = Other::new("echo hello", "tps").measure().unwrap_err();
        assert!(error.to_string().contains("hello"), "{error}");
    }
}
