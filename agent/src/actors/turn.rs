//! What an actor takes its messages from, and the time in which it handles one.

use std::fmt;
use std::future::Future;

use opentelemetry::Context;
use tokio::sync::{mpsc, oneshot};

use super::Envelope;
use crate::{OpenSpan, Spans, Text};

/// A message, and where its reply goes, if anybody waits for one.
pub(super) struct Letter<M, R> {
    pub(super) message: M,
    pub(super) reply: Option<oneshot::Sender<R>>,
}

/// The messages of one actor. Dropping it ends the actor: who asks it, or has, is told so.
pub struct Mailbox<M, R> {
    spans: Spans,
    name: Text,
    inbox: mpsc::Receiver<Envelope<Letter<M, R>>>,
}

impl<M, R> Mailbox<M, R> {
    pub(super) fn new(spans: Spans, name: Text, inbox: mpsc::Receiver<Envelope<Letter<M, R>>>) -> Self {
        Mailbox { spans, name, inbox }
    }

    /// Waits for the next message, and begins the turn in which it is handled. `None` once no address is left, or the
    /// mailbox has been [closed](Mailbox::close), and all messages have been handled.
    ///
    /// An actor does one thing at a time: end a turn before you ask for the next, or the actor seems to occupy more than
    /// there is of it.
    pub async fn next(&mut self) -> Option<(M, Turn<R>)> {
        let envelope = self.inbox.recv().await?;
        let (letter, handle) = envelope.open(&self.spans, &self.name);
        let turn = Turn {
            handle,
            reply: Reply { to: letter.reply },
        };
        Some((letter.message, turn))
    }

    /// Takes no further messages. Those that are in the mailbox are still to be handled.
    pub fn close(&mut self) {
        self.inbox.close();
    }

    /// The resource that the actor is.
    pub fn name(&self) -> &str {
        self.name.as_str()
    }
}

/// The time in which an actor handles one message. Dropping it ends the turn, and who waits for a reply is told that there
/// is none; a panic does so too.
#[derive(Debug)]
#[must_use = "the turn is over when this is dropped"]
pub struct Turn<R> {
    // Ends before anybody hears of the reply: the actor is free by then.
    handle: OpenSpan,
    reply: Reply<R>,
}

impl<R> Turn<R> {
    /// Handles the message: what is called while the future is polled are calls of this turn.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        self.handle.run(future).await
    }

    /// The context of the turn, for what is started elsewhere on its behalf.
    pub fn context(&self) -> &Context {
        self.handle.context()
    }

    /// Ends the turn with a reply. If nobody waits for it any more it is thrown away.
    pub fn reply(self, reply: R) {
        self.handle.end();
        self.reply.send(reply);
    }

    /// Replies and goes on: the turn lasts until it is dropped. Later replies are thrown away.
    pub fn reply_early(&mut self, reply: R) {
        self.reply.take().send(reply);
    }

    /// Ends the turn without a reply, which is to come later while the actor does other things.
    ///
    /// From now on the call counts as answered, so a deadlock in which the reply would be given is missed.
    pub fn defer(self) -> Reply<R> {
        self.handle.end();
        self.reply
    }
}

/// Where a reply goes. Dropping it tells who waits that there is none.
pub struct Reply<R> {
    to: Option<oneshot::Sender<R>>,
}

impl<R> Reply<R> {
    /// Replies. If nobody waits for it any more the reply is thrown away.
    pub fn send(self, reply: R) {
        if let Some(to) = self.to {
            to.send(reply).ok();
        }
    }

    /// Whether anybody still waits.
    pub fn is_awaited(&self) -> bool {
        self.to.as_ref().is_some_and(|to| !to.is_closed())
    }

    fn take(&mut self) -> Self {
        Reply { to: self.to.take() }
    }
}

impl<R> fmt::Debug for Reply<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("is_awaited", &self.is_awaited()).finish()
    }
}

impl<M, R> fmt::Debug for Mailbox<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailbox")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
