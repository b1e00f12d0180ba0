//! One piece of work: when it began, how long it took, what it belonged to.

use std::{borrow::Cow, sync::Arc, time::Instant};

use q_core::Env;

use crate::{Context, Remote, SpanId, TraceId, tracer};

/// The most causes one span is linked to (the default of the OpenTelemetry specification).
const LINKS_MAX: usize = 128;

/// What a span is to its neighbours (OpenTelemetry trace specification, SpanKind).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work inside.
    Internal,
    /// A request being answered.
    Server,
    /// A request being made.
    Client,
    /// An event being reacted to.
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// A span that has begun. Dropped without [`Span::finish`] it was never there.
#[derive(Debug)]
pub struct Span {
    context: Context,
    /// Only of a sampled one.
    record: Option<Box<Record>>,
}

/// What is exported of a span besides its context.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) parent: Option<SpanId>,
    pub(crate) links: Vec<(TraceId, SpanId)>,
    pub(crate) name: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// Microseconds since 1970.
    pub(crate) started_at: i64,
    pub(crate) clock: Instant,
    pub(crate) duration_nanos: u64,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    /// What went wrong.
    pub(crate) error: Option<Cow<'static, str>>,
}

/// A span that has ended, on its way out.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) context: Context,
    pub(crate) record: Box<Record>,
}

impl Record {
    fn new(env: &Env, name: &'static str, kind: Kind, parent: Option<SpanId>) -> Box<Self> {
        Box::new(Self {
            parent,
            links: Vec::new(),
            name: name.into(),
            kind,
            started_at: env.now().micros(),
            clock: Instant::now(),
            duration_nanos: 0,
            attributes: Vec::new(),
            error: None,
        })
    }
}

impl Span {
    /// Begins work that comes from outside: a request, a delivery. It continues the trace of `remote`, or begins one.
    pub fn begin(
        env: &Env,
        name: &'static str,
        kind: Kind,
        module: &Arc<str>,
        remote: Option<Remote>,
    ) -> Self {
        let random = env.random::<24>();
        let (fresh, own) = random.split_at(16);
        let fresh = || TraceId(fresh.try_into().expect("sixteen bytes are sixteen bytes"));
        let trace = remote.map_or_else(fresh, |remote| remote.trace);
        let is_sampled = tracer::samples(trace, remote.and_then(|remote| remote.is_sampled));
        let context = Context {
            trace,
            span: SpanId(own.try_into().expect("eight bytes are eight bytes")),
            is_sampled,
            module: module.clone(),
            request: None,
        };
        let parent = remote.and_then(|remote| remote.parent);
        let record = is_sampled.then(|| Record::new(env, name, kind, parent));
        Self { context, record }
    }

    /// Begins work that is done for many at once: a part of the only cause's trace, or a trace of its own that is linked
    /// to each. It is recorded when one of the causes is. `None` without a cause.
    pub fn for_all(env: &Env, name: &'static str, causes: &[Context]) -> Option<Self> {
        let first = causes.first()?;
        let is_sampled = causes.iter().any(|cause| cause.is_sampled);
        let remote = Remote { trace: first.trace, parent: Some(first.span), is_sampled: Some(is_sampled) };
        if causes.len() == 1 {
            let span = Self::begin(env, name, Kind::Internal, &first.module, Some(remote));
            return Some(span.requested_as(first.request.clone()));
        }
        let trace = TraceId(env.random());
        let remote = Remote { trace, parent: None, is_sampled: Some(is_sampled) };
        let mut span = Self::begin(env, name, Kind::Internal, &first.module, Some(remote));
        for cause in causes.iter().filter(|cause| cause.is_sampled).take(LINKS_MAX) {
            span.link(cause);
        }
        Some(span)
    }

    /// Begins a part of the work at hand; `None` unless that is recorded.
    pub fn child(name: &'static str, kind: Kind) -> Option<Self> {
        let env = tracer::env()?;
        let parent = crate::current().filter(|current| current.is_sampled)?;
        let context = Context { span: SpanId(env.random()), ..parent.clone() };
        Some(Self { context, record: Some(Record::new(env, name, kind, Some(parent.span))) })
    }

    /// What is caused from now on belongs to this context.
    pub const fn context(&self) -> &Context {
        &self.context
    }

    /// Notes under which id whoever asked knows the request.
    #[must_use]
    pub fn requested_as(mut self, request: Option<Arc<str>>) -> Self {
        self.context.request = request;
        self
    }

    /// Gives it the name it is grouped by; not called for a span that is not recorded.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(record) = &mut self.record {
            record.name = name().into();
        }
    }

    /// Adds a fact, named by the semantic conventions of OpenTelemetry where they have a name for it.
    pub fn set(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(record) = &mut self.record {
            record.attributes.push((key, value.into()));
        }
    }

    /// Adds further work that caused it, for what is done for many at once.
    pub fn link(&mut self, cause: &Context) {
        if let Some(record) = &mut self.record {
            record.links.push((cause.trace, cause.span));
        }
    }

    /// Notes that the work failed.
    pub fn fail(&mut self, why: impl Into<Cow<'static, str>>) {
        if let Some(record) = &mut self.record {
            record.error = Some(why.into());
        }
    }

    /// Ends it and hands it to the exporter.
    pub fn finish(self) {
        let Some(mut record) = self.record else { return };
        record.duration_nanos = u64::try_from(record.clock.elapsed().as_nanos()).unwrap_or(u64::MAX);
        tracer::hand_over(Finished { context: self.context, record });
    }
}
