//! A receiver on ports of its own, and clients that say exactly what they are told.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{HeaderMap, Request};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message as _;
use standoff_otlp::{Batch, Receiver, Settings};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service as _;
use tonic::transport::Channel;

/// How long anything here may take.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Batches that wait in the queue of a receiver under test.
pub(crate) const QUEUE: usize = 4;

/// A receiver that serves.
pub(crate) struct Served {
    pub(crate) receiver: Receiver,
    pub(crate) batches: mpsc::Receiver<Batch>,
    pub(crate) http: SocketAddr,
    pub(crate) grpc: SocketAddr,
    _stop: tokio_util::sync::DropGuard,
}

pub(crate) async fn serve() -> Served {
    serve_with(Settings::default()).await
}

pub(crate) async fn serve_with(settings: Settings) -> Served {
    let (queue, batches) = mpsc::channel(QUEUE);
    let receiver = Receiver::new(settings, queue);
    let stop = CancellationToken::new();
    let (http, grpc) = (listener().await, listener().await);
    let addresses = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
    let (serving, shutdown) = (receiver.clone(), stop.clone());
    tokio::spawn(async move { serving.serve_http(http, shutdown).await.unwrap() });
    let (serving, shutdown) = (receiver.clone(), stop.clone());
    tokio::spawn(async move { serving.serve_grpc(grpc, shutdown).await.unwrap() });
    Served {
        receiver,
        batches,
        http: addresses.0,
        grpc: addresses.1,
        _stop: stop.drop_guard(),
    }
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

/// An answer over HTTP.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

impl Served {
    /// Posts a body over HTTP.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Answer {
        let mut request = reqwest::Client::new().post(format!("http://{}{path}", self.http));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.body(body.into()).timeout(DEADLINE).send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap(),
        }
    }

    pub(crate) async fn post_json(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.post("/v1/traces", &[("content-type", "application/json")], body)
            .await
    }

    pub(crate) async fn post_protobuf(&self, body: impl Into<Vec<u8>>) -> Answer {
        self.post("/v1/traces", &[("content-type", "application/x-protobuf")], body)
            .await
    }

    pub(crate) async fn connect(address: SocketAddr) -> Channel {
        Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .timeout(DEADLINE)
            .connect()
            .await
            .unwrap()
    }

    /// Calls a method over gRPC with a message that is framed already.
    pub(crate) async fn call(&self, path: &str, encoding: &str, framed: Vec<u8>) -> Called {
        let body = tonic::body::Body::new(Full::new(Bytes::from(framed)));
        self.call_on(Self::connect(self.grpc).await, path, encoding, body).await
    }

    /// The same on a connection that there is.
    pub(crate) fn call_on(
        &self,
        mut channel: Channel,
        path: &str,
        encoding: &str,
        body: tonic::body::Body,
    ) -> impl Future<Output = Called> + use<> {
        let request = Request::post(format!("http://{}{path}", self.grpc))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("grpc-encoding", encoding)
            .body(body)
            .unwrap();
        async move {
            std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
            let response = channel.call(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let body = body.collect().await.unwrap();
            let mut metadata = parts.headers;
            metadata.extend(body.trailers().cloned().unwrap_or_default());
            Called {
                status: tonic::Status::from_header_map(&metadata).unwrap(),
                metadata,
                message: body.to_bytes(),
            }
        }
    }

    /// Calls the trace service.
    pub(crate) async fn export(&self, encoding: &str, framed: Vec<u8>) -> Called {
        self.call(TRACES, encoding, framed).await
    }

    /// What the next accepted request said.
    pub(crate) async fn batch(&mut self) -> Batch {
        tokio::time::timeout(DEADLINE, self.batches.recv())
            .await
            .unwrap()
            .unwrap()
    }
}

pub(crate) const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
pub(crate) const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
pub(crate) const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

/// An answer over gRPC.
#[derive(Debug)]
pub(crate) struct Called {
    pub(crate) status: tonic::Status,
    pub(crate) metadata: HeaderMap,
    /// With its prefix; empty if there is none.
    pub(crate) message: Bytes,
}

/// A message with its prefix.
pub(crate) fn framed(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![u8::from(is_compressed)];
    framed.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend(message);
    framed
}

/// An open client span.
pub(crate) fn open_span() -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        kind: 3,
        name: "call".to_owned(),
        start_time_unix_nano: 1,
        ..Span::default()
    }
}

pub(crate) fn request(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = ScopeSpans {
        spans,
        ..ScopeSpans::default()
    };
    let resource_spans = ResourceSpans {
        scope_spans: vec![scope_spans],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![resource_spans],
    }
    .encode_to_vec()
}

/// A request of one open span in JSON, with more fields of the span.
pub(crate) fn json_span(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{
            "traceId":"01010101010101010101010101010101","spanId":"0202020202020202"{comma}{fields}}}]}}]}}]}}"#
    )
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).unwrap()
}

/// `google.rpc.Status`, as far as the tests look at it.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Detail>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Detail {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) value: Vec<u8>,
}

impl Detail {
    /// The last word of its type.
    pub(crate) fn kind(&self) -> &str {
        self.type_url.rsplit('.').next().unwrap()
    }
}
