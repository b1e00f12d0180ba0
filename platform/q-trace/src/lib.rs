//! One trace from the edge to the store to the event: W3C trace context, spans, and their export over OTLP.
//!
//! A request, a delivery and a job each have a [`Context`], which their task carries ([`scope`]) and everything reads
//! that they cause: log lines, problems, events, audit rows and calls of other modules. Spans are recorded only when
//! an exporter runs ([`start`]) and the trace is sampled; otherwise a span is two ids and nothing else.
//!
//! **Invariant:** nothing here waits for the collector: a span that finds no room is dropped and counted.

mod context;
mod export;
mod otlp;
mod span;
mod tracer;

pub use context::{Context, Remote, SpanId, TraceId, current, scope};
pub use export::{EndpointError, Options, finish, start};
pub use span::{Kind, Span, Value};
pub use tracer::{Counts, counts, is_on};
