//! What `q` says: text for people on standard output, JSON where asked, errors with the next step on standard error.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the one place of the program that talks to the terminal"
)]

use std::process::ExitCode;

use q_contract::CallError;
use serde::Serialize;

/// Exit codes, as `q --help` documents them.
pub mod exit {
    /// The command could not do what it was asked.
    pub const FAILED: u8 = 1;
    /// `q verify` found damage, or `q doctor` a problem.
    pub const FINDINGS: u8 = 3;
    /// A port is taken, a setting is wrong, or the data folder cannot be used.
    pub const CANNOT_START: u8 = 4;
    /// The instance refused the request.
    pub const REFUSED: u8 = 5;
    /// The instance did not answer.
    pub const UNREACHABLE: u8 = 6;
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
pub fn with_code(code: u8, message: impl std::fmt::Display) -> anyhow::Error {
    WithCode { code, message: message.to_string() }.into()
}

/// Prints the error and its causes, and picks the exit code.
pub fn fail(error: &anyhow::Error) -> ExitCode {
    eprintln!("q: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("   because {cause}");
    }
    let code = if let Some(WithCode { code, .. }) = error.downcast_ref() {
        *code
    } else {
        match error.downcast_ref::<CallError>() {
            Some(CallError::Problem(_)) => exit::REFUSED,
            Some(CallError::Unreachable(_)) => {
                eprintln!("   is the instance running? `q up` starts it");
                exit::UNREACHABLE
            }
            _ => exit::FAILED,
        }
    };
    ExitCode::from(code)
}

/// A line for people.
pub fn line(text: impl std::fmt::Display) {
    println!("{text}");
}

/// A line about progress, kept off standard output so that pipes stay clean.
pub fn progress(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// The value as JSON when asked for, otherwise what `text` prints.
pub fn show<T: Serialize>(as_json: bool, value: &T, text: impl FnOnce(&T)) {
    if as_json {
        println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
    } else {
        text(value);
    }
}
