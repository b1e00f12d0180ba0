//! What `q` says: text for people on standard output, JSON where asked, errors with the next step on standard error.

use std::{
    ffi::OsString,
    fmt::Display,
    io::{self, ErrorKind, Write as _},
    process::ExitCode,
};

use q_contract::CallError;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{advice::in_verbs, layout::Layout};

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

/// What was named and is not there: which there are, and the command that lists them.
pub fn unknown(kind: &str, name: &str, known: &[String], see: &str) -> anyhow::Error {
    const SHOWN_MAX: usize = 12;
    let listed = known.iter().take(SHOWN_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let known = match known.len() {
        0 => "none is known".to_owned(),
        1..=SHOWN_MAX => format!("known are {listed}"),
        many => format!("known are {listed} and {} more", many - SHOWN_MAX),
    };
    usage(format!("no {kind} named {name}; {known}, see {see}"))
}

/// Whether the arguments ask for JSON, which also holds for a refusal; asked before they are understood.
pub fn is_json_asked(arguments: impl Iterator<Item = OsString>) -> bool {
    arguments.skip(1).take_while(|argument| argument != "--").any(|argument| argument == "--json")
}

/// Prints the error and its causes, as one line of JSON where that was asked for, and picks the exit code.
pub fn fail(error: &anyhow::Error, as_json: bool, keyring: Option<&Layout>) -> ExitCode {
    let code = exit_code(error);
    if as_json {
        progress(told(error, code));
        return ExitCode::from(code);
    }
    let in_words = |text: &dyn Display| {
        let told = in_verbs(&text.to_string());
        keyring.map_or_else(|| told.clone(), |keyring| keyring.naming(&told))
    };
    progress(format!("q: {}", in_words(error)));
    for cause in error.chain().skip(1) {
        progress(format!("   because {}", in_words(&cause)));
    }
    if is_unreachable(error) {
        progress(format!("   {TO_START}"));
    }
    ExitCode::from(code)
}

/// Says that the arguments are not understood, or what was asked about them.
pub fn fail_arguments(error: &clap::Error, as_json: bool) -> ExitCode {
    if !as_json || !error.use_stderr() {
        error.exit();
    }
    let text = error.render().to_string();
    let (detail, hint) = if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        ("the verb is not whole", "the same with --help instead of --json says what may follow")
    } else {
        (text.split("\n\nUsage:").next().unwrap_or_default(), "the same with --help says what it takes")
    };
    let detail = detail.split("\n\nFor more information").next().unwrap_or_default();
    let detail = detail.trim().trim_start_matches("error: ");
    progress(own_problem(exit::USAGE, detail, Some(hint)));
    ExitCode::from(exit::USAGE)
}

const TO_START: &str = "is the instance running? `q up` starts it";

fn is_unreachable(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(CallError::Unreachable(_)))
}

fn exit_code(error: &anyhow::Error) -> u8 {
    match (error.downcast_ref(), error.downcast_ref()) {
        (Some(WithCode { code, .. }), _) => *code,
        (None, Some(CallError::Problem(_))) => exit::REFUSED,
        (None, Some(CallError::Unreachable(_))) => exit::UNREACHABLE,
        _ => exit::FAILED,
    }
}

/// The refusal as JSON: the problem as the module gave it (RFC 9457), or one of the same form of this program's own.
fn told(error: &anyhow::Error, code: u8) -> Value {
    let mut causes = error.chain().map(|cause| in_verbs(&cause.to_string()));
    if let Some(problem) = error.downcast_ref().and_then(CallError::problem) {
        let mut told = serde_json::to_value(problem).unwrap_or_default();
        // What this program adds stands before the refusal in the chain.
        let is_added = !matches!(error.chain().next(), Some(first) if first.is::<CallError>());
        if let Some(advice) = causes.next().filter(|_| is_added) {
            told["advice"] = advice.into();
        }
        return told;
    }
    let detail = causes.collect::<Vec<_>>().join("; because ");
    own_problem(code, &detail, is_unreachable(error).then_some(TO_START))
}

/// A problem that no module was asked about. Its codes are those of `q --help`, and it has no HTTP status.
fn own_problem(code: u8, detail: &str, hint: Option<&str>) -> Value {
    let (name, title) = match code {
        exit::USAGE => ("CLI_USAGE", "the arguments are not what the command takes"),
        exit::FINDINGS => ("CLI_FINDINGS", "something was found that is not right"),
        exit::CANNOT_START => ("CLI_CANNOT_START", "a port, a setting or the data folder cannot be used"),
        exit::REFUSED => ("CLI_REFUSED", "the instance refused"),
        exit::UNREACHABLE => ("CLI_UNREACHABLE", "the instance did not answer"),
        exit::IN_PART => ("CLI_IN_PART", "done, but not all of it"),
        _ => ("CLI_FAILED", "the command could not do what it was asked"),
    };
    let mut told =
        json!({"type": format!("urn:q:problem:{name}"), "title": title, "code": name, "detail": detail});
    if let Some(hint) = hint {
        told["hint"] = hint.into();
    }
    told
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
