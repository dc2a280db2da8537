//! The agent's thread: it keeps a session with the collector, and lets no application thread wait for it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use opentelemetry::Context;
use standoff_protocol::stream::wait_stream_client::WaitStreamClient;
use standoff_protocol::stream::{
    FromCollector, FromInstance, Hello, Instance, MESSAGE_BYTES_MAX, PROTOCOL_VERSION, Process,
};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::backoff::{self, Backoff};
use crate::conversation::{Conversation, Heard, OUTGOING_MAX, Outgoing, Room, WELCOME_WITHIN};
use crate::settings::Settings;
use crate::shared::Shared;
use crate::{Connection, StartError};

/// How long an attempt to connect may take. A host that does not answer is asked again soon.
pub(crate) const CONNECT_WITHIN: Duration = Duration::from_secs(1);

/// How often HTTP/2 asks whether the peer is there, and how long the peer may take. Finds out about hosts that vanish.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How often a flush that is under way looks whether the connection has taken everything.
const FLUSH_LOOKS: Duration = Duration::from_millis(1);

/// How long the collector may take to close the stream after our goodbye.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);

/// How to reach the collector. `None` if the text is no URL.
pub(crate) fn endpoint(upstream: &str) -> Option<Endpoint> {
    let endpoint = Endpoint::from_shared(upstream.to_owned()).ok()?;
    Some(
        endpoint
            .connect_timeout(CONNECT_WITHIN)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true),
    )
}

/// Starts the thread, and returns once its runtime runs.
pub(crate) fn spawn(shared: Arc<Shared>, endpoint: Endpoint) -> Result<(), StartError> {
    let (running, has_runtime) = sync_channel(1);
    let thread = std::thread::Builder::new().name("standoff-agent".to_owned());
    thread
        .spawn(move || run(&shared, endpoint, |started| drop(running.send(started))))
        .map_err(StartError::Thread)?;
    let started = has_runtime
        .recv()
        .map_err(|gone| StartError::Thread(io::Error::other(gone)))?;
    started.map_err(StartError::Runtime)
}

fn run(shared: &Shared, endpoint: Endpoint, report: impl FnOnce(io::Result<()>)) {
    // The connection's own spans and events are nobody's business, and the application's subscriber must not be run
    // here: a thread of the application may be stuck within it for good.
    let _no_events = tracing::dispatcher::set_default(&tracing::Dispatch::none());
    let _no_spans = Context::enter_telemetry_suppressed_scope();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(Err(error)),
    };
    let _stopped = Stopped { shared };
    report(Ok(()));
    runtime.block_on(Reporter { shared, endpoint }.run());
    // A name look-up may still be running.
    runtime.shutdown_background();
}

/// Tells those who wait for it that the reporter has stopped, whatever has stopped it.
struct Stopped<'a> {
    shared: &'a Shared,
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.shared.reporter_stopped();
    }
}

type Client = WaitStreamClient<Channel>;

struct Reporter<'a> {
    shared: &'a Shared,
    endpoint: Endpoint,
}

/// Why a session is over. Nobody is told: the next one is tried whatever the reason.
#[derive(Debug)]
enum Ended {
    /// The instance has said goodbye.
    Left,
    /// The connection is lost, refused or stuck.
    Lost,
}

impl Reporter<'_> {
    async fn run(self) {
        let Some(instance) = self.instance().await else { return };
        let mut backoff = Backoff::default();
        while !self.shared.is_stopping() {
            let began = Instant::now();
            match self.session(&instance).await {
                Ok(Ended::Left) => return,
                Ok(Ended::Lost) | Err(_) => {}
            }
            self.shared.table.end_session();
            self.shared.set_connection(Connection::Connecting);
            // One that welcomes us only to hang up again is no success.
            if began.elapsed() > backoff::CAP {
                backoff.reset();
            }
            let wait = sleep(backoff.next(rand::random()));
            tokio::select! {
                () = wait => {}
                () = self.shared.until_stopping() => {}
            }
        }
    }

    /// Waits until it is known who this instance is. `None` if the agent is to stop before.
    async fn instance(&self) -> Option<Instance> {
        let identity = self.shared.identity().await?;
        Some(Instance {
            service_name: identity.service_name,
            service_namespace: identity.service_namespace,
            instance_id: identity.instance_id,
            incarnation: rand::random(),
            process: Process::this(),
        })
    }

    /// One session, from connecting to its end.
    async fn session(&self, instance: &Instance) -> Result<Ended, Status> {
        let Settings { heartbeat, lease, .. } = &self.shared.settings;
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            instance: Some(instance.clone()),
            lease_ms: u32::try_from(lease.as_millis()).unwrap_or(u32::MAX),
            cannot_be_asked: false,
        };
        let mut conversation = Conversation::new(hello, *heartbeat, *lease, self.shared.now());
        let (mut outgoing, queue) = mpsc::channel(OUTGOING_MAX);
        if let Some(hello) = conversation.hello(&self.shared.table, self.shared.now()) {
            Outgoing::send(&mut outgoing, hello);
        }

        // The client keeps the connection for as long as it lives.
        let (_client, incoming) = tokio::select! {
            connected = timeout(WELCOME_WITHIN, self.connect(queue)) => {
                connected.map_err(|_| Status::deadline_exceeded("no answer"))??
            }
            () = self.shared.until_stopping() => return Ok(Ended::Lost),
        };
        self.converse(conversation, outgoing, incoming).await
    }

    async fn connect(&self, queue: mpsc::Receiver<FromInstance>) -> Result<(Client, Streaming<FromCollector>), Status> {
        let channel = self
            .endpoint
            .connect()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        let mut client = WaitStreamClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        let incoming = client.connect(ReceiverStream::new(queue)).await?.into_inner();
        Ok((client, incoming))
    }

    /// Takes turns in speaking and listening, until either side hangs up.
    async fn converse(
        &self,
        mut conversation: Conversation,
        mut outgoing: mpsc::Sender<FromInstance>,
        mut incoming: Streaming<FromCollector>,
    ) -> Result<Ended, Status> {
        let mut flush = interval(self.shared.settings.flush_every);
        flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
        conversation.accepted(self.shared.now());
        // How many of the flushes that were wanted have begun, of how many everything is in the queue, and of how many it
        // has left the queue.
        let (mut begun, mut queued, mut done) = (0, 0, 0);
        loop {
            let is_time = tokio::select! {
                _ = flush.tick() => true,
                () = self.shared.flush_asked() => true,
                () = sleep(FLUSH_LOOKS), if done < begun => false,
                message = incoming.message() => match message? {
                    Some(message) => {
                        self.hear(message, &mut conversation);
                        false
                    }
                    None => return Ok(Ended::Lost),
                },
                () = self.shared.until_stopping(), if !conversation.is_leaving() => {
                    conversation.leave();
                    false
                }
            };
            if is_time {
                begun = self.shared.flushes_wanted();
                if conversation.tick(self.shared.now()).is_err() {
                    return Ok(Ended::Lost);
                }
            }
            let before = conversation.sent();
            let pumped = conversation.pump(&self.shared.table, || self.shared.now(), &mut outgoing);
            self.shared.count(before, conversation.sent());
            if pumped.is_err() {
                return Ok(Ended::Lost);
            }
            if outgoing.room() == Room::Yes {
                queued = begun;
            }
            if outgoing.capacity() == OUTGOING_MAX {
                done = queued;
                self.shared.flushed(done);
            }
            if conversation.has_left() {
                // Closing our half lets everything queued be delivered; then the collector closes its own.
                drop(outgoing);
                let closed = async { while let Ok(Some(_)) = incoming.message().await {} };
                drop(timeout(CLOSE_WITHIN, closed).await);
                return Ok(Ended::Left);
            }
        }
    }

    fn hear(&self, message: FromCollector, conversation: &mut Conversation) {
        match conversation.hear(message, &self.shared.table, self.shared.now()) {
            Heard::Welcome => self.shared.welcomed(),
            Heard::ProbeDropped => self.shared.probe_dropped(),
            Heard::Other => {}
        }
    }
}

impl Outgoing for mpsc::Sender<FromInstance> {
    fn room(&self) -> Room {
        match self.capacity() {
            _ if self.is_closed() => Room::Closed,
            0 => Room::Full,
            _ => Room::Yes,
        }
    }

    fn send(&mut self, message: FromInstance) {
        // Nobody else sends, so there is still room. If the connection has ended meanwhile, it is noticed the next time.
        drop(self.try_send(message));
    }
}
