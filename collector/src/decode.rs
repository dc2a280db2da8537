//! From messages of the native stream to what the engine understands. Checks limits; keeps no state.

use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::stream::{self, RESOURCES_PER_SPAN_MAX, SPANS_PER_MESSAGE_MAX, TEXT_BYTES_MAX};
use standoff_wait_graph::{
    Call, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

/// A message that the collector cannot accept: the sender does not keep to the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("span {span_id:016x}: {kind}")]
pub(crate) struct DecodeError {
    span_id: u64,
    kind: DecodeErrorKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeErrorKind {
    #[error("a span id must not be 0")]
    NoSpanId,
    #[error("a trace id has 16 bytes or none, not {0}")]
    TraceId(usize),
    #[error("role {0} is not one of this protocol version")]
    Role(i32),
    #[error("{field} has {len} bytes; at most {TEXT_BYTES_MAX} are accepted")]
    TextTooLong { field: &'static str, len: usize },
    #[error("it names {0} resources; at most {RESOURCES_PER_SPAN_MAX} are accepted")]
    TooManyResources(usize),
    #[error("a message has {0} spans; at most {SPANS_PER_MESSAGE_MAX} are accepted")]
    TooManySpans(usize),
}

/// Fails if a message carries more spans than the protocol allows.
pub(crate) fn check_count(spans: usize) -> Result<(), DecodeError> {
    if spans > SPANS_PER_MESSAGE_MAX {
        return Err(DecodeError {
            span_id: 0,
            kind: DecodeErrorKind::TooManySpans(spans),
        });
    }
    Ok(())
}

/// A span of `instance` that is open at `now`.
pub(crate) fn span(instance: InstanceId, now: Duration, started: stream::Started) -> Result<Span, DecodeError> {
    let id = started.span_id;
    decode(instance, now, started).map_err(|kind| DecodeError { span_id: id, kind })
}

fn decode(instance: InstanceId, now: Duration, started: stream::Started) -> Result<Span, DecodeErrorKind> {
    let id = span_id(started.span_id).ok_or(DecodeErrorKind::NoSpanId)?;
    let trace = match started.trace_id.as_slice() {
        [] => TraceId::default(),
        bytes => TraceId(u128::from_be_bytes(
            bytes.try_into().map_err(|_| DecodeErrorKind::TraceId(bytes.len()))?,
        )),
    };
    let parent = span_id(started.parent_span_id).map(|id| Parent {
        id,
        remote: started.parent_is_remote,
    });
    if started.resources.len() > RESOURCES_PER_SPAN_MAX {
        return Err(DecodeErrorKind::TooManyResources(started.resources.len()));
    }
    let mut resources = Vec::with_capacity(started.resources.len());
    for resource in started.resources {
        resources.push(text("a resource", resource)?);
    }
    let capacity = (started.capacity > 0).then_some(started.capacity);
    let units = started.units.max(1);
    let role = match stream::Role::try_from(started.role).map_err(|_| DecodeErrorKind::Role(started.role))? {
        stream::Role::Structural => Role::Structural,
        stream::Role::Call => Role::Call(Call {
            target: optional_text("the target", started.target)?,
            units,
            group: started.wait_group.map(wait_group).transpose()?,
            detached: started.detached,
            timeout: (started.timeout_ms > 0).then(|| Duration::from_millis(started.timeout_ms)),
        }),
        stream::Role::Handle => Role::Handle(Handle { resources, capacity }),
        stream::Role::Hold => Role::Hold(Hold {
            resources,
            capacity,
            units,
        }),
        stream::Role::Member => Role::Member(Member { resources, units }),
    };
    Ok(Span {
        id,
        trace,
        instance,
        parent,
        task: span_id(started.task_span_id),
        name: text("the name", started.name)?,
        conversation: optional_text("the conversation id", started.conversation_id)?,
        role,
        started_at: now.saturating_sub(Duration::from_nanos(started.age_ns)),
    })
}

fn wait_group(group: stream::WaitGroup) -> Result<WaitGroup, DecodeErrorKind> {
    let quorum = (group.needed > 0 && group.size > 0).then_some(Quorum {
        needed: group.needed,
        size: group.size,
    });
    Ok(WaitGroup {
        name: text("the wait group", group.name)?,
        quorum,
    })
}

fn span_id(id: u64) -> Option<SpanId> {
    (id != 0).then_some(SpanId(id))
}

fn text(field: &'static str, text: String) -> Result<Arc<str>, DecodeErrorKind> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(DecodeErrorKind::TextTooLong { field, len: text.len() });
    }
    Ok(text.into())
}

fn optional_text(field: &'static str, text: String) -> Result<Option<Arc<str>>, DecodeErrorKind> {
    if text.is_empty() {
        Ok(None)
    } else {
        self::text(field, text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INSTANCE: InstanceId = InstanceId(1);
    const NOW: Duration = Duration::from_secs(100);

    fn call() -> stream::Started {
        stream::Started {
            span_id: 7,
            role: stream::Role::Call.into(),
            target: "service-b".into(),
            age_ns: 2_000_000_000,
            timeout_ms: 5000,
            ..Default::default()
        }
    }

    #[test]
    fn a_call_started_as_long_ago_as_its_age_says() {
        let span = span(INSTANCE, NOW, call()).unwrap();
        assert_eq!(span.started_at, Duration::from_secs(98));
        let Role::Call(call) = span.role else {
            panic!("not a call: {:?}", span.role)
        };
        assert_eq!(call.target.as_deref(), Some("service-b"));
        assert_eq!(call.timeout, Some(Duration::from_secs(5)));
        assert_eq!(call.units, 1);
    }

    #[test]
    fn an_age_beyond_the_epoch_is_cut() {
        let started = stream::Started {
            age_ns: u64::MAX,
            ..call()
        };
        assert_eq!(span(INSTANCE, NOW, started).unwrap().started_at, Duration::ZERO);
    }

    #[test]
    fn a_group_that_lacks_a_number_has_no_quorum() {
        let group = stream::WaitGroup {
            name: "g".into(),
            needed: 1,
            size: 0,
        };
        let started = stream::Started {
            wait_group: Some(group),
            ..call()
        };
        let Role::Call(call) = span(INSTANCE, NOW, started).unwrap().role else {
            panic!("not a call")
        };
        assert_eq!(call.group.unwrap().quorum, None);
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let cases = [
            (
                stream::Started { span_id: 0, ..call() },
                "span 0000000000000000: a span id must not be 0",
            ),
            (
                stream::Started {
                    trace_id: vec![1; 3],
                    ..call()
                },
                "span 0000000000000007: a trace id has 16 bytes or none, not 3",
            ),
            (
                stream::Started { role: 99, ..call() },
                "span 0000000000000007: role 99 is not one of this protocol version",
            ),
            (
                stream::Started {
                    target: "x".repeat(1025),
                    ..call()
                },
                "span 0000000000000007: the target has 1025 bytes; at most 1024 are accepted",
            ),
            (
                stream::Started {
                    resources: vec![String::new(); 33],
                    ..call()
                },
                "span 0000000000000007: it names 33 resources; at most 32 are accepted",
            ),
        ];
        for (started, message) in cases {
            assert_eq!(span(INSTANCE, NOW, started).unwrap_err().to_string(), message);
        }
    }
}
