//! Whether spans keep to the protocol. Collector and relay refuse those that do not, for the same reasons.

use super::{
    ENDED_PER_MESSAGE_MAX, Ended, RESOURCES_PER_SPAN_MAX, Role, SPANS_PER_MESSAGE_MAX, Started, TEXT_BYTES_MAX,
};

/// How long a trace id is, where there is one.
const TRACE_ID_BYTES: usize = 16;

/// Something about a span that the protocol does not allow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("span {span_id:016x}: {kind}")]
pub struct Malformed {
    span_id: u64,
    kind: MalformedKind,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum MalformedKind {
    #[error("a span id must not be 0")]
    NoSpanId,
    #[error("a trace id has {TRACE_ID_BYTES} bytes or none, not {0}")]
    TraceId(usize),
    #[error("role {0} is not one of this protocol version")]
    Role(i32),
    #[error("{field} has {len} bytes; at most {TEXT_BYTES_MAX} are accepted")]
    TextTooLong { field: &'static str, len: usize },
    #[error("it names {0} resources; at most {RESOURCES_PER_SPAN_MAX} are accepted")]
    TooManyResources(usize),
    #[error("a message has {0} spans; at most {SPANS_PER_MESSAGE_MAX} are accepted")]
    TooManySpans(usize),
    #[error("a message has {0} ended spans; at most {ENDED_PER_MESSAGE_MAX} are accepted")]
    TooManyEnded(usize),
}

/// Checks the spans of one message: their number, and each of them.
///
/// # Errors
///
/// The first thing that the protocol does not allow.
pub fn check_spans(spans: &[Started]) -> Result<(), Malformed> {
    if spans.len() > SPANS_PER_MESSAGE_MAX {
        return Err(Malformed {
            span_id: 0,
            kind: MalformedKind::TooManySpans(spans.len()),
        });
    }
    spans.iter().try_for_each(|span| {
        check(span).map_err(|kind| Malformed {
            span_id: span.span_id,
            kind,
        })
    })
}

/// Checks the ended spans of one message: their number, and each of them.
///
/// # Errors
///
/// The first thing that the protocol does not allow.
pub fn check_ended(ended: &[Ended]) -> Result<(), Malformed> {
    if ended.len() > ENDED_PER_MESSAGE_MAX {
        return Err(Malformed {
            span_id: 0,
            kind: MalformedKind::TooManyEnded(ended.len()),
        });
    }
    ended.iter().try_for_each(|span| {
        let kind = if span.span_id == 0 {
            MalformedKind::NoSpanId
        } else if Role::try_from(span.role).is_err() {
            MalformedKind::Role(span.role)
        } else if span.conversation_id.len() > TEXT_BYTES_MAX {
            MalformedKind::TextTooLong {
                field: "the conversation id",
                len: span.conversation_id.len(),
            }
        } else {
            return Ok(());
        };
        let span_id = span.span_id;
        Err(Malformed { span_id, kind })
    })
}

fn check(span: &Started) -> Result<(), MalformedKind> {
    if span.span_id == 0 {
        return Err(MalformedKind::NoSpanId);
    }
    if !matches!(span.trace_id.len(), 0 | TRACE_ID_BYTES) {
        return Err(MalformedKind::TraceId(span.trace_id.len()));
    }
    if Role::try_from(span.role).is_err() {
        return Err(MalformedKind::Role(span.role));
    }
    if span.resources.len() > RESOURCES_PER_SPAN_MAX {
        return Err(MalformedKind::TooManyResources(span.resources.len()));
    }
    let group = span.wait_group.as_ref().map_or("", |group| &group.name);
    let texts = [
        ("the name", span.name.as_str()),
        ("the target", &span.target),
        ("the conversation id", &span.conversation_id),
        ("the wait group", group),
    ];
    let resources = span.resources.iter().map(|resource| ("a resource", resource.as_str()));
    for (field, text) in texts.into_iter().chain(resources) {
        if text.len() > TEXT_BYTES_MAX {
            return Err(MalformedKind::TextTooLong { field, len: text.len() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call() -> Started {
        Started {
            span_id: 7,
            role: Role::Call.into(),
            target: "service-b".into(),
            ..Started::default()
        }
    }

    #[test]
    fn what_breaks_the_protocol_is_named() {
        let cases = [
            (
                Started { span_id: 0, ..call() },
                "span 0000000000000000: a span id must not be 0",
            ),
            (
                Started {
                    trace_id: vec![1; 3],
                    ..call()
                },
                "span 0000000000000007: a trace id has 16 bytes or none, not 3",
            ),
            (
                Started { role: 99, ..call() },
                "span 0000000000000007: role 99 is not one of this protocol version",
            ),
            (
                Started {
                    target: "x".repeat(1025),
                    ..call()
                },
                "span 0000000000000007: the target has 1025 bytes; at most 1024 are accepted",
            ),
            (
                Started {
                    resources: vec![String::new(); 33],
                    ..call()
                },
                "span 0000000000000007: it names 33 resources; at most 32 are accepted",
            ),
        ];
        assert_eq!(check_spans(&[call()]), Ok(()));
        for (started, message) in cases {
            assert_eq!(check_spans(&[call(), started]).unwrap_err().to_string(), message);
        }
        assert!(check_spans(&vec![call(); SPANS_PER_MESSAGE_MAX]).is_ok());
        assert!(check_spans(&vec![call(); SPANS_PER_MESSAGE_MAX + 1]).is_err());
    }

    #[test]
    fn ended_spans_are_checked_too() {
        let ended = Ended {
            span_id: 7,
            role: Role::Handle.into(),
            ..Ended::default()
        };
        assert_eq!(check_ended(&vec![ended.clone(); ENDED_PER_MESSAGE_MAX]), Ok(()));
        assert!(check_ended(&vec![ended.clone(); ENDED_PER_MESSAGE_MAX + 1]).is_err());
        let cases = [
            (
                Ended {
                    span_id: 0,
                    ..ended.clone()
                },
                "span 0000000000000000: a span id must not be 0",
            ),
            (
                Ended {
                    role: 99,
                    ..ended.clone()
                },
                "span 0000000000000007: role 99 is not one of this protocol version",
            ),
            (
                Ended {
                    conversation_id: "x".repeat(1025),
                    ..ended.clone()
                },
                "span 0000000000000007: the conversation id has 1025 bytes; at most 1024 are accepted",
            ),
        ];
        for (wrong, message) in cases {
            assert_eq!(check_ended(&[ended.clone(), wrong]).unwrap_err().to_string(), message);
        }
    }
}
