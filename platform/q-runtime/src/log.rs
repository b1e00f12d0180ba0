//! Where log lines go: standard error, as text for people or JSON for collectors.

use std::io::{IsTerminal as _, stderr};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// The filter as it was given, if every part of it can be meant: a level, or `target=level`. A level written wrongly
/// would otherwise be the name of a target that never logs.
pub fn checked(filter: &str) -> Result<String, String> {
    for part in filter.split(',').map(str::trim).filter(|part| !part.contains(['=', '['])) {
        part.parse::<LevelFilter>()
            .map_err(|_| format!("{part:?} is not error, warn, info, debug, trace, off or target=level"))?;
    }
    EnvFilter::try_new(filter).map(|_| filter.to_owned()).map_err(|error| error.to_string())
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_means_nothing_is_refused() {
        for filter in ["info", "WARN", "q_db=debug,info", "off", "q_db[span]=debug", "q_db=trace, warn"] {
            assert_eq!(checked(filter).as_deref(), Ok(filter));
        }
        for filter in ["inof", "nonsense", "q_db=debugg", "info,q_db", "q_db=debug;info", "7up"] {
            assert!(checked(filter).is_err(), "{filter}");
        }
    }
}
