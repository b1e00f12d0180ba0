//! Foreign programs that judge our output: where they are, and what to do when they are not.

use std::{path::PathBuf, process::Command};

/// Says that a test needs something this machine lacks; fails where nothing may be skipped.
///
/// # Panics
/// When `Q_REQUIRE_ORACLES` is set.
pub fn skip(what: &str) {
    assert!(
        std::env::var_os("Q_REQUIRE_ORACLES").is_none(),
        "{what} is missing and nothing may be skipped here; run cargo xtask test"
    );
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("skipped: {what} (run cargo xtask test)");
    }
}

/// The folder of foreign programs, if it was prepared.
pub fn folder() -> Option<PathBuf> {
    std::env::var_os("Q_ORACLES").map(PathBuf::from).filter(|folder| folder.is_dir())
}

/// The Python of the prepared environment, or `None` after saying that `what` is skipped.
pub fn python(what: &str) -> Option<Command> {
    let program = folder().map(|folder| folder.join("venv/bin/python")).filter(|path| path.exists());
    if program.is_none() {
        skip(what);
    }
    program.map(Command::new)
}

/// Node with the prepared modules, or `None` after saying that `what` is skipped.
pub fn node(what: &str) -> Option<Command> {
    let modules = folder().map(|folder| folder.join("node/node_modules")).filter(|path| path.is_dir());
    let Some(modules) = modules else {
        skip(what);
        return None;
    };
    let mut command = Command::new("node");
    command.env("NODE_PATH", modules);
    Some(command)
}

/// A program of the machine, or `None` after saying that it is skipped.
pub fn program(name: &str) -> Option<Command> {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(name).is_file()));
    if !found {
        skip(name);
    }
    found.then(|| Command::new(name))
}
