//! A running `q`, started, asked, killed and started again.

use std::{
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use q_testkit::oracle;
use serde_json::Value;
use tempfile::TempDir;

const LISTENERS: [&str; 7] = ["Q_OPS", "Q_FRONT_DOOR", "SQUID", "QONSENT", "QLOCK", "QERBEROS", "QWALLET"];

/// An instance of its own, gone with its folder when dropped.
pub struct Instance {
    program: PathBuf,
    folder: TempDir,
    settings: Vec<(String, String)>,
    process: Option<Process>,
    /// What it said until it served.
    pub greeting: String,
}

/// One process of an instance, killed when dropped.
pub struct Process {
    child: Child,
    /// What it said until it served.
    pub greeting: String,
}

impl Process {
    /// Starts `command` and returns when it serves.
    fn start(mut command: Command) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut process = Self { child, greeting: String::new() };
        for line in lines {
            let line = line.expect("text");
            process.greeting.push_str(&line);
            process.greeting.push('\n');
            if line.starts_with("serving until stopped") {
                return process;
            }
        }
        panic!("it ended before it served:\n{}", process.greeting);
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM, as a service manager does.
    ///
    /// # Panics
    /// When it cannot be signalled.
    pub fn ask_to_stop(&self) {
        let asked = Command::new("kill").arg("-TERM").arg(self.pid().to_string()).status();
        assert!(asked.is_ok_and(|status| status.success()), "process {} cannot be signalled", self.pid());
    }

    /// Ends it at once, as a power cut would: SIGKILL.
    ///
    /// # Panics
    /// When it cannot be ended.
    pub fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it ends");
    }

    /// Waits until it has ended by itself.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn ended(mut self) {
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // After a hand-over the process that serves is a child of this one, and would outlive it.
        let heirs = children_of(self.pid());
        let _ = self.child.kill();
        for heir in heirs {
            let _ = Command::new("kill").arg("-KILL").arg(heir.to_string()).status();
        }
        let _ = self.child.wait();
    }
}

/// The processes that live and have this parent.
pub fn children_of(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().filter_map(Result::ok);
    let child = |entry: std::fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        // proc(5): pid (name) state ppid …; the name may hold anything, so it ends at the last parenthesis.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let lives = fields.next()? != "Z";
        (lives && fields.next()? == parent.to_string()).then_some(pid)
    };
    entries.filter_map(child).collect()
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
        Self::unstarted_in(&std::env::temp_dir(), settings)
    }

    /// A folder below `place` in which nothing was started yet.
    pub fn unstarted_in(place: &Path, settings: &[(&str, &str)]) -> Option<Self> {
        let Some(program) = std::env::var_os("Q_BIN").map(PathBuf::from) else {
            oracle::skip("the program q, named by Q_BIN");
            return None;
        };
        let settings =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let folder = tempfile::tempdir_in(place).expect("a temporary folder");
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
        self.process.as_ref().map(|process| process.child.id()).expect("it runs")
    }

    /// Starts it with `verb` and returns when it serves.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn start(&mut self, verb: &[&str]) {
        let process = self.beside(verb);
        self.greeting.clone_from(&process.greeting);
        self.process = Some(process);
    }

    /// Starts a further process on this folder with `verb` and returns when it serves.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn beside(&self, verb: &[&str]) -> Process {
        self.beside_with(verb, &[])
    }

    /// Like [`Instance::beside`], with further settings.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn beside_with(&self, verb: &[&str], settings: &[(&str, &str)]) -> Process {
        self.beside_of(&self.program, verb, settings)
    }

    /// Like [`Instance::beside_with`], running another program.
    ///
    /// # Panics
    /// When it ends before it serves.
    pub fn beside_of(&self, program: &Path, verb: &[&str], settings: &[(&str, &str)]) -> Process {
        let mut command = self.command_of(program, verb);
        command.envs(settings.iter().copied());
        Process::start(command)
    }

    /// The program it runs.
    pub fn program(&self) -> &Path {
        &self.program
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
        self.command_of(&self.program, arguments)
    }

    fn command_of(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
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
        let notes = std::fs::read_dir(self.data().join("running")).expect("a running instance leaves notes");
        let url = notes.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok()).find_map(|note| {
            let note: Value = serde_json::from_slice(&note).ok()?;
            Some(note["modules"][module].as_str()?.to_owned())
        });
        url.expect("a module of the instance")
    }

    /// What it calls itself: issuer and audience of its tokens.
    ///
    /// # Panics
    /// When it does not run.
    pub fn origin(&self) -> String {
        let notes = std::fs::read_dir(self.data().join("running")).expect("a running instance leaves notes");
        let origin = notes.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok()).find_map(|note| {
            let note: Value = serde_json::from_slice(&note).ok()?;
            Some(note["origin"].as_str()?.to_owned())
        });
        origin.expect("a note names the origin")
    }

    /// The base URL at which the process `pid` answers for `module`, whatever way others go.
    ///
    /// # Panics
    /// When it does not.
    pub fn url_in(&self, pid: u32, module: &str) -> String {
        let note = std::fs::read(self.data().join(format!("running/{pid}.json"))).expect("its note");
        let note: Value = serde_json::from_slice(&note).expect("a note");
        note["modules"][module].as_str().expect("a module of the process").to_owned()
    }

    /// Ends it at once, as a power cut would: SIGKILL.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Stops it as an operator would.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(&mut self) {
        let outcome = self.q(&["stop"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.complained);
        self.process.take().expect("it runs").ended();
    }
}
