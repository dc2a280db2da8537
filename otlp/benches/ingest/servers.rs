//! Servers on a thread each, and a client that keeps them busy.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::Request;
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use rustix::time::{ClockId, clock_gettime};
use standoff_otlp::{Receiver, Settings};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::codegen::Service as _;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server as Tonic};

/// Calls that are on their way at the same time.
const IN_FLIGHT: usize = 8;

/// Batches that wait to be dropped: enough that none is refused.
const QUEUE: usize = 1024;

/// What is served.
pub(crate) trait Subject {
    /// The method that is called.
    const PATH: &'static str;

    fn serve(listener: TcpListener) -> impl Future<Output = ()>;
}

/// tonic and prost, as anybody would write it.
pub(crate) struct Bare;

/// The receiver of this crate, and somebody who drops what it says.
pub(crate) struct Ours;

/// The same where it does not decode: what it costs to receive.
pub(crate) struct Ignoring;

const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";

struct Sink;

#[tonic::async_trait]
impl TraceService for Sink {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        drop(request);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Subject for Bare {
    const PATH: &'static str = TRACES;

    async fn serve(listener: TcpListener) {
        Tonic::builder()
            // As ours, or its clients would wait for one another more often.
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .add_service(TraceServiceServer::new(Sink).max_decoding_message_size(64 << 20))
            .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
            .await
            .unwrap();
    }
}

async fn ours(listener: TcpListener) {
    let (queue, mut batches) = mpsc::channel(QUEUE);
    let receiver = Receiver::new(Settings::default(), queue);
    tokio::spawn(async move { while batches.recv().await.is_some() {} });
    receiver.serve_grpc(listener, CancellationToken::new()).await.unwrap();
}

impl Subject for Ours {
    const PATH: &'static str = TRACES;

    async fn serve(listener: TcpListener) {
        ours(listener).await;
    }
}

impl Subject for Ignoring {
    const PATH: &'static str = METRICS;

    async fn serve(listener: TcpListener) {
        ours(listener).await;
    }
}

/// How long this thread has been on the processor: others who use the machine do not count.
pub(crate) fn on_processor() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), u32::try_from(time.tv_nsec).unwrap())
}

/// A server that runs, and a client of it.
pub(crate) struct Server {
    path: &'static str,
    address: SocketAddr,
    /// Asks the server's thread how long it has been on the processor.
    ask: mpsc::Sender<oneshot::Sender<Duration>>,
    client: Runtime,
    channel: Channel,
}

impl Server {
    pub(crate) fn start<S: Subject>() -> Self {
        let (ask, mut asked) = mpsc::channel::<oneshot::Sender<Duration>>(1);
        let (tell, told) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                tell.send(listener.local_addr().unwrap()).unwrap();
                let answer = async {
                    while let Some(question) = asked.recv().await {
                        question.send(on_processor()).unwrap();
                    }
                };
                tokio::join!(answer, S::serve(listener));
            });
        });
        let client = Builder::new_current_thread().enable_all().build().unwrap();
        let address = told.blocking_recv().unwrap();
        let channel = client.block_on(async {
            let channel = Channel::from_shared(format!("http://{address}")).unwrap();
            channel.connect().await.unwrap()
        });
        Server {
            path: S::PATH,
            address,
            ask,
            client,
            channel,
        }
    }

    /// Nanoseconds on the processor for a span, while the client sends as fast as it can.
    pub(crate) fn measure(&self, request: &[u8], spans: usize, duration: Duration) -> f64 {
        let mut framed = vec![0];
        framed.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
        framed.extend(request);
        let framed = Bytes::from(framed);
        self.client.block_on(async {
            let before = self.time().await;
            let end = Instant::now() + duration;
            let mut senders = tokio::task::JoinSet::new();
            for _ in 0..IN_FLIGHT {
                senders.spawn(send(self.channel.clone(), self.address, self.path, framed.clone(), end));
            }
            let calls: usize = senders.join_all().await.into_iter().sum();
            let taken = self.time().await - before;
            taken.as_nanos() as f64 / (calls * spans) as f64
        })
    }

    async fn time(&self) -> Duration {
        let (ask, answer) = oneshot::channel();
        self.ask.send(ask).await.unwrap();
        answer.await.unwrap()
    }
}

/// Calls again and again, and answers how often.
async fn send(mut channel: Channel, address: SocketAddr, path: &str, framed: Bytes, end: Instant) -> usize {
    let mut calls = 0;
    while Instant::now() < end {
        let request = Request::post(format!("http://{address}{path}"))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(tonic::body::Body::new(Full::new(framed.clone())))
            .unwrap();
        std::future::poll_fn(|cx| channel.poll_ready(cx)).await.unwrap();
        let response = channel.call(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap();
        let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
        assert_eq!(status.unwrap(), "0");
        calls += 1;
    }
    calls
}
