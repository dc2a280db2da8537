//! What a relay says: of itself, and for the instances of its host on a channel for each.

use std::sync::Arc;

use standoff_protocol::stream::{FromInstance, FromRelay, Hello, from_instance, from_relay};
use tonic::{Status, Streaming};

use super::{Connections, hello, instance};
use crate::channels::{Channel, Channels, TakesNone, TooMany};
use crate::detector::Input;
use crate::instances::{ConnectionId, INSTANCES_MAX};
use crate::owner::{Message, Outbox, Owner, ShuttingDown};

/// One relay's stream, as far as it was heard.
pub(super) struct Relay {
    pub(super) name: String,
    /// The stream as a whole.
    pub(super) connection: ConnectionId,
    pub(super) channels: Arc<Channels>,
    pub(super) connections: Connections,
    pub(super) owner: Owner,
}

impl Relay {
    /// Passes on what the relay says, until it ends. Fails if it does not keep to the protocol.
    pub(super) async fn read(&self, mut incoming: Streaming<FromRelay>) -> Result<(), Status> {
        loop {
            let (channel, message) = match incoming.message().await {
                Ok(Some(FromRelay {
                    channel,
                    message: Some(message),
                })) => (channel, message),
                // A message of a later protocol version, of which we know nothing.
                Ok(Some(FromRelay { message: None, .. })) => continue,
                Ok(None) => return Ok(()),
                Err(status) => {
                    tracing::debug!(relay = self.name, %status, "stream broken");
                    return if super::is_unreadable(&status) {
                        Err(status)
                    } else {
                        Ok(())
                    };
                }
            };
            self.heard(channel, message).await?;
        }
    }

    pub(super) async fn heard(&self, channel: u64, message: from_relay::Message) -> Result<(), Status> {
        let of_relay = channel == 0;
        match message {
            // Once is enough.
            from_relay::Message::Hello(_) if of_relay => Ok(()),
            from_relay::Message::Heartbeat(heartbeat) if of_relay => {
                self.tell(Input::RelayHeartbeat {
                    relay: self.connection,
                    heartbeat,
                })
                .await
            }
            from_relay::Message::Instance(said) if !of_relay => self.instance(channel, said).await,
            from_relay::Message::Closed(closed) if !of_relay => match self.channels.state_of(channel) {
                Channel::Open(connection) => {
                    self.channels.close(channel);
                    self.tell(if closed.process_died {
                        Input::Died { connection }
                    } else {
                        Input::Disconnected { connection }
                    })
                    .await
                }
                Channel::Ended => Ok(()),
                Channel::New => Err(Status::invalid_argument(format!(
                    "channel {channel} ends before it begins"
                ))),
            },
            from_relay::Message::Hello(_)
            | from_relay::Message::Heartbeat(_)
            | from_relay::Message::Instance(_)
            | from_relay::Message::Closed(_) => Err(Status::invalid_argument(format!(
                "channel {channel}: what a relay says of itself, and nothing else, belongs to channel 0"
            ))),
        }
    }

    /// What an instance says. What still comes on a channel that has ended does not count.
    async fn instance(&self, channel: u64, said: FromInstance) -> Result<(), Status> {
        let Some(message) = said.message else { return Ok(()) };
        match (self.channels.state_of(channel), message) {
            (Channel::Open(connection), message) => {
                let is_end = matches!(message, from_instance::Message::Goodbye(_));
                if let Some(input) = instance::input(connection, message) {
                    self.tell(input).await?;
                }
                if is_end {
                    self.channels.close(channel);
                    self.tell(Input::Disconnected { connection }).await?;
                }
                Ok(())
            }
            (Channel::New, from_instance::Message::Hello(hello)) => self.open(channel, hello).await,
            (Channel::Ended, from_instance::Message::Hello(_)) => Err(Status::invalid_argument(format!(
                "channel {channel} was used before: number channels upwards, and use no number twice"
            ))),
            (Channel::New, _) => Err(Status::invalid_argument(format!(
                "the first message of channel {channel} must be a hello"
            ))),
            (Channel::Ended, _) => Ok(()),
        }
    }

    async fn open(&self, channel: u64, hello: Hello) -> Result<(), Status> {
        let connection = self.connections.next();
        let opened = hello::identity(hello).and_then(|identity| {
            self.channels.open(channel, connection).map_err(|TooMany| {
                Status::resource_exhausted(format!(
                    "{INSTANCES_MAX} instances are connected through this relay already"
                ))
            })?;
            Ok(identity)
        });
        match opened {
            Ok(identity) => {
                tracing::info!(
                    connection = connection.0,
                    instance = identity.key.instance_id,
                    relay = self.name,
                    channel,
                    "instance connected"
                );
                let outbox = Outbox::Channel(Arc::clone(&self.channels), channel);
                let connected = Message::Connected {
                    connection,
                    identity,
                    outbox,
                };
                self.owner.tell(connected).await.map_err(super::unavailable)
            }
            Err(status) => {
                tracing::warn!(relay = self.name, channel, %status, "channel refused");
                self.channels.refuse(channel, &status).map_err(takes_none)?;
                self.tell(Input::Refused).await
            }
        }
    }

    async fn tell(&self, input: Input) -> Result<(), Status> {
        self.owner
            .tell(Message::Input(input))
            .await
            .map_err(|error: ShuttingDown| super::unavailable(error))
    }
}

/// What a relay that does not listen is told, should it ever do so.
pub(crate) fn takes_none(TakesNone: TakesNone) -> Status {
    Status::aborted("the relay takes no messages; connect again")
}
