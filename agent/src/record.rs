//! Reads what a span says of itself into the form in which it is reported.
//!
//! Odd attributes are data, not errors: what makes no sense counts as absent. The parent is taken over as the span has
//! it; what to report instead is the open table's business.

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry::{Array, KeyValue, Value};
use opentelemetry_sdk::trace::SpanData;
use standoff_protocol::attributes::{self, semconv};
use standoff_protocol::stream::{RESOURCES_PER_SPAN_MAX, Role, Started, TEXT_BYTES_MAX, WaitGroup};

use crate::Outcome;

/// The role of a span: what its attribute says, else what follows from its kind.
pub(crate) fn role(span: &SpanData) -> Role {
    let said = span
        .attributes
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
    match span.span_kind {
        SpanKind::Client => Role::Call,
        SpanKind::Server | SpanKind::Consumer => Role::Handle,
        SpanKind::Producer | SpanKind::Internal => Role::Structural,
    }
}

/// What is reported of a span that has just started. Of a structural one only what keeps the parent chain.
pub(crate) fn started(span: SpanData) -> Started {
    let role = role(&span);
    let mut started = Started {
        span_id: id(span.span_context.span_id()),
        trace_id: span.span_context.trace_id().to_bytes().to_vec(),
        parent_span_id: id(span.parent_span_id),
        parent_is_remote: span.parent_span_is_remote,
        role: role.into(),
        name: cut(span.name.into_owned()),
        ..Started::default()
    };
    if role != Role::Structural {
        Facts::default().read(span.attributes, role, &mut started);
    }
    started
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

/// A span id as it is on the wire; 0 is none.
pub(crate) fn id(span_id: SpanId) -> u64 {
    u64::from_be_bytes(span_id.to_bytes())
}

/// Cuts a text to what the collector accepts.
pub(crate) fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

/// What cannot be written to its place before all attributes have been seen.
#[derive(Default)]
struct Facts {
    group: String,
    needed: u32,
    size: u32,
    /// What `standoff.target` falls back to, in order of preference.
    targets: [Option<String>; semconv::TARGETS.len()],
    address: Option<String>,
    port: Option<String>,
}

impl Facts {
    fn read(mut self, attributes: Vec<KeyValue>, role: Role, started: &mut Started) {
        let is_call = role == Role::Call;
        for KeyValue { key, value, .. } in attributes {
            match key.as_str() {
                attributes::RESOURCE if !is_call => started.resources = resources(value),
                attributes::CAPACITY if matches!(role, Role::Handle | Role::Hold) => started.capacity = count(&value),
                attributes::UNITS if role != Role::Handle => started.units = count(&value),
                attributes::TASK => started.task_span_id = span_id(&value),
                semconv::MESSAGING_CONVERSATION_ID => started.conversation_id = text(value).unwrap_or_default(),
                attributes::TARGET if is_call => started.target = text(value).unwrap_or_default(),
                attributes::TIMEOUT_MS if is_call => started.timeout_ms = whole(&value),
                attributes::WAIT_GROUP if is_call => self.group = text(value).unwrap_or_default(),
                attributes::WAIT_NEEDED if is_call => self.needed = count(&value),
                attributes::WAIT_SIZE if is_call => self.size = count(&value),
                attributes::DETACHED if is_call => started.detached = flag(&value),
                semconv::SERVER_ADDRESS if is_call => self.address = text(value),
                semconv::SERVER_PORT if is_call => self.port = text(value),
                other if is_call => {
                    if let Some(rank) = semconv::TARGETS.iter().position(|target| *target == other) {
                        self.targets[rank] = text(value);
                    }
                }
                _ => {}
            }
        }
        if !self.group.is_empty() {
            started.wait_group = Some(WaitGroup {
                name: self.group,
                needed: self.needed,
                size: self.size,
            });
        }
        if started.target.is_empty() {
            let address = || Some(cut(format!("{}:{}", self.address?, self.port?)));
            started.target = self
                .targets
                .into_iter()
                .flatten()
                .next()
                .or_else(address)
                .unwrap_or_default();
        }
    }
}

/// A text that is not empty. Numbers are texts too: a port, for instance.
fn text(value: Value) -> Option<String> {
    let text = if let Value::String(text) = value {
        String::from(text)
    } else {
        value.as_str().into_owned()
    };
    (!text.is_empty()).then(|| cut(text))
}

fn resources(value: Value) -> Vec<String> {
    let named = if let Value::Array(Array::String(names)) = value {
        names.into_iter().map(String::from).map(cut).collect()
    } else {
        Vec::from_iter(text(value))
    };
    let mut resources: Vec<String> = Vec::with_capacity(named.len().min(RESOURCES_PER_SPAN_MAX));
    for name in named {
        if resources.len() < RESOURCES_PER_SPAN_MAX && !name.is_empty() && !resources.contains(&name) {
            resources.push(name);
        }
    }
    resources
}

/// A whole number above 0, or 0 if the value is none. `tracing` hands over unsigned numbers as text.
fn whole(value: &Value) -> u64 {
    if let Value::I64(number) = value {
        u64::try_from(*number).unwrap_or(0)
    } else {
        value.as_str().parse().unwrap_or(0)
    }
}

/// As [`whole`], for what fits 32 bits on the wire. More than fits is as much as fits.
fn count(value: &Value) -> u32 {
    u32::try_from(whole(value)).unwrap_or(u32::MAX)
}

fn flag(value: &Value) -> bool {
    value.as_str() == "true"
}

fn span_id(value: &Value) -> u64 {
    let digits = value.as_str();
    if digits.len() == 16 {
        u64::from_str_radix(&digits, 16).unwrap_or(0)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry::InstrumentationScope;
    use opentelemetry::trace::{SpanContext, TraceFlags, TraceId, TraceState};
    use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};

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
            assert_eq!(role(&span(kind.clone(), vec![])), expected, "{kind:?}");
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
            assert_eq!(role(&span(SpanKind::Client, vec![said.clone()])), expected, "{said:?}");
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
