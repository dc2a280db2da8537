//! What OTLP 1.11 asks of a receiver, point by point. The table in the documentation of the crate names these tests.

#![expect(clippy::unwrap_used, reason = "the helpers of tests may fail like tests")]

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, Version};
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use standoff_otlp::Settings;
use standoff_protocol::stream::Role;
use tonic::Code;
use tonic::codegen::Service as _;

#[path = "support/mod.rs"]
mod support;

use support::{
    Answer, LOGS, METRICS, RpcStatus, Served, TRACES, framed, gzip, json_span, open_span, request, serve, serve_with,
    zstd,
};

const JSON: (&str, &str) = ("content-type", "application/json");
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");

/// A limit that a request of a few thousand bytes exceeds.
fn small() -> Settings {
    Settings {
        request_bytes_max: 4096,
        ..Settings::default()
    }
}

fn long_span() -> Span {
    Span {
        name: "x".repeat(5000),
        ..open_span()
    }
}

#[tokio::test]
async fn row_01_unary_export_and_standard_paths() {
    let mut served = serve().await;
    assert_eq!(served.post_json(json_span("")).await.status, 200);
    assert_eq!(served.batch().await.started.len(), 1);
    for path in ["/v1/logs", "/v1/metrics"] {
        assert_eq!(served.post(path, &[JSON], "{}").await.status, 200, "{path}");
    }
    let called = served
        .export("identity", framed(false, &request(vec![open_span()])))
        .await;
    assert_eq!(called.status.code(), Code::Ok);
    assert_eq!(served.batch().await.started.len(), 1);
    for path in [LOGS, METRICS] {
        let called = served.call(path, "identity", framed(false, b"")).await;
        assert_eq!(called.status.code(), Code::Ok, "{path}");
    }
}

#[tokio::test]
async fn row_01_http_2_and_http_1_on_one_port() {
    let mut served = serve().await;
    assert_eq!(served.post_json(json_span("")).await.status, 200, "HTTP/1.1");
    assert_eq!(served.batch().await.started.len(), 1);
    // A channel of gRPC speaks nothing but HTTP/2, and cares not what about.
    let mut channel = Served::connect(served.http).await;
    let post = Request::post(format!("http://{}/v1/traces", served.http))
        .header(JSON.0, JSON.1)
        .body(tonic::body::Body::new(Full::new(Bytes::from(json_span("")))))
        .unwrap();
    poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
    let response = channel.call(post).await.unwrap();
    assert_eq!((response.version(), response.status().as_u16()), (Version::HTTP_2, 200));
    assert_eq!(served.batch().await.started.len(), 1);
}

#[tokio::test]
async fn row_02_the_answer_has_the_content_type_of_the_request() {
    let served = serve().await;
    let json = served.post_json("{}").await;
    assert_eq!((json.status, json.header("content-type")), (200, JSON.1));
    let protobuf = served.post_protobuf(request(vec![])).await;
    assert_eq!((protobuf.status, protobuf.header("content-type")), (200, PROTOBUF.1));
    let with_parameters = [("content-type", "Application/JSON; charset=utf-8")];
    assert_eq!(served.post("/v1/traces", &with_parameters, "{}").await.status, 200);
    for unknown in [("content-type", "text/plain"), ("x-other", "")] {
        let answer = served.post("/v1/traces", &[unknown], "{}").await;
        assert_eq!(answer.status, 415);
        assert!(
            answer.json()["message"]
                .as_str()
                .unwrap()
                .contains("application/x-protobuf")
        );
    }
}

#[tokio::test]
async fn row_03_compression_over_http() {
    let mut served = serve().await;
    let body = request(vec![open_span()]);
    for (name, body) in [
        ("gzip", gzip(&body)),
        ("zstd", zstd(&body)),
        ("identity", body.clone()),
        ("GZIP", gzip(&body)),
    ] {
        let headers = [PROTOBUF, ("content-encoding", name)];
        assert_eq!(served.post("/v1/traces", &headers, body).await.status, 200, "{name}");
        assert_eq!(served.batch().await.started.len(), 1);
    }
    let headers = [PROTOBUF, ("content-encoding", "br")];
    let answer = served.post("/v1/traces", &headers, body).await;
    assert_eq!(answer.status, 415);
    assert_eq!(answer.header("accept-encoding"), "gzip, zstd, identity");
    let headers = [PROTOBUF, ("content-encoding", "gzip")];
    assert_eq!(served.post("/v1/traces", &headers, "no gzip").await.status, 400);
}

#[tokio::test]
async fn row_03_compression_over_grpc() {
    let mut served = serve().await;
    let body = request(vec![open_span()]);
    for (name, framed) in [
        ("gzip", framed(true, &gzip(&body))),
        ("zstd", framed(true, &zstd(&body))),
        ("gzip", framed(false, &body)),
    ] {
        let called = served.export(name, framed).await;
        assert_eq!(called.status.code(), Code::Ok, "{name}");
        assert_eq!(served.batch().await.started.len(), 1);
    }
    let unknown = served.export("snappy", framed(true, &body)).await;
    assert_eq!(unknown.status.code(), Code::Unimplemented);
    assert_eq!(unknown.metadata["grpc-accept-encoding"], "gzip, zstd, identity");
    for (name, bytes) in [("gzip", &b"no gzip"[..]), ("identity", &body[..])] {
        let called = served.export(name, framed(true, bytes)).await;
        assert_eq!(called.status.code(), Code::InvalidArgument, "{name}");
    }
}

#[tokio::test]
async fn row_04_oversize_over_grpc_is_not_to_be_repeated() {
    let served = serve_with(small()).await;
    let body = request(vec![long_span()]);
    for (name, framed) in [
        ("identity", framed(false, &body)),
        ("gzip", framed(true, &gzip(&body))),
        ("zstd", framed(true, &zstd(&body))),
    ] {
        assert!(
            name == "identity" || framed.len() < 4096,
            "it is too large only decompressed"
        );
        let called = served.export(name, framed).await;
        assert_eq!(called.status.code(), Code::ResourceExhausted, "{name}");
        let status = RpcStatus::decode(called.status.details()).unwrap();
        assert_eq!(status.details, [], "without a RetryInfo");
    }
}

#[tokio::test]
async fn row_04_oversize_over_http_is_413() {
    let served = serve_with(small()).await;
    let body = request(vec![long_span()]);
    for (name, body) in [("identity", body.clone()), ("gzip", gzip(&body)), ("zstd", zstd(&body))] {
        let headers = [PROTOBUF, ("content-encoding", name)];
        let answer = served.post("/v1/traces", &headers, body).await;
        assert_eq!(answer.status, 413, "{name}");
        assert_eq!(answer.header("retry-after"), "");
    }
    // Metrics are ignored, but not without end.
    assert_eq!(served.post("/v1/metrics", &[PROTOBUF], [0; 5000]).await.status, 413);
    // Who sends more than fits into the buffers between us is answered, too.
    assert_eq!(served.post_protobuf(vec![0; 16 << 20]).await.status, 413);
    assert_eq!(served.receiver.counts().invalid, 5);
}

#[tokio::test]
async fn row_04_a_large_request_within_the_limit_is_accepted() {
    let mut served = serve().await;
    // More than what axum (2 MiB) and tonic (4 MiB) accept unless told otherwise.
    let span = Span {
        name: "x".repeat(8 << 20),
        ..open_span()
    };
    let body = request(vec![span]);
    assert_eq!(served.post_protobuf(body.clone()).await.status, 200);
    served.batch().await;
    assert_eq!(
        served.export("identity", framed(false, &body)).await.status.code(),
        Code::Ok
    );
    served.batch().await;
}

#[tokio::test]
async fn row_05_answers_are_short() {
    let served = serve().await;
    // The message would quote a text of a megabyte.
    let answer = served
        .post_json(json_span(&format!(r#""kind":"{}""#, "x".repeat(1 << 20))))
        .await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 8192, "{} bytes", answer.body.len());
}

#[tokio::test]
async fn row_06_an_empty_request_is_a_success() {
    let served = serve().await;
    for body in [
        "{}",
        r#"{"resourceSpans":[]}"#,
        r#"{"resourceSpans":[{},{"scopeSpans":[{"spans":[]}]}]}"#,
    ] {
        assert_eq!(served.post_json(body).await.status, 200, "{body}");
    }
    assert_eq!(served.post_protobuf("").await.status, 200);
    assert_eq!(
        served.export("identity", framed(false, b"")).await.status.code(),
        Code::Ok
    );
    assert_eq!(served.receiver.counts().accepted, 5);
}

#[tokio::test]
async fn row_07_full_success_leaves_partial_success_unset() {
    let served = serve().await;
    assert_eq!(served.post_json(json_span("")).await.body, "{}");
    assert_eq!(served.post_protobuf(request(vec![open_span()])).await.body, "");
    let called = served
        .export("identity", framed(false, &request(vec![open_span()])))
        .await;
    assert_eq!(called.message, framed(false, b""));
}

#[tokio::test]
async fn row_08_partial_success_counts_what_was_rejected() {
    let mut served = serve().await;
    let bad = Span {
        span_id: vec![0; 8],
        ..open_span()
    };
    let body = request(vec![open_span(), bad.clone(), bad]);
    let answer = served.post_protobuf(body.clone()).await;
    let called = served.export("identity", framed(false, &body)).await;
    assert_eq!((answer.status, called.status.code()), (200, Code::Ok));
    for message in [&answer.body[..], &called.message[5..]] {
        let partial = ExportTraceServiceResponse::decode(message)
            .unwrap()
            .partial_success
            .unwrap();
        assert_eq!(partial.rejected_spans, 2);
        assert!(partial.error_message.contains("span id"), "{}", partial.error_message);
        assert_eq!(served.batch().await.started.len(), 1, "the others are accepted");
    }
    let answer = served.post_json(json_span(r#""spanId":"00""#)).await;
    let partial = &answer.json()["partialSuccess"];
    assert_eq!(partial["rejectedSpans"], "1", "numbers of 64 bits are texts");
    assert!(partial["errorMessage"].as_str().unwrap().contains("span id"));
    let record = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"body"},"attributes":[
        {"key":"partial.event","value":{"stringValue":"heartbeat"}}]}]}]}]}"#;
    let answer = served.post("/v1/logs", &[JSON], record).await;
    assert_eq!(answer.json()["partialSuccess"]["rejectedLogRecords"], "1");
}

/// Fills the queue, and answers how the next requests fare, over HTTP and over gRPC.
async fn refused(settings: Settings, fill: usize) -> (Answer, support::Called) {
    let served = serve_with(settings).await;
    for _ in 0..fill {
        assert_eq!(served.post_json(json_span("")).await.status, 200);
    }
    let answer = served.post_json(json_span("")).await;
    let called = served
        .export("identity", framed(false, &request(vec![open_span()])))
        .await;
    assert_eq!(served.receiver.counts().refused, 2);
    (answer, called)
}

#[tokio::test]
async fn row_09_row_10_back_pressure_over_grpc_is_unavailable_with_retry_info() {
    let settings = Settings {
        retry_after: Duration::from_millis(1500),
        ..Settings::default()
    };
    let (_, called) = refused(settings, support::QUEUE).await;
    assert_eq!(called.status.code(), Code::Unavailable);
    let status = RpcStatus::decode(called.status.details()).unwrap();
    assert_eq!((status.code, status.message.as_str()), (14, called.status.message()));
    assert_eq!(status.details[0].kind(), "RetryInfo");
    // retry_delay { seconds: 1, nanos: 500_000_000 }
    let delay = [0x0a, 0x08, 0x08, 0x01, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
    assert_eq!(status.details[0].value, delay);
}

#[tokio::test]
async fn row_10_row_11_back_pressure_over_http_is_503_with_retry_after() {
    let settings = Settings {
        retry_after: Duration::from_millis(1500),
        ..Settings::default()
    };
    let (answer, _) = refused(settings, support::QUEUE).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "2"));
    assert_eq!(answer.json()["details"][0]["retryDelay"], "1.5s");
    // Memory is another reason than the queue.
    let settings = Settings {
        memory_bytes_max: 10,
        ..Settings::default()
    };
    let (answer, called) = refused(settings, 0).await;
    assert_eq!((answer.status, called.status.code()), (503, Code::Unavailable));
}

#[tokio::test]
async fn row_10_what_is_taken_from_the_queue_makes_room() {
    let mut served = serve().await;
    for _ in 0..support::QUEUE {
        assert_eq!(served.post_json(json_span("")).await.status, 200);
    }
    assert_eq!(served.post_json(json_span("")).await.status, 503);
    assert!(served.receiver.counts().memory_bytes > 0);
    drop(served.batch().await);
    assert_eq!(served.post_json(json_span("")).await.status, 200);
    for _ in 0..support::QUEUE {
        served.batch().await;
    }
    assert_eq!(served.receiver.counts().memory_bytes, 0, "all is given back");
    served.batches.close();
    assert_eq!(served.post_json(json_span("")).await.status, 503, "shutting down");
}

#[tokio::test]
async fn row_12_what_cannot_be_decoded_is_400_or_invalid_argument() {
    let served = serve().await;
    for body in ["", "{", "[]", r#"{"resourceSpans":5}"#, r#"{"resourceSpans":[{}]} x"#] {
        let answer = served.post_json(body).await;
        assert_eq!(answer.status, 400, "{body}");
        let details = &answer.json()["details"][0];
        assert_eq!(details["@type"], "type.googleapis.com/google.rpc.BadRequest");
    }
    let answer = served.post_protobuf(b"\x0a\x05x").await;
    assert_eq!(answer.status, 400);
    let status = RpcStatus::decode(answer.body).unwrap();
    assert_eq!((status.code, status.details[0].kind()), (3, "BadRequest"));
    let truncated = framed(false, b"abcdef")[..8].to_vec();
    let twice = [framed(false, b""), framed(false, b"")].concat();
    for framed in [
        framed(false, b"\x0a\x05x"),
        vec![],
        truncated,
        twice,
        vec![7, 0, 0, 0, 0],
    ] {
        let called = served.export("identity", framed.clone()).await;
        assert_eq!(called.status.code(), Code::InvalidArgument, "{framed:?}");
    }
}

#[tokio::test]
async fn row_13_every_error_has_a_status_in_the_encoding_of_the_request() {
    let served = serve_with(small()).await;
    for (path, body, status, code) in [
        ("/v1/traces", "x".to_owned(), 400, 3),
        ("/v1/traces", "x".repeat(5000), 413, 8),
        ("/v1/spans", String::new(), 404, 12),
    ] {
        let json = served.post(path, &[JSON], body.clone()).await;
        assert_eq!((json.status, json.header("content-type")), (status, JSON.1));
        assert_eq!(json.json()["code"], code);
        assert_ne!(json.json()["message"], "");
        let protobuf = served.post(path, &[PROTOBUF], body).await;
        assert_eq!((protobuf.status, protobuf.header("content-type")), (status, PROTOBUF.1));
        let message = RpcStatus::decode(protobuf.body).unwrap();
        assert_eq!(message.code, code);
        assert_ne!(message.message, "");
    }
    let get = reqwest::get(format!("http://{}/v1/traces", served.http)).await.unwrap();
    assert_eq!(
        (get.status().as_u16(), &get.headers()["allow"]),
        (405, &"POST".parse().unwrap())
    );
    assert!(get.text().await.unwrap().contains("only POST"));
    let called = served
        .call(&TRACES.replace("Export", "Import"), "identity", framed(false, b""))
        .await;
    assert_eq!(called.status.code(), Code::Unimplemented);
}

/// What is said of one span in JSON: its kind and times, if it is accepted at all.
async fn json(fields: &str) -> Result<(u16, Role, u64, bool), Answer> {
    let mut served = serve().await;
    let answer = served.post_json(json_span(fields)).await;
    if answer.status != 200 || answer.body != "{}" {
        return Err(answer);
    }
    let batch = served.batch().await;
    Ok(match (batch.started.first(), batch.finished.first()) {
        (Some(open), None) => (answer.status, open.span.role(), open.start_time_unix_nano, true),
        (None, Some(ended)) => (answer.status, ended.role, 0, false),
        _ => panic!("one span, one signal: {batch:?}"),
    })
}

#[tokio::test]
async fn row_14_json_ids_are_hexadecimal_in_either_case() {
    assert!(json(r#""spanId":"ABCDEFabcdef0123""#).await.is_ok());
    for invalid in ["YWJjZGVmZ2g=", "0202020202020g02", "02"] {
        let answer = json(&format!(r#""spanId":"{invalid}""#)).await.unwrap_err();
        assert_eq!(answer.status, 200, "only the span is rejected");
        assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "1", "{invalid}");
    }
}

#[tokio::test]
async fn row_14_json_enums_are_numbers_only() {
    assert_eq!(json(r#""kind":3"#).await.unwrap().1, Role::Call);
    for name in [r#""SPAN_KIND_CLIENT""#, r#""3""#, "[]"] {
        let answer = json(&format!(r#""kind":{name}"#)).await.unwrap_err();
        assert_eq!(answer.status, 400, "{name}");
    }
    let answer = json(r#""status":{"code":"STATUS_CODE_OK"}"#).await.unwrap_err();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn row_14_json_keys_are_camel_case_and_unknown_ones_ignored() {
    let (_, _, start, is_open) = json(r#""startTimeUnixNano":"7","end_time_unix_nano":"8","more":{"a":[1,{}]}"#)
        .await
        .unwrap();
    assert_eq!((start, is_open), (7, true), "a key in snake case is unknown");
}

#[tokio::test]
async fn row_14_json_integers_are_texts_or_numbers() {
    for number in ["1795247863856634930", r#""1795247863856634930""#] {
        let start = json(&format!(r#""startTimeUnixNano":{number}"#)).await.unwrap().2;
        assert_eq!(start, 1_795_247_863_856_634_930);
    }
    assert_eq!(json(r#""startTimeUnixNano":1.5e1"#).await.unwrap().2, 15);
    for nonsense in [r#""soon""#, "1.5", "-1", r#""99999999999999999999""#, "true"] {
        let answer = json(&format!(r#""startTimeUnixNano":{nonsense}"#)).await.unwrap_err();
        assert_eq!(answer.status, 400, "{nonsense}");
    }
}

#[tokio::test]
async fn row_14_json_null_is_absence_for_every_field() {
    let all = [
        "parentSpanId",
        "name",
        "kind",
        "startTimeUnixNano",
        "endTimeUnixNano",
        "attributes",
        "status",
        "flags",
    ];
    let fields: Vec<String> = all.iter().map(|field| format!(r#""{field}":null"#)).collect();
    let (_, role, start, is_open) = json(&fields.join(",")).await.unwrap();
    assert_eq!((role, start, is_open), (Role::Structural, 0, true));
    let served = serve().await;
    for body in [
        r#"{"resourceSpans":null}"#,
        r#"{"resourceSpans":[{"resource":null,"scopeSpans":null}]}"#,
        r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":null}]}}]}"#,
    ] {
        assert_eq!(served.post_json(body).await.status, 200, "{body}");
    }
}

#[tokio::test]
async fn row_14_json_values_of_every_kind() {
    let value = |value: &str| format!(r#""attributes":[{{"key":"standoff.units","value":{value}}}]"#);
    for fine in [
        r#"{"doubleValue":"NaN"}"#,
        r#"{"doubleValue":"-Infinity"}"#,
        r#"{"doubleValue":"1.5"}"#,
        r#"{"doubleValue":1}"#,
        r#"{"intValue":7}"#,
        r#"{"intValue":"7"}"#,
        r#"{"intValue":7.0}"#,
        r#"{"boolValue":true}"#,
        r#"{"bytesValue":"aGk="}"#,
        r#"{"arrayValue":{}}"#,
        r#"{"arrayValue":{"values":[{"intValue":1},{"arrayValue":{"values":[]}}]}}"#,
        r#"{"kvlistValue":{"values":[{"key":"a","value":{}}]}}"#,
        r#"{"stringValue":"escaped \u00e4 \n"}"#,
        "{}",
        "null",
    ] {
        assert!(json(&value(fine)).await.is_ok(), "{fine}");
    }
    let answer = json(&value(r#"{"intValue":"many"}"#)).await.unwrap_err();
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn row_14_json_an_empty_end_is_none() {
    for (end, is_open) in [(r#""""#, true), (r#""0""#, true), ("0", true), (r#""1""#, false)] {
        let read = json(&format!(r#""endTimeUnixNano":{end}"#)).await.unwrap();
        assert_eq!(read.3, is_open, "{end}");
    }
}

#[tokio::test]
async fn row_15_ids_have_16_and_8_bytes_and_are_not_zero() {
    let span = |trace: usize, span: usize, parent: Vec<u8>| Span {
        trace_id: vec![1; trace],
        span_id: vec![1; span],
        parent_span_id: parent,
        ..Span::default()
    };
    let mut served = serve().await;
    let good = [vec![], vec![0; 8], vec![3; 8]].map(|parent| span(16, 8, parent));
    let zero = Span {
        trace_id: vec![0; 16],
        ..open_span()
    };
    let bad = [
        span(8, 8, vec![]),
        span(0, 8, vec![]),
        span(16, 7, vec![]),
        span(16, 8, vec![1; 3]),
        zero,
    ];
    let answer = served.post_protobuf(request([&good[..], &bad[..]].concat())).await;
    let partial = ExportTraceServiceResponse::decode(answer.body)
        .unwrap()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 5);
    let started = served.batch().await.started;
    assert_eq!(started.len(), 1, "the same span each time");
    assert_eq!(started[0].span.parent_span_id, 0);
}

#[tokio::test]
async fn row_16_flags_say_whether_the_parent_is_remote() {
    let cases = [
        (3, 0, false),
        (3, 256, false),
        (3, 257, false),
        (3, 768, true),
        (3, 769, true),
        (2, 256, false),
        // Bits 10 to 31 may mean anything one day.
        (3, 0xffff_fc00 | 769, true),
        // It means nothing without the bit that says that it does.
        (3, 512, false),
        // Where nobody says so, it is what servers and consumers have parents for.
        (2, 0, true),
        (5, 1, true),
    ];
    let mut served = serve().await;
    for (kind, flags, is_remote) in cases {
        let span = Span {
            kind,
            flags,
            parent_span_id: vec![9; 8],
            ..open_span()
        };
        served.post_protobuf(request(vec![span])).await;
        let started = served.batch().await.started;
        assert_eq!(
            started[0].span.parent_is_remote, is_remote,
            "kind {kind}, flags {flags}"
        );
    }
}

#[tokio::test]
async fn row_17_kinds_and_codes_nobody_knows_do_no_harm() {
    for kind in ["0", "99", "-1"] {
        let role = json(&format!(r#""kind":{kind},"status":{{"code":99}}"#))
            .await
            .unwrap()
            .1;
        assert_eq!(role, Role::Structural, "{kind}");
    }
    let mut served = serve().await;
    let span = Span {
        kind: -7,
        ..open_span()
    };
    assert_eq!(served.post_protobuf(request(vec![span])).await.body, "");
    assert_eq!(served.batch().await.started[0].span.role(), Role::Structural);
}

#[tokio::test]
async fn row_18_duplicates_change_nothing() {
    let mut served = serve().await;
    let ended = Span {
        end_time_unix_nano: 2,
        ..open_span()
    };
    served.post_protobuf(request(vec![open_span(), open_span()])).await;
    assert_eq!(served.batch().await.started.len(), 1);
    served.post_protobuf(request(vec![ended, open_span()])).await;
    let batch = served.batch().await;
    assert_eq!((batch.started.len(), batch.finished.len()), (0, 1), "ended wins");
}

#[tokio::test]
async fn row_19_many_calls_of_one_client_are_in_flight() {
    let mut served = serve().await;
    let channel = Served::connect(served.grpc).await;
    let mut begun = Vec::new();
    for _ in 0..50 {
        // It never ends, and none of it ever comes.
        let body = axum::body::Body::from_stream(tokio_stream::pending::<Result<Vec<u8>, Infallible>>());
        let mut call = Box::pin(served.call_on(channel.clone(), TRACES, "identity", tonic::body::Body::new(body)));
        poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
        begun.push(call);
    }
    let whole = Full::new(Bytes::from(framed(false, &request(vec![open_span()]))));
    let call = served.call_on(channel, TRACES, "identity", tonic::body::Body::new(whole));
    assert_eq!(call.await.status.code(), Code::Ok);
    drop(begun);
    assert_eq!(served.batch().await.started.len(), 1);
}

#[tokio::test]
async fn row_20_a_slow_sender_is_not_waited_for() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let settings = Settings {
        read_within: Duration::from_millis(50),
        ..Settings::default()
    };
    let served = serve_with(settings).await;
    let mut connection = tokio::net::TcpStream::connect(served.http).await.unwrap();
    let head = "POST /v1/traces HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    connection.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = connection.read_exact(&mut answer);
    tokio::time::timeout(support::DEADLINE, read).await.unwrap().unwrap();
    assert_eq!(std::str::from_utf8(&answer).unwrap(), "HTTP/1.1 408");
}

#[tokio::test]
async fn row_21_new_fields_do_not_break_decoding() {
    let mut served = serve().await;
    let mut body = request(vec![open_span()]);
    // Field 1000 of the request, of each wire type, and a group.
    body.extend([0xc0, 0x3e, 1, 0xc1, 0x3e, 0, 0, 0, 0, 0, 0, 0, 0, 0xc2, 0x3e, 1, b'x']);
    body.extend([0xc5, 0x3e, 0, 0, 0, 0, 0xc3, 0x3e, 0x08, 1, 0xc4, 0x3e]);
    assert_eq!(served.post_protobuf(body).await.body, "");
    assert_eq!(served.batch().await.started.len(), 1);
}
