//! A real mail server and a real webhook receiver, in Python.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use serde_json::Value;

/// The receivers; they end with the test.
pub struct Receivers {
    pub smtp: u16,
    pub http: u16,
    child: Child,
    stdin: ChildStdin,
    lines: BufReader<ChildStdout>,
}

impl Receivers {
    /// Starts the script in `folder`, the crate of q-notify.
    pub fn start(folder: &str, secret: &str, arguments: &[&str]) -> Option<Self> {
        let mut command = q_oracle::script("aiosmtpd and standardwebhooks", folder, "receivers.py")?;
        command.arg(secret).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdin = child.stdin.take().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut receivers = Self { smtp: 0, http: 0, child, stdin, lines };
        let ports = receivers.next();
        let port = |name: &str| u16::try_from(ports[name].as_u64().unwrap()).unwrap();
        (receivers.smtp, receivers.http) = (port("smtp"), port("http"));
        Some(receivers)
    }

    /// Verifies webhooks with another secret from now on.
    #[allow(dead_code, reason = "the desk's tests use it, those of this crate do not")]
    pub fn learn(&mut self, secret: &str) {
        writeln!(self.stdin, "{secret}").unwrap();
        assert_eq!(self.next()["secret"], "learned");
    }

    /// What came next; waits for it.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the receivers ended: {line:?}"))
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
