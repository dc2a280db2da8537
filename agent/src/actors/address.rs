//! Where an actor is reached.

use std::fmt;
use std::time::Duration;

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::turn::Letter;
use super::{Envelope, Mailbox};
use crate::{OpenSpan, Outcome, Spans, Text};

/// A mailbox for the actor `name` with room for `capacity` messages (at least one), and an address that leads to it.
///
/// `M` is what the actor is asked, `R` what it replies. Names are shared by all services.
pub fn mailbox<M, R>(spans: &Spans, name: impl Into<Text>, capacity: usize) -> (Address<M, R>, Mailbox<M, R>) {
    let (queue, inbox) = mpsc::channel(capacity.max(1));
    let name = name.into();
    let address = Address {
        spans: spans.clone(),
        name: name.clone(),
        queue,
    };
    (address, Mailbox::new(spans.clone(), name, inbox))
}

/// Leads to an actor's mailbox. Clones lead to the same one.
pub struct Address<M, R> {
    spans: Spans,
    name: Text,
    queue: mpsc::Sender<Envelope<Letter<M, R>>>,
}

/// Why there is no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// The actor has ended: nobody reads the mailbox any more.
    #[error("the actor has ended")]
    Ended,
    /// The actor has dropped the request without a reply; it has panicked, perhaps.
    #[error("the actor did not reply")]
    NoReply,
    /// The reply did not come in time.
    #[error("the time to wait for the reply is over")]
    Timeout,
}

/// The actor has ended: nobody reads the mailbox any more. This is the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the actor has ended")]
pub struct SendError<M>(pub M);

impl<M, R> Address<M, R> {
    /// Asks, and waits for the reply however long it takes. Waiting for room in the mailbox is part of it.
    ///
    /// Dropping this gives up. The actor handles the message all the same.
    ///
    /// # Errors
    ///
    /// There will be no reply.
    pub async fn ask(&self, message: M) -> Result<R, AskError> {
        let call = self.spans.call(&self.name).name("ask").start();
        let replied = self.deliver(&call, message).await;
        self.end(call, replied)
    }

    /// Asks, and waits for the reply for at most `patience`, which the call says.
    ///
    /// # Errors
    ///
    /// There will be no reply, or it did not come in time.
    pub async fn ask_within(&self, patience: Duration, message: M) -> Result<R, AskError> {
        let call = self.spans.call(&self.name).name("ask").timeout(patience).start();
        let delivered = tokio::time::timeout(patience, self.deliver(&call, message)).await;
        self.end(call, delivered.unwrap_or(Err(AskError::Timeout)))
    }

    /// Sends a message that nobody waits for. If the mailbox is full it waits for room, and that is a call: the actor has to
    /// go on for it. What the actor replies to it is thrown away.
    ///
    /// # Errors
    ///
    /// The actor has ended.
    pub async fn tell(&self, message: M) -> Result<(), SendError<M>> {
        let envelope = Envelope::told(Letter { message, reply: None });
        let envelope = match self.queue.try_send(envelope) {
            Ok(()) => return Ok(()),
            Err(TrySendError::Full(envelope) | TrySendError::Closed(envelope)) => envelope,
        };
        let call = self.spans.call(&self.name).name("tell").start();
        match self.queue.reserve().await {
            Ok(room) => {
                call.end();
                room.send(envelope);
                Ok(())
            }
            Err(_) => {
                call.end_with(Outcome::Error);
                Err(SendError(envelope.into_message().message))
            }
        }
    }

    /// Whether the actor has ended.
    pub fn is_closed(&self) -> bool {
        self.queue.is_closed()
    }

    /// The resource that the actor is.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    async fn deliver(&self, call: &OpenSpan, message: M) -> Result<R, AskError> {
        let (reply, replied) = oneshot::channel();
        let letter = Letter {
            message,
            reply: Some(reply),
        };
        self.queue
            .send(Envelope::of(call, letter))
            .await
            .map_err(|_| AskError::Ended)?;
        replied.await.map_err(|_| AskError::NoReply)
    }

    fn end(&self, call: OpenSpan, replied: Result<R, AskError>) -> Result<R, AskError> {
        call.end_with(match &replied {
            Ok(_) => Outcome::Finished,
            Err(AskError::Timeout) => Outcome::Timeout,
            Err(AskError::Ended | AskError::NoReply) => Outcome::Error,
        });
        replied
    }
}

impl<M, R> Clone for Address<M, R> {
    fn clone(&self) -> Self {
        Address {
            spans: self.spans.clone(),
            name: self.name.clone(),
            queue: self.queue.clone(),
        }
    }
}

impl<M, R> fmt::Debug for Address<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Address")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
