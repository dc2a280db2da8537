//! A message on its way to an actor.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt};

use crate::{OpenSpan, Spans, Text};

/// A message, and who sent it.
#[derive(Clone, Debug)]
pub struct Envelope<M> {
    sender: Sender,
    message: M,
}

#[derive(Clone, Debug)]
enum Sender {
    /// The context of the call that awaits the reply.
    Asks(Context),
    /// The span that was current; it awaits nothing.
    Tells(SpanContext),
}

impl<M> Envelope<M> {
    /// A message whose sender waits for the reply in this call.
    pub fn of(call: &OpenSpan, message: M) -> Self {
        Envelope {
            sender: Sender::Asks(call.context().clone()),
            message,
        }
    }

    /// A message whose sender waits for nothing.
    pub fn told(message: M) -> Self {
        Envelope {
            sender: Sender::Tells(Context::current().span().span_context().clone()),
            message,
        }
    }

    /// Begins the turn in which the actor `name` handles the message.
    ///
    /// The turn of a message that was told is a task that nobody waits for: it begins a trace of its own, which is linked
    /// to the sender's.
    pub fn open(self, spans: &Spans, name: impl Into<Text>) -> (M, OpenSpan) {
        let turn = spans.handle("turn").resource(name);
        let turn = match self.sender {
            Sender::Asks(caller) => turn.parent(&caller).start(),
            Sender::Tells(sender) => {
                let turn = turn.parent(&Context::new()).start();
                if sender.is_valid() {
                    turn.context().span().add_link(sender, Vec::new());
                }
                turn
            }
        };
        (self.message, turn)
    }

    /// The message, of which no turn will be.
    pub fn into_message(self) -> M {
        self.message
    }
}
