//! A collector: its real server, owner and detector, without network, threads and clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use prost::Message as _;
use standoff_otlp::{Batch, Counts};
use standoff_protocol::stream::{FromCollector, FromInstance, FromRelay, Process, Sight, ToRelay};
use tokio::sync::broadcast;

use super::network::LinkId;
use super::receiver::HEARTBEAT;
use crate::detector::{Detector, Input, Published};
use crate::ingest::otlp::feed::Feed;
use crate::ingest::unplugged::{Ended, InstanceStream, RelayStream, Unplugged};
use crate::known::{Change, Known};
use crate::owner::{Message, Surroundings, Work};
use crate::settings::Times;

/// What a collector sees of its computer.
#[derive(Debug)]
pub(super) struct Computer {
    /// The host that it is on.
    host: String,
    /// Processes that are no more, wherever they were.
    pub(super) dead: BTreeSet<u32>,
    /// What is kept over a restart.
    pub(super) known: Known,
}

impl Surroundings for Computer {
    fn look(&mut self, process: &Process) -> Sight {
        if process.host.is_empty() || process.host != self.host {
            Sight::Unknown
        } else if self.dead.contains(&process.pid) {
            Sight::Dead
        } else {
            Sight::Alive
        }
    }

    fn remember(&mut self, change: Change) {
        match change {
            Change::Joined(key, process) => {
                self.known.insert(key, process);
            }
            Change::Gone(key) => {
                self.known.remove(&key);
            }
        }
    }
}

/// A stream of an instance or of a relay.
enum Stream {
    Instance(InstanceStream, Told),
    Relay(RelayStream, Told),
}

/// Whether the owner has been told that a stream is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    No,
    Yes,
}

/// What is to be put into a link.
pub(super) enum Out {
    Accepted,
    Message(Vec<u8>),
    End,
}

pub(super) struct Collector {
    server: Unplugged,
    work: Work<Computer>,
    published: broadcast::Receiver<Published>,
    streams: BTreeMap<LinkId, Stream>,
    /// What becomes of requests over OTLP.
    feed: Feed,
    next_beat: Duration,
}

impl Collector {
    /// Starts, with what a collector before it may have left.
    pub(super) fn start(now: Duration, times: Times, mut computer: Computer, seed: u64) -> Self {
        let mut known = std::mem::take(&mut computer.known);
        // As a collector does that reads its file.
        known.retain(|_, process| computer.look(process) != Sight::Dead);
        computer.known = known.clone();
        let work = Work::new(now, times, known, computer);
        let heartbeat_ms = times.heartbeat.as_millis() as u32;
        let server = Unplugged::new(heartbeat_ms);
        Self {
            feed: server.feed(&times, seed),
            next_beat: now + HEARTBEAT,
            server,
            published: work.listen().1,
            work,
            streams: BTreeMap::new(),
        }
    }

    pub(super) fn computer(host: &str) -> Computer {
        Computer {
            host: host.to_owned(),
            dead: BTreeSet::new(),
            known: Known::new(),
        }
    }

    /// It is killed. Its computer goes on.
    pub(super) fn kill(self) -> Computer {
        self.work.surroundings
    }

    pub(super) fn computer_mut(&mut self) -> &mut Computer {
        &mut self.work.surroundings
    }

    pub(super) fn detector(&self) -> &Detector {
        &self.work.detector
    }

    pub(super) fn wake_at(&self, now: Duration) -> Duration {
        self.work.detector.wake_at(now).min(self.receiver_wakes_at())
    }

    pub(super) fn tick(&mut self, now: Duration) {
        if now >= self.receiver_wakes_at() {
            let mut messages = self.feed.expire(now);
            if now >= self.next_beat {
                self.next_beat = now + HEARTBEAT;
                messages.extend(self.feed.beat(&Counts::default()));
            }
            self.hear_all(now, messages);
        }
        self.work.step(now, Input::Tick);
        self.run(now);
    }

    /// An instance says something. Returns what is to be answered at once.
    pub(super) fn hear_instance(&mut self, now: Duration, link: LinkId, bytes: &[u8]) -> Option<Out> {
        let message = FromInstance::decode(bytes).unwrap();
        let mut answer = None;
        match self.streams.get(&link) {
            Some(Stream::Instance(stream, _)) => self.server.hear(stream, message),
            Some(Stream::Relay(..)) => panic!("an instance speaks on a relay's stream"),
            None => match self.server.connect(message) {
                Ok(stream) => {
                    self.streams.insert(link, Stream::Instance(stream, Told::No));
                    answer = Some(Out::Accepted);
                }
                Err(status) => panic!("{status}"),
            },
        }
        self.run(now);
        answer
    }

    /// A relay says something. Returns what is to be answered at once.
    pub(super) fn hear_relay(&mut self, now: Duration, link: LinkId, bytes: &[u8]) -> Option<Out> {
        let message = FromRelay::decode(bytes).unwrap();
        let mut answer = None;
        match self.streams.get(&link) {
            Some(Stream::Relay(stream, _)) => {
                if let Err(status) = self.server.hear_relay(stream, message) {
                    panic!("the relay does not keep to the protocol: {status}");
                }
            }
            Some(Stream::Instance(..)) => panic!("a relay speaks on an instance's stream"),
            None => match self.server.connect_relay(message) {
                Ok(stream) => {
                    self.streams.insert(link, Stream::Relay(stream, Told::No));
                    answer = Some(Out::Accepted);
                }
                Err(status) => panic!("{status}"),
            },
        }
        self.run(now);
        answer
    }

    /// A request over OTLP has been read.
    pub(super) fn receive(&mut self, now: Duration, batch: Batch) {
        // All clocks but those of foreign services show the same time.
        let messages = self.feed.take(now, now, std::iter::once(batch));
        self.hear_all(now, messages);
    }

    fn receiver_wakes_at(&self) -> Duration {
        self.feed
            .next_expiry()
            .map_or(self.next_beat, |at| at.min(self.next_beat))
    }

    fn hear_all(&mut self, now: Duration, messages: Vec<Message>) {
        for message in messages {
            self.work.handle(now, message);
        }
        self.run(now);
    }

    /// The other side of a link is gone.
    pub(super) fn disconnect(&mut self, now: Duration, link: LinkId) {
        match self.streams.remove(&link) {
            Some(Stream::Instance(stream, Told::No)) => self.server.disconnect(&stream),
            Some(Stream::Relay(stream, Told::No)) => self.server.disconnect_relay(&stream, None),
            Some(Stream::Instance(_, Told::Yes) | Stream::Relay(_, Told::Yes)) | None => {}
        }
        self.run(now);
    }

    /// Whose streams there are.
    pub(super) fn links(&self) -> Vec<LinkId> {
        self.streams.keys().copied().collect()
    }

    /// What is to be sent next on a link, if there is room.
    pub(super) fn next_outgoing(&mut self, link: LinkId) -> Option<Out> {
        let (next, is_relay) = match self.streams.get_mut(&link)? {
            Stream::Instance(stream, _) => {
                let next = stream.next()?;
                (next.map(|message: FromCollector| message.encode_to_vec()), false)
            }
            Stream::Relay(stream, _) => {
                let next = stream.next()?;
                (next.map(|message: ToRelay| message.encode_to_vec()), true)
            }
        };
        match next {
            Ok(bytes) => Some(Out::Message(bytes)),
            Err(Ended(status)) => {
                // Nothing that is said here breaks the protocol.
                let code = status.map(|it| it.code());
                assert!(code != Some(tonic::Code::InvalidArgument), "a relay: {is_relay}");
                Some(Out::End)
            }
        }
    }

    /// What has been published since.
    pub(super) fn next_published(&mut self) -> Option<Published> {
        match self.published.try_recv() {
            Ok(published) => Some(published),
            Err(broadcast::error::TryRecvError::Empty) => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// The owner does what it was told, until nobody tells it any more.
    fn run(&mut self, now: Duration) {
        loop {
            while let Some(message) = self.server.next_message() {
                self.work.handle(now, message);
            }
            for stream in self.streams.values_mut() {
                match stream {
                    Stream::Instance(stream, told @ Told::No) if stream.is_over() => {
                        *told = Told::Yes;
                        self.server.disconnect(stream);
                    }
                    Stream::Relay(stream, told @ Told::No) if stream.is_over() => {
                        *told = Told::Yes;
                        self.server.disconnect_relay(stream, None);
                    }
                    Stream::Instance(..) | Stream::Relay(..) => {}
                }
            }
            let Some(message) = self.server.next_message() else {
                return;
            };
            self.work.handle(now, message);
        }
    }
}
