//! Reads what a span says of itself.
//!
//! Odd attributes are data, not errors: what makes no sense counts as absent. The parent is taken over as the span has
//! it; what to report instead is the open table's business.

use opentelemetry::trace::{SpanKind, Status};
use opentelemetry::{Array, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::SpanData;
use standoff_protocol::attributes::{self, semconv};
use standoff_protocol::stream::Role;

use crate::Outcome;
use crate::record::{Facts, Group, Record, Subject, cut, id, said};

/// The role of a span: what its attribute says, else what follows from its kind.
pub(crate) fn role(kind: &SpanKind, attributes: &[KeyValue]) -> Role {
    let said = attributes
        .iter()
        .rev()
        .find(|attribute| attribute.key.as_str() == attributes::ROLE);
    if let Some(KeyValue {
        value: Value::String(said),
        ..
    }) = said
    {
        match said.as_str() {
            "call" => return Role::Call,
            "handle" => return Role::Handle,
            "hold" => return Role::Hold,
            "member" => return Role::Member,
            "none" => return Role::Structural,
            _ => {}
        }
    }
    match kind {
        SpanKind::Client => Role::Call,
        SpanKind::Server | SpanKind::Consumer => Role::Handle,
        SpanKind::Producer | SpanKind::Internal => Role::Structural,
    }
}

/// What is kept of a span that has just started. Of a structural one only what keeps the parent chain.
pub(crate) fn record(span: SpanData) -> Record {
    let role = role(&span.span_kind, &span.attributes);
    let mut facts = Facts::new(role, cut(span.name.into()));
    if role != Role::Structural {
        Seen::default().read(span.attributes, &mut facts);
    }
    Record {
        span_id: id(span.span_context.span_id()),
        trace_id: span.span_context.trace_id(),
        parent_span_id: id(span.parent_span_id),
        parent_is_remote: span.parent_span_is_remote,
        facts,
    }
}

/// How a span ended, as far as its status and `error.type` tell.
pub(crate) fn outcome(span: &SpanData) -> Outcome {
    if span.status == Status::Ok {
        return Outcome::Finished;
    }
    let error_type = span
        .attributes
        .iter()
        .rev()
        .find(|attribute| attribute.key.as_str() == semconv::ERROR_TYPE);
    if let Some(KeyValue {
        value: Value::String(error_type),
        ..
    }) = error_type
    {
        return match error_type.as_str() {
            // The words of the semantic conventions and of gRPC.
            "timeout" | "DEADLINE_EXCEEDED" => Outcome::Timeout,
            "cancelled" | "CANCELLED" => Outcome::Cancelled,
            _ => Outcome::Error,
        };
    }
    match span.status {
        Status::Error { .. } => Outcome::Error,
        Status::Unset | Status::Ok => Outcome::Finished,
    }
}

/// What cannot be written to its place before all attributes have been seen.
#[derive(Default)]
struct Seen {
    group: Option<StringValue>,
    needed: u32,
    size: u32,
    /// What `standoff.target` falls back to, in order of preference.
    targets: [Option<StringValue>; semconv::TARGETS.len()],
    address: Option<StringValue>,
    port: Option<Value>,
}

impl Seen {
    fn read(mut self, attributes: Vec<KeyValue>, facts: &mut Facts) {
        let role = facts.role;
        let is_call = role == Role::Call;
        for KeyValue { key, value, .. } in attributes {
            match key.as_str() {
                attributes::RESOURCE if !is_call => facts.subject = resources(value),
                attributes::CAPACITY if matches!(role, Role::Handle | Role::Hold) => facts.capacity = count(&value),
                attributes::UNITS if role != Role::Handle => facts.units = count(&value),
                attributes::TASK => facts.task_span_id = span_id(&value),
                semconv::MESSAGING_CONVERSATION_ID => facts.conversation = text(value),
                attributes::TARGET if is_call => facts.subject = named(text(value)),
                attributes::TIMEOUT_MS if is_call => facts.timeout_ms = whole(&value),
                attributes::WAIT_GROUP if is_call => self.group = text(value),
                attributes::WAIT_NEEDED if is_call => self.needed = count(&value),
                attributes::WAIT_SIZE if is_call => self.size = count(&value),
                attributes::DETACHED if is_call => facts.detached = flag(&value),
                semconv::SERVER_ADDRESS if is_call => self.address = text(value),
                semconv::SERVER_PORT if is_call => self.port = Some(value),
                other if is_call => {
                    if let Some(rank) = semconv::TARGETS.iter().position(|target| *target == other) {
                        self.targets[rank] = text(value);
                    }
                }
                _ => {}
            }
        }
        facts.group = self.group.map(|name| Group {
            name,
            needed: self.needed,
            size: self.size,
        });
        if is_call && matches!(facts.subject, Subject::Unknown) {
            let found = self.targets.into_iter().flatten().next();
            facts.subject = found.map_or_else(|| address(self.address, self.port), Subject::Named);
        }
    }
}

/// A text that is not empty. Numbers are texts too.
fn text(value: Value) -> Option<StringValue> {
    said(StringValue::from(value))
}

fn named(name: Option<StringValue>) -> Subject {
    name.map_or(Subject::Unknown, Subject::Named)
}

/// Both parts of an address are needed. It is written out only if it is reported.
fn address(host: Option<StringValue>, port: Option<Value>) -> Subject {
    let (Some(host), Some(port)) = (host, port) else {
        return Subject::Unknown;
    };
    if let Value::I64(port) = port {
        return Subject::Address(host, port);
    }
    named(text(port).and_then(|port| said(format!("{host}:{port}").into())))
}

fn resources(value: Value) -> Subject {
    if let Value::Array(Array::String(names)) = value {
        Subject::several(names)
    } else {
        named(text(value))
    }
}

/// A whole number above 0, or 0 if the value is none. `tracing` hands over unsigned numbers as text.
fn whole(value: &Value) -> u64 {
    if let Value::I64(number) = value {
        u64::try_from(*number).unwrap_or(0)
    } else {
        text_of(value).parse().unwrap_or(0)
    }
}

/// As [`whole`], for what fits 32 bits on the wire. More than fits is as much as fits.
fn count(value: &Value) -> u32 {
    u32::try_from(whole(value)).unwrap_or(u32::MAX)
}

fn flag(value: &Value) -> bool {
    *value == Value::Bool(true) || text_of(value) == "true"
}

fn span_id(value: &Value) -> u64 {
    let digits = text_of(value);
    if digits.len() == 16 {
        u64::from_str_radix(digits, 16).unwrap_or(0)
    } else {
        0
    }
}

/// The text, if it is one.
fn text_of(value: &Value) -> &str {
    if let Value::String(text) = value {
        text.as_str()
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
    use standoff_protocol::stream::{RESOURCES_PER_SPAN_MAX, Started, TEXT_BYTES_MAX, WaitGroup};

    use super::*;

    fn span(kind: SpanKind, attributes: Vec<KeyValue>) -> SpanData {
        SpanData {
            span_context: SpanContext::new(
                TraceId::from(5),
                SpanId::from(6),
                TraceFlags::SAMPLED,
                false,
                TraceState::default(),
            ),
            parent_span_id: SpanId::from(4),
            parent_span_is_remote: true,
            span_kind: kind,
            name: "name".into(),
            start_time: SystemTime::UNIX_EPOCH,
            end_time: SystemTime::UNIX_EPOCH,
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: InstrumentationScope::default(),
        }
    }

    fn started(span: SpanData) -> Started {
        record(span).to_started(0)
    }

    fn role_of(kind: SpanKind, attributes: &[KeyValue]) -> Role {
        role(&kind, attributes)
    }

    fn call(attributes: Vec<KeyValue>) -> Started {
        started(span(SpanKind::Client, attributes))
    }

    #[test]
    fn roles_follow_from_kinds() {
        let cases = [
            (SpanKind::Client, Role::Call),
            (SpanKind::Server, Role::Handle),
            (SpanKind::Consumer, Role::Handle),
            (SpanKind::Producer, Role::Structural),
            (SpanKind::Internal, Role::Structural),
        ];
        for (kind, expected) in cases {
            assert_eq!(role_of(kind.clone(), &[]), expected, "{kind:?}");
        }
    }

    #[test]
    fn the_attribute_overrides_the_kind() {
        let cases = [
            ("call", Role::Call),
            ("handle", Role::Handle),
            ("hold", Role::Hold),
            ("member", Role::Member),
            ("none", Role::Structural),
            ("nonsense", Role::Call),
        ];
        for (said, expected) in cases {
            let said = KeyValue::new(attributes::ROLE, said);
            assert_eq!(
                role_of(SpanKind::Client, std::slice::from_ref(&said)),
                expected,
                "{said:?}"
            );
        }
    }

    #[test]
    fn a_call_is_read_in_full() {
        let read = call(vec![
            KeyValue::new(attributes::TARGET, "{:server_a, 42}"),
            KeyValue::new(attributes::TIMEOUT_MS, 5000),
            KeyValue::new(attributes::UNITS, 2),
            KeyValue::new(attributes::WAIT_GROUP, "g"),
            KeyValue::new(attributes::WAIT_NEEDED, 1),
            KeyValue::new(attributes::WAIT_SIZE, 3),
            KeyValue::new(attributes::DETACHED, true),
            KeyValue::new(attributes::TASK, "00000000000000ff"),
            KeyValue::new(semconv::MESSAGING_CONVERSATION_ID, "c"),
            KeyValue::new(attributes::RESOURCE, "not of a call"),
        ]);
        let expected = Started {
            span_id: 6,
            trace_id: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5].to_vec(),
            parent_span_id: 4,
            parent_is_remote: true,
            role: Role::Call.into(),
            name: "name".to_owned(),
            target: "{:server_a, 42}".to_owned(),
            timeout_ms: 5000,
            units: 2,
            wait_group: Some(WaitGroup {
                name: "g".to_owned(),
                needed: 1,
                size: 3,
            }),
            detached: true,
            task_span_id: 255,
            conversation_id: "c".to_owned(),
            ..Started::default()
        };
        assert_eq!(read, expected);
    }

    #[test]
    fn the_target_falls_back_in_order() {
        let mut attributes = vec![
            KeyValue::new(semconv::SERVER_PORT, 5672),
            KeyValue::new(semconv::SERVER_ADDRESS, "host"),
            KeyValue::new(semconv::PEER_SERVICE, "older"),
            KeyValue::new(semconv::SERVICE_PEER_NAME, "peer"),
            KeyValue::new(semconv::RPC_SERVICE, "rpc"),
            KeyValue::new(semconv::MESSAGING_DESTINATION_NAME, "queue"),
            KeyValue::new(attributes::TARGET, "said"),
        ];
        for expected in ["said", "queue", "rpc", "peer", "older", "host:5672", "", ""] {
            assert_eq!(call(attributes.clone()).target, expected);
            attributes.pop();
        }
    }

    #[test]
    fn resources_are_texts_without_duplicates() {
        let array = Value::Array(Array::String(vec!["a".into(), "b".into(), "a".into(), "".into()]));
        for role in ["handle", "hold", "member"] {
            let said = vec![
                KeyValue::new(attributes::ROLE, role),
                KeyValue::new(attributes::RESOURCE, array.clone()),
            ];
            assert_eq!(started(span(SpanKind::Internal, said)).resources, ["a", "b"]);
        }
        let many = (0..100).map(|n| n.to_string().into()).collect();
        let said = vec![KeyValue::new(attributes::RESOURCE, Value::Array(Array::String(many)))];
        assert_eq!(
            started(span(SpanKind::Server, said)).resources.len(),
            RESOURCES_PER_SPAN_MAX
        );
    }

    #[test]
    fn nonsense_counts_as_absent() {
        let read = call(vec![
            KeyValue::new(attributes::UNITS, -3),
            KeyValue::new(attributes::TIMEOUT_MS, "soon"),
            KeyValue::new(attributes::DETACHED, 7),
            KeyValue::new(attributes::TASK, "xyz"),
            KeyValue::new(attributes::WAIT_NEEDED, 1),
        ]);
        assert_eq!(
            (read.units, read.timeout_ms, read.detached, read.task_span_id),
            (0, 0, false, 0)
        );
        assert_eq!(read.wait_group, None);
    }

    #[test]
    fn numbers_may_be_texts_and_large() {
        let read = call(vec![
            KeyValue::new(attributes::TIMEOUT_MS, "5000"),
            KeyValue::new(attributes::UNITS, i64::MAX),
            KeyValue::new(attributes::DETACHED, "true"),
        ]);
        assert_eq!((read.timeout_ms, read.units, read.detached), (5000, u32::MAX, true));
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let read = call(vec![KeyValue::new(
            attributes::TARGET,
            "ä".repeat(TEXT_BYTES_MAX) + "x",
        )]);
        assert_eq!(read.target.len(), TEXT_BYTES_MAX);
        let odd = call(vec![KeyValue::new(
            attributes::TARGET,
            "x".to_owned() + &"ä".repeat(TEXT_BYTES_MAX),
        )]);
        assert_eq!(odd.target.len(), TEXT_BYTES_MAX - 1);
    }

    #[test]
    fn outcomes_are_read_from_status_and_error_type() {
        let cases = [
            (Status::Unset, None, Outcome::Finished),
            (Status::Ok, Some("timeout"), Outcome::Finished),
            (Status::error(""), None, Outcome::Error),
            (Status::error(""), Some("500"), Outcome::Error),
            (Status::error(""), Some("timeout"), Outcome::Timeout),
            (Status::error(""), Some("DEADLINE_EXCEEDED"), Outcome::Timeout),
            (Status::error(""), Some("cancelled"), Outcome::Cancelled),
            (Status::Unset, Some("timeout"), Outcome::Timeout),
        ];
        for (status, error_type, expected) in cases {
            let mut ended = span(SpanKind::Client, vec![]);
            ended.status = status;
            ended
                .attributes
                .extend(error_type.map(|name| KeyValue::new(semconv::ERROR_TYPE, name)));
            assert_eq!(outcome(&ended), expected, "{:?} {error_type:?}", ended.status);
        }
    }
}
