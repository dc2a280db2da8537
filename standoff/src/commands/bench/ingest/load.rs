//! Sends requests as fast as a server takes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::body::Bytes;
use http_body_util::{BodyExt as _, Full};
use tokio::task::JoinSet;
use tonic::codegen::Service as _;
use tonic::codegen::http::{Request, Uri};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::answer::Answer;
use super::native;
use super::requests::{Requests, Shape};
use crate::cli::{Compression, Protocol};

/// What is sent, how, and for how long.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) protocol: Protocol,
    pub(super) compression: Compression,
    pub(super) shape: Shape,
    pub(super) requests: Arc<Requests>,
    pub(super) connections: u32,
    pub(super) in_flight: u32,
    pub(super) length: Length,
}

/// How long it is sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Length {
    Time(Duration),
    Spans(u64),
}

/// A number of spans is sent within this time, or not.
const GIVE_UP_AFTER: Duration = Duration::from_secs(600);

/// An answer that has not come by then will not come: exporters give up after as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes that may be on their way on one connection before the server says that it has taken some.
const WINDOW_BYTES: u32 = 1 << 20;

/// What became of all that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// Spans that the server has taken.
    pub(super) accepted: u64,
    /// Spans that it has rejected in requests of which it took others, or with the whole request, for good.
    pub(super) rejected: u64,
    /// Answers that asked to come again. The spans of such a request were sent again, or count as given up.
    pub(super) refused: u64,
    /// Spans of requests that were to come again when time was up.
    pub(super) given_up: u64,
    /// Why a request was rejected, if one was.
    pub(super) reason: Option<String>,
}

impl Sent {
    pub(super) fn add(&mut self, other: Sent) {
        self.accepted += other.accepted;
        self.rejected += other.rejected;
        self.refused += other.refused;
        self.given_up += other.given_up;
        self.reason = self.reason.take().or(other.reason);
    }
}

/// When to stop.
#[derive(Debug)]
pub(super) struct End {
    at: Instant,
    spans_left: Option<AtomicU64>,
}

impl End {
    fn new(length: Length) -> Self {
        match length {
            Length::Time(time) => End {
                at: Instant::now() + time,
                spans_left: None,
            },
            Length::Spans(spans) => End {
                at: Instant::now() + GIVE_UP_AFTER,
                spans_left: Some(AtomicU64::new(spans)),
            },
        }
    }

    /// Whether there is time for another request of so many spans.
    pub(super) fn goes_on(&self, spans: u32) -> bool {
        if Instant::now() >= self.at {
            return false;
        }
        let Some(left) = &self.spans_left else {
            return true;
        };
        let less = |left: u64| (left > 0).then(|| left.saturating_sub(spans.into()));
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn is_before(&self, delay: Duration) -> bool {
        self.at <= Instant::now() + delay
    }
}

impl Load {
    /// Connects to a server, sends until the end, and says what became of it and how long it took.
    ///
    /// `path` is that of the method, for servers of which another one is measured.
    pub(super) async fn run(&self, url: &str, path: Path) -> anyhow::Result<(Sent, Duration)> {
        let mut clients = Vec::new();
        for number in 0..self.connections {
            clients.extend(self.clients(url, path, number).await?);
        }
        let begun = Instant::now();
        let end = Arc::new(End::new(self.length));
        let mut senders = JoinSet::new();
        for client in clients {
            senders.spawn(client.send(self.clone(), Arc::clone(&end)));
        }
        let mut sent = Sent::default();
        while let Some(sender) = senders.join_next().await {
            sent.add(sender.context("a sender has failed")??);
        }
        Ok((sent, begun.elapsed()))
    }

    /// Those who share one connection.
    async fn clients(&self, url: &str, path: Path, number: u32) -> anyhow::Result<Vec<Client>> {
        let cannot = || format!("cannot connect to {url}");
        match self.protocol {
            Protocol::Grpc => {
                let channel = Endpoint::from_shared(url.to_owned())?
                    .initial_stream_window_size(WINDOW_BYTES)
                    .initial_connection_window_size(WINDOW_BYTES)
                    .connect()
                    .await
                    .with_context(cannot)?;
                let uri: Uri = format!("{}{}", url.trim_end_matches('/'), path.grpc()).parse()?;
                let client = || Client::Grpc(channel.clone(), uri.clone());
                Ok((0..self.in_flight).map(|_| client()).collect())
            }
            Protocol::Http | Protocol::Json => {
                let client = reqwest::Client::builder()
                    .pool_max_idle_per_host(1)
                    .tcp_nodelay(true)
                    .timeout(ANSWER_WITHIN)
                    .build()?;
                let url = format!("{}{}", url.trim_end_matches('/'), path.http());
                Ok(vec![Client::Http(client, url)])
            }
            Protocol::Native => {
                let connection = native::Connection::open(url, number, self.shape).await;
                Ok(vec![Client::Native(Box::new(connection.with_context(cannot)?))])
            }
        }
    }
}

/// Which method is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Path {
    /// The one that takes spans.
    Traces,
    /// One that takes anything and ignores it, to see what it costs to receive.
    Ignored,
}

impl Path {
    fn grpc(self) -> &'static str {
        match self {
            Path::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Path::Ignored => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }

    fn http(self) -> &'static str {
        match self {
            Path::Traces => "/v1/traces",
            Path::Ignored => "/v1/metrics",
        }
    }
}

/// Sends one request after the other.
enum Client {
    Grpc(Channel, Uri),
    Http(reqwest::Client, String),
    Native(Box<native::Connection>),
}

impl Client {
    async fn send(self, load: Load, end: Arc<End>) -> anyhow::Result<Sent> {
        let mut client = match self {
            Client::Native(connection) => return connection.send(load.shape, &end).await,
            Client::Grpc(..) | Client::Http(..) => self,
        };
        let mut sent = Sent::default();
        let mut previous = None;
        let spans = u64::from(load.shape.spans);
        while end.goes_on(load.shape.spans) {
            let body = load.requests.next(&mut previous);
            loop {
                match client.call(&load, body.clone()).await? {
                    Answer::Accepted { rejected } => {
                        sent.accepted += spans.saturating_sub(rejected);
                        sent.rejected += rejected;
                        break;
                    }
                    Answer::Refused(reason) => {
                        sent.rejected += spans;
                        sent.reason.get_or_insert(reason);
                        break;
                    }
                    Answer::ComeAgain(delay) => {
                        sent.refused += 1;
                        if end.is_before(delay) {
                            sent.given_up += spans;
                            return Ok(sent);
                        }
                        tokio::time::sleep(delay).await;
                    }
                }
            }
        }
        Ok(sent)
    }

    async fn call(&mut self, load: &Load, body: Bytes) -> anyhow::Result<Answer> {
        let call = async {
            match self {
                Client::Grpc(channel, uri) => grpc(channel, uri, load.compression, body).await,
                Client::Http(client, url) => http(client, url, load, body).await,
                Client::Native(_) => bail!("a stream has no answers"),
            }
        };
        let answer = tokio::time::timeout(ANSWER_WITHIN, call).await;
        answer.context("the server does not answer")?
    }
}

async fn grpc(channel: &mut Channel, uri: &Uri, compression: Compression, body: Bytes) -> anyhow::Result<Answer> {
    let mut request = Request::post(uri.clone())
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    if compression == Compression::Gzip {
        request = request.header("grpc-encoding", "gzip");
    }
    let request = request.body(tonic::body::Body::new(Full::new(body)))?;
    std::future::poll_fn(|cx| channel.poll_ready(cx)).await?;
    let response = channel.call(request).await.context("the connection is broken")?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.context("the answer broke off")?;
    let status = body.trailers().and_then(Status::from_header_map);
    let status = status
        .or_else(|| Status::from_header_map(&parts.headers))
        .unwrap_or_else(|| Status::new(Code::Unknown, "the answer has no status"));
    Ok(Answer::of_grpc(&status, &body.to_bytes()))
}

async fn http(client: &reqwest::Client, url: &str, load: &Load, body: Bytes) -> anyhow::Result<Answer> {
    let content_type = match load.protocol {
        Protocol::Json => "application/json",
        Protocol::Http | Protocol::Grpc | Protocol::Native => "application/x-protobuf",
    };
    let mut request = client.post(url).header("content-type", content_type);
    if load.compression == Compression::Gzip {
        request = request.header("content-encoding", "gzip");
    }
    let response = request
        .body(body)
        .send()
        .await
        .context("the server cannot be reached")?;
    let (status, headers) = (response.status(), response.headers().clone());
    let body = response.bytes().await.context("the answer broke off")?;
    Ok(Answer::of_http(status, &headers, &body, load.protocol))
}

#[cfg(test)]
mod tests {
    use standoff_otlp::{Receiver, Settings};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[test]
    fn so_many_spans_are_sent() {
        let end = End::new(Length::Spans(250));
        let requests = (0..10).filter(|_| end.goes_on(100)).count();
        assert_eq!(requests, 3, "the last one is full, too");
        assert!(!End::new(Length::Time(Duration::ZERO)).goes_on(1));
    }

    /// A receiver with room for few requests at once, and thirty senders: whatever it takes or refuses it says.
    async fn saturate(protocol: Protocol) {
        const REQUESTS: u64 = 45;
        let shape = Shape {
            spans: 200,
            open: 10,
            attributes: 8,
        };
        let requests = Requests::new(shape, protocol, Compression::None).unwrap();
        let settings = Settings {
            // A request of 200 spans has some 70 kB, in JSON some 200.
            memory_bytes_max: 400_000,
            // HTTP counts whole seconds.
            retry_after: Duration::from_millis(if protocol == Protocol::Grpc { 20 } else { 1000 }),
            ..Settings::default()
        };
        let (queue, mut batches) = tokio::sync::mpsc::channel(1);
        let receiver = Receiver::new(settings, queue);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let end = CancellationToken::new();
        let (serving, ended) = (receiver.clone(), end.clone());
        let serving = tokio::spawn(async move {
            match protocol {
                Protocol::Grpc => serving.serve_grpc(listener, ended).await,
                Protocol::Http | Protocol::Json | Protocol::Native => serving.serve_http(listener, ended).await,
            }
        });
        let taking = tokio::spawn(async move {
            let mut taken = 0;
            while let Some(batch) = batches.recv().await {
                taken += (batch.finished.len() + batch.started.len()) as u64;
            }
            taken
        });
        let load = Load {
            protocol,
            compression: Compression::None,
            shape,
            requests: Arc::new(requests),
            connections: if protocol == Protocol::Grpc { 6 } else { 30 },
            in_flight: 5,
            length: Length::Spans(REQUESTS * 200),
        };
        let (sent, _) = load.run(&url, Path::Traces).await.unwrap();
        let counts = receiver.counts();
        end.cancel();
        serving.await.unwrap().unwrap();
        drop(receiver);
        assert_eq!(sent.accepted, REQUESTS * 200, "each is accepted in the end: {sent:?}");
        assert_eq!((sent.rejected, sent.given_up), (0, 0));
        assert!(sent.refused > 0, "there is no room for thirty requests at once");
        assert_eq!(sent.refused, counts.refused, "every refusal is told");
        assert_eq!(sent.accepted, counts.spans_started + counts.spans_finished);
        assert_eq!(
            taking.await.unwrap(),
            sent.accepted,
            "nothing is lost behind the receiver"
        );
    }

    #[tokio::test]
    async fn at_saturation_every_span_is_accepted_or_refused_visibly_over_grpc() {
        saturate(Protocol::Grpc).await;
    }

    #[tokio::test]
    async fn at_saturation_every_span_is_accepted_or_refused_visibly_over_http() {
        saturate(Protocol::Http).await;
        saturate(Protocol::Json).await;
    }
}
