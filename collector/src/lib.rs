//! The collector: takes in what instances say of their open spans, keeps the wait-for graph, confirms deadlocks and
//! serves alerts.
//!
//! One thread owns all state (`owner`); inside it, the `detector` is a pure function from what has happened to what is to be
//! done. Around it stand the server of the native stream and of OTLP (`ingest`), the HTTP API (`http`) and the database of known
//! instances (`known`), each of which talks to the owner through its bounded queue only.

mod alerts;
mod channels;
mod clock;
mod confirm;
mod decode;
mod departures;
mod describe;
mod detector;
mod ended;
mod http;
mod ingest;
mod instances;
mod known;
mod losses;
mod owner;
mod settings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::serve::ListenerExt;
use standoff_protocol::stream::wait_stream_server::WaitStreamServer;
use standoff_protocol::stream::{self, MESSAGE_BYTES_MAX, Sight};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::TcpIncoming;

/// Plays any bytes to the collector, for fuzzing.
#[cfg(feature = "fuzzing")]
pub mod fuzzing {
    pub use crate::ingest::any_bytes::{Played, play};
}
pub use settings::{Settings, Times};

use crate::clock::Clock;
use crate::http::Api;
use crate::ingest::{Connections, Ingest, Otlp};
use crate::known::{Change, Known, Store, StoreError};
use crate::owner::Owner;

/// How often HTTP/2 asks instances whether they are there, and how long one may take to answer. Their heartbeats say so
/// too; this ends connections of hosts that have vanished, which would otherwise be kept for good.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long a stopping collector waits for its peers to take leave. One that is frozen never does.
const LEAVE_WITHIN: Duration = Duration::from_secs(1);

/// What is said about the listeners of OTLP.
const OTLP_GRPC: &str = "OTLP over gRPC";
const OTLP_HTTP: &str = "OTLP over HTTP";

/// A collector that is running. Dropping it does not stop it; [`Collector::stop`] does.
#[derive(Debug)]
pub struct Collector {
    http: SocketAddr,
    stream: SocketAddr,
    otlp_grpc: Option<SocketAddr>,
    otlp_http: Option<SocketAddr>,
    shutdown: CancellationToken,
    /// The servers are to wait no longer for their peers.
    hang_up: CancellationToken,
    servers: TaskTracker,
    owner: JoinHandle<()>,
}

/// Why a collector could not start.
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
    /// The owner's thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
}

impl Collector {
    /// Starts a collector on the current tokio runtime.
    ///
    /// A data directory that cannot be used is said in the log and never stops detection.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let http = listen("HTTP API", "--http", settings.http).await?;
        let stream = listen("native stream", "--stream", settings.stream).await?;
        let otlp_grpc = listen_if(OTLP_GRPC, "--otlp-grpc, or `off`", settings.otlp_grpc).await?;
        let otlp_http = listen_if(OTLP_HTTP, "--otlp-http, or `off`", settings.otlp_http).await?;
        let clock = Clock::start();
        let (store, known) = settings.data_dir.map_or((None, Known::new()), remembered);
        let shutdown = CancellationToken::new();
        let (owner, thread) =
            Owner::start(clock, settings.times, known, store, shutdown.clone()).map_err(StartError::Thread)?;
        let collector = Self {
            http: http.local_addr().unwrap_or(settings.http),
            stream: stream.local_addr().unwrap_or(settings.stream),
            otlp_grpc: otlp_grpc.as_ref().and_then(|it| it.local_addr().ok()),
            otlp_http: otlp_http.as_ref().and_then(|it| it.local_addr().ok()),
            shutdown: shutdown.clone(),
            hang_up: CancellationToken::new(),
            servers: TaskTracker::new(),
            owner: thread,
        };
        let connections = Connections::default();
        if otlp_grpc.is_some() || otlp_http.is_some() {
            let otlp = Otlp::new(owner.clone(), connections.clone(), clock, &settings.times);
            collector.serve_otlp(otlp, otlp_grpc, otlp_http);
        }
        let ingest = Ingest::new(owner.clone(), connections, settings.times.heartbeat, shutdown.clone());
        collector.serve_stream(stream, ingest);
        collector.serve_http(http, Api { owner, shutdown });
        tracing::info!(
            http = %collector.http, stream = %collector.stream,
            otlp_grpc = collector.otlp_grpc.map(display), otlp_http = collector.otlp_http.map(display),
            "collector listens"
        );
        Ok(collector)
    }

    /// Small messages are sent at once on both: a probe that waits for an acknowledgement makes the alert 40 ms late.
    fn serve_stream(&self, listener: TcpListener, ingest: Ingest) {
        let service = WaitStreamServer::new(ingest).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let serve = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .add_service(service)
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener).with_nodelay(Some(true)),
                self.shutdown.clone().cancelled_owned(),
            );
        self.serve("native stream", serve);
    }

    fn serve_otlp(&self, otlp: Otlp, grpc: Option<TcpListener>, http: Option<TcpListener>) {
        if let Some(listener) = grpc {
            let (receiver, shutdown) = (otlp.receiver(), self.shutdown.clone());
            self.serve(OTLP_GRPC, async move { receiver.serve_grpc(listener, shutdown).await });
        }
        if let Some(listener) = http {
            let (receiver, shutdown) = (otlp.receiver(), self.shutdown.clone());
            self.serve(OTLP_HTTP, async move { receiver.serve_http(listener, shutdown).await });
        }
        self.servers.spawn(otlp.run(self.shutdown.clone()));
    }

    fn serve_http(&self, listener: TcpListener, api: Api) {
        let shutdown = self.shutdown.clone();
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "an answer over HTTP may be late");
            }
        });
        let serve = axum::serve(listener, http::router(api)).with_graceful_shutdown(shutdown.cancelled_owned());
        self.serve("HTTP API", serve.into_future());
    }

    fn serve<E: std::fmt::Display>(
        &self,
        what: &'static str,
        serve: impl Future<Output = Result<(), E>> + Send + 'static,
    ) {
        let hang_up = self.hang_up.clone();
        self.servers.spawn(async move {
            match hang_up.run_until_cancelled_owned(serve).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::error!(%error, what, "served no longer"),
                None => tracing::debug!(what, "somebody who was connected did not take leave"),
            }
        });
    }

    /// Where the HTTP API listens.
    #[must_use]
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    /// Where the native stream listens.
    #[must_use]
    pub fn stream(&self) -> SocketAddr {
        self.stream
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

    /// Stops everything, and waits until it has stopped: for a second at most for those who are connected.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.servers.close();
        if tokio::time::timeout(LEAVE_WITHIN, self.servers.wait()).await.is_err() {
            self.hang_up.cancel();
            self.servers.wait().await;
        }
        let joined = tokio::task::spawn_blocking(move || self.owner.join()).await;
        if !matches!(joined, Ok(Ok(()))) {
            tracing::error!("the owner's thread has panicked");
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

async fn listen_if(
    what: &'static str,
    flag: &'static str,
    address: Option<SocketAddr>,
) -> Result<Option<TcpListener>, StartError> {
    match address {
        Some(address) => listen(what, flag, address).await.map(Some),
        None => Ok(None),
    }
}

/// Whom the collector knew before it was started again. Those whose process has died meanwhile need not be awaited.
fn remembered(folder: PathBuf) -> (Option<Store>, Known) {
    let (store, mut known) = match Store::open(&folder) {
        Ok(opened) => opened,
        Err(error) => {
            report(&folder, &error);
            return (None, Known::new());
        }
    };
    known.retain(|key, process| {
        let dead = stream::look(process) == Sight::Dead;
        if dead {
            store.remember(Change::Gone(key.clone()));
        }
        !dead
    });
    (Some(store), known)
}

fn report(folder: &std::path::Path, error: &StoreError) {
    let cause = std::error::Error::source(error)
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(
        folder = %folder.display(), %error, cause,
        "nothing will be remembered over a restart; detection goes on. Move the folder away to begin anew"
    );
}
