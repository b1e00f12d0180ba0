//! A measuring program of ours, kept running between rounds and told by lines when to prepare and when to measure.

use super::Contender;
use crate::machine::{self, Running};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use tempfile::TempDir;

/// The child: `prepare` is answered by `ready`, `measure` by one line of JSON.
pub struct Child {
    name: String,
    input: ChildStdin,
    answers: BufReader<ChildStdout>,
    // After its input, so that that is closed before it is stopped.
    _running: Running,
    // Last: what it keeps goes with it, also where it is stopped before it tidies up by itself.
    _folder: TempDir,
}

impl Child {
    /// Starts it.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        command.env("TMPDIR", folder.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start(command)?;
        let (input, output) = running.pipes().context("the child has no pipes")?;
        let answers = BufReader::new(output);
        Ok(Self { name: name.to_owned(), input, answers, _running: running, _folder: folder })
    }

    /// Says one line and reads the line it is answered with.
    pub fn ask(&mut self, question: &str) -> Result<String> {
        machine::go_on()?;
        writeln!(self.input, "{question}").with_context(|| format!("telling {} to {question}", self.name))?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        machine::go_on()?;
        if line.is_empty() {
            bail!("{} ended instead of answering `{question}`", self.name);
        }
        Ok(line)
    }
}

impl Contender for Child {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn prepare(&mut self) -> Result<()> {
        let answer = self.ask("prepare")?;
        if answer.trim() != "ready" {
            bail!("{} is not ready: {}", self.name, answer.trim());
        }
        Ok(())
    }

    fn measure(&mut self) -> Result<Value> {
        let answer = self.ask("measure")?;
        serde_json::from_str(&answer).with_context(|| format!("{} answered {}", self.name, answer.trim()))
    }
}
