//! Where log lines go: standard error, as text for people or JSON for collectors.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::EnvFilter;

/// Starts logging; `filter` is a directive such as `info` or `q_db=debug,info`.
pub fn start(filter: &str, is_json: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(stderr().is_terminal())
        .with_writer(stderr);
    // A second start, as tests make, keeps the first one's choice.
    let _ = if is_json { lines.json().try_init() } else { lines.with_target(false).try_init() };
}
