//! The server of the native stream without network and tasks: a simulation brings the messages, and takes them away.

use std::pin::Pin;
use std::sync::Arc;

use futures_util::{FutureExt as _, Stream, StreamExt as _};
use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, PROTOCOL_VERSION, RelayWelcome, ToRelay, from_instance, from_relay,
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::otlp::feed::Feed;
use super::relay::Relay;
use super::{Connections, hello, instance};
use crate::channels::Channels;
use crate::detector::Input;
use crate::instances::ConnectionId;
use crate::owner::{Message, OUTBOX_MAX, Outbox, Owner};
use crate::settings::Times;

/// The server. What it tells the owner is to be taken from it.
pub(crate) struct Unplugged {
    owner: Owner,
    inbox: mpsc::Receiver<Message>,
    connections: Connections,
    heartbeat_ms: u32,
}

/// The stream of an instance.
pub(crate) struct InstanceStream {
    pub(crate) connection: ConnectionId,
    outgoing: mpsc::Receiver<Result<FromCollector, Status>>,
    reading: CancellationToken,
}

/// The stream of a relay.
pub(crate) struct RelayStream {
    relay: Relay,
    outgoing: Pin<Box<dyn Stream<Item = Result<ToRelay, Status>> + Send>>,
    reading: CancellationToken,
}

/// A stream has come to its end.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) Option<Status>);

impl Unplugged {
    pub(crate) fn new(heartbeat_ms: u32) -> Self {
        let (owner, inbox) = Owner::of_nobody();
        Self {
            owner,
            inbox,
            connections: Connections::default(),
            heartbeat_ms,
        }
    }

    /// What becomes of requests over OTLP, beside the streams.
    pub(crate) fn feed(&self, times: &Times, seed: u64) -> Feed {
        Feed::new(self.connections.clone(), times, seed)
    }

    /// What the owner is told next.
    pub(crate) fn next_message(&mut self) -> Option<Message> {
        self.inbox.try_recv().ok()
    }

    /// An instance connects, with its first message.
    pub(crate) fn connect(&self, first: FromInstance) -> Result<InstanceStream, Status> {
        let Some(from_instance::Message::Hello(hello)) = first.message else {
            return Err(Status::invalid_argument(
                "the first message of a stream must be a hello",
            ));
        };
        let identity = hello::identity(hello)?;
        let connection = self.connections.next();
        let (messages, outgoing) = mpsc::channel(OUTBOX_MAX);
        let reading = CancellationToken::new();
        let outbox = Outbox::Stream {
            messages,
            _reading: reading.clone().drop_guard(),
        };
        self.tell(Message::Connected {
            connection,
            identity,
            outbox,
        });
        Ok(InstanceStream {
            connection,
            outgoing,
            reading,
        })
    }

    /// An instance says something on its own stream.
    pub(crate) fn hear(&self, stream: &InstanceStream, said: FromInstance) {
        if let Some(input) = said.message.and_then(|it| instance::input(stream.connection, it))
            && !stream.reading.is_cancelled()
        {
            self.tell(Message::Input(input));
        }
    }

    /// The stream of an instance has ended.
    pub(crate) fn disconnect(&self, stream: &InstanceStream) {
        let connection = stream.connection;
        self.tell(Message::Input(Input::Disconnected { connection }));
    }

    /// A relay connects, with its first message.
    pub(crate) fn connect_relay(&self, first: FromRelay) -> Result<RelayStream, Status> {
        let (0, Some(from_relay::Message::Hello(hello))) = (first.channel, first.message) else {
            return Err(Status::invalid_argument(
                "the first message must be a hello on channel 0",
            ));
        };
        let welcome = RelayWelcome {
            protocol_version: PROTOCOL_VERSION,
            heartbeat_ms: self.heartbeat_ms,
        };
        let reading = CancellationToken::new();
        let channels = Arc::new(Channels::new(welcome, reading.clone()));
        let (name, connection) = (hello::relay_name(hello)?, self.connections.next());
        self.tell(Message::Input(Input::RelayConnected {
            relay: connection,
            name: name.clone(),
        }));
        let relay = Relay {
            name,
            connection,
            channels: Arc::clone(&channels),
            connections: self.connections.clone(),
            owner: self.owner.clone(),
        };
        Ok(RelayStream {
            relay,
            outgoing: Box::pin(channels.outgoing()),
            reading,
        })
    }

    /// A relay says something. An error ends its stream.
    pub(crate) fn hear_relay(&self, stream: &RelayStream, said: FromRelay) -> Result<(), Status> {
        match said.message {
            Some(message) if !stream.reading.is_cancelled() => {
                let heard = stream.relay.heard(said.channel, message);
                // The owner's queue is emptied after every message.
                heard.now_or_never().unwrap()
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The stream of a relay has ended.
    pub(crate) fn disconnect_relay(&self, stream: &RelayStream, status: Option<Status>) {
        stream.relay.channels.end(status);
        self.tell(Message::Input(Input::RelayEnded {
            relay: stream.relay.connection,
            connections: stream.relay.channels.take_open(),
            is_unreadable: false,
        }));
    }

    fn tell(&self, message: Message) {
        self.owner.tell(message).now_or_never().unwrap().unwrap();
    }
}

impl InstanceStream {
    /// What is to be sent next; `None` if there is nothing just now.
    pub(crate) fn next(&mut self) -> Option<Result<FromCollector, Ended>> {
        match self.outgoing.try_recv() {
            Ok(Ok(message)) => Some(Ok(message)),
            Ok(Err(status)) => Some(Err(Ended(Some(status)))),
            Err(mpsc::error::TryRecvError::Empty) => None,
            Err(mpsc::error::TryRecvError::Disconnected) => Some(Err(Ended(None))),
        }
    }

    /// Whether the owner has no more use for what the instance says.
    pub(crate) fn is_over(&self) -> bool {
        self.reading.is_cancelled()
    }
}

impl RelayStream {
    /// As for an instance.
    pub(crate) fn next(&mut self) -> Option<Result<ToRelay, Ended>> {
        Some(match self.outgoing.next().now_or_never()? {
            Some(Ok(message)) => Ok(message),
            Some(Err(status)) => Err(Ended(Some(status))),
            None => Err(Ended(None)),
        })
    }

    /// As for an instance.
    pub(crate) fn is_over(&self) -> bool {
        self.reading.is_cancelled()
    }
}
