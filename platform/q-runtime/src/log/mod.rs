//! Log lines: on standard error as text for people or JSON for collectors, and in a file for each module.
//!
//! Every line says which module it is about, and in which trace and request it was written: the context of the task
//! (`q_trace`) knows. Files are written by a thread of their own behind a bounded queue, so that a slow disk loses
//! lines, which are counted, and holds up no request.
//!
//! **Invariant:** a line never holds up whoever writes it.

mod files;
mod line;
mod read;

use std::io::{IsTerminal as _, Write as _, stderr};

use q_core::{Clock as _, SystemClock};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt as _},
    util::SubscriberInitExt as _,
};

pub use files::{FILE_BYTES_MAX, FILES_MAX, FilesOptions, dropped, flush, keep};
pub use line::Line;
pub use read::{Query, Tail, read};

/// The filter as it was given, if every part of it can be meant: a level, or `target=level`. A level written wrongly
/// would otherwise be the name of a target that never logs.
pub fn checked(filter: &str) -> Result<String, String> {
    for part in filter.split(',').map(str::trim).filter(|part| !part.contains(['=', '['])) {
        part.parse::<LevelFilter>()
            .map_err(|_| format!("{part:?} is not error, warn, info, debug, trace, off or target=level"))?;
    }
    EnvFilter::try_new(filter).map(|_| filter.to_owned()).map_err(|error| error.to_string())
}

/// Starts logging to standard error; `filter` is a directive such as `info` or `q_db=debug,info`. Files come with
/// [`keep`], when it is known where.
pub fn start(filter: &str, is_json: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let screen = Screen { is_json, is_coloured: stderr().is_terminal() }.with_filter(filter);
    let files = Files.with_filter(LevelFilter::INFO);
    // A second start, as tests make, keeps the first one's choice.
    let _ = tracing_subscriber::registry().with(screen).with(files).try_init();
}

/// Standard error.
struct Screen {
    is_json: bool,
    is_coloured: bool,
}

impl<S: Subscriber> Layer<S> for Screen {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if !files::wants_screen() {
            return;
        }
        let line = Line::of(event, SystemClock.now());
        let text = if self.is_json { line.json() } else { line.text(self.is_coloured) };
        // One call, so that lines of several threads do not mix. Nobody is left to tell that nobody listens.
        let _ = stderr().lock().write_all(format!("{text}\n").as_bytes());
    }
}

/// The files of the modules, once they are kept.
struct Files;

impl<S: Subscriber> Layer<S> for Files {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        files::hand_over(*event.metadata().level(), || Line::of(event, SystemClock.now()));
    }
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
