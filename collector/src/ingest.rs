//! The server of the native stream: one task for each connection, which checks the handshake and passes messages on. One
//! task more does so for all who are heard of over OTLP (`otlp`).

#[cfg(feature = "fuzzing")]
pub(crate) mod any_bytes;
mod hello;
mod instance;
pub(crate) mod otlp;
mod relay;
#[cfg(test)]
pub(crate) mod unplugged;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use standoff_protocol::stream::wait_stream_server::WaitStream;
use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, PROTOCOL_VERSION, RelayWelcome, ToRelay, from_instance, from_relay,
};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use crate::channels::Channels;
use crate::detector::Input;
use crate::ingest::relay::Relay;
use crate::instances::{ConnectionId, INSTANCES_MAX};
use crate::owner::{Message, OUTBOX_MAX, Outbox, Owner, ShuttingDown};

pub(crate) use otlp::Otlp;
pub(crate) use relay::takes_none;

/// How long an instance may take to introduce itself. Libraries send their hello with the request.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// The most relays at once: one for each host, if all the instances that there can be were alone on theirs.
const RELAYS_MAX: usize = INSTANCES_MAX;

/// Serves the native stream.
#[derive(Debug)]
pub(crate) struct Ingest {
    owner: Owner,
    /// How often to be heard of is asked of relays.
    heartbeat: Duration,
    shutdown: CancellationToken,
    connections: Connections,
    /// One permit for each relay that may still connect.
    relays: Arc<Semaphore>,
}

/// Numbers connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections(Arc<AtomicU64>);

impl Connections {
    fn next(&self) -> ConnectionId {
        ConnectionId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Ingest {
    pub(crate) fn new(
        owner: Owner,
        connections: Connections,
        heartbeat: Duration,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            owner,
            heartbeat,
            shutdown,
            connections,
            relays: Arc::new(Semaphore::new(RELAYS_MAX)),
        }
    }

    /// The first message of a stream.
    async fn first<T>(&self, incoming: &mut Streaming<T>) -> Result<Option<T>, Status> {
        let first = tokio::select! {
            first = tokio::time::timeout(HELLO_WITHIN, incoming.message()) => first,
            () = self.shutdown.cancelled() => return Err(unavailable(ShuttingDown)),
        };
        first.map_err(|_| Status::deadline_exceeded("nobody has said who this is"))?
    }
}

#[tonic::async_trait]
impl WaitStream for Ingest {
    type ConnectStream = Pin<Box<dyn Stream<Item = Result<FromCollector, Status>> + Send>>;

    async fn connect(
        &self,
        request: Request<Streaming<FromInstance>>,
    ) -> Result<Response<Self::ConnectStream>, Status> {
        let mut incoming = request.into_inner();
        let first = self.first(&mut incoming).await?;
        let Some(from_instance::Message::Hello(hello)) = first.and_then(|it| it.message) else {
            return Err(Status::invalid_argument(
                "the first message of a stream must be a hello",
            ));
        };
        let identity = match hello::identity(hello) {
            Ok(identity) => identity,
            Err(status) => {
                tracing::warn!(%status, "connection refused");
                self.owner
                    .tell(Message::Input(Input::Refused))
                    .await
                    .map_err(unavailable)?;
                return Err(status);
            }
        };
        let connection = self.connections.next();
        tracing::info!(
            connection = connection.0,
            instance = identity.key.instance_id,
            "instance connected"
        );
        let (messages, outgoing) = mpsc::channel(OUTBOX_MAX);
        let reading = CancellationToken::new();
        let outbox = Outbox::Stream {
            messages,
            _reading: reading.clone().drop_guard(),
        };
        self.owner
            .tell(Message::Connected {
                connection,
                identity,
                outbox,
            })
            .await
            .map_err(unavailable)?;
        let (owner, shutdown) = (self.owner.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            let read = tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                () = reading.cancelled() => Ok(()),
                read = instance::read(connection, incoming, &owner) => read,
            };
            tracing::info!(connection = connection.0, "instance disconnected");
            let ended = match read {
                Ok(()) => Message::Input(Input::Disconnected { connection }),
                Err(status) => Message::Unreadable { connection, status },
            };
            // If the owner is gone, so is everything that it knew.
            owner.tell(ended).await.ok();
        });
        // The stream to the instance must not outlive the collector's will to serve it.
        let outgoing = ReceiverStream::new(outgoing).take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(outgoing)))
    }

    type RelayStream = Pin<Box<dyn Stream<Item = Result<ToRelay, Status>> + Send>>;

    async fn relay(&self, request: Request<Streaming<FromRelay>>) -> Result<Response<Self::RelayStream>, Status> {
        let permit = Arc::clone(&self.relays)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted(format!("{RELAYS_MAX} relays are connected already")))?;
        let mut incoming = request.into_inner();
        let first = self.first(&mut incoming).await?;
        let Some(FromRelay {
            channel: 0,
            message: Some(from_relay::Message::Hello(hello)),
        }) = first
        else {
            return Err(Status::invalid_argument(
                "the first message of a relay's stream must be a hello on channel 0",
            ));
        };
        let name = hello::relay_name(hello)?;
        let connection = self.connections.next();
        tracing::info!(connection = connection.0, relay = name, "relay connected");
        let connected = Input::RelayConnected {
            relay: connection,
            name: name.clone(),
        };
        self.owner.tell(Message::Input(connected)).await.map_err(unavailable)?;
        let welcome = RelayWelcome {
            protocol_version: PROTOCOL_VERSION,
            heartbeat_ms: u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX),
        };
        let reading = CancellationToken::new();
        let channels = Arc::new(Channels::new(welcome, reading.clone()));
        let relay = Relay {
            name,
            connection,
            channels: Arc::clone(&channels),
            connections: self.connections.clone(),
            owner: self.owner.clone(),
        };
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move {
            let read = tokio::select! {
                () = shutdown.cancelled() => Ok(()),
                () = reading.cancelled() => Ok(()),
                read = relay.read(incoming) => read,
            };
            if let Err(status) = &read {
                tracing::warn!(relay = relay.name, %status, "relay refused");
            }
            let is_unreadable = read.is_err();
            relay.channels.end(read.err());
            let connections = relay.channels.take_open();
            tracing::info!(
                connection = connection.0,
                relay = relay.name,
                channels = connections.len(),
                "relay disconnected"
            );
            let ended = Input::RelayEnded {
                relay: connection,
                connections,
                is_unreadable,
            };
            relay.owner.tell(Message::Input(ended)).await.ok();
            drop(permit);
        });
        let outgoing = channels.outgoing().take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(outgoing)))
    }
}

/// Whether a stream has ended because of what was said on it.
fn is_unreadable(status: &Status) -> bool {
    matches!(status.code(), Code::InvalidArgument | Code::OutOfRange)
}

fn unavailable(error: ShuttingDown) -> Status {
    Status::unavailable(error.to_string())
}
