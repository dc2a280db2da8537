//! `standoff ingest-sink`: servers that take requests and do less than a collector, to compare it with.

use std::io::Read;
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use flate2::read::GzDecoder;
use futures_util::{Stream, StreamExt as _, stream};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use prost::Message as _;
use standoff_otlp::{Receiver, Settings, Sources, Times, limits};
use standoff_protocol::stream::wait_stream_server::{WaitStream, WaitStreamServer};
use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, PROTOCOL_VERSION, ToRelay, Welcome, from_collector,
};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

use crate::cli::{IngestSink, Sink};
use crate::commands::asked_to_end;
use crate::exit::Exit;

/// Batches that wait to be dropped: as many as wait in a collector.
const QUEUE: usize = 1024;

/// As the receiver has them, or senders would wait for one another more often.
const WINDOW_BYTES: u32 = 1 << 20;

pub(in crate::commands) async fn run(options: IngestSink) -> anyhow::Result<Exit> {
    let end = asked_to_end()?;
    let grpc = listen(options.otlp_grpc).await?;
    let http = listen(options.otlp_http).await?;
    let stream = listen(options.stream).await?;
    let serving = async {
        match options.sink {
            Sink::Bare => bare(grpc, http, stream).await,
            Sink::Decode | Sink::Sources => receive(grpc, http, options.sink, end.clone()).await,
        }
    };
    tokio::select! {
        served = serving => served?,
        () = end.cancelled() => {}
    }
    Ok(Exit::Well)
}

async fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}

/// tonic, axum and prost, as anybody would write it.
async fn bare(grpc: TcpListener, http: TcpListener, stream: TcpListener) -> anyhow::Result<()> {
    let traces = TraceServiceServer::new(Bare).max_decoding_message_size(limits::REQUEST_BYTES_MAX);
    let server = || {
        Server::builder()
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(4 * WINDOW_BYTES)
    };
    let incoming = |listener| TcpIncoming::from(listener).with_nodelay(Some(true));
    let routes = Router::new()
        .route("/v1/traces", post(bare_http))
        .layer(DefaultBodyLimit::max(limits::REQUEST_BYTES_MAX));
    tokio::try_join!(
        async { anyhow::Ok(server().add_service(traces).serve_with_incoming(incoming(grpc)).await?) },
        async {
            let stream = incoming(stream);
            let server = server()
                .add_service(WaitStreamServer::new(Bare))
                .serve_with_incoming(stream);
            Ok(server.await?)
        },
        async { Ok(axum::serve(http, routes).await?) },
    )?;
    Ok(())
}

struct Bare;

#[tonic::async_trait]
impl TraceService for Bare {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        drop(request);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

async fn bare_http(headers: HeaderMap, body: Bytes) -> Result<impl IntoResponse, (StatusCode, String)> {
    let wrong = |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, error.to_string());
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|it| it.as_bytes() == value.as_bytes());
    let body = if is("content-encoding", "gzip") {
        let mut plain = Vec::new();
        let mut decoder = GzDecoder::new(&body[..]).take(limits::REQUEST_BYTES_MAX as u64);
        decoder.read_to_end(&mut plain).map_err(|error| wrong(&error))?;
        Bytes::from(plain)
    } else {
        body
    };
    if is("content-type", "application/json") {
        let request: ExportTraceServiceRequest = serde_json::from_slice(&body).map_err(|error| wrong(&error))?;
        drop(request);
        Ok(([("content-type", "application/json")], "{}"))
    } else {
        let request = ExportTraceServiceRequest::decode(body).map_err(|error| wrong(&error))?;
        drop(request);
        Ok(([("content-type", "application/x-protobuf")], ""))
    }
}

#[tonic::async_trait]
impl WaitStream for Bare {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<FromCollector, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromInstance>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let welcome = Welcome {
            protocol_version: PROTOCOL_VERSION,
            heartbeat_ms: 0,
        };
        let welcome = FromCollector {
            message: Some(from_collector::Message::Welcome(welcome)),
        };
        let messages = request.into_inner();
        // It says nothing more, and ends when the instance has said everything.
        let nothing = messages.filter_map(async |message| message.err().map(Err));
        Ok(Response::new(Box::pin(stream::iter([Ok(welcome)]).chain(nothing))))
    }

    type RelayStream = stream::Empty<Result<ToRelay, Status>>;

    async fn relay(&self, _: Request<Streaming<FromRelay>>) -> Result<Response<Self::RelayStream>, Status> {
        Err(Status::unimplemented("instances only"))
    }
}

/// The collector's receiver, and somebody who does less with it than a collector.
async fn receive(grpc: TcpListener, http: TcpListener, sink: Sink, end: CancellationToken) -> anyhow::Result<()> {
    let (queue, mut batches) = mpsc::channel(QUEUE);
    let receiver = Receiver::new(Settings::default(), queue);
    let begun = Instant::now();
    let mut sources = match sink {
        Sink::Sources => Some(Sources::new(Times::default(), 0)),
        Sink::Bare | Sink::Decode => None,
    };
    let taking = async {
        let mut said = Vec::new();
        while let Some(batch) = batches.recv().await {
            if let Some(sources) = &mut sources {
                let unix_now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                sources.take(begun.elapsed(), unix_now, batch, &mut said);
                sources.expire(begun.elapsed(), &mut said);
                said.clear();
            }
        }
        anyhow::Ok(())
    };
    tokio::try_join!(
        async { Ok(receiver.serve_grpc(grpc, end.clone()).await?) },
        async { Ok(receiver.serve_http(http, end.clone()).await?) },
        taking,
    )?;
    Ok(())
}
