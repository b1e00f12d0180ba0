//! `q logs`: the lines the modules wrote, from the files in the data folder, rotated ones included.

use std::{process::ExitCode, time::Duration};

use clap::Args;
use q_core::{Env, Span, Timestamp};
use q_runtime::log::{self, Line, Query, Tail};

use crate::{
    cli::Cli,
    compose,
    layout::Layout,
    output::{self, exit, usage, with_code},
};

/// How often `--follow` looks for new lines.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// `q logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The module, or q for what belongs to none; all when not given.
    pub module: Option<String>,
    /// Only errors and warnings.
    #[arg(long)]
    pub errors: bool,
    /// Only lines since then: a span such as 90s, 10m, 2h or 3d back, or an instant (RFC 3339).
    #[arg(long, value_name = "WHEN", value_parser = since)]
    pub since: Option<Since>,
    /// Only lines of this trace or request: the `traceId` of a refusal, or the `x-request-id` of an answer.
    #[arg(long, value_name = "ID")]
    pub trace: Option<String>,
    /// At most so many lines, the newest.
    #[arg(long, default_value_t = 1_000, value_name = "COUNT")]
    pub lines: usize,
    /// Go on with what is written from now on, until stopped.
    #[arg(long, short)]
    pub follow: bool,
    /// Print the lines as they are kept: one JSON object each.
    #[arg(long)]
    pub json: bool,
}

/// From when on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// So long ago.
    Ago(Span),
    /// An instant.
    At(Timestamp),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(at) = text.parse() {
        return Ok(Since::At(at));
    }
    let ago = || {
        let unit = text.chars().last()?;
        let count: i64 = text.strip_suffix(unit)?.parse().ok().filter(|count| *count >= 0)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        // A span beyond all logs is not worth an overflow.
        Some(Since::Ago(Span::seconds(count.checked_mul(seconds).filter(|seconds| *seconds < 1 << 40)?)))
    };
    ago().ok_or_else(|| {
        "it is a span such as 90s, 10m, 2h or 3d, or an instant such as 2026-11-21T22:00:00Z".to_owned()
    })
}

/// Prints what is there, and with `--follow` what comes.
pub async fn run(cli: &Cli, arguments: &LogsArgs) -> anyhow::Result<ExitCode> {
    let layout = Layout::of(&cli.data);
    let config = compose::config(&layout)?;
    let folder = compose::log_folder(&layout);
    if let Some(module) = arguments.module.as_deref().filter(|module| *module != "q") {
        compose::entry(module)?;
    }
    if !folder.is_dir() {
        let what = if compose::keeps_files(&config) {
            format!("{} is not there: no process has run on {} yet", folder.display(), layout.data.display())
        } else {
            "the log of this instance goes to standard error only: ask whoever collects it (`journalctl -u q`, or the \
             container's log), or have it kept with Q_LOG_TO=both (`to` under [log] in q.toml) and a restart"
                .to_owned()
        };
        return Err(with_code(exit::FAILED, what));
    }
    if !compose::keeps_files(&config) {
        output::progress(
            "q: log.to is stderr now, so these are the lines from before; Q_LOG_TO=both keeps new ones",
        );
    }
    if arguments.lines == 0 {
        return Err(usage("--lines is at least 1"));
    }
    let query = Query {
        module: arguments.module.clone(),
        is_trouble: arguments.errors,
        since: arguments.since.map(|since| match since {
            Since::Ago(span) => Env::system().now() - span,
            Since::At(at) => at,
        }),
        trace: arguments.trace.clone(),
        lines_max: arguments.lines,
    };
    // Begun first, so that no line falls between.
    let tail = arguments.follow.then(|| Tail::new(&folder, query.clone())).transpose()?;
    let lines = log::read(&folder, &query)?;
    if lines.is_empty() && tail.is_none() && !arguments.json {
        output::progress("q: no line matches");
    }
    show(arguments, &lines);
    if let Some(mut tail) = tail {
        loop {
            show(arguments, &tail.read()?);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &LogsArgs, lines: &[Line]) {
    for line in lines {
        output::line(if arguments.json { line.json() } else { line.text(false) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_or_an_instant_says_since_when() {
        for (text, seconds) in [("90s", 90), ("10m", 600), ("2h", 7_200), ("3d", 259_200), ("0s", 0)] {
            assert_eq!(since(text), Ok(Since::Ago(Span::seconds(seconds))), "{text}");
        }
        assert!(matches!(since("2026-11-21T22:00:00Z"), Ok(Since::At(_))));
        for text in ["", "m", "-5m", "10", "10 m", "10w", "1.5h", "99999999999999999d", "ä"] {
            assert!(since(text).is_err(), "{text}");
        }
    }
}
