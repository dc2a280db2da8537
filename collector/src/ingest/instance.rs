//! What one instance says, on a stream of its own or on a relay's channel.

use standoff_protocol::stream::{FromInstance, from_instance};
use tonic::{Status, Streaming};

use crate::detector::Input;
use crate::instances::ConnectionId;
use crate::owner::{Message, Owner};

/// Passes on what the instance says, until it ends. Fails if that is because it cannot be understood.
pub(super) async fn read(
    connection: ConnectionId,
    mut incoming: Streaming<FromInstance>,
    owner: &Owner,
) -> Result<(), Status> {
    loop {
        let message = match incoming.message().await {
            Ok(Some(FromInstance { message: Some(message) })) => message,
            // A message of a later protocol version, of which we know nothing.
            Ok(Some(FromInstance { message: None })) => continue,
            Ok(None) => return Ok(()),
            Err(status) => {
                tracing::debug!(connection = connection.0, %status, "stream broken");
                return if super::is_unreadable(&status) {
                    Err(status)
                } else {
                    Ok(())
                };
            }
        };
        let Some(input) = input(connection, message) else {
            continue;
        };
        if owner.tell(Message::Input(input)).await.is_err() {
            return Ok(());
        }
    }
}

/// What a message means to the detector.
pub(super) fn input(connection: ConnectionId, message: from_instance::Message) -> Option<Input> {
    Some(match message {
        // Once is enough.
        from_instance::Message::Hello(_) => return None,
        from_instance::Message::OpenSet(set) => Input::OpenSet {
            connection,
            spans: set.spans,
            complete: set.complete,
        },
        from_instance::Message::Batch(batch) => Input::Batch { connection, batch },
        from_instance::Message::Heartbeat(heartbeat) => Input::Heartbeat { connection, heartbeat },
        from_instance::Message::ProbeAnswer(answer) => Input::ProbeAnswer { connection, answer },
        from_instance::Message::Goodbye(_) => Input::Goodbye { connection },
    })
}
