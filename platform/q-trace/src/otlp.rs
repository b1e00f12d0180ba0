//! The part of the OpenTelemetry protocol (OTLP 1.x, `opentelemetry/proto/collector/trace/v1`) that is sent here, as
//! prost reads it off these types. Field numbers are the standard's; fields left at their default are left out.

use std::{borrow::Cow, collections::BTreeMap};

use prost::Message;

use crate::{
    Kind, Value,
    span::{Finished, Record},
};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportTraceServiceRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[expect(clippy::struct_field_names, reason = "the names of the standard")]
#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    #[prost(fixed64, tag = "7")]
    start_time_unix_nano: u64,
    #[prost(fixed64, tag = "8")]
    end_time_unix_nano: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, repeated, tag = "13")]
    links: Vec<Link>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
    #[prost(fixed32, tag = "16")]
    flags: u32,
}

#[derive(Clone, PartialEq, Message)]
struct Link {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 3")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
}

/// `STATUS_CODE_ERROR`.
const ERROR: i32 = 2;
/// The sampled bit of the W3C flags, which are the lowest eight bits here.
const FLAGS: u32 = 1;

const fn kind(kind: Kind) -> i32 {
    match kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
        Kind::Consumer => 5,
    }
}

/// The message that carries `spans`: those of each module under its own `service.name`.
pub(crate) fn request(spans: Vec<Finished>, instance: &str) -> ExportTraceServiceRequest {
    let mut by_module: BTreeMap<_, Vec<Span>> = BTreeMap::new();
    for span in spans {
        by_module.entry(span.context.module.clone()).or_default().push(encoded(span));
    }
    let resource_spans = by_module.into_iter().map(|(module, spans)| {
        let attributes = vec![
            attribute("service.name", Value::Text(module.to_string().into())),
            attribute("service.namespace", "q".into()),
            attribute("service.version", env!("CARGO_PKG_VERSION").into()),
            attribute("service.instance.id", Value::Text(instance.to_owned().into())),
        ];
        let scope = Scope { name: "q".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
        ResourceSpans {
            resource: Some(Resource { attributes }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans }],
        }
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }
}

fn encoded(Finished { context, record }: Finished) -> Span {
    let Record { parent, links, name, kind: role, started_at, duration_nanos, attributes, error, .. } =
        *record;
    let start = u64::try_from(started_at).unwrap_or_default().saturating_mul(1_000);
    let link = |(trace, span): (crate::TraceId, crate::SpanId)| Link {
        trace_id: trace.0.to_vec(),
        span_id: span.0.to_vec(),
    };
    Span {
        trace_id: context.trace.0.to_vec(),
        span_id: context.span.0.to_vec(),
        parent_span_id: parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        name: name.into_owned(),
        kind: kind(role),
        start_time_unix_nano: start,
        end_time_unix_nano: start.saturating_add(duration_nanos),
        attributes: attributes.into_iter().map(|(key, value)| attribute(key, value)).collect(),
        links: links.into_iter().map(link).collect(),
        status: error.map(|message: Cow<'_, str>| Status { message: message.into_owned(), code: ERROR }),
        flags: FLAGS,
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => Any::Text(text.into_owned()),
        Value::Number(number) => Any::Number(number),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}
