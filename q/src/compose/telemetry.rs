//! What a process tells of itself: its log, its figures, its traces.

use std::{collections::BTreeSet, fs, sync::Arc};

use q_core::Env;
use q_http::metrics;
use q_runtime::{
    Config, Setting,
    log::{self, FilesOptions},
};
use tracing::Level;

use super::MODULES;
use crate::{
    layout::Layout,
    output::{exit, with_code},
};

/// The section `[log]`.
pub(super) const LOG: &[Setting] = &[
    Setting {
        key: "to",
        default: "both",
        about: "Where log lines go: files (logs/<module>.log in the data folder, which `q logs` reads), stderr (for a \
                service manager or container), or both.",
    },
    Setting {
        key: "level",
        default: "info",
        about: "Up to which level lines are kept in files: info, warn or error.",
    },
    Setting {
        key: "file_bytes",
        default: "10485760",
        about: "How large a log file grows before the next one is begun.",
    },
    Setting {
        key: "files",
        default: "5",
        about: "How many log files of a module are kept, the present one included.",
    },
];

/// The section `[metrics]`.
pub(super) const METRICS: &[Setting] = &[Setting {
    key: "token",
    default: "",
    about: "What a Prometheus elsewhere shows as bearer token to read /metrics: the token, or file:PATH; empty: only \
            this host, operators and services read them.",
}];

/// The section `[telemetry]`.
pub(super) const TELEMETRY: &[Setting] = &[
    Setting {
        key: "otlp_endpoint",
        default: "",
        about: "The OpenTelemetry collector that takes traces over OTLP/HTTP, such as http://127.0.0.1:4318; empty: \
                OTEL_EXPORTER_OTLP_ENDPOINT, and without that no traces.",
    },
    Setting {
        key: "sampling_ratio",
        default: "1",
        about: "The share of traces begun here that is recorded, from 0 to 1.",
    },
    Setting {
        key: "traces_per_second",
        default: "100",
        about: "How many traces begun here are recorded in a second at most, so that tracing stays cheap under load; 0: \
                no bound.",
    },
    Setting {
        key: "metrics",
        default: "on",
        about: "off counts no requests, only to measure what counting them costs: health, alerts and service levels \
                see nothing then.",
    },
];

/// The folder of the log files.
pub fn log_folder(layout: &Layout) -> std::path::PathBuf {
    layout.data.join("logs")
}

/// Whether the settings have lines kept in files.
pub fn keeps_files(config: &Config) -> bool {
    config.section("log").text("to") != "stderr"
}

fn cannot_start(what: impl std::fmt::Display) -> anyhow::Error {
    with_code(exit::CANNOT_START, what)
}

/// Starts what the settings say about log files and traces; once in a process.
pub(super) fn start(config: &Config, layout: &Layout, env: &Env) -> anyhow::Result<()> {
    keep_log(config, layout)?;
    let Some(options) = traces(config)? else { return Ok(()) };
    let endpoint = options.endpoint.to_string();
    let is_started = q_trace::start(options, env)
        .map_err(|error| cannot_start(format!("the authorities of this host cannot be read: {error}")))?;
    if is_started {
        tracing::info!(endpoint, "traces are sent to a collector");
    }
    Ok(())
}

fn keep_log(config: &Config, layout: &Layout) -> anyhow::Result<()> {
    let section = config.section("log");
    let is_on_screen = match section.text("to") {
        "stderr" => return Ok(()),
        "files" => false,
        "both" => true,
        other => {
            return Err(cannot_start(format!("log.to is {other:?}, which is not files, stderr or both")));
        }
    };
    let level: Level = section.parse("level", "info, warn or error").map_err(cannot_start)?;
    let folder = log_folder(layout);
    let options = FilesOptions {
        modules: MODULES.iter().map(|entry| entry.name.to_owned()).collect::<BTreeSet<_>>(),
        file_bytes_max: section.parse("file_bytes", "a number of bytes").map_err(cannot_start)?,
        files_max: section.parse("files", "a number of files").map_err(cannot_start)?,
        level,
        is_on_screen,
        folder: folder.clone(),
    };
    log::keep(options)
        .map_err(|error| cannot_start(format!("{} cannot be made for the log: {error}", folder.display())))?;
    Ok(())
}

fn traces(config: &Config) -> anyhow::Result<Option<q_trace::Options>> {
    let section = config.section("telemetry");
    let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
    let ratio: f64 = section.parse("sampling_ratio", "a number from 0 to 1").map_err(cannot_start)?;
    let per_second = section.parse("traces_per_second", "a number of traces").map_err(cannot_start)?;
    let instance = format!("process-{}", std::process::id());
    // The variables of the OpenTelemetry specification: for traces alone a whole URL, for all signals its beginning.
    let options = if let Some(base) = section.optional("otlp_endpoint") {
        q_trace::Options::below(base, ratio, instance)
    } else if let Some(url) = variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
        q_trace::Options::at(&url, ratio, instance)
    } else if let Some(base) = variable("OTEL_EXPORTER_OTLP_ENDPOINT") {
        q_trace::Options::below(&base, ratio, instance)
    } else {
        return Ok(None);
    };
    let options = options.map_err(|error| cannot_start(format!("telemetry.otlp_endpoint: {error}")))?;
    Ok(Some(q_trace::Options { per_second, ..options }))
}

/// What the settings say about figures and who may read them.
pub(super) fn metrics(config: &Config, layout: &Layout) -> anyhow::Result<metrics::Options> {
    let token = match config.section("metrics").optional("token") {
        Some(given) => Some(token(given)?),
        None => None,
    };
    let is_on = config.section("telemetry").text("metrics") != "off";
    Ok(metrics::Options { is_on, data: Some(layout.data.clone()), token })
}

fn token(given: &str) -> anyhow::Result<Arc<str>> {
    let Some(path) = given.strip_prefix("file:") else { return Ok(given.into()) };
    let text = fs::read_to_string(path)
        .map_err(|error| cannot_start(format!("metrics.token: {path} cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(cannot_start(format!("metrics.token: {path} is empty"))),
        token => Ok(token.into()),
    }
}
