//! A span that a helper is about to start: what it says as attributes, and the same as facts for our own processor.

use std::borrow::Cow;

use opentelemetry::trace::{Span as _, SpanBuilder, SpanKind, TraceContextExt, Tracer};
use opentelemetry::{Array, Context, KeyValue, Value};
use opentelemetry_sdk::trace::SdkTracer;
use standoff_protocol::attributes::{self, semconv};
use standoff_protocol::stream::Role;

use crate::record::{Facts, Subject};
use crate::{OpenSpan, Outcome, Text, agent, prepared};

/// What every builder gathers.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    tracer: Cow<'a, SdkTracer>,
    pub(crate) kind: SpanKind,
    name: Cow<'static, str>,
    /// `None` is the current context at the start.
    pub(crate) parent: Option<Context>,
    pub(crate) facts: Facts,
    /// For whatever else exports the span.
    pub(crate) attributes: Vec<KeyValue>,
}

impl<'a> Draft<'a> {
    #[inline]
    pub(crate) fn new(tracer: &'a SdkTracer, role: Role, kind: SpanKind, name: Text) -> Self {
        Draft {
            tracer: Cow::Borrowed(tracer),
            kind,
            name: name.to_name(),
            parent: None,
            facts: Facts::new(role, name.into_value()),
            attributes: Vec::new(),
        }
    }

    /// The same, to be started later than the helper may live.
    #[cfg(feature = "groups")]
    pub(crate) fn into_owned(self) -> Draft<'static> {
        Draft {
            tracer: Cow::Owned(self.tracer.into_owned()),
            kind: self.kind,
            name: self.name,
            parent: self.parent,
            facts: self.facts,
            attributes: self.attributes,
        }
    }

    pub(crate) fn name(&mut self, name: Text) {
        self.name = name.to_name();
        self.facts.name = name.into_value();
    }

    pub(crate) fn start(mut self, on_drop: Outcome) -> OpenSpan {
        let parent = self.parent.unwrap_or_else(Context::current);
        let mut attributes = attributes_of(&self.facts, &self.kind);
        attributes.extend(self.attributes);
        self.facts.bound();
        let builder = SpanBuilder {
            span_kind: Some(self.kind),
            attributes: Some(attributes),
            ..SpanBuilder::from_name(self.name)
        };
        let tracer = self.tracer.as_ref();
        let start = || tracer.build_with_context(builder, &parent);
        let (span, taken) = prepared::with_facts(self.facts, &parent, start);
        if let Some(taken) = taken
            && taken.span_id != span.span_context().span_id()
        {
            agent::disown(taken);
        }
        OpenSpan::new(parent.with_span(span), on_drop)
    }
}

/// Room for the attributes of most spans: a target or resource, a timeout, and `error.type` when it ends.
const ATTRIBUTES: usize = 4;

/// The facts as attributes, so that whatever else exports the span sees them too.
#[inline]
fn attributes_of(facts: &Facts, kind: &SpanKind) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(ATTRIBUTES);
    let mut say = |key: &'static str, value: Value| attributes.push(KeyValue::new(key, value));
    match facts.role {
        Role::Hold => say(attributes::ROLE, "hold".into()),
        Role::Member => say(attributes::ROLE, "member".into()),
        Role::Call if *kind == SpanKind::Internal => say(attributes::ROLE, "call".into()),
        Role::Handle if *kind == SpanKind::Internal => say(attributes::ROLE, "handle".into()),
        // Their kinds say it.
        Role::Call | Role::Handle | Role::Structural => {}
    }
    let subject = if facts.role == Role::Call {
        attributes::TARGET
    } else {
        attributes::RESOURCE
    };
    match &facts.subject {
        Subject::Unknown | Subject::Address(..) => {}
        Subject::Named(name) => say(subject, name.clone().into()),
        Subject::Several(names) => say(subject, Value::Array(Array::String(names.clone()))),
    }
    for (key, number) in [
        (attributes::TIMEOUT_MS, facts.timeout_ms),
        (attributes::UNITS, facts.units.into()),
        (attributes::CAPACITY, facts.capacity.into()),
    ] {
        if number != 0 {
            say(key, Value::I64(number.cast_signed()));
        }
    }
    if let Some(group) = &facts.group {
        say(attributes::WAIT_GROUP, group.name.clone().into());
        say(attributes::WAIT_NEEDED, i64::from(group.needed).into());
        say(attributes::WAIT_SIZE, i64::from(group.size).into());
    }
    if facts.detached {
        say(attributes::DETACHED, true.into());
    }
    if let Some(conversation) = &facts.conversation {
        say(semconv::MESSAGING_CONVERSATION_ID, conversation.clone().into());
    }
    attributes
}
