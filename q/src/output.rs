//! What `q` says: text for people on standard output, JSON where asked, errors with the next step on standard error.

use std::{
    fmt::Display,
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

use q_contract::CallError;
use serde::Serialize;

use crate::advice::in_verbs;

/// Exit codes, as `q --help` documents them.
pub mod exit {
    /// The command could not do what it was asked.
    pub const FAILED: u8 = 1;
    /// The arguments are not what the command takes.
    pub const USAGE: u8 = 2;
    /// `q verify` found damage, or `q doctor` a problem.
    pub const FINDINGS: u8 = 3;
    /// A port is taken, a setting is wrong, or the data folder cannot be used.
    pub const CANNOT_START: u8 = 4;
    /// The instance refused the request.
    pub const REFUSED: u8 = 5;
    /// The instance did not answer.
    pub const UNREACHABLE: u8 = 6;
    /// Done, but not all of it: what is missing is listed.
    pub const IN_PART: u8 = 7;
}

/// An error that chose its exit code.
#[derive(Debug)]
pub struct WithCode {
    /// The exit code.
    pub code: u8,
    /// What went wrong and what to do next.
    pub message: String,
}

impl std::fmt::Display for WithCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for WithCode {}

/// An error that ends the program with `code`.
pub fn with_code(code: u8, message: impl Display) -> anyhow::Error {
    WithCode { code, message: message.to_string() }.into()
}

/// An error of the command line itself.
pub fn usage(message: impl Display) -> anyhow::Error {
    with_code(exit::USAGE, message)
}

/// Prints the error and its causes, and picks the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    progress(format!("q: {}", in_verbs(&error.to_string())));
    for cause in error.chain().skip(1) {
        progress(format!("   because {}", in_verbs(&cause.to_string())));
    }
    let code = if let Some(WithCode { code, .. }) = error.downcast_ref() {
        *code
    } else {
        match error.downcast_ref::<CallError>() {
            Some(CallError::Problem(_)) => exit::REFUSED,
            Some(CallError::Unreachable(_)) => {
                progress("   is the instance running? `q up` starts it");
                exit::UNREACHABLE
            }
            _ => exit::FAILED,
        }
    };
    ExitCode::from(code)
}

/// A line for people.
pub fn line(text: impl Display) {
    written(writeln!(io::stdout().lock(), "{text}"));
}

/// A document, byte for byte.
pub fn bytes(document: &[u8]) {
    let mut out = io::stdout().lock();
    written(out.write_all(document).and_then(|()| out.flush()));
}

fn written(outcome: io::Result<()>) {
    match outcome {
        Ok(()) => {}
        // Whoever read has enough, as in `q … | head -1`: no failure of this program.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(error) => {
            progress(format!("q: standard output cannot be written: {error}"));
            std::process::exit(i32::from(exit::FAILED));
        }
    }
}

/// A line on standard output from a process that goes on whether or not anybody reads it.
pub fn announce(text: impl Display) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// A line about progress, kept off standard output so that pipes stay clean.
pub fn progress(text: impl Display) {
    // Nobody left to tell that nobody listens.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The value as JSON when asked for, otherwise what `text` prints.
pub fn show<T: Serialize>(as_json: bool, value: &T, text: impl FnOnce(&T)) {
    if as_json {
        line(serde_json::to_string_pretty(value).unwrap_or_default());
    } else {
        text(value);
    }
}
