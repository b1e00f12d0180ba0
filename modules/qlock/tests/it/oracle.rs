//! Runs programs by other people on our output and reads theirs.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A foreign library reached through a script of ours in `tests/oracles`.
pub struct Oracle {
    interpreter: PathBuf,
    script: PathBuf,
    node_modules: PathBuf,
}

impl Oracle {
    /// The script run by the prepared Python, or `None` (with a word about it) where nothing is prepared.
    pub fn python(script: &str) -> Option<Self> {
        Self::find(script, "venv/bin/python")
    }

    /// The script run by Node with the prepared packages.
    pub fn node(script: &str) -> Option<Self> {
        let prepared = Self::find(script, "node/node_modules")?;
        Some(Self { interpreter: "node".into(), ..prepared })
    }

    #[expect(clippy::print_stderr, reason = "a skipped oracle is named in the test's output")]
    fn find(script: &str, part: &str) -> Option<Self> {
        let root = std::env::var_os("Q_ORACLES").map(PathBuf::from);
        let Some(root) = root.filter(|root| root.join(part).exists()) else {
            let is_required = std::env::var_os("Q_REQUIRE_ORACLES").is_some_and(|value| value == "1");
            assert!(!is_required, "the oracle {script} is required and not prepared");
            eprintln!("skipped: {script} (run cargo xtask test)");
            return None;
        };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracles").join(script);
        Some(Self { interpreter: root.join(part), script, node_modules: root.join("node/node_modules") })
    }

    /// What the script answers to `input`.
    ///
    /// # Panics
    /// When the script fails: its complaint is the message.
    pub fn ask(&self, verb: &str, input: &[u8]) -> Vec<u8> {
        let mut child = Command::new(&self.interpreter)
            .arg(&self.script)
            .arg(verb)
            .env("Q_NODE_MODULES", &self.node_modules)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let input = input.to_vec();
        // Written from a second thread: a script that answers while it reads would block us both.
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().expect("the script ends");
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
        writer.join().expect("the writer ends").expect("the script reads its input");
        output.stdout
    }
}
