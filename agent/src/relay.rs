//! The relay: takes native streams from the services of its host, and passes them on to collectors.
//!
//! One task owns all state (`owner`); inside it, the [`core`] is a pure function from what has happened to what is to be
//! done. Around it stand the server of the native stream (`server`), the receiver of OTLP (`otlp`), a task for each upstream
//! (`upstream`) and the status page (`page`), each of which talks to the owner through bounded queues only.
//!
//! While no collector is there, the relay keeps what is open and nothing else; a collector that comes is told just that.

#[doc(hidden)]
pub mod core;
mod otlp;
mod owner;
mod page;
mod server;
mod upstream;

use std::net::SocketAddr;
use std::time::Duration;

use standoff_protocol::stream::MESSAGE_BYTES_MAX;
use standoff_protocol::stream::wait_stream_server::WaitStreamServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::TcpIncoming;

use self::core::{Limits, UPSTREAMS_MAX, UpstreamId};
use self::otlp::Otlp;
use self::owner::Owner;
use self::server::Server;
pub use self::upstream::{Grpc, Incoming, Lost, NotAUrl, Outgoing, Upstream};

/// How often HTTP/2 asks instances whether they are there, and how long one may take to answer. Their heartbeats say so
/// too; this ends connections of processes that are frozen, which would otherwise be kept for good.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a stopping relay waits for upstreams to take what is still to be said, and for its peers to take leave. One
/// that is frozen never does.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// How a relay is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where services find the relay.
    pub stream: SocketAddr,
    /// Where its status page and metrics are. `None` if nowhere.
    pub http: Option<SocketAddr>,
    /// Where OTLP over gRPC listens. `None` if nowhere.
    pub otlp_grpc: Option<SocketAddr>,
    /// Where OTLP over HTTP listens. `None` if nowhere.
    pub otlp_http: Option<SocketAddr>,
    /// Names the relay to collectors: its host, usually.
    pub name: String,
    /// How often to give a sign of life, and to want one of instances, unless a collector wants it more often.
    pub heartbeat: Duration,
    /// How long an instance that does not say so itself is believed alive without news.
    pub lease: Duration,
    /// How long a span is believed open of which OTLP told the start, if nothing is said of it any more and it has no
    /// timeout of its own.
    pub max_open: Duration,
}

/// A relay that is running. Dropping it does not stop it; [`Relay::stop`] does.
#[derive(Debug)]
pub struct Relay {
    stream: SocketAddr,
    http: Option<SocketAddr>,
    otlp_grpc: Option<SocketAddr>,
    otlp_http: Option<SocketAddr>,
    /// Instances are not listened to any more.
    shutdown: CancellationToken,
    /// Nobody is waited for any more.
    hang_up: CancellationToken,
    tasks: TaskTracker,
}

/// Why a relay could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken, or is not one of this machine.
    #[error("cannot listen on {address} ({what}); set another address with {flag}")]
    Listen {
        /// What was to listen there.
        what: &'static str,
        /// The setting to change.
        flag: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system says.
        #[source]
        source: std::io::Error,
    },
    /// Listening elsewhere than on the loopback interface would let anyone in.
    #[error(
        "{address} ({what}) is not a loopback address; TLS and tokens, which other addresses need, are not built yet"
    )]
    NotLoopback {
        /// What was to listen there.
        what: &'static str,
        /// The address.
        address: SocketAddr,
    },
    /// There are none, or too many.
    #[error("{0} upstreams are named; a relay has 1 to {UPSTREAMS_MAX}")]
    Upstreams(usize),
    /// The same one twice would be told everything twice.
    #[error("the upstream {0} is named twice")]
    Twice(String),
    /// The relay would pass everything on to itself.
    #[error(
        "the relay listens on {0} itself, which is also its upstream: on the host of the collector, give one of them \
         another address"
    )]
    Itself(SocketAddr),
}

impl Relay {
    /// Starts a relay on the current tokio runtime.
    pub async fn start(settings: Settings, upstreams: Vec<Box<dyn Upstream>>) -> Result<Self, StartError> {
        if !(1..=UPSTREAMS_MAX).contains(&upstreams.len()) {
            return Err(StartError::Upstreams(upstreams.len()));
        }
        let names: Vec<String> = upstreams.iter().map(|it| it.name().to_owned()).collect();
        for (index, name) in names.iter().enumerate() {
            if names.iter().take(index).any(|it| it == name) {
                return Err(StartError::Twice(name.clone()));
            }
        }
        let listener = listen("native stream", "--stream", settings.stream).await?;
        let stream = listener.local_addr().unwrap_or(settings.stream);
        if upstreams.iter().any(|it| it.is_at(stream)) {
            return Err(StartError::Itself(stream));
        }
        let page = match settings.http {
            Some(address) => Some(listen("status page", "--http", address).await?),
            None => None,
        };
        let grpc = match settings.otlp_grpc {
            Some(address) => Some(listen("OTLP over gRPC", "--otlp-grpc, or `off`", address).await?),
            None => None,
        };
        let http = match settings.otlp_http {
            Some(address) => Some(listen("OTLP over HTTP", "--otlp-http, or `off`", address).await?),
            None => None,
        };
        let core = core::Settings {
            name: settings.name,
            upstreams: upstreams.len(),
            heartbeat: settings.heartbeat,
            lease: settings.lease,
            limits: Limits::default(),
        };
        let relay = Self {
            stream,
            http: page.as_ref().and_then(|it| it.local_addr().ok()),
            otlp_grpc: grpc.as_ref().and_then(|it| it.local_addr().ok()),
            otlp_http: http.as_ref().and_then(|it| it.local_addr().ok()),
            shutdown: CancellationToken::new(),
            hang_up: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let (owner, work) = Owner::new(core, relay.shutdown.clone());
        relay.tasks.spawn(work);
        for (number, upstream) in upstreams.into_iter().enumerate() {
            let work = upstream::keep(UpstreamId(number), upstream, owner.clone(), relay.shutdown.clone());
            relay.spawn("upstream", async {
                work.await;
                Ok::<(), std::convert::Infallible>(())
            });
        }
        relay.serve_stream(listener, owner.clone());
        let otlp =
            (grpc.is_some() || http.is_some()).then(|| Otlp::new(owner.clone(), settings.heartbeat, settings.max_open));
        let view = otlp.as_ref().map(Otlp::view);
        if let Some(otlp) = otlp {
            relay.serve_otlp(otlp, grpc, http);
        }
        if let Some(listener) = page {
            let serve = axum::serve(listener, page::router(owner, names, view))
                .with_graceful_shutdown(relay.shutdown.clone().cancelled_owned());
            relay.spawn("status page", serve.into_future());
        }
        tracing::info!(
            %stream,
            http = relay.http.map(display),
            otlp_grpc = relay.otlp_grpc.map(display),
            otlp_http = relay.otlp_http.map(display),
            "relay listens"
        );
        Ok(relay)
    }

    /// Small messages are sent at once: a probe that waits for an acknowledgement makes the alert 40 ms late.
    fn serve_stream(&self, listener: TcpListener, owner: Owner) {
        let service = WaitStreamServer::new(Server::new(owner, self.shutdown.clone()))
            .max_decoding_message_size(MESSAGE_BYTES_MAX);
        let serve = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                self.shutdown.clone().cancelled_owned(),
            );
        self.spawn("native stream", serve);
    }

    fn serve_otlp(&self, otlp: Otlp, grpc: Option<TcpListener>, http: Option<TcpListener>) {
        let receiver = otlp.receiver();
        self.tasks.spawn(otlp.run(self.shutdown.clone()));
        if let Some(listener) = grpc {
            let (receiver, shutdown) = (receiver.clone(), self.shutdown.clone());
            let serve = async move { receiver.serve_grpc(listener, shutdown).await };
            self.spawn("OTLP over gRPC", serve);
        }
        if let Some(listener) = http {
            let shutdown = self.shutdown.clone();
            let serve = async move { receiver.serve_http(listener, shutdown).await };
            self.spawn("OTLP over HTTP", serve);
        }
    }

    fn spawn<E: std::fmt::Display>(
        &self,
        what: &'static str,
        work: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let hang_up = self.hang_up.clone();
        self.tasks.spawn(async move {
            match hang_up.run_until_cancelled_owned(work).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(%error, what, "served no longer"),
                None => tracing::debug!(what, "somebody who was connected did not take leave"),
            }
        });
    }

    /// Where services find the relay.
    #[must_use]
    pub fn stream(&self) -> SocketAddr {
        self.stream
    }

    /// Where the status page is, if anywhere.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// Where OTLP over gRPC listens, if anywhere.
    #[must_use]
    pub fn otlp_grpc(&self) -> Option<SocketAddr> {
        self.otlp_grpc
    }

    /// Where OTLP over HTTP listens, if anywhere.
    #[must_use]
    pub fn otlp_http(&self) -> Option<SocketAddr> {
        self.otlp_http
    }

    /// Stops everything, and waits until it has stopped. Collectors are told what is still to be said, if they take it
    /// within a second, and that nobody listens to the instances here any more; they live on.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.tasks.close();
        if tokio::time::timeout(2 * LEAVE_WITHIN, self.tasks.wait()).await.is_err() {
            self.hang_up.cancel();
            self.tasks.wait().await;
        }
    }
}

async fn listen(what: &'static str, flag: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::NotLoopback { what, address });
    }
    TcpListener::bind(address).await.map_err(|source| StartError::Listen {
        what,
        flag,
        address,
        source,
    })
}
