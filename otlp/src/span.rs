//! One span as a request has it, whatever the encoding, and what it says.

use std::borrow::Cow;

use standoff_protocol::stream::{self, Outcome, Role, WaitGroup};

use crate::attributes::{Attributes, Value, cut};
use crate::keys::Key;
use crate::signal::{Code, Finished, InstanceIx, Source, Started};
use crate::target::target;

/// An id as it was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Id<T> {
    /// Absent, empty or all zero.
    #[default]
    Absent,
    Valid(T),
    /// Of another length than ids have, or not hexadecimal.
    Invalid,
}

impl Id<u128> {
    #[inline]
    pub(crate) fn trace(bytes: &[u8]) -> Self {
        match <[u8; 16]>::try_from(bytes).map(u128::from_be_bytes) {
            Ok(0) => Id::Absent,
            Ok(id) => Id::Valid(id),
            Err(_) if bytes.is_empty() => Id::Absent,
            Err(_) => Id::Invalid,
        }
    }
}

impl Id<u64> {
    #[inline]
    pub(crate) fn span(bytes: &[u8]) -> Self {
        match <[u8; 8]>::try_from(bytes).map(u64::from_be_bytes) {
            Ok(0) => Id::Absent,
            Ok(id) => Id::Valid(id),
            Err(_) if bytes.is_empty() => Id::Absent,
            Err(_) => Id::Invalid,
        }
    }
}

/// The spans that a span links to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Links {
    /// To none.
    #[default]
    None,
    /// To one alone, which is not in the same process as far as is known.
    One(u64),
    /// To several, to one in the same process, or to none that has an id.
    Other,
}

impl Links {
    /// Adds one.
    pub(crate) fn add(&mut self, span: Id<u64>, flags: u32) {
        let is_local = flags & HAS_IS_REMOTE != 0 && flags & IS_REMOTE == 0;
        *self = match (*self, span) {
            (Links::None, Id::Valid(span)) if !is_local => Links::One(span),
            _ => Links::Other,
        };
    }
}

/// What every span says outside its attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawSpan<'a> {
    pub(crate) trace: Id<u128>,
    pub(crate) span: Id<u64>,
    pub(crate) parent: Id<u64>,
    pub(crate) name: Cow<'a, str>,
    /// 0 to 5; anything else is none that we know.
    pub(crate) kind: i32,
    pub(crate) start_ns: u64,
    /// 0 if it is open.
    pub(crate) end_ns: u64,
    pub(crate) flags: u32,
    /// 0 unset, 1 ok, 2 error; anything else is none that we know.
    pub(crate) status: i32,
    pub(crate) links: Links,
}

/// Why a span is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejection {
    #[error("its trace id is missing, all zero, or not 16 bytes long")]
    TraceId,
    #[error("its span id is missing, all zero, or not 8 bytes long")]
    SpanId,
    #[error("its parent's span id is not 8 bytes long")]
    ParentId,
    #[error("the request has more than {} spans", crate::limits::SPANS_PER_REQUEST_MAX)]
    TooMany,
    #[error("it is a partial span, and does not say of which")]
    TwinOfNobody,
    #[error("its body is no partial span")]
    Body,
}

/// The ids of a span that may be accepted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) trace: u128,
    pub(crate) span: u64,
    /// 0 if there is none.
    pub(crate) parent: u64,
    /// Whether the parent is known by a link.
    pub(crate) is_linked: bool,
}

/// The flag that the next one means something.
const HAS_IS_REMOTE: u32 = 1 << 8;
/// The parent is in another process.
const IS_REMOTE: u32 = 1 << 9;

impl RawSpan<'_> {
    #[inline]
    pub(crate) fn ids(&self) -> Result<Ids, Rejection> {
        let Id::Valid(trace) = self.trace else {
            return Err(Rejection::TraceId);
        };
        let Id::Valid(span) = self.span else {
            return Err(Rejection::SpanId);
        };
        let (parent, is_linked) = match (self.parent, self.links) {
            (Id::Valid(parent), _) => (parent, false),
            // A consumer may begin a trace of its own and link to whoever sent the message, which is as good as a parent.
            // With several links it answers several, and which of them it answers first nobody knows.
            (Id::Absent, Links::One(linked)) if self.is_server_or_consumer() => (linked, true),
            (Id::Absent, _) => (0, false),
            (Id::Invalid, _) => return Err(Rejection::ParentId),
        };
        Ok(Ids {
            trace,
            span,
            parent,
            is_linked,
        })
    }

    fn is_server_or_consumer(&self) -> bool {
        matches!(self.kind, 2 | 5)
    }

    /// The role: what the attribute says, else what follows from the kind.
    #[inline]
    pub(crate) fn role(&self, said: Option<&Value<'_>>) -> Role {
        if let Some(Value::Text(said)) = said {
            match said.as_ref() {
                "call" => return Role::Call,
                "handle" => return Role::Handle,
                "hold" => return Role::Hold,
                "member" => return Role::Member,
                "none" => return Role::Structural,
                _ => {}
            }
        }
        match self.kind {
            2 | 5 => Role::Handle,
            3 => Role::Call,
            _ => Role::Structural,
        }
    }

    /// Whether the parent is in another process. Who does not say so is a server or consumer whose parent is a client or
    /// producer, or is within the process.
    #[inline]
    fn parent_is_remote(&self, ids: Ids) -> bool {
        let said = self.flags & HAS_IS_REMOTE != 0;
        let is_remote = if said {
            self.flags & IS_REMOTE != 0
        } else {
            self.is_server_or_consumer()
        };
        // What the flags say is about a parent that it does not have.
        ids.is_linked || (ids.parent != 0 && is_remote)
    }

    /// How it ended, as far as its status and `error.type` tell.
    #[inline]
    fn outcome(&self, error_type: Option<&Value<'_>>) -> Outcome {
        if self.status == 1 {
            return Outcome::Finished;
        }
        if let Some(Value::Text(error_type)) = error_type {
            return match error_type.as_ref() {
                // The words of the semantic conventions and of gRPC.
                "timeout" | "DEADLINE_EXCEEDED" => Outcome::Timeout,
                "cancelled" | "CANCELLED" => Outcome::Cancelled,
                _ => Outcome::Error,
            };
        }
        if self.status == 2 {
            Outcome::Error
        } else {
            Outcome::Finished
        }
    }

    /// The signal that it has ended.
    #[inline]
    pub(crate) fn finished(&self, ids: Ids, instance: InstanceIx, ending: &Ending<'_>) -> Finished {
        let role = self.role(ending.role.as_ref());
        let conversation = ending.conversation.as_ref().filter(|_| role == Role::Handle);
        Finished {
            span_id: ids.span,
            trace_id: ids.trace,
            parent_span_id: ids.parent,
            parent_is_remote: self.parent_is_remote(ids),
            instance,
            role,
            outcome: self.outcome(ending.error_type.as_ref()),
            conversation_id: conversation.and_then(|it| it.text()).map(Into::into),
        }
    }

    /// The signal that it is open, under ids that may be those of another span.
    pub(crate) fn started(
        &self,
        ids: Ids,
        instance: InstanceIx,
        source: Source,
        attributes: &Attributes<'_>,
    ) -> Started {
        let role = self.role(attributes.get(Key::Role));
        let mut span = stream::Started {
            span_id: ids.span,
            trace_id: ids.trace.to_be_bytes().to_vec(),
            parent_span_id: ids.parent,
            parent_is_remote: self.parent_is_remote(ids),
            role: role.into(),
            name: cut(&self.name).to_owned(),
            task_span_id: attributes.span_id(Key::Task),
            ..stream::Started::default()
        };
        let text = |key: Key| attributes.text(key).map(Cow::into_owned).unwrap_or_default();
        if role != Role::Structural {
            span.conversation_id = text(Key::Conversation);
        }
        if matches!(role, Role::Handle | Role::Hold | Role::Member) {
            span.resources = attributes.get(Key::Resource).map(Value::names).unwrap_or_default();
        }
        if matches!(role, Role::Handle | Role::Hold) {
            span.capacity = attributes.count(Key::Capacity);
        }
        if matches!(role, Role::Call | Role::Hold | Role::Member) {
            span.units = attributes.count(Key::Units);
        }
        if role == Role::Call {
            span.target = target(attributes, &self.name);
            span.timeout_ms = attributes.whole(Key::TimeoutMs);
            span.detached = attributes.flag(Key::Detached);
            span.wait_group = attributes.text(Key::WaitGroup).map(|name| WaitGroup {
                name: name.into_owned(),
                needed: attributes.count(Key::WaitNeeded),
                size: attributes.count(Key::WaitSize),
            });
        }
        Started {
            instance,
            span,
            start_time_unix_nano: self.start_ns,
            source,
            code: code(attributes),
        }
    }
}

/// Where the span began, if it says so.
fn code(attributes: &Attributes<'_>) -> Option<Box<Code>> {
    let text = |key: Key| attributes.text(key).map(Cow::into_owned).unwrap_or_default();
    let (function, namespace) = (text(Key::CodeFunction), text(Key::CodeNamespace));
    let code = Code {
        function: if function.is_empty() || namespace.is_empty() {
            function
        } else {
            cut(&format!("{namespace}.{function}")).to_owned()
        },
        file: text(Key::CodeFile),
        line: attributes.count(Key::CodeLine),
    };
    (code != Code::default()).then(|| Box::new(code))
}

/// What the attributes of a span that has ended may say.
#[derive(Debug, Default)]
pub(crate) struct Ending<'a> {
    pub(crate) role: Option<Value<'a>>,
    pub(crate) error_type: Option<Value<'a>>,
    pub(crate) conversation: Option<Value<'a>>,
}

impl<'a> Ending<'a> {
    /// Adds one, as [`Attributes::add`] does. Others than these are passed over.
    pub(crate) fn add(&mut self, key: Key, value: Value<'a>) {
        let place = if key == Key::Role {
            &mut self.role
        } else if key == Key::ErrorType {
            &mut self.error_type
        } else if key == Key::Conversation {
            &mut self.conversation
        } else {
            return;
        };
        if place.is_none() || value.supersedes() {
            *place = Some(value);
        }
    }

    /// As the attributes have it, all of which have been read.
    pub(crate) fn of(attributes: &Attributes<'a>) -> Self {
        let get = |key| attributes.get(key).cloned();
        Ending {
            role: get(Key::Role),
            error_type: get(Key::ErrorType),
            conversation: get(Key::Conversation),
        }
    }
}
