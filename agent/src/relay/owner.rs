//! The task that owns the core: feeds it, carries out what it says, and hands upstreams what they have room for.
//!
//! Everything else talks to it through one bounded queue. It never waits for an instance, an upstream or a reader.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use standoff_protocol::stream::{self, FromCollector, FromInstance, FromRelay, Heartbeat, from_instance};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use super::LEAVE_WITHIN;
use super::core::{self, ConnectionId, Core, Effect, Input, UpstreamId};

/// Messages that wait for the owner: each has at most 512 spans, so 20 MB unless their texts are at their limits, and 256 MiB
/// if they are. When it is full, streams are read no further, which slows down the senders: they keep their state and
/// send it later.
const QUEUE_MAX: usize = 64;

/// Messages that wait to be sent to one instance. An instance that takes none for so long is disconnected.
const OUTBOX_MAX: usize = 64;

/// What is sent to one instance; an error ends the stream.
pub(super) type Outbox = mpsc::Sender<Result<FromCollector, Status>>;

/// What the owner is told and asked.
#[derive(Debug)]
pub(super) enum Message {
    /// An instance has introduced itself.
    Connected {
        connection: ConnectionId,
        hello: stream::Hello,
        peer: Peer,
    },
    /// These live, and have nothing to say.
    Alive { connections: Vec<ConnectionId> },
    /// An upstream takes messages.
    UpstreamConnected { upstream: UpstreamId, link: Link },
    /// Something has happened.
    Input(Input),
    /// Somebody wants to see how things are.
    Status { reply: oneshot::Sender<core::Status> },
}

/// Who is behind a connection.
#[derive(Debug)]
pub(super) enum Peer {
    /// An instance that speaks the native stream.
    Stream {
        outbox: Outbox,
        /// Ends the reading of what the instance says once the owner has no more use for it.
        _reading: DropGuard,
    },
    /// A source of OTLP, which nothing can be said to.
    Source {
        /// Cancelled once the owner has no more use for it.
        _wanted: DropGuard,
    },
}

/// Numbers the connections of instances.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<AtomicU64>);

impl Connections {
    pub(super) fn next(&self) -> ConnectionId {
        ConnectionId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// A connection to an upstream.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) outgoing: mpsc::Sender<FromRelay>,
    /// Ends the connection once the owner has no more use for it.
    pub(super) _connection: DropGuard,
}

/// Talks to the owner.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    messages: mpsc::Sender<Message>,
    /// An upstream has room.
    room: Arc<Notify>,
    connections: Connections,
}

/// The owner is gone: the relay is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the relay is shutting down")]
pub(super) struct ShuttingDown;

impl Owner {
    /// The owner's work, and who talks to it.
    pub(super) fn new(
        settings: core::Settings,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (messages, inbox) = mpsc::channel(QUEUE_MAX);
        let room = Arc::new(Notify::new());
        let origin = Instant::now();
        let work = Loop {
            origin,
            links: (0..settings.upstreams).map(|_| None).collect(),
            core: Core::new(Duration::ZERO, settings),
            connections: BTreeMap::new(),
            room: Arc::clone(&room),
        };
        let owner = Self {
            messages,
            room,
            connections: Connections::default(),
        };
        (owner, work.run(inbox, shutdown))
    }

    /// Tells the owner something; waits while its queue is full.
    pub(super) async fn tell(&self, message: Message) -> Result<(), ShuttingDown> {
        self.messages.send(message).await.map_err(|_| ShuttingDown)
    }

    /// How things are.
    pub(super) async fn status(&self) -> Result<core::Status, ShuttingDown> {
        let (reply, status) = oneshot::channel();
        self.tell(Message::Status { reply }).await?;
        status.await.map_err(|_| ShuttingDown)
    }

    /// Where connections of instances get their numbers.
    pub(super) fn connections(&self) -> Connections {
        self.connections.clone()
    }

    /// To be notified when an upstream has room.
    pub(super) fn room(&self) -> Arc<Notify> {
        Arc::clone(&self.room)
    }

    /// A queue of messages to an instance.
    pub(super) fn outbox() -> (Outbox, mpsc::Receiver<Result<FromCollector, Status>>) {
        mpsc::channel(OUTBOX_MAX)
    }
}

struct Loop {
    origin: Instant,
    core: Core,
    connections: BTreeMap<ConnectionId, Peer>,
    /// By the place of the upstream.
    links: Vec<Option<Link>>,
    room: Arc<Notify>,
}

impl Loop {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, shutdown: CancellationToken) {
        let room = Arc::clone(&self.room);
        let mut leave_by = None;
        loop {
            let wake = self.origin + self.core.wake_at();
            let is_leaving = leave_by.is_some();
            tokio::select! {
                // What is taken and what is offered take turns; neither may keep the other out.
                () = shutdown.cancelled(), if !is_leaving => {
                    leave_by = Some(Instant::now() + LEAVE_WITHIN);
                    self.step(Input::Leave);
                }
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
                () = room.notified() => {}
                () = tokio::time::sleep_until(wake) => self.step(Input::Tick),
            }
            self.offer();
            if let Some(leave_by) = leave_by {
                let all_left = (0..self.links.len()).all(|number| self.core.has_left(UpstreamId(number)));
                if all_left || Instant::now() >= leave_by {
                    // Links and streams end with this.
                    return;
                }
            }
        }
    }

    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Connected {
                connection,
                hello,
                peer,
            } => {
                self.connections.insert(connection, peer);
                self.step(Input::Connected { connection, hello });
            }
            Message::Alive { connections } => {
                for connection in connections {
                    let beat = from_instance::Message::Heartbeat(Heartbeat::default());
                    let message = FromInstance { message: Some(beat) };
                    self.step(Input::Message { connection, message });
                }
            }
            Message::UpstreamConnected { upstream, link } => {
                if let Some(place) = self.links.get_mut(upstream.0) {
                    *place = Some(link);
                }
                self.step(Input::UpstreamConnected { upstream });
            }
            Message::Input(input) => {
                if let Input::Disconnected { connection } = &input {
                    self.connections.remove(connection);
                }
                if let Input::UpstreamDisconnected { upstream } = &input {
                    self.drop_link(*upstream);
                }
                self.step(input);
            }
            Message::Status { reply } => {
                // Whoever asked may have left, which is their affair.
                reply.send(self.core.status(self.now())).ok();
            }
        }
    }

    fn drop_link(&mut self, upstream: UpstreamId) {
        if let Some(place) = self.links.get_mut(upstream.0) {
            *place = None;
        }
    }

    fn step(&mut self, input: Input) {
        let mut inputs = vec![input];
        // Looking a process up, or finding an instance deaf, are things that happen too. Neither asks for more of itself.
        while let Some(input) = inputs.pop() {
            for effect in self.core.step(self.now(), input) {
                inputs.extend(self.carry_out(effect));
            }
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Send(connection, message) => {
                let outbox = match self.connections.get(&connection)? {
                    Peer::Stream { outbox, .. } => outbox,
                    // There is nobody who could be asked to beat more often, or anything else.
                    Peer::Source { .. } => return None,
                };
                if outbox.try_send(Ok(message)).is_ok() {
                    return None;
                }
                // Without its outbox the stream ends, and the instance connects again.
                tracing::warn!(
                    connection = connection.0,
                    "the instance takes no messages; disconnecting it"
                );
                self.connections.remove(&connection);
                Some(Input::Disconnected { connection })
            }
            Effect::Refuse(connection, refusal) => {
                let Peer::Stream { outbox, .. } = self.connections.remove(&connection)? else {
                    // It may be heard of many times a second. How many there are is counted.
                    tracing::debug!(connection = connection.0, %refusal, "source of OTLP refused");
                    return None;
                };
                tracing::warn!(connection = connection.0, %refusal, "connection refused");
                let status = Status::new(refusal.code(), refusal.to_string());
                if outbox.try_send(Err(status)).is_err() {
                    tracing::debug!(connection = connection.0, "the instance did not hear why");
                }
                None
            }
            Effect::Look(instance, process) => Some(Input::Seen {
                instance,
                sight: stream::look(&process),
            }),
            Effect::HangUp(upstream) => {
                tracing::warn!(upstream = upstream.0, "the upstream takes nothing; connecting anew");
                self.drop_link(upstream);
                None
            }
        }
    }

    /// Hands each upstream what it has room for.
    fn offer(&mut self) {
        let now = self.now();
        for (number, link) in self.links.iter().enumerate() {
            let Some(link) = link else { continue };
            while let Ok(permit) = link.outgoing.try_reserve() {
                match self.core.next(now, UpstreamId(number)) {
                    Some(message) => permit.send(message),
                    None => break,
                }
            }
        }
    }
}
