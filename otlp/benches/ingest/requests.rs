//! The requests that are sent: spans as HTTP servers make them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

/// What a request is like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// Spans in a request.
    pub(crate) spans: usize,
    /// How many of them have not ended.
    pub(crate) open: usize,
}

/// When the first span started, in nanoseconds since 1970.
pub(crate) const START: u64 = 1_795_247_863_856_634_930;

/// Eight texts, so that a span has about 350 bytes.
const ATTRIBUTES: [(&str, &str); 8] = [
    ("http.request.method", "POST"),
    ("http.route", "/api/v1/orders/{id}/items"),
    ("url.scheme", "https"),
    ("url.path", "/api/v1/orders/84213/items"),
    ("server.address", "orders.shop.example"),
    ("client.address", "10.42.17.203"),
    ("network.protocol.version", "1.1"),
    ("user_agent.original", "okhttp/4.12.0"),
];

pub(crate) fn request(shape: Shape) -> Vec<u8> {
    let spans = (0..shape.spans).map(|n| span(n, n < shape.open)).collect();
    let scope = InstrumentationScope {
        name: "io.opentelemetry.tomcat-10.0".to_owned(),
        version: "2.12.0".to_owned(),
        ..InstrumentationScope::default()
    };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", "orders"),
            attribute("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
            attribute("host.name", "ip-10-42-17-203"),
            attribute("telemetry.sdk.language", "java"),
        ],
        ..Resource::default()
    };
    let scope_spans = ScopeSpans {
        scope: Some(scope),
        spans,
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        resource: Some(resource),
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
    .encode_to_vec()
}

fn span(n: usize, is_open: bool) -> Span {
    // Spread like random ids, and the same in every run.
    let id = (n as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let start = START + n as u64;
    Span {
        trace_id: [id.to_be_bytes(), id.rotate_left(7).to_be_bytes()].concat(),
        span_id: id.to_be_bytes().to_vec(),
        parent_span_id: id.rotate_left(13).to_be_bytes().to_vec(),
        name: "POST /api/v1/orders".to_owned(),
        // Every kind comes in turns.
        kind: i32::try_from(n % 5).unwrap_or(0) + 1,
        start_time_unix_nano: start,
        end_time_unix_nano: if is_open { 0 } else { start + 3_000_000 },
        attributes: ATTRIBUTES.map(|(key, value)| attribute(key, value)).to_vec(),
        status: Some(Status::default()),
        flags: 0x101,
        ..Span::default()
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}
