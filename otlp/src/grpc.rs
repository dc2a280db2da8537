//! OTLP over gRPC.
//!
//! The server is tonic's; the framing of its unary calls is ours. So requests are read in place, are limited after
//! decompression as before, and are refused with the codes that OTLP asks for, where tonic has others (an oversized
//! message is `OUT_OF_RANGE` there, which clients repeat for ever).

use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataMap;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};

use crate::body::Incoming;
use crate::compression::{Compression, NAMES};
use crate::decode::Format;
use crate::failure::Failure;
use crate::receiver::{About, Receiver};
use crate::status::{self, Accepted};

/// How often an idle connection is asked whether somebody is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// Calls on one connection at the same time. Exporters use one to a few.
const STREAMS_MAX: u32 = 128;

/// Bytes that a sender may have on their way before it hears of us: a batch of 512 spans with room to spare.
const WINDOW_BYTES: u32 = 1 << 20;

/// Serves until told to stop.
pub(crate) async fn serve(
    receiver: Receiver,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(4 * WINDOW_BYTES)
        .add_routes(routes(receiver))
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown.cancelled_owned(),
        )
        .await
        .map_err(std::io::Error::other)
}

/// All services.
pub(crate) fn routes(receiver: Receiver) -> Routes {
    Routes::new(Traces(Export::new(&receiver, About::Traces)))
        .add_service(Logs(Export::new(&receiver, About::Logs)))
        .add_service(Metrics(Export::new(&receiver, About::Metrics)))
}

/// A service with one unary method.
#[derive(Clone, Debug)]
struct Export {
    receiver: Receiver,
    about: About,
}

macro_rules! services {
    ($($service:ident = $name:literal;)+) => {$(
        #[derive(Clone, Debug)]
        struct $service(Export);

        impl NamedService for $service {
            const NAME: &'static str = $name;
        }

        impl Service<Request<tonic::body::Body>> for $service {
            type Response = Response<tonic::body::Body>;
            type Error = Infallible;
            type Future = BoxFuture<Self::Response, Self::Error>;

            fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
                Poll::Ready(Ok(()))
            }

            fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
                let export = self.0.clone();
                Box::pin(async move { Ok(export.answer(concat!("/", $name, "/Export"), request).await) })
            }
        }
    )+};
}

services! {
    Traces = "opentelemetry.proto.collector.trace.v1.TraceService";
    Logs = "opentelemetry.proto.collector.logs.v1.LogsService";
    Metrics = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl Export {
    fn new(receiver: &Receiver, about: About) -> Self {
        Export {
            receiver: receiver.clone(),
            about,
        }
    }

    async fn answer(&self, path: &str, request: Request<tonic::body::Body>) -> Response<tonic::body::Body> {
        let (parts, body) = request.into_parts();
        if parts.uri.path() != path {
            return refuse(&Failure::NotFound(parts.uri.path().to_owned()));
        }
        if !is_grpc(&parts.headers) {
            let mut response = Response::new(tonic::body::Body::default());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let answer = self.take(&parts.headers, Body::new(body)).await;
        self.receiver.count_answer(&answer);
        match answer {
            Ok(accepted) => accept(&accepted, self.about),
            Err(failure) => {
                tracing::debug!(%failure, about = ?self.about, "request refused");
                refuse(&failure)
            }
        }
    }

    async fn take(&self, headers: &HeaderMap, body: Body) -> Result<Accepted, Failure> {
        let compression = Compression::of(headers.get("grpc-encoding").map(HeaderValue::as_bytes))?;
        let mut incoming = Incoming::new(body, self.receiver.settings());
        if self.about == About::Metrics {
            incoming.discard().await?;
            return Ok(Accepted::default());
        }
        let mut held = self.receiver.hold();
        let (is_compressed, bytes) = incoming.message(&mut held).await?;
        let compression = match (is_compressed, compression) {
            // A message may be left as it is, whatever the call announces.
            (false, _) => Compression::None,
            (true, Compression::None) => {
                return Err(Failure::Framing(
                    "the message is compressed, but the call does not say how",
                ));
            }
            (true, compression) => compression,
        };
        self.receiver
            .take(self.about, Format::Protobuf, compression, bytes, held)
            .await
    }
}

/// `application/grpc`, and the same with `+proto` or parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = content_type.and_then(|it| it.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"))
}

fn accept(accepted: &Accepted, about: About) -> Response<tonic::body::Body> {
    let message = accepted.encode(Format::Protobuf, about.rejected_name());
    let mut framed = Vec::with_capacity(5 + message.len());
    framed.push(0);
    framed.extend(u32::try_from(message.len()).unwrap_or(0).to_be_bytes());
    framed.extend(message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(tonic::body::Body::new(body));
    let content_type = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

fn refuse(failure: &Failure) -> Response<tonic::body::Body> {
    let (code, message) = (failure.code(), failure.to_string());
    let details = status::encode(Format::Protobuf, code, &message, failure.detail());
    let mut metadata = MetadataMap::new();
    if code == Code::Unimplemented
        && let Ok(names) = NAMES.parse()
    {
        metadata.insert("grpc-accept-encoding", names);
    }
    Status::with_details_and_metadata(code, message, details.into(), metadata).into_http()
}
