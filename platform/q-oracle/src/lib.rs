//! Programs by other people that judge our output: where they are, how a test asks them, and what it does without them.
//!
//! `cargo xtask test` prepares a folder of them and names it in `Q_ORACLES`. A test that finds its program missing says
//! so and passes, unless `Q_REQUIRE_ORACLES=1`, or `CI` as build servers set it: then it fails.
//!
//! **Invariant:** never part of the product: only tests, and crates made for tests, depend on this one.

mod anvil;
mod nats;

pub use anvil::Anvil;
pub use nats::NatsServer;

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

/// Names the prepared folder; our scripts find the packages of Node through it.
const FOLDER: &str = "Q_ORACLES";
const REQUIRE: &str = "Q_REQUIRE_ORACLES";

/// Says that a test needs something this machine lacks.
///
/// # Panics
/// When `Q_REQUIRE_ORACLES=1`, or on a build server (`CI`): then nothing may be skipped.
pub fn skip(what: &str) {
    let is_ci = || env::var("CI").is_ok_and(|value| !["", "0", "false"].contains(&value.as_str()));
    let is_required = env::var_os(REQUIRE).map_or_else(is_ci, |value| value == "1");
    assert!(!is_required, "{what} is missing and nothing may be skipped here; run cargo xtask test");
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: {what} (run cargo xtask test)");
    }
}

/// The Python that has the prepared packages, or `None` after saying that `what` is skipped.
pub fn python(what: &str) -> Option<Command> {
    let program = folder().map(|folder| folder.join("venv/bin/python")).filter(|program| program.is_file());
    or_skip(what, program.map(Command::new))
}

/// Node, whose scripts find the prepared packages below `$Q_ORACLES/node`, or `None` after saying that `what` is skipped.
pub fn node(what: &str) -> Option<Command> {
    let is_prepared = folder().is_some_and(|folder| folder.join("node/node_modules").is_dir());
    or_skip(what, on_path("node").filter(|_| is_prepared))
}

/// A program of the machine, or `None` after saying that it is skipped.
pub fn program(name: &str) -> Option<Command> {
    or_skip(name, on_path(name))
}

/// Chromium without a display, a network of its own or a memory, which is kept in `profile`; or `None` after saying that
/// it is skipped.
pub fn chromium(profile: &Path) -> Option<Command> {
    let mut command = program("chromium")?;
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]);
    command.args(["--disable-background-networking", "--disable-component-update", "--disable-sync"]);
    command.arg("--hide-scrollbars");
    command.arg(format!("--user-data-dir={}", profile.display()));
    Some(command)
}

/// A script of ours in the `tests/oracles` of the crate at `crate_folder` (`env!("CARGO_MANIFEST_DIR")`), ready for its
/// arguments; or `None` after saying that `what`, which it drives, is skipped. Its ending says who runs it: `.py`, `.mjs`.
///
/// # Panics
/// When the crate has no such script.
pub fn script(what: &str, crate_folder: impl AsRef<Path>, name: &str) -> Option<Command> {
    let file = crate_folder.as_ref().join("tests/oracles").join(name);
    assert!(file.is_file(), "there is no script {}", file.display());
    let is_python = file.extension().is_some_and(|ending| ending == "py");
    let mut command = if is_python { python(what)? } else { node(what)? };
    command.arg(file);
    Some(command)
}

/// Runs `command` with `input` on its standard input and returns what it prints.
///
/// # Errors
/// What the program complained about, when it fails or leaves its input unread.
///
/// # Panics
/// When the program cannot be started.
pub fn ask(command: &mut Command, input: impl AsRef<[u8]>) -> Result<Vec<u8>, String> {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child =
        piped.spawn().unwrap_or_else(|error| panic!("{}: {error}", command.get_program().display()));
    let mut stdin = child.stdin.take().expect("standard input is piped");
    let input = input.as_ref().to_vec();
    // Written from a second thread: a program that answers while it reads would block us both.
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("a started program can be waited for");
    let written: io::Result<()> = writer.join().expect("the writer does not panic");
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    written.map_err(|error| format!("the input was not read: {error}"))?;
    Ok(output.stdout)
}

fn or_skip<T>(what: &str, found: Option<T>) -> Option<T> {
    if found.is_none() {
        skip(what);
    }
    found
}

fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

fn on_path(name: impl AsRef<OsStr>) -> Option<Command> {
    let name = name.as_ref();
    let path = env::var_os("PATH")?;
    // Servers are where ordinary users do not look.
    let folders = env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file()).map(Command::new)
}
