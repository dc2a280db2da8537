//! Bytes that nobody would send: drawn at random, and real requests with mistakes in them. No panic, no disagreement with
//! the reference decoder, and not more memory than a stated multiple. `otlp/fuzz` looks for such bytes on its own.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Link;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use prost::Message as _;
use standoff_otlp::{Format, traces};

#[path = "agreement/mod.rs"]
mod agreement;

/// All requests of the samples.
fn samples() -> Vec<Vec<u8>> {
    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/samples");
    let list = |folder: &Path| -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    };
    let folders = list(&folders).into_iter().filter(|folder| folder.is_dir());
    let files = folders.flat_map(|folder| list(&folder));
    files
        .filter(|file| file.extension().is_some_and(|it| it == "pb" || it == "raw"))
        .map(|file| fs::read(file).unwrap())
        .collect()
}

/// Partial spans: the bodies of the records among the samples.
fn bodies() -> Vec<Vec<u8>> {
    let body = |sample: Vec<u8>| {
        let start = sample
            .windows(16)
            .position(|it| it.starts_with(b"{\"resourceSpans\""))?;
        let body = String::from_utf8_lossy(&sample[start..]).into_owned();
        let end = body.rfind("}]}]}")? + 5;
        Some(body.as_bytes()[..end].to_vec())
    };
    samples().into_iter().filter_map(body).collect()
}

/// A mistake in a request.
#[derive(Clone, Debug)]
enum Mistake {
    Change(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8),
    Cut(Index),
}

fn mistake() -> impl Strategy<Value = Mistake> {
    let bytes = prop_oneof![
        vec(any::<u8>(), 1..8),
        select(vec![
            "null", "\"\"", "{}", "[]", "-1", "1e400", "NaN", "\\u0000", "\\ud800", ",", "\"0\""
        ])
        .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Mistake::Change(at, byte)),
        2 => (any::<Index>(), bytes).prop_map(|(at, bytes)| Mistake::Insert(at, bytes)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, len)| Mistake::Remove(at, len)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, len)| Mistake::Repeat(at, len)),
        1 => any::<Index>().prop_map(Mistake::Cut),
    ]
}

fn apply(mut bytes: Vec<u8>, mistakes: Vec<Mistake>) -> Vec<u8> {
    for mistake in mistakes {
        let place = |at: Index, bytes: &Vec<u8>| at.index(bytes.len() + 1);
        match mistake {
            Mistake::Change(at, byte) => {
                let place = place(at, &bytes);
                if let Some(changed) = bytes.get_mut(place) {
                    *changed = byte;
                }
            }
            Mistake::Insert(at, more) => {
                let place = place(at, &bytes);
                bytes.splice(place..place, more);
            }
            Mistake::Remove(at, len) => {
                let place = place(at, &bytes);
                bytes.drain(place..bytes.len().min(place + usize::from(len)));
            }
            Mistake::Repeat(at, len) => {
                let place = place(at, &bytes);
                let part = bytes[place..bytes.len().min(place + usize::from(len))].to_vec();
                bytes.splice(place..place, part);
            }
            Mistake::Cut(at) => bytes.truncate(place(at, &bytes)),
        }
    }
    bytes
}

fn mistaken(samples: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    (select(samples), vec(mistake(), 0..6)).prop_map(|(sample, mistakes)| apply(sample, mistakes))
}

fn text() -> impl Strategy<Value = String> {
    let words = ["pending_span", "0000000000000007", "handle", "call", "timeout", "true"];
    prop_oneof![
        ".{0,8}",
        Just("ä".repeat(600)),
        Just(String::new()),
        select(words.to_vec()).prop_map(str::to_owned)
    ]
}

fn value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        text().prop_map(Value::StringValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<f64>()
            .prop_filter("JSON has no others", |it| it.is_finite())
            .prop_map(Value::DoubleValue),
        any::<bool>().prop_map(Value::BoolValue),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value: Some(value) });
    leaf.prop_recursive(3, 12, 4, |inner| {
        vec(inner, 0..4).prop_map(|values| AnyValue {
            value: Some(Value::ArrayValue(ArrayValue { values })),
        })
    })
}

fn attribute() -> impl Strategy<Value = KeyValue> {
    let key = prop_oneof![
        select(vec![
            "standoff.role",
            "standoff.resource",
            "standoff.target",
            "messaging.message.conversation_id",
            "error.type",
            "server.address",
            "server.port",
            "service.name",
            "process.pid",
            "xxxxxxxx.role",
            "$span.partial",
            "$span.span_id",
            "logfire.span_type",
            "code.lineno",
        ])
        .prop_map(str::to_owned),
        ".{0,40}",
    ];
    (key, value()).prop_map(|(key, value)| KeyValue {
        key,
        value: Some(value),
        ..KeyValue::default()
    })
}

fn id(len: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), len),
        4 => Just(vec![7; len]),
        1 => Just(vec![0; len]),
        1 => vec(any::<u8>(), 0..len + 3),
        1 => Just(vec![]),
    ]
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (id(16), id(8), id(8));
    let times = (any::<u64>(), prop_oneof![Just(0), any::<u64>()]);
    let link = (id(8), any::<u32>()).prop_map(|(span_id, flags)| Link {
        span_id,
        flags,
        ..Link::default()
    });
    let links = prop_oneof![2 => Just(vec![]), 1 => vec(link, 0..3)];
    let rest = (text(), -1..7, any::<u32>(), vec(attribute(), 0..6), -1..4, links);
    (ids, times, rest).prop_map(|(ids, times, rest)| Span {
        trace_id: ids.0,
        span_id: ids.1,
        parent_span_id: ids.2,
        start_time_unix_nano: times.0,
        end_time_unix_nano: times.1,
        name: rest.0,
        kind: rest.1,
        flags: rest.2,
        attributes: rest.3,
        status: Some(Status {
            code: rest.4,
            ..Status::default()
        }),
        links: rest.5,
        ..Span::default()
    })
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope = vec(span(), 0..4).prop_map(|spans| ScopeSpans {
        spans,
        ..ScopeSpans::default()
    });
    let resource = (vec(attribute(), 0..4), vec(scope, 0..3)).prop_map(|(attributes, scope_spans)| ResourceSpans {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_spans,
        ..ResourceSpans::default()
    });
    vec(resource, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

proptest! {
    #[test]
    fn requests_mean_what_the_reference_says(request in request()) {
        agreement::protobuf_traces(&request.encode_to_vec());
        agreement::json_traces(&serde_json::to_vec(&request).unwrap());
    }

    #[test]
    fn both_formats_mean_the_same(request in request()) {
        let protobuf = traces(&request.encode_to_vec(), Format::Protobuf).unwrap();
        let json = traces(&serde_json::to_vec(&request).unwrap(), Format::Json).unwrap();
        prop_assert_eq!(&protobuf.batch.started, &json.batch.started);
        prop_assert_eq!(&protobuf.batch.finished, &json.batch.finished);
        prop_assert_eq!(&protobuf.batch.instances, &json.batch.instances);
        prop_assert_eq!((protobuf.rejected, protobuf.reason), (json.rejected, json.reason));
    }

    #[test]
    fn requests_with_mistakes_mean_what_the_reference_says(
        request in request(),
        mistakes in vec(mistake(), 1..4),
    ) {
        agreement::protobuf_traces(&apply(request.encode_to_vec(), mistakes.clone()));
        agreement::json_traces(&apply(serde_json::to_vec(&request).unwrap(), mistakes));
    }

    #[test]
    fn real_requests_with_mistakes_do_no_harm(bytes in mistaken(samples())) {
        agreement::protobuf_traces(&bytes);
        agreement::json_traces(&bytes);
        agreement::partial_spans(&bytes);
    }

    #[test]
    fn bodies_with_mistakes_do_no_harm(bytes in mistaken(bodies())) {
        agreement::partial_spans(&bytes);
    }

    #[test]
    fn any_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..200)) {
        agreement::protobuf_traces(&bytes);
        agreement::json_traces(&bytes);
        agreement::partial_spans(&bytes);
    }
}

#[test]
fn there_are_bodies_to_make_mistakes_in() {
    assert!(bodies().len() > 30);
    for body in bodies() {
        let decoded = standoff_otlp::logs(&agreement::record("stop", &body), Format::Protobuf).unwrap();
        assert_eq!(decoded.rejected, 0, "{}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn deep_values_do_no_harm() {
    // A million arrays in one another, in each format.
    let depth = 1_000_000;
    let json = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"key":"a","value":{}{}}}]}}]}}]}}]}}"#,
        r#"{"arrayValue":{"values":["#.repeat(depth),
        "]}}".repeat(depth)
    );
    agreement::json_traces(json.as_bytes());
    agreement::partial_spans(json.as_bytes());
    agreement::json_traces("[".repeat(depth).as_bytes());
    let mut groups = vec![0x0b; depth];
    groups.extend(vec![0x0c; depth]);
    agreement::protobuf_traces(&groups);
}
