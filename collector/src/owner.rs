//! The thread that owns the detector: feeds it, and carries out what it says.
//!
//! Everything else talks to it through one bounded queue. It never waits for an instance, a reader or the disk.

use std::collections::{BTreeSet, HashMap};
use std::thread::JoinHandle;

use standoff_protocol::api::{Alert, AlertList, Snapshot};
use standoff_protocol::stream::{self, FromCollector};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::Status;

use crate::alerts::{Filter, PageToken};
use crate::clock::Clock;
use crate::detector::{Detector, Effect, Input, Published, Refusal};
use crate::instances::{ConnectionId, Identity};
use crate::known::{InstanceKey, Store};
use crate::settings::Times;

/// Messages that wait for the owner. When it is full, streams are read no further, which slows down the senders: they
/// keep their state and send it later.
const QUEUE_MAX: usize = 1024;

/// Messages that wait to be sent to one instance. An instance that takes none for so long is disconnected.
pub(crate) const OUTBOX_MAX: usize = 64;

/// Events that a slow listener may be behind. One that is further behind begins again with a snapshot.
const PUBLISHED_MAX: usize = 256;

/// What is sent to one instance; an error ends the stream.
pub(crate) type Outbox = mpsc::Sender<Result<FromCollector, Status>>;

/// What the owner is told and asked.
#[derive(Debug)]
pub(crate) enum Message {
    /// An instance has introduced itself.
    Connected {
        connection: ConnectionId,
        identity: Identity,
        outbox: Outbox,
        /// Ends the reading of what the instance says once the owner has no more use for it.
        reading: DropGuard,
    },
    /// Something has happened on its connection.
    Input(Input),
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
        awaited: BTreeSet<InstanceKey>,
        store: Option<Store>,
        shutdown: CancellationToken,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (messages, inbox) = mpsc::channel(QUEUE_MAX);
        let (published, _) = broadcast::channel(PUBLISHED_MAX);
        let detector = Detector::new(clock.now(), times, awaited);
        let work = Loop {
            clock,
            detector,
            store,
            published,
            connections: HashMap::new(),
        };
        let thread = std::thread::Builder::new()
            .name("standoff-owner".into())
            .spawn(move || runtime.block_on(work.run(inbox, shutdown)))?;
        Ok((Self { messages }, thread))
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

struct Loop {
    clock: Clock,
    detector: Detector,
    store: Option<Store>,
    published: broadcast::Sender<Published>,
    connections: HashMap<ConnectionId, (Outbox, DropGuard)>,
}

impl Loop {
    async fn run(mut self, mut inbox: mpsc::Receiver<Message>, shutdown: CancellationToken) {
        loop {
            let wake = self.clock.instant(self.detector.wake_at(self.clock.now()));
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                message = inbox.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
                () = tokio::time::sleep_until(wake.into()) => self.step(Input::Tick),
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Connected {
                connection,
                identity,
                outbox,
                reading,
            } => {
                self.connections.insert(connection, (outbox, reading));
                self.step(Input::Connected { connection, identity });
            }
            Message::Input(input) => {
                if let Input::Disconnected { connection } = &input {
                    self.connections.remove(connection);
                }
                self.step(input);
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
            Message::Listen { reply } => answer(reply, (self.detector.snapshot(), self.published.subscribe())),
            Message::IsReady { reply } => answer(reply, self.detector.is_ready(self.clock.now())),
        }
    }

    fn step(&mut self, input: Input) {
        let effects = self.detector.step(self.clock.now(), input);
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send(connection, message) => {
                let Some((outbox, _)) = self.connections.get(&connection) else {
                    return;
                };
                if outbox.try_send(Ok(message)).is_err() {
                    // Without its outbox the stream ends, and the instance connects again.
                    tracing::warn!(
                        connection = connection.0,
                        "the instance takes no messages; disconnecting it"
                    );
                    self.connections.remove(&connection);
                    self.step(Input::Disconnected { connection });
                }
            }
            Effect::Refuse(connection, refusal) => {
                tracing::warn!(connection = connection.0, %refusal, "connection refused");
                if let Some((outbox, _)) = self.connections.remove(&connection)
                    && outbox.try_send(Err(status(&refusal))).is_err()
                {
                    tracing::debug!(connection = connection.0, "the instance did not hear why");
                }
            }
            Effect::Look(instance, process) => self.step(Input::Seen {
                instance,
                sight: stream::look(&process),
            }),
            Effect::Remember(change) => {
                if let Some(store) = &self.store {
                    store.remember(change);
                }
            }
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
