//! The server of the native stream: one task for each connection, which checks the handshake and passes messages on.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use standoff_protocol::stream::wait_stream_server::WaitStream;
use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, Hello, PROTOCOL_VERSION, TEXT_BYTES_MAX, ToRelay, from_instance,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::detector::Input;
use crate::instances::{ConnectionId, Identity};
use crate::known::InstanceKey;
use crate::owner::{Message, OUTBOX_MAX, Owner, ShuttingDown};

/// The longest lease that an instance may ask for. Silence beyond it helps nobody.
const LEASE_MAX: Duration = Duration::from_secs(300);

/// How long an instance may take to introduce itself. Libraries send their hello with the request.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Serves the native stream.
#[derive(Debug)]
pub(crate) struct Ingest {
    owner: Owner,
    shutdown: CancellationToken,
    last_connection: AtomicU64,
}

impl Ingest {
    pub(crate) fn new(owner: Owner, shutdown: CancellationToken) -> Self {
        Self {
            owner,
            shutdown,
            last_connection: AtomicU64::new(0),
        }
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
        let first = tokio::select! {
            first = tokio::time::timeout(HELLO_WITHIN, incoming.message()) => first,
            () = self.shutdown.cancelled() => return Err(unavailable(ShuttingDown)),
        };
        let first = first.map_err(|_| Status::deadline_exceeded("the instance has not said who it is"))??;
        let Some(from_instance::Message::Hello(hello)) = first.and_then(|it| it.message) else {
            return Err(Status::invalid_argument(
                "the first message of a stream must be a hello",
            ));
        };
        let identity = identity(hello)?;
        let connection = ConnectionId(self.last_connection.fetch_add(1, Ordering::Relaxed) + 1);
        tracing::info!(
            connection = connection.0,
            instance = identity.key.instance_id,
            "instance connected"
        );
        let (outbox, outgoing) = mpsc::channel(OUTBOX_MAX);
        let reading = CancellationToken::new();
        self.owner
            .tell(Message::Connected {
                connection,
                identity,
                outbox,
                reading: reading.clone().drop_guard(),
            })
            .await
            .map_err(unavailable)?;
        let (owner, shutdown) = (self.owner.clone(), self.shutdown.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = reading.cancelled() => {}
                () = read(connection, incoming, &owner) => {}
            }
            tracing::info!(connection = connection.0, "instance disconnected");
            // If the owner is gone, so is everything that it knew.
            owner
                .tell(Message::Input(Input::Disconnected { connection }))
                .await
                .ok();
        });
        // The stream to the instance must not outlive the collector's will to serve it.
        let outgoing = ReceiverStream::new(outgoing).take_until(self.shutdown.clone().cancelled_owned());
        Ok(Response::new(Box::pin(outgoing)))
    }

    type RelayStream = Pin<Box<dyn Stream<Item = Result<ToRelay, Status>> + Send>>;

    async fn relay(&self, _: Request<Streaming<FromRelay>>) -> Result<Response<Self::RelayStream>, Status> {
        Err(Status::unimplemented("relays"))
    }
}

/// Passes on what the instance says, until it ends or breaks the protocol.
async fn read(connection: ConnectionId, mut incoming: Streaming<FromInstance>, owner: &Owner) {
    loop {
        let message = match incoming.message().await {
            Ok(Some(FromInstance { message: Some(message) })) => message,
            // A message of a later protocol version, of which we know nothing.
            Ok(Some(FromInstance { message: None })) => continue,
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(connection = connection.0, %status, "stream broken");
                return;
            }
        };
        let Some(input) = input(connection, message) else {
            continue;
        };
        if owner.tell(Message::Input(input)).await.is_err() {
            return;
        }
    }
}

fn input(connection: ConnectionId, message: from_instance::Message) -> Option<Input> {
    Some(match message {
        // Once is enough.
        from_instance::Message::Hello(_) => return None,
        from_instance::Message::OpenSet(set) => Input::OpenSet {
            connection,
            spans: set.spans,
            complete: set.complete,
        },
        from_instance::Message::Batch(batch) => Input::Batch { connection, batch },
        from_instance::Message::Heartbeat(heartbeat) => Input::Heartbeat {
            connection,
            events_lost: heartbeat.events_lost,
        },
        from_instance::Message::ProbeAnswer(answer) => Input::ProbeAnswer { connection, answer },
        from_instance::Message::Goodbye(_) => Input::Goodbye { connection },
    })
}

fn identity(hello: Hello) -> Result<Identity, Status> {
    if hello.protocol_version != PROTOCOL_VERSION {
        return Err(Status::failed_precondition(format!(
            "this collector speaks protocol version {PROTOCOL_VERSION}, the instance speaks {}: use the same release \
             of both",
            hello.protocol_version
        )));
    }
    let instance = hello.instance.unwrap_or_default();
    if instance.instance_id.is_empty() {
        return Err(Status::invalid_argument(
            "the hello names no instance: set service.instance.id",
        ));
    }
    let texts = [
        &instance.instance_id,
        &instance.service_name,
        &instance.service_namespace,
    ];
    if texts.iter().any(|text| text.len() > TEXT_BYTES_MAX) {
        return Err(Status::invalid_argument(format!(
            "the instance's names are longer than the {TEXT_BYTES_MAX} bytes that are accepted"
        )));
    }
    Ok(Identity {
        key: InstanceKey {
            instance_id: instance.instance_id,
            incarnation: instance.incarnation,
        },
        service: instance.service_name,
        process: instance.process.unwrap_or_default(),
        lease: (hello.lease_ms > 0).then(|| Duration::from_millis(hello.lease_ms.into()).min(LEASE_MAX)),
    })
}

fn unavailable(error: ShuttingDown) -> Status {
    Status::unavailable(error.to_string())
}
