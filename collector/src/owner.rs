//! The thread that owns the detector: feeds it, and carries out what it says.
//!
//! Everything else talks to it through one bounded queue. It never waits for an instance, a reader or the disk.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use standoff_protocol::api::{Alert, AlertList, Snapshot};
use standoff_protocol::stream::{self, FromCollector, Process, Sight};
use tokio::sync::{OwnedSemaphorePermit, broadcast, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::alerts::{Filter, PageToken};
use crate::channels::{Channels, TakesNone};
use crate::clock::Clock;
use crate::detector::{Detector, Effect, Input, Published, Refusal};
use crate::ingest;
use crate::instances::{ConnectionId, Identity};
use crate::known::{self, Known, Store};
use crate::settings::Times;

/// Messages that wait for the owner. When it is full, streams are read no further, which slows down the senders: they
/// keep their state and send it later.
const QUEUE_MAX: usize = 1024;

/// Messages that wait to be sent to one instance. An instance that takes none for so long is disconnected, and so is the
/// relay that it is connected through.
pub(crate) const OUTBOX_MAX: usize = 64;

/// Events that a slow listener may be behind. One that is further behind begins again with a snapshot.
const PUBLISHED_MAX: usize = 256;

/// Where messages to one instance go.
#[derive(Debug)]
pub(crate) enum Outbox {
    /// To a stream of its own, which ends after an error. The guard ends the reading of what the instance says once the
    /// owner has no more use for it.
    Stream {
        messages: mpsc::Sender<Result<FromCollector, Status>>,
        _reading: DropGuard,
    },
    /// To a channel of its relay's stream.
    Channel(Arc<Channels>, u64),
    /// To nobody: the instance cannot be asked. The guard tells whoever speaks for it when the owner has no more use for
    /// it.
    Nobody { _wanted: DropGuard },
}

impl Outbox {
    fn put(&self, message: FromCollector) -> Result<(), TakesNone> {
        match self {
            Self::Stream { messages, .. } => messages.try_send(Ok(message)).map_err(|_| TakesNone),
            Self::Channel(channels, channel) => match message.message {
                Some(message) => channels.put(*channel, message),
                None => Ok(()),
            },
            Self::Nobody { .. } => Ok(()),
        }
    }

    fn refuse(self, status: Status) -> Result<(), TakesNone> {
        match self {
            Self::Stream { messages, .. } => messages.try_send(Err(status)).map_err(|_| TakesNone),
            Self::Channel(channels, channel) => channels.refuse(channel, &status),
            Self::Nobody { .. } => Ok(()),
        }
    }
}

/// What the owner is told and asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// An instance has introduced itself.
    Connected {
        connection: ConnectionId,
        identity: Identity,
        outbox: Outbox,
    },
    /// Something has happened on a connection.
    Input(Input),
    /// The same, of somebody who may have only so much under way.
    InTurn { input: Input, _turn: OwnedSemaphorePermit },
    /// An instance has said what cannot be understood; it is to hear why.
    Unreadable { connection: ConnectionId, status: Status },
    /// Somebody asks for a page of alerts.
    List {
        filter: Filter,
        page_size: usize,
        after: Option<PageToken>,
        reply: oneshot::Sender<AlertList>,
    },
    /// Somebody asks for one alert.
    Get {
        id: String,
        reply: oneshot::Sender<Option<Alert>>,
    },
    /// Somebody wants to hear of everything from now on.
    Listen {
        reply: oneshot::Sender<(Snapshot, broadcast::Receiver<Published>)>,
    },
    /// Somebody asks whether the collector is ready.
    IsReady { reply: oneshot::Sender<bool> },
}

/// Talks to the owner.
#[derive(Clone, Debug)]
pub(crate) struct Owner {
    messages: mpsc::Sender<Message>,
}

/// The owner is gone: the collector is shutting down.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the collector is shutting down")]
pub(crate) struct ShuttingDown;

impl Owner {
    /// Starts the thread.
    pub(crate) fn start(
        clock: Clock,
        times: Times,
        awaited: Known,
        store: Option<Store>,
        shutdown: CancellationToken,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (owner, inbox) = Self::of_nobody();
        let work = Work::new(clock.now(), times, awaited, Host { store });
        let thread = std::thread::Builder::new()
            .name("standoff-owner".into())
            .spawn(move || runtime.block_on(run(clock, work, inbox, shutdown)))?;
        Ok((owner, thread))
    }

    /// One for whom somebody has yet to read what he is told.
    pub(crate) fn of_nobody() -> (Self, mpsc::Receiver<Message>) {
        let (messages, inbox) = mpsc::channel(QUEUE_MAX);
        (Self { messages }, inbox)
    }

    /// Tells the owner something; waits while its queue is full.
    pub(crate) async fn tell(&self, message: Message) -> Result<(), ShuttingDown> {
        self.messages.send(message).await.map_err(|_| ShuttingDown)
    }

    /// Asks the owner something.
    pub(crate) async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, ShuttingDown> {
        let (reply, answer) = oneshot::channel();
        self.tell(message(reply)).await?;
        answer.await.map_err(|_| ShuttingDown)
    }
}

async fn run(clock: Clock, mut work: Work<Host>, mut inbox: mpsc::Receiver<Message>, shutdown: CancellationToken) {
    loop {
        let wake = clock.instant(work.detector.wake_at(clock.now()));
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            message = inbox.recv() => match message {
                Some(message) => work.handle(clock.now(), message),
                None => return,
            },
            () = tokio::time::sleep_until(wake.into()) => work.step(clock.now(), Input::Tick),
        }
    }
}

/// What the owner sees of the computer that it runs on.
pub(crate) trait Surroundings {
    /// Whether a process still lives.
    fn look(&mut self, process: &Process) -> Sight;
    /// Keeps this over a restart.
    fn remember(&mut self, change: known::Change);
}

struct Host {
    store: Option<Store>,
}

impl Surroundings for Host {
    fn look(&mut self, process: &Process) -> Sight {
        stream::look(process)
    }

    fn remember(&mut self, change: known::Change) {
        if let Some(store) = &self.store {
            store.remember(change);
        }
    }
}

/// What the owner does. It never waits and reads no clock.
pub(crate) struct Work<S> {
    pub(crate) detector: Detector,
    pub(crate) surroundings: S,
    published: broadcast::Sender<Published>,
    connections: HashMap<ConnectionId, Outbox>,
}

impl<S: Surroundings> Work<S> {
    pub(crate) fn new(now: Duration, times: Times, awaited: Known, surroundings: S) -> Self {
        let (published, _) = broadcast::channel(PUBLISHED_MAX);
        Self {
            detector: Detector::new(now, times, awaited),
            surroundings,
            published,
            connections: HashMap::new(),
        }
    }

    pub(crate) fn handle(&mut self, now: Duration, message: Message) {
        match message {
            Message::Connected {
                connection,
                identity,
                outbox,
            } => {
                self.connections.insert(connection, outbox);
                self.step(now, Input::Connected { connection, identity });
            }
            Message::Input(input) | Message::InTurn { input, .. } => {
                self.forget_outboxes(&input);
                self.step(now, input);
            }
            Message::Unreadable { connection, status } => {
                self.end(connection, status);
                self.step(now, Input::Unreadable { connection });
            }
            Message::List {
                filter,
                page_size,
                after,
                reply,
            } => {
                answer(reply, self.detector.alerts().list(filter, page_size, after.as_ref()));
            }
            Message::Get { id, reply } => answer(reply, self.detector.alerts().get(&id).cloned()),
            Message::Listen { reply } => answer(reply, self.listen()),
            Message::IsReady { reply } => answer(reply, self.detector.is_ready(now)),
        }
    }

    /// Of connections that have ended.
    fn forget_outboxes(&mut self, input: &Input) {
        match input {
            Input::Disconnected { connection } | Input::Died { connection } | Input::Unreadable { connection } => {
                self.connections.remove(connection);
            }
            Input::RelayEnded { connections, .. } => {
                for connection in connections {
                    self.connections.remove(connection);
                }
            }
            Input::Connected { .. }
            | Input::OpenSet { .. }
            | Input::Batch { .. }
            | Input::Heartbeat { .. }
            | Input::Heartbeats { .. }
            | Input::ProbeAnswer { .. }
            | Input::Goodbye { .. }
            | Input::Refused
            | Input::Lost { .. }
            | Input::RelayConnected { .. }
            | Input::RelayHeartbeat { .. }
            | Input::Seen { .. }
            | Input::SeenAwaited { .. }
            | Input::Tick => {}
        }
    }

    /// How it is now, and everything that is published from now on.
    pub(crate) fn listen(&self) -> (Snapshot, broadcast::Receiver<Published>) {
        (self.detector.snapshot(), self.published.subscribe())
    }

    pub(crate) fn step(&mut self, now: Duration, input: Input) {
        let effects = self.detector.step(now, input);
        for effect in effects {
            self.carry_out(now, effect);
        }
    }

    /// An instance, or its relay, takes no messages. It is to connect again.
    fn give_up(&mut self, now: Duration, connection: ConnectionId) {
        match self.connections.remove(&connection) {
            Some(Outbox::Channel(channels, channel)) => {
                tracing::warn!(
                    connection = connection.0,
                    channel,
                    "the relay takes no messages; disconnecting it"
                );
                // Whoever reads it tells of the end of all its channels.
                channels.end(Some(ingest::takes_none(TakesNone)));
            }
            // Without its outbox the stream ends.
            Some(Outbox::Stream { .. }) => {
                tracing::warn!(
                    connection = connection.0,
                    "the instance takes no messages; disconnecting it"
                );
            }
            Some(Outbox::Nobody { .. }) | None => return,
        }
        self.step(now, Input::Disconnected { connection });
    }

    /// Ends a connection and says why.
    fn end(&mut self, connection: ConnectionId, status: Status) {
        if let Some(outbox) = self.connections.remove(&connection)
            && outbox.refuse(status) == Err(TakesNone)
        {
            tracing::debug!(connection = connection.0, "the instance did not hear why");
        }
    }

    fn carry_out(&mut self, now: Duration, effect: Effect) {
        match effect {
            Effect::Send(connection, message) => {
                let Some(outbox) = self.connections.get(&connection) else {
                    return;
                };
                if outbox.put(message) == Err(TakesNone) {
                    self.give_up(now, connection);
                }
            }
            Effect::Refuse(connection, refusal) => {
                if let Some(Outbox::Nobody { .. }) = self.connections.get(&connection) {
                    // It may be heard of many times a second. How often is counted.
                    tracing::debug!(connection = connection.0, %refusal, "source of OTLP refused");
                } else {
                    tracing::warn!(connection = connection.0, %refusal, "connection refused");
                }
                self.end(connection, status(&refusal));
            }
            Effect::Look(instance, process) => {
                let sight = self.surroundings.look(&process);
                self.step(now, Input::Seen { instance, sight });
            }
            Effect::LookFor(key, process) => {
                let sight = self.surroundings.look(&process);
                self.step(now, Input::SeenAwaited { key, sight });
            }
            Effect::Remember(change) => self.surroundings.remember(change),
            Effect::Publish(published) => {
                // It fails only if nobody listens.
                self.published.send(published).ok();
            }
        }
    }
}

fn status(refusal: &Refusal) -> Status {
    let text = refusal.to_string();
    match refusal {
        Refusal::Malformed(_) => Status::invalid_argument(text),
        Refusal::TooManyInstances | Refusal::OpenSetTooLarge => Status::resource_exhausted(text),
        Refusal::Superseded | Refusal::Forgotten => Status::aborted(text),
    }
}

/// Answers a question. Whoever asked may have left, which is their affair.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    reply.send(value).ok();
}

#[cfg(test)]
mod tests;
