//! Rows 15 to 21: spans, and connections.

use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::Full;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use standoff_otlp::Settings;
use standoff_protocol::stream::Role;
use tonic::Code;

use crate::json_said;
use crate::support::{self, Served, TRACES, framed, open_span, request, serve, serve_with};

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
        let role = json_said(&format!(r#""kind":{kind},"status":{{"code":99}}"#))
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
