//! Rows 1 to 4: what is accepted at all.

use std::future::poll_fn;

use axum::body::Bytes;
use axum::http::{Request, Version};
use http_body_util::Full;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tonic::Code;
use tonic::codegen::Service as _;

use crate::support::{
    LOGS, METRICS, RpcStatus, Served, framed, gzip, json_span, open_span, request, serve, serve_with, zstd,
};
use crate::{JSON, PROTOBUF, long_span, small};

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
