//! A running `q`, started, asked, killed and started again.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use q_testkit::oracle;
use serde_json::Value;
use tempfile::TempDir;

const LISTENERS: [&str; 6] = ["Q_FRONT_DOOR", "SQUID", "QONSENT", "QLOCK", "QERBEROS", "QWALLET"];

/// An instance of its own, gone with its folder when dropped.
pub struct Instance {
    program: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
    process: Option<Child>,
    /// What it said until it served.
    pub greeting: String,
}

/// How a command ended.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code; `None` when it was killed.
    pub code: Option<i32>,
    /// Its standard output.
    pub said: String,
    /// Its standard error.
    pub complained: String,
}

impl Outcome {
    /// The JSON it printed.
    ///
    /// # Panics
    /// When it failed or printed something else.
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{}", self.complained);
        serde_json::from_str(&self.said).unwrap_or_else(|error| panic!("{error}: {}", self.said))
    }
}

impl Instance {
    /// A demonstration instance that serves, or `None` after saying that the program is not built.
    pub fn demo(settings: &[(&str, &str)]) -> Option<Self> {
        let mut instance = Self::unstarted(settings)?;
        instance.start(&["up", "--demo"]);
        Some(instance)
    }

    /// A folder in which nothing was started yet.
    pub fn unstarted(settings: &[(&str, &str)]) -> Option<Self> {
        let Some(program) = std::env::var_os("Q_BIN").map(PathBuf::from) else {
            oracle::skip("the program q, named by Q_BIN");
            return None;
        };
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = tempfile::tempdir().expect("a temporary folder");
        Some(Self { program, folder, settings, process: None, greeting: String::new() })
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("q-data")
    }

    /// A place for files of the test.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Child::id).expect("it runs")
    }

    /// Starts it with `verb` and returns when it serves.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn start(&mut self, verb: &[&str]) {
        let mut process = self
            .command(verb)
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the program starts");
        let lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        self.greeting.clear();
        self.process = Some(process);
        for line in lines {
            let line = line.expect("text");
            self.greeting.push_str(&line);
            self.greeting.push('\n');
            if line.starts_with("serving until stopped") {
                return;
            }
        }
        panic!("it ended before it served:\n{}", self.greeting);
    }

    /// Runs another verb on this folder to its end.
    pub fn q(&self, arguments: &[&str]) -> Outcome {
        let output = self.command(arguments).output().expect("the program starts");
        Outcome {
            code: output.status.code(),
            said: String::from_utf8_lossy(&output.stdout).into_owned(),
            complained: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Starts another verb on this folder without waiting for it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--data").arg(self.data()).args(arguments);
        command.envs(LISTENERS.map(|name| (format!("{name}_LISTEN"), "127.0.0.1:0")));
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }

    /// The base URL of `module`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn url(&self, module: &str) -> String {
        let note = std::fs::read(self.data().join("running.json")).expect("a running instance leaves a note");
        let note: Value = serde_json::from_slice(&note).expect("JSON");
        note["modules"][module].as_str().expect("a module of the instance").to_owned()
    }

    /// Ends it at once, as a power cut would: SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.kill().expect("it can be killed");
        process.wait().expect("it ends");
    }

    /// Stops it as an operator would.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(&mut self) {
        let outcome = self.q(&["stop"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.complained);
        let status = self.process.take().expect("it runs").wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
