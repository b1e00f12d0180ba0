//! One line of the log: what is in it, and how it is written.

use std::fmt::{self, Write as _};

use q_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

/// What lines are filed under that no module wrote: start, stop, the front door.
pub(super) const PLATFORM: &str = "q";

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Line {
    /// When it was written.
    pub at: Timestamp,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
    /// The module it is about; `q` where it is about none.
    pub module: String,
    /// What happened.
    pub message: String,
    /// The trace of the request, delivery or job that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The request, as whoever made it knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Where in the program it was written.
    pub target: String,
    /// Facts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub fields: Map<String, Value>,
}

impl Line {
    /// The line of `event`, written at `at` by the task at hand.
    pub(super) fn of(event: &Event<'_>, at: Timestamp) -> Self {
        let mut facts = Facts::default();
        event.record(&mut facts);
        let context = q_trace::current();
        let target = event.metadata().target();
        // Whoever writes knows best; then the work at hand; then the crate, where it is named like its module.
        let named = ["module", "store", "subscriber"]
            .iter()
            .find_map(|key| facts.fields.get(*key).and_then(Value::as_str).map(str::to_owned));
        let module = named
            .or_else(|| context.as_ref().map(|context| context.module.to_string()))
            .unwrap_or_else(|| target.split("::").next().unwrap_or_default().to_owned());
        facts.fields.remove("module");
        Self {
            at,
            level: level_name(*event.metadata().level()).to_owned(),
            module,
            message: facts.message,
            trace_id: context.as_ref().map(|context| context.trace.to_string()),
            request_id: context.as_ref().map(q_trace::Context::request_id),
            target: target.to_owned(),
            fields: facts.fields,
        }
    }

    /// As one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As one line for people.
    pub fn text(&self, is_coloured: bool) -> String {
        let level = self.level.to_uppercase();
        let level = match (is_coloured, self.level.as_str()) {
            (true, "error") => format!("\u{1b}[31m{level:>5}\u{1b}[0m"),
            (true, "warn") => format!("\u{1b}[33m{level:>5}\u{1b}[0m"),
            _ => format!("{level:>5}"),
        };
        let mut text = format!("{} {level} {}: {}", self.at, self.module, self.message);
        for (key, value) in &self.fields {
            let _ = match value {
                Value::String(value) if !value.contains([' ', '"', '\n']) => write!(text, " {key}={value}"),
                value => write!(text, " {key}={value}"),
            };
        }
        if let Some(trace) = &self.trace_id {
            let _ = write!(text, " trace={trace}");
        }
        text.replace('\n', "\\n")
    }

    /// Whether it tells of trouble: an error or a warning.
    pub fn is_trouble(&self) -> bool {
        matches!(self.level.as_str(), "error" | "warn")
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

#[derive(Default)]
struct Facts {
    message: String,
    fields: Map<String, Value>,
}

impl Facts {
    fn note(&mut self, field: &Field, value: Value) {
        if field.name() == "message" {
            self.message = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        } else {
            self.fields.insert(field.name().to_owned(), value);
        }
    }
}

impl Visit for Facts {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.note(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, value.into());
    }
}
