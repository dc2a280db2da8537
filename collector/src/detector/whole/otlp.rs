//! What emitters of OTLP put into requests, in each dialect in which they say that a span is open.
//!
//! Requests are written by the types that OpenTelemetry publishes, and read by our own decoder. Knows neither when a
//! request is sent nor how long it takes.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use standoff_agent::Outcome;
use standoff_otlp::{Batch, Format, logs, traces};
use standoff_protocol::attributes::{self, semconv};
use standoff_protocol::stream::{Role, Started};

/// OpenTelemetry's numbers for kinds of spans.
const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;

/// The flags of a span that say that its parent is here, or in another process.
const PARENT_IS_LOCAL: u32 = 0x100;
const PARENT_IS_REMOTE: u32 = 0x300;

/// A span as its service knows it.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) span: Started,
    /// By the clock of the service, since 1970.
    pub(super) started: Duration,
    /// The same, with how it ended; `None` while it is open.
    pub(super) ended: Option<(Duration, Outcome)>,
}

/// A request, encoded.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Traces(Vec<u8>, Format),
    Logs(Vec<u8>),
}

impl Request {
    /// What the receiver makes of it.
    pub(super) fn read(&self) -> Batch {
        let decoded = match self {
            Self::Traces(bytes, format) => traces(bytes, *format).unwrap(),
            Self::Logs(bytes) => logs(bytes, Format::Protobuf).unwrap(),
        };
        assert_eq!(decoded.rejected, 0, "{}", decoded.reason);
        decoded.batch
    }
}

/// Who sends.
#[derive(Clone, Debug)]
pub(super) struct Sender {
    pub(super) service: String,
    pub(super) instance: String,
}

impl Sender {
    fn resource(&self) -> Resource {
        Resource {
            attributes: vec![
                text(semconv::SERVICE_NAME, &self.service),
                text(semconv::SERVICE_INSTANCE_ID, &self.instance),
            ],
            ..Resource::default()
        }
    }

    /// Spans, whatever they say.
    pub(super) fn traces(&self, spans: Vec<Span>, format: Format) -> Request {
        let request = ExportTraceServiceRequest {
            resource_spans: vec![self.spans(spans)],
        };
        let bytes = match format {
            Format::Protobuf => request.encode_to_vec(),
            Format::Json => serde_json::to_vec(&request).unwrap(),
        };
        Request::Traces(bytes, format)
    }

    fn spans(&self, spans: Vec<Span>) -> ResourceSpans {
        ResourceSpans {
            resource: Some(self.resource()),
            scope_spans: vec![ScopeSpans {
                spans,
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }
    }

    /// A log record that says that a span is open and when that will be said again, or that it has ended.
    pub(super) fn partial(&self, span: Span, heartbeat: Option<Duration>) -> Request {
        let (trace_id, span_id) = (span.trace_id.clone(), span.span_id.clone());
        let body = ExportTraceServiceRequest {
            resource_spans: vec![self.spans(vec![span])],
        };
        let mut attributes = vec![text("partial.body.type", "json/v1")];
        match heartbeat {
            Some(every) => {
                attributes.push(text("partial.event", "heartbeat"));
                attributes.push(text("partial.frequency", &format!("{}ms", every.as_millis())));
            }
            None => attributes.push(text("partial.event", "stop")),
        }
        let record = LogRecord {
            trace_id,
            span_id,
            attributes,
            body: Some(value(any_value::Value::StringValue(
                serde_json::to_string(&body).unwrap(),
            ))),
            ..LogRecord::default()
        };
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource()),
                scope_logs: vec![ScopeLogs {
                    log_records: vec![record],
                    ..ScopeLogs::default()
                }],
                ..ResourceLogs::default()
            }],
        };
        Request::Logs(request.encode_to_vec())
    }
}

/// The span as it is: open, or ended.
pub(super) fn span(known: &Known) -> Span {
    let Known { span, started, ended } = known;
    let is_remote = span.parent_is_remote;
    // One of whose trace a library says nothing is a trace of its own.
    let of_its_own = || u128::from(span.span_id).to_be_bytes().to_vec();
    let mut attributes = attributes_of(span);
    if let Some((_, outcome)) = ended {
        let error = match outcome {
            Outcome::Finished => None,
            Outcome::Error => Some("refused"),
            Outcome::Timeout => Some("timeout"),
            Outcome::Cancelled => Some("cancelled"),
        };
        attributes.extend(error.map(|it| text(semconv::ERROR_TYPE, it)));
    }
    Span {
        trace_id: if span.trace_id.is_empty() {
            of_its_own()
        } else {
            span.trace_id.clone()
        },
        span_id: id(span.span_id),
        parent_span_id: id(span.parent_span_id),
        flags: if is_remote { PARENT_IS_REMOTE } else { PARENT_IS_LOCAL },
        name: span.name.clone(),
        kind: match span.role() {
            Role::Handle => SERVER,
            Role::Call => CLIENT,
            Role::Structural if span.parent_span_id != 0 => PRODUCER,
            Role::Structural | Role::Hold | Role::Member => INTERNAL,
        },
        start_time_unix_nano: nanos(*started),
        end_time_unix_nano: ended.map_or(0, |(at, _)| nanos(at)),
        attributes,
        ..Span::default()
    }
}

/// Logfire's: a child of no duration stands for its parent, which is open.
pub(super) fn pending(known: &Known, child: u64) -> Span {
    let mut span = span(known);
    span.attributes.push(text("logfire.span_type", "pending_span"));
    span.attributes.push(text(
        "logfire.pending_parent_id",
        &format!("{:016x}", known.span.parent_span_id),
    ));
    span.parent_span_id = std::mem::replace(&mut span.span_id, id(child));
    span.end_time_unix_nano = span.start_time_unix_nano;
    span.flags = PARENT_IS_LOCAL;
    span
}

/// Trigger.dev's: a sibling that ends at once stands for the span that is open.
pub(super) fn twin(known: &Known, sibling: u64) -> Span {
    let mut span = span(known);
    span.attributes.push(boolean("$span.partial", true));
    span.attributes
        .push(text("$span.span_id", &format!("{:016x}", known.span.span_id)));
    span.span_id = id(sibling);
    span.end_time_unix_nano = span.start_time_unix_nano;
    span
}

fn attributes_of(span: &Started) -> Vec<KeyValue> {
    let role = match span.role() {
        // These follow from the kind.
        Role::Structural | Role::Call | Role::Handle => None,
        Role::Hold => Some("hold"),
        Role::Member => Some("member"),
    };
    let mut attributes = vec![text("telemetry.of.no.interest", "to anybody here")];
    attributes.extend(role.map(|it| text(attributes::ROLE, it)));
    if !span.resources.is_empty() {
        let names = span.resources.iter().map(|it| string(it)).collect();
        let names = any_value::Value::ArrayValue(ArrayValue { values: names });
        attributes.push(attribute(attributes::RESOURCE, names));
    }
    let numbers = [
        (attributes::CAPACITY, u64::from(span.capacity)),
        (attributes::UNITS, span.units.into()),
        (attributes::TIMEOUT_MS, span.timeout_ms),
    ];
    for (key, number) in numbers.into_iter().filter(|(_, number)| *number > 0) {
        attributes.push(integer(key, number));
    }
    let texts = [
        (attributes::TARGET, &span.target),
        (semconv::MESSAGING_CONVERSATION_ID, &span.conversation_id),
    ];
    attributes.extend(
        texts
            .into_iter()
            .filter(|(_, it)| !it.is_empty())
            .map(|(key, it)| text(key, it)),
    );
    if let Some(group) = &span.wait_group {
        attributes.push(text(attributes::WAIT_GROUP, &group.name));
        attributes.push(integer(attributes::WAIT_NEEDED, group.needed.into()));
        attributes.push(integer(attributes::WAIT_SIZE, group.size.into()));
    }
    if span.detached {
        attributes.push(boolean(attributes::DETACHED, true));
    }
    attributes
}

/// Nobody's is empty.
fn id(span: u64) -> Vec<u8> {
    if span == 0 {
        Vec::new()
    } else {
        span.to_be_bytes().to_vec()
    }
}

fn nanos(time: Duration) -> u64 {
    time.as_nanos() as u64
}

fn value(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn string(text: &str) -> AnyValue {
    value(any_value::Value::StringValue(text.to_owned()))
}

fn attribute(key: &str, of: any_value::Value) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(value(of)),
        ..KeyValue::default()
    }
}

fn text(key: &str, text: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(text.to_owned()))
}

fn integer(key: &str, number: u64) -> KeyValue {
    attribute(key, any_value::Value::IntValue(number as i64))
}

fn boolean(key: &str, it: bool) -> KeyValue {
    attribute(key, any_value::Value::BoolValue(it))
}
