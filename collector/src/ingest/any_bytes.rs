//! Any bytes, as if instances and relays had sent them: what a fuzzer plays with.
//!
//! Everything between the socket and the alert takes part: messages are read, handshakes checked, channels opened and
//! refused, spans decoded, and the detector takes its steps, looks at processes, asks, and is answered. Every byte string
//! is a history. It is a list of acts: a byte says what happens, the next one to whom, and of what is said two more say how
//! many bytes of it follow.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt, Stream, StreamExt};
use standoff_protocol::api::AlertState;
use standoff_protocol::stream::{
    self, Acceptance, FromCollector, FromInstance, FromRelay, Probe, ProbeAnswer, Process, RelayWelcome, Sight,
    ToRelay, from_collector, from_instance, from_relay, to_relay,
};
use tokio::sync::{broadcast, mpsc};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::relay::Relay;
use super::{Connections, hello, instance};
use crate::channels::Channels;
use crate::detector::{Input, Published};
use crate::instances::ConnectionId;
use crate::known::{Change, Known};
use crate::owner::{Message, OUTBOX_MAX, Outbox, Owner, Surroundings, Work};
use crate::settings::Times;

/// Streams of instances, and of relays: few, so that they meet.
const INSTANCES: usize = 4;
/// See [`INSTANCES`].
const RELAYS: usize = 2;

/// How much time may pass at once, in milliseconds: nothing much, a probe, a lease, a minute, and longer than anybody is
/// remembered.
const PASSES_MS: [u64; 6] = [1, 20, 600, 4_000, 61_000, 700_000];

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Played {
    /// Messages that could be read.
    pub read: usize,
    /// Messages that could not.
    pub unreadable: usize,
    /// Alerts that have fired.
    pub fired: usize,
}

/// Plays the bytes to a new collector, and says after each act that it is done.
pub fn play(mut bytes: &[u8], mut after_each: impl FnMut()) -> Played {
    let mut play = Play::new();
    while play.act(&mut bytes).is_some() {
        play.work_off();
        after_each();
    }
    play.played
}

/// No disk, and processes that live or not as their ids say.
struct Nowhere;

impl Surroundings for Nowhere {
    fn look(&mut self, process: &Process) -> Sight {
        match process.pid % 3 {
            0 => Sight::Unknown,
            1 => Sight::Alive,
            _ => Sight::Dead,
        }
    }

    fn remember(&mut self, _: Change) {}
}

struct Speaker {
    connection: ConnectionId,
    hears: mpsc::Receiver<Result<FromCollector, Status>>,
    asked: Option<Probe>,
}

struct RelayStream {
    relay: Relay,
    hears: Pin<Box<dyn Stream<Item = Result<ToRelay, Status>>>>,
    asked: Vec<(u64, Probe)>,
}

struct Play {
    now: Duration,
    work: Work<Nowhere>,
    owner: Owner,
    inbox: mpsc::Receiver<Message>,
    published: broadcast::Receiver<Published>,
    connections: Connections,
    instances: [Option<Speaker>; INSTANCES],
    relays: [Option<RelayStream>; RELAYS],
    played: Played,
}

impl Play {
    fn new() -> Self {
        let now = Duration::from_secs(1_000_000);
        let work = Work::new(now, Times::default(), Known::new(), Nowhere);
        let (_, published) = work.listen();
        let (owner, inbox) = Owner::of_nobody();
        Self {
            now,
            work,
            owner,
            inbox,
            published,
            connections: Connections::default(),
            instances: Default::default(),
            relays: Default::default(),
            played: Played::default(),
        }
    }

    /// The next thing that happens. There is none at the end of the bytes.
    fn act(&mut self, bytes: &mut &[u8]) -> Option<()> {
        let (act, who) = (usize::from(byte(bytes)?), usize::from(byte(bytes)?));
        match act % 8 {
            0..=2 => {
                let said = said(bytes)?;
                self.instance_says(who % INSTANCES, stream::read(said));
            }
            3 | 4 => {
                let said = said(bytes)?;
                self.relay_says(who % RELAYS, stream::read(said));
            }
            5 => {
                self.now += Duration::from_millis(PASSES_MS[who % PASSES_MS.len()]);
                self.work.step(self.now, Input::Tick);
            }
            6 => self.ends(who),
            _ => self.all_confirm(),
        }
        Some(())
    }

    fn instance_says(&mut self, who: usize, said: Result<FromInstance, stream::Unreadable>) {
        let speaker = self.instances[who].as_ref().map(|it| it.connection);
        match (said, speaker) {
            (Ok(FromInstance { message }), Some(connection)) => {
                self.played.read += 1;
                if let Some(input) = message.and_then(|it| instance::input(connection, it)) {
                    self.work.handle(self.now, Message::Input(input));
                }
            }
            (
                Ok(FromInstance {
                    message: Some(from_instance::Message::Hello(hello)),
                }),
                None,
            ) => {
                self.played.read += 1;
                let Ok(identity) = hello::identity(hello) else { return };
                let connection = self.connections.next();
                let (messages, hears) = mpsc::channel(OUTBOX_MAX);
                let outbox = Outbox::Stream {
                    messages,
                    _reading: CancellationToken::new().drop_guard(),
                };
                let speaker = Speaker {
                    connection,
                    hears,
                    asked: None,
                };
                self.instances[who] = Some(speaker);
                self.work.handle(
                    self.now,
                    Message::Connected {
                        connection,
                        identity,
                        outbox,
                    },
                );
            }
            (Ok(_), None) => self.played.read += 1,
            (Err(error), connection) => {
                self.played.unreadable += 1;
                self.instances[who] = None;
                if let Some(connection) = connection {
                    let status = Status::invalid_argument(error.to_string());
                    self.work.handle(self.now, Message::Unreadable { connection, status });
                }
            }
        }
    }

    fn relay_says(&mut self, who: usize, said: Result<FromRelay, stream::Unreadable>) {
        let Ok(FromRelay { channel, message }) = said else {
            self.played.unreadable += 1;
            return self.relay_ends(who, Some(Status::invalid_argument("unreadable")));
        };
        self.played.read += 1;
        let Some(message) = message else { return };
        if let Some(stream) = &self.relays[who] {
            // It waits for nothing but room in the owner's queue, which is empty.
            if let Some(Err(status)) = stream.relay.heard(channel, message).now_or_never() {
                self.relay_ends(who, Some(status));
            }
        } else if let (0, from_relay::Message::Hello(hello)) = (channel, message)
            && let Ok(name) = hello::relay_name(hello)
        {
            let connection = self.connections.next();
            let channels = Arc::new(Channels::new(RelayWelcome::default(), CancellationToken::new()));
            let hears = Box::pin(Arc::clone(&channels).outgoing());
            let relay = Relay {
                name: name.clone(),
                connection,
                channels,
                connections: self.connections.clone(),
                owner: self.owner.clone(),
            };
            self.relays[who] = Some(RelayStream {
                relay,
                hears,
                asked: Vec::new(),
            });
            let connected = Input::RelayConnected {
                relay: connection,
                name,
            };
            self.work.handle(self.now, Message::Input(connected));
        }
    }

    fn ends(&mut self, who: usize) {
        let who = who % (INSTANCES + RELAYS);
        if let Some(instance) = self.instances.get_mut(who) {
            if let Some(Speaker { connection, .. }) = instance.take() {
                self.work
                    .handle(self.now, Message::Input(Input::Disconnected { connection }));
            }
        } else {
            self.relay_ends(who - INSTANCES, None);
        }
    }

    fn relay_ends(&mut self, who: usize, status: Option<Status>) {
        self.hand_on();
        if let Some(RelayStream { relay, .. }) = self.relays[who].take() {
            let is_unreadable = status.is_some();
            relay.channels.end(status);
            let ended = Input::RelayEnded {
                relay: relay.connection,
                connections: relay.channels.take_open(),
                is_unreadable,
            };
            self.work.handle(self.now, Message::Input(ended));
        }
    }

    /// Everybody says that all is as the collector believes.
    fn all_confirm(&mut self) {
        for who in 0..INSTANCES {
            let asked = self.instances[who].as_mut().and_then(|it| it.asked.take());
            if let Some(probe) = asked {
                let message = Some(confirming(&probe));
                self.instance_says(who, Ok(FromInstance { message }));
            }
        }
        for who in 0..RELAYS {
            let asked = self.relays[who].as_mut().map(|it| std::mem::take(&mut it.asked));
            for (channel, probe) in asked.into_iter().flatten() {
                let answer = FromInstance {
                    message: Some(confirming(&probe)),
                };
                let message = Some(from_relay::Message::Instance(answer));
                self.relay_says(who, Ok(FromRelay { channel, message }));
                self.hand_on();
            }
        }
    }

    /// The owner is told what the relays' streams have to tell.
    fn hand_on(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.work.handle(self.now, message);
        }
    }

    /// Everything is heard that was sent and published.
    fn work_off(&mut self) {
        self.hand_on();
        for instance in &mut self.instances {
            let Some(speaker) = instance else { continue };
            loop {
                match speaker.hears.try_recv() {
                    Ok(Ok(FromCollector {
                        message: Some(from_collector::Message::Probe(probe)),
                    })) => {
                        speaker.asked = Some(probe);
                    }
                    Ok(Ok(_)) => {}
                    Ok(Err(_)) | Err(mpsc::error::TryRecvError::Disconnected) => {
                        *instance = None;
                        break;
                    }
                    Err(mpsc::error::TryRecvError::Empty) => break,
                }
            }
        }
        for stream in self.relays.iter_mut().flatten() {
            while let Some(Some(Ok(heard))) = stream.hears.next().now_or_never() {
                if let Some(to_relay::Message::Collector(FromCollector {
                    message: Some(from_collector::Message::Probe(probe)),
                })) = heard.message
                {
                    stream.asked.retain(|(channel, _)| *channel != heard.channel);
                    stream.asked.push((heard.channel, probe));
                }
            }
        }
        loop {
            match self.published.try_recv() {
                Ok(Published::Alert(alert)) => self.played.fired += usize::from(alert.state == AlertState::Firing),
                Ok(Published::Stats(_)) | Err(broadcast::error::TryRecvError::Lagged(_)) => {}
                Err(broadcast::error::TryRecvError::Empty | broadcast::error::TryRecvError::Closed) => return,
            }
        }
    }
}

/// Nothing has ended, and nothing was ever accepted.
fn confirming(probe: &Probe) -> from_instance::Message {
    let acceptances = probe.accepted.iter().map(|it| Acceptance {
        call_span_id: it.call_span_id,
        ..Acceptance::default()
    });
    from_instance::Message::ProbeAnswer(ProbeAnswer {
        probe_id: probe.probe_id,
        not_open: Vec::new(),
        acceptances: acceptances.collect(),
    })
}

fn byte(bytes: &mut &[u8]) -> Option<u8> {
    let (first, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*first)
}

/// What somebody says: two bytes say how long it is, and it ends where the bytes end.
fn said<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::from(u16::from_le_bytes([byte(bytes)?, byte(bytes)?]));
    let (said, rest) = bytes.split_at(len.min(bytes.len()));
    *bytes = rest;
    Some(said)
}
