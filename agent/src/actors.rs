//! Actors on Tokio: a bounded mailbox, the addresses that lead to it, and turns.
//!
//! An actor is a resource of its name that does one thing at a time. Asking it is a call for that name; a turn, the time
//! in which it handles one message, is the handle that answers the call. Names are shared by all services, so choose one
//! that does not collide.
//!
//! ```
//! # use opentelemetry_sdk::trace::SdkTracerProvider;
//! # use standoff_agent::Spans;
//! # use standoff_agent::actors::mailbox;
//! # use std::time::Duration;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let spans = Spans::new(&SdkTracerProvider::builder().build());
//! // Room for 32 messages.
//! let (doubler, mut mailbox) = mailbox::<u32, u32>(&spans, "{:doubler, 1}", 32);
//! tokio::spawn(async move {
//!     while let Some((number, turn)) = mailbox.next().await {
//!         // What it asks others while it runs in its turn are calls of this turn.
//!         let doubled = turn.run(async { number * 2 }).await;
//!         turn.reply(doubled);
//!     }
//! });
//!
//! assert_eq!(doubler.ask_within(Duration::from_secs(5), 21).await?, 42);
//! # Ok(())
//! # }
//! ```
//!
//! With an actor library of one's own, put an [`Envelope`] around its messages; it carries the caller's context, and
//! [opening](Envelope::open) it starts the turn:
//!
//! ```
//! # use opentelemetry_sdk::trace::SdkTracerProvider;
//! # use standoff_agent::Spans;
//! # use standoff_agent::actors::Envelope;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let spans = Spans::new(&SdkTracerProvider::builder().build());
//! # let (queue, mut inbox) = tokio::sync::mpsc::channel(8);
//! // Who asks.
//! let call = spans.call("{:doubler, 1}").start();
//! let (reply, replied) = tokio::sync::oneshot::channel();
//! queue.send(Envelope::of(&call, (21, reply))).await?;
//!
//! // The actor.
//! let Some(envelope) = inbox.recv().await else { return Ok(()) };
//! let ((number, reply), turn) = envelope.open(&spans, "{:doubler, 1}");
//! let doubled = turn.run(async { number * 2 }).await;
//! turn.end();
//! reply.send(doubled).ok();
//!
//! assert_eq!(replied.await?, 42);
//! call.end();
//! # Ok(())
//! # }
//! ```

mod address;
mod envelope;
mod turn;

pub use address::{Address, AskError, SendError, mailbox};
pub use envelope::Envelope;
pub use turn::{Mailbox, Reply, Turn};
