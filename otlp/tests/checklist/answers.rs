//! Rows 5 to 13: what is answered.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use standoff_otlp::Settings;
use tonic::Code;

use crate::support::{self, Answer, RpcStatus, TRACES, framed, json_span, open_span, request, serve, serve_with};
use crate::{JSON, PROTOBUF, small};

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
