//! The server of the native stream: one task for each connection, which passes on what the instance says.

use std::pin::Pin;
use std::time::Duration;

use standoff_protocol::stream::wait_stream_server::WaitStream;
use standoff_protocol::stream::{FromCollector, FromInstance, FromRelay, ToRelay, from_instance};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::core::{ConnectionId, Input};
use super::owner::{Message, Owner, Peer, ShuttingDown};

/// How long an instance may take to introduce itself. Libraries send their hello with the request.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// Serves the native stream.
#[derive(Debug)]
pub(super) struct Server {
    owner: Owner,
    shutdown: CancellationToken,
}

impl Server {
    pub(super) fn new(owner: Owner, shutdown: CancellationToken) -> Self {
        Self { owner, shutdown }
    }
}

#[tonic::async_trait]
impl WaitStream for Server {
    type ConnectStream = ReceiverStream<Result<FromCollector, Status>>;

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
        let connection = self.owner.connections().next();
        let (outbox, outgoing) = Owner::outbox();
        let reading = CancellationToken::new();
        self.owner
            .tell(Message::Connected {
                connection,
                hello,
                peer: Peer::Stream {
                    outbox,
                    _reading: reading.clone().drop_guard(),
                },
            })
            .await
            .map_err(unavailable)?;
        let owner = self.owner.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = reading.cancelled() => {}
                () = read(connection, incoming, &owner) => {}
            }
            // If the owner is gone, so is everything that it knew.
            owner
                .tell(Message::Input(Input::Disconnected { connection }))
                .await
                .ok();
        });
        Ok(Response::new(ReceiverStream::new(outgoing)))
    }

    type RelayStream = Pin<Box<dyn Stream<Item = Result<ToRelay, Status>> + Send>>;

    async fn relay(&self, _: Request<Streaming<FromRelay>>) -> Result<Response<Self::RelayStream>, Status> {
        Err(Status::unimplemented(
            "this is a relay, which takes the streams of services only: give a relay the address of a collector as its \
             upstream",
        ))
    }
}

/// Passes on what the instance says, until it ends or breaks the protocol.
async fn read(connection: ConnectionId, mut incoming: Streaming<FromInstance>, owner: &Owner) {
    loop {
        match incoming.message().await {
            Ok(Some(message)) => {
                let input = Input::Message { connection, message };
                if owner.tell(Message::Input(input)).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(status) => {
                tracing::debug!(connection = connection.0, %status, "stream broken");
                return;
            }
        }
    }
}

fn unavailable(error: ShuttingDown) -> Status {
    Status::unavailable(error.to_string())
}
