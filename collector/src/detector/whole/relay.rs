//! A relay: its real core, driven as its tasks drive it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use prost::Message as _;
use standoff_agent::relay::core::{ConnectionId, Core, Effect, Input, Limits, Settings, UpstreamId};
use standoff_agent::sans_io::Retry;
use standoff_otlp::{Batch, SourceNo};
use standoff_protocol::stream::{
    FromCollector, FromInstance, FromRelay, Process, Sight, ToRelay, from_collector, from_instance,
};

use super::collector::Out;
use super::network::LinkId;
use super::receiver::{Receiver, Word};
use crate::settings::Times;

/// Messages that wait for one instance. One that takes none for so long is disconnected.
const OUTBOX_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Relay {
    core: Core,
    /// The host that it is on.
    host: String,
    /// Processes that are no more, wherever they were.
    pub(super) dead: BTreeSet<u32>,
    streams: BTreeMap<LinkId, Stream>,
    last_connection: u64,
    receiver: Receiver,
    /// As whom its receiver's sources speak to the core.
    sources: BTreeMap<SourceNo, ConnectionId>,
    pub(super) upstreams: Vec<Upstream>,
    /// Upstreams of which the core wants to be rid.
    pub(super) hung_up: Vec<usize>,
}

/// What an instance is told.
#[derive(Debug)]
struct Stream {
    connection: ConnectionId,
    outbox: VecDeque<FromCollector>,
    /// It counts no more, and ends after what is in its outbox.
    is_over: bool,
}

/// A connection to a collector, or the attempt to make one.
#[derive(Debug, Default)]
pub(super) struct Upstream {
    pub(super) link: Option<LinkId>,
    /// Counts attempts, so that what was meant for an earlier one is known as such.
    pub(super) attempt: u64,
    pub(super) retry: Retry,
}

impl Relay {
    pub(super) fn start(
        now: Duration,
        number: usize,
        upstreams: usize,
        dead: BTreeSet<u32>,
        times: Times,
        seed: u64,
    ) -> Self {
        let settings = Settings {
            name: format!("relay-{number}"),
            upstreams,
            heartbeat: Duration::from_secs(1),
            lease: Duration::from_secs(3),
            limits: Limits::default(),
        };
        Self {
            core: Core::new(now, settings),
            host: Self::host(number),
            dead,
            streams: BTreeMap::new(),
            last_connection: 0,
            receiver: Receiver::start(now, times.max_open, times.forget_after, seed),
            sources: BTreeMap::new(),
            upstreams: (0..upstreams).map(|_| Upstream::default()).collect(),
            hung_up: Vec::new(),
        }
    }

    /// The host that a relay is on.
    pub(super) fn host(number: usize) -> String {
        format!("r{number}")
    }

    pub(super) fn wake_at(&self) -> Duration {
        self.core.wake_at().min(self.receiver.wake_at())
    }

    pub(super) fn tick(&mut self, now: Duration) {
        if now >= self.receiver.wake_at() {
            let words = self.receiver.tick(now);
            self.hear_sources(now, words);
        }
        self.step(now, Input::Tick);
    }

    /// An instance says something. Returns what is to be answered at once.
    pub(super) fn hear_instance(&mut self, now: Duration, link: LinkId, bytes: &[u8]) -> Option<Out> {
        let message = FromInstance::decode(bytes).unwrap();
        if let Some(stream) = self.streams.get(&link) {
            if !stream.is_over {
                let connection = stream.connection;
                self.step(now, Input::Message { connection, message });
            }
            return None;
        }
        let Some(from_instance::Message::Hello(hello)) = message.message else {
            panic!("the first message is a hello");
        };
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let stream = Stream {
            connection,
            outbox: VecDeque::new(),
            is_over: false,
        };
        self.streams.insert(link, stream);
        self.step(now, Input::Connected { connection, hello });
        Some(Out::Accepted)
    }

    /// A request over OTLP has been read.
    pub(super) fn receive(&mut self, now: Duration, batch: Batch) {
        let words = self.receiver.take(now, batch);
        self.hear_sources(now, words);
    }

    fn hear_sources(&mut self, now: Duration, words: Vec<Word>) {
        for Word {
            source,
            message,
            is_last,
        } in words
        {
            match (self.sources.get(&source).copied(), message.message) {
                (None, Some(from_instance::Message::Hello(hello))) => {
                    self.last_connection += 1;
                    let connection = ConnectionId(self.last_connection);
                    self.sources.insert(source, connection);
                    self.step(now, Input::Connected { connection, hello });
                }
                (Some(connection), message) => {
                    let message = FromInstance { message };
                    self.step(now, Input::Message { connection, message });
                }
                (None, _) => panic!("the first message is a hello"),
            }
            if is_last {
                self.sources.remove(&source);
            }
        }
    }

    /// An instance, or its connection, is gone.
    pub(super) fn disconnect(&mut self, now: Duration, link: LinkId) {
        if let Some(stream) = self.streams.remove(&link).filter(|it| !it.is_over) {
            let connection = stream.connection;
            self.step(now, Input::Disconnected { connection });
        }
    }

    /// There is a new connection to a collector.
    pub(super) fn upstream_connected(&mut self, now: Duration, upstream: usize) {
        let upstream = UpstreamId(upstream);
        self.step(now, Input::UpstreamConnected { upstream });
    }

    pub(super) fn hear_upstream(&mut self, now: Duration, upstream: usize, bytes: &[u8]) {
        let upstream = UpstreamId(upstream);
        let message = ToRelay::decode(bytes).unwrap();
        self.step(now, Input::UpstreamMessage { upstream, message });
    }

    pub(super) fn upstream_disconnected(&mut self, now: Duration, upstream: usize) {
        let upstream = UpstreamId(upstream);
        self.step(now, Input::UpstreamDisconnected { upstream });
    }

    /// The instances that are connected.
    pub(super) fn links(&self) -> Vec<LinkId> {
        self.streams.keys().copied().collect()
    }

    /// What is to be sent next to an instance, if there is room.
    pub(super) fn next_outgoing(&mut self, link: LinkId) -> Option<Out> {
        let stream = self.streams.get_mut(&link)?;
        match stream.outbox.pop_front() {
            Some(message) => Some(Out::Message(message.encode_to_vec())),
            None => stream.is_over.then_some(Out::End),
        }
    }

    /// What is to be sent next to a collector, if there is room.
    pub(super) fn next_upstream(&mut self, now: Duration, upstream: usize) -> Option<FromRelay> {
        self.core.next(now, UpstreamId(upstream))
    }

    fn step(&mut self, now: Duration, input: Input) {
        let mut effects = VecDeque::from(self.core.step(now, input));
        while let Some(effect) = effects.pop_front() {
            effects.extend(self.carry_out(now, effect));
        }
    }

    fn carry_out(&mut self, now: Duration, effect: Effect) -> Vec<Effect> {
        match effect {
            Effect::Send(connection, message) => {
                if self.sources.values().any(|it| *it == connection) {
                    let is_question = matches!(message.message, Some(from_collector::Message::Probe(_)));
                    assert!(!is_question, "whoever cannot be asked is told {message:?}");
                    return Vec::new();
                }
                let Some((link, stream)) = self.streams.iter_mut().find(|(_, it)| it.connection == connection) else {
                    return Vec::new();
                };
                stream.outbox.push_back(message);
                if stream.outbox.len() > OUTBOX_MAX {
                    let link = *link;
                    self.streams.remove(&link);
                    return self.core.step(now, Input::Disconnected { connection });
                }
            }
            Effect::Refuse(connection, refusal) => {
                assert_ne!(refusal.code(), tonic::Code::InvalidArgument, "{refusal}");
                for stream in self.streams.values_mut().filter(|it| it.connection == connection) {
                    stream.is_over = true;
                }
            }
            Effect::Look(instance, process) => {
                let sight = self.look(&process);
                return self.core.step(now, Input::Seen { instance, sight });
            }
            Effect::HangUp(upstream) => self.hung_up.push(upstream.0),
        }
        Vec::new()
    }

    fn look(&self, process: &Process) -> Sight {
        if process.host.is_empty() || process.host != self.host {
            Sight::Unknown
        } else if self.dead.contains(&process.pid) {
            Sight::Dead
        } else {
            Sight::Alive
        }
    }
}
