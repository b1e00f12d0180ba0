//! A running instance of `q` on an empty folder, on free ports, gone when dropped.
//!
//! **Invariant:** an instance made here listens on loopback only and leaves nothing behind.

use crate::machine::{self, Running};
use anyhow::{Context as _, Result, bail};
use serde::Deserialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const START_MAX: Duration = Duration::from_mins(1);
const MODULES: [&str; 6] = ["Q_OPS", "SQUID", "QONSENT", "QLOCK", "QERBEROS", "QWALLET"];

/// The instance; dropping it stops the process and removes the folder.
pub struct House {
    q: PathBuf,
    note: Note,
    process: Running,
    folder: TempDir,
}

/// The note a running instance leaves in its data folder.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Note {
    pid: u32,
    origin: String,
    front_door: Option<String>,
}

impl House {
    /// Starts a demonstration instance with these settings on top of free ports.
    pub fn start(q: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        Self::start_in(tempfile::Builder::new().prefix("q-instance-").tempdir()?, q, settings)
    }

    /// Stops it, has `between` work on its data folder, and starts it again.
    pub fn restarted(
        self,
        settings: &[(&str, &str)],
        between: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let Self { q, mut process, folder, .. } = self;
        process.stop();
        between(&folder.path().join("q-data"))?;
        Self::start_in(folder, &q, settings)
    }

    fn start_in(folder: TempDir, q: &Path, settings: &[(&str, &str)]) -> Result<Self> {
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(q);
        command.arg("--data").arg(folder.path().join("q-data")).args(["up", "--demo"]);
        command.env("Q_FRONT_DOOR_LISTEN", "127.0.0.1:0");
        for module in MODULES {
            command.env(format!("{module}_LISTEN"), "127.0.0.1:0");
        }
        command.envs(settings.iter().copied()).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Running::start(&mut command)?;
        let note = wait(&mut process, folder.path())?;
        Ok(Self { q: q.to_owned(), note, process, folder })
    }

    /// Where its front door listens.
    pub fn url(&self) -> Result<&str> {
        self.note.front_door.as_deref().context("the instance has no front door")
    }

    /// The process.
    pub fn pid(&self) -> u32 {
        self.note.pid
    }

    /// What it calls itself.
    pub fn origin(&self) -> &str {
        &self.note.origin
    }

    /// A verb of `q` on this instance.
    pub fn verb(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.q);
        command.arg("--data").arg(self.folder.path().join("q-data")).args(arguments);
        command
    }
}

/// Waits until the instance has written its note and answers.
fn wait(process: &mut Running, folder: &Path) -> Result<Note> {
    let notes = folder.join("q-data/running");
    let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
    let patience_ends_at = Instant::now() + START_MAX;
    while Instant::now() < patience_ends_at {
        if let Some(status) = process.ended()? {
            bail!("q ended at its start: {status}\n{}", log());
        }
        // One process, one note; a draft is not one yet.
        let entries = fs::read_dir(&notes).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        let written = entries.filter(|path| path.extension().is_some_and(|end| end == "json"));
        for text in written.filter_map(|path| fs::read(path).ok()) {
            let note: Note = serde_json::from_slice(&text).context("the note of the instance")?;
            // One that was stopped before it was ready may have left its own.
            if note.pid == process.id() {
                return Ok(note);
            }
        }
        machine::pause(Duration::from_millis(20))?;
    }
    bail!("q did not start within {} s:\n{}", START_MAX.as_secs(), log());
}
