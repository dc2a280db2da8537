//! What is kept of an open span: everything that may have to be reported of it, in a form that allocates nothing.
//!
//! Texts are taken over as OpenTelemetry has them, whether owned, shared or static. Only what is reported is made a
//! message of; most spans are over before.

use std::sync::Arc;

use opentelemetry::StringValue;
use opentelemetry::trace::{SpanContext, SpanId, TraceId};
use standoff_protocol::stream::{RESOURCES_PER_SPAN_MAX, Role, Started, TEXT_BYTES_MAX, WaitGroup};

/// A span that has started.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) span_id: u64,
    pub(crate) trace_id: TraceId,
    /// The parent that the span itself names; once it is in the open table, the one to report. 0 if there is none.
    pub(crate) parent_span_id: u64,
    pub(crate) parent_is_remote: bool,
    pub(crate) facts: Facts,
}

/// What a span says of itself, apart from its place in the trace. Numbers are as on the wire: 0 is what was not said.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) role: Role,
    pub(crate) name: StringValue,
    pub(crate) subject: Subject,
    pub(crate) conversation: Option<StringValue>,
    pub(crate) group: Option<Group>,
    pub(crate) timeout_ms: u64,
    pub(crate) task_span_id: u64,
    pub(crate) capacity: u32,
    pub(crate) units: u32,
    pub(crate) detached: bool,
}

/// What a span is about: the target of a call, the resources of all else.
#[derive(Clone, Debug, Default)]
pub(crate) enum Subject {
    #[default]
    Unknown,
    Named(StringValue),
    /// The target is an address: a host and a port.
    Address(StringValue, i64),
    /// Resources without duplicates and empty names.
    Several(Vec<StringValue>),
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub(crate) name: StringValue,
    pub(crate) needed: u32,
    pub(crate) size: u32,
}

impl Record {
    /// A span whose ids are known from itself and from the context that it was started in.
    #[inline]
    pub(crate) fn new(span: &SpanContext, parent: &SpanContext, facts: Facts) -> Self {
        let (parent_span_id, parent_is_remote) = self::parent(parent);
        Record {
            span_id: id(span.span_id()),
            trace_id: span.trace_id(),
            parent_span_id,
            parent_is_remote,
            facts,
        }
    }

    /// A span that is reported as this, if nothing is known of what is above it.
    #[cfg(any(test, feature = "sans-io"))]
    pub(crate) fn reported_as(span: Started) -> Self {
        let text = |text: String| (!text.is_empty()).then(|| text.into());
        let mut facts = Facts::new(span.role(), span.name.clone().into());
        facts.subject = match text(span.target.clone()) {
            Some(target) => Subject::Named(target),
            None => Subject::Several(span.resources.iter().cloned().map(Into::into).collect()),
        };
        facts.conversation = text(span.conversation_id);
        facts.group = span.wait_group.map(|group| Group {
            name: group.name.into(),
            needed: group.needed,
            size: group.size,
        });
        facts.timeout_ms = span.timeout_ms;
        facts.task_span_id = span.task_span_id;
        (facts.capacity, facts.units, facts.detached) = (span.capacity, span.units, span.detached);
        let trace_id: [u8; 16] = span.trace_id.try_into().unwrap_or_default();
        Record {
            span_id: span.span_id,
            trace_id: TraceId::from_bytes(trace_id),
            parent_span_id: span.parent_span_id,
            parent_is_remote: span.parent_is_remote,
            facts,
        }
    }

    /// The message that reports this span.
    pub(crate) fn to_started(&self, age_ns: u64) -> Started {
        let facts = &self.facts;
        let mut started = Started {
            span_id: self.span_id,
            trace_id: trace_id(self.trace_id),
            parent_span_id: self.parent_span_id,
            parent_is_remote: self.parent_is_remote,
            role: facts.role.into(),
            name: facts.name.as_str().to_owned(),
            age_ns,
            capacity: facts.capacity,
            units: facts.units,
            timeout_ms: facts.timeout_ms,
            wait_group: facts.group.as_ref().map(|group| WaitGroup {
                name: group.name.as_str().to_owned(),
                needed: group.needed,
                size: group.size,
            }),
            detached: facts.detached,
            task_span_id: facts.task_span_id,
            conversation_id: facts
                .conversation
                .as_ref()
                .map(StringValue::to_string)
                .unwrap_or_default(),
            ..Started::default()
        };
        if facts.role == Role::Call {
            started.target = facts.subject.target();
        } else {
            started.resources = facts.subject.resources();
        }
        started
    }
}

impl Facts {
    #[inline]
    pub(crate) fn new(role: Role, name: StringValue) -> Self {
        Facts {
            role,
            name,
            subject: Subject::Unknown,
            conversation: None,
            group: None,
            timeout_ms: 0,
            task_span_id: 0,
            capacity: 0,
            units: 0,
            detached: false,
        }
    }

    /// Keeps to the limits of the stream, and to texts that say something.
    #[inline]
    pub(crate) fn bound(&mut self) {
        bound(&mut self.name);
        self.subject.bound();
        if let Some(conversation) = &mut self.conversation
            && !bound(conversation)
        {
            self.conversation = None;
        }
        if let Some(group) = &mut self.group
            && !bound(&mut group.name)
        {
            self.group = None;
        }
    }
}

impl Subject {
    fn bound(&mut self) {
        match self {
            Subject::Named(name) => {
                if !bound(name) {
                    *self = Subject::Unknown;
                }
            }
            Subject::Several(names) => *self = Subject::several(std::mem::take(names)),
            Subject::Unknown | Subject::Address(..) => {}
        }
    }

    /// Resources as far as the collector accepts them.
    pub(crate) fn several(names: Vec<StringValue>) -> Self {
        let mut kept: Vec<StringValue> = Vec::with_capacity(names.len().min(RESOURCES_PER_SPAN_MAX));
        for name in names.into_iter().filter_map(said) {
            if kept.len() < RESOURCES_PER_SPAN_MAX && !kept.contains(&name) {
                kept.push(name);
            }
        }
        Subject::Several(kept)
    }

    /// Adds a resource.
    pub(crate) fn push(&mut self, name: StringValue) {
        *self = match std::mem::take(self) {
            Subject::Several(mut names) => {
                names.push(name);
                Subject::Several(names)
            }
            Subject::Named(first) => Subject::Several(vec![first, name]),
            Subject::Unknown | Subject::Address(..) => Subject::Named(name),
        };
    }

    fn target(&self) -> String {
        match self {
            Subject::Unknown | Subject::Several(_) => String::new(),
            Subject::Named(name) => name.as_str().to_owned(),
            Subject::Address(host, port) => {
                let mut address = format!("{host}:{port}");
                address.truncate(address.floor_char_boundary(TEXT_BYTES_MAX));
                address
            }
        }
    }

    fn resources(&self) -> Vec<String> {
        match self {
            Subject::Unknown | Subject::Address(..) => Vec::new(),
            Subject::Named(name) => vec![name.as_str().to_owned()],
            Subject::Several(names) => names.iter().map(StringValue::to_string).collect(),
        }
    }
}

/// A span id as it is on the wire; 0 is none.
pub(crate) fn id(span_id: SpanId) -> u64 {
    u64::from_be_bytes(span_id.to_bytes())
}

/// The parent of a span that is started in a context with this span, and whether it is in another process. An invalid one
/// is none, for the SDK too.
pub(crate) fn parent(parent: &SpanContext) -> (u64, bool) {
    if parent.is_valid() {
        (id(parent.span_id()), parent.is_remote())
    } else {
        (0, false)
    }
}

/// A trace id as it is on the wire.
pub(crate) fn trace_id(trace_id: TraceId) -> Vec<u8> {
    trace_id.to_bytes().to_vec()
}

/// Cuts a text to what the collector accepts.
pub(crate) fn cut(text: StringValue) -> StringValue {
    let all = text.as_str();
    if all.len() <= TEXT_BYTES_MAX {
        return text;
    }
    Arc::<str>::from(&all[..all.floor_char_boundary(TEXT_BYTES_MAX)]).into()
}

/// Cuts a text to what the collector accepts. Returns whether it says anything.
fn bound(text: &mut StringValue) -> bool {
    if text.as_str().len() > TEXT_BYTES_MAX {
        *text = cut(text.clone());
    }
    !text.as_str().is_empty()
}

/// A text that says something, as far as the collector accepts it.
pub(crate) fn said(text: StringValue) -> Option<StringValue> {
    (!text.as_str().is_empty()).then(|| cut(text))
}
