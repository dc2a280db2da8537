//! The core, driven as the shell does it: instances that keep to the protocol, and collectors that mirror what they hear
//! and complain of what must not be.

mod bounds;
mod endings;
mod faults;
mod histories;
mod passing_on;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use standoff_protocol::stream::{
    Batch, Ended, Finished, FromCollector, FromInstance, FromRelay, Goodbye, Heartbeat, Hello, Instance, Loss, OpenSet,
    Outcome, PROTOCOL_VERSION, Probe, ProbeAnswer, Process, ResyncRequest, Role, Started, ToRelay, from_collector,
    from_instance, from_relay, to_relay,
};

use super::{ConnectionId, Core, Effect, Input, Limits, Refusal, Settings, UpstreamId};

const LEASE: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(1);

fn settings(upstreams: usize, limits: Limits) -> Settings {
    Settings {
        name: "relay".into(),
        upstreams,
        heartbeat: HEARTBEAT,
        lease: LEASE,
        limits,
    }
}

fn hello(name: &str) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        instance: Some(Instance {
            service_name: "service".into(),
            instance_id: name.into(),
            incarnation: 1,
            process: Some(Process {
                host: "host".into(),
                pid: 7,
                start_ticks: 1,
            }),
            ..Instance::default()
        }),
        lease_ms: 0,
        cannot_be_asked: false,
    }
}

fn call(span_id: u64) -> Started {
    of_role(span_id, Role::Call)
}

fn of_role(span_id: u64, role: Role) -> Started {
    Started {
        span_id,
        role: role.into(),
        ..Started::default()
    }
}

fn finished(span_id: u64) -> Finished {
    Finished {
        span_id,
        outcome: Outcome::Finished.into(),
    }
}

fn open_set(spans: impl IntoIterator<Item = Started>, complete: bool) -> from_instance::Message {
    from_instance::Message::OpenSet(OpenSet {
        spans: spans.into_iter().collect(),
        complete,
    })
}

fn batch(sequence: u64, started: Vec<Started>, ended: &[u64]) -> from_instance::Message {
    from_instance::Message::Batch(Batch {
        sequence,
        started,
        finished: ended.iter().copied().map(finished).collect(),
        ended: vec![],
    })
}

fn heartbeat(events_lost: u64) -> from_instance::Message {
    from_instance::Message::Heartbeat(Heartbeat {
        events_lost,
        losses: Vec::new(),
    })
}

fn answer(probe_id: u64, not_open: Vec<u64>) -> from_instance::Message {
    from_instance::Message::ProbeAnswer(ProbeAnswer {
        probe_id,
        not_open,
        acceptances: Vec::new(),
    })
}

/// A core, and what is around it.
struct World {
    core: Core,
    now: Duration,
    collectors: Vec<Collector>,
    /// What each connection was told.
    told: BTreeMap<ConnectionId, Vec<from_collector::Message>>,
    refused: BTreeMap<ConnectionId, Refusal>,
    looked: usize,
    hung_up: Vec<UpstreamId>,
}

impl World {
    fn new(upstreams: usize) -> Self {
        Self::with_limits(upstreams, Limits::default())
    }

    /// All upstreams are connected, and take whatever there is.
    fn with_limits(upstreams: usize, limits: Limits) -> Self {
        let mut world = Self {
            core: Core::new(Duration::ZERO, settings(upstreams, limits)),
            now: Duration::ZERO,
            collectors: (0..upstreams).map(|_| Collector::default()).collect(),
            told: BTreeMap::new(),
            refused: BTreeMap::new(),
            looked: 0,
            hung_up: Vec::new(),
        };
        for upstream in 0..upstreams {
            world.link(upstream);
        }
        world
    }

    fn step(&mut self, input: Input) {
        for effect in self.core.step(self.now, input) {
            match effect {
                Effect::Send(connection, message) => {
                    self.told.entry(connection).or_default().extend(message.message);
                }
                Effect::Refuse(connection, refusal) => {
                    self.refused.insert(connection, refusal);
                }
                Effect::Look(..) => self.looked += 1,
                Effect::HangUp(upstream) => {
                    self.hung_up.push(upstream);
                    self.collectors[upstream.0].is_linked = false;
                }
            }
        }
        self.pump();
    }

    /// Collectors take as much as they like.
    fn pump(&mut self) {
        for (number, collector) in self.collectors.iter_mut().enumerate() {
            while collector.room > 0
                && let Some(message) = self.core.next(self.now, UpstreamId(number))
            {
                assert!(collector.is_linked, "nothing is said to who is not there");
                collector.room -= 1;
                collector.hear(self.now, message);
            }
        }
    }

    /// A new connection to an upstream, which knows nothing and takes everything.
    fn link(&mut self, upstream: usize) {
        self.collectors[upstream] = Collector {
            is_linked: true,
            room: usize::MAX,
            ..Collector::default()
        };
        self.step(Input::UpstreamConnected {
            upstream: UpstreamId(upstream),
        });
        self.tell(upstream, 0, to_relay::Message::Welcome(Default::default()));
    }

    fn unlink(&mut self, upstream: usize) {
        self.collectors[upstream].is_linked = false;
        self.step(Input::UpstreamDisconnected {
            upstream: UpstreamId(upstream),
        });
    }

    fn room(&mut self, upstream: usize, messages: usize) {
        self.collectors[upstream].room = messages;
        self.pump();
    }

    fn tell(&mut self, upstream: usize, channel: u64, message: to_relay::Message) {
        self.step(Input::UpstreamMessage {
            upstream: UpstreamId(upstream),
            message: ToRelay {
                channel,
                message: Some(message),
            },
        });
    }

    fn ask(&mut self, upstream: usize, channel: u64, message: from_collector::Message) {
        let message = FromCollector { message: Some(message) };
        self.tell(upstream, channel, to_relay::Message::Collector(message));
    }

    fn probe(&mut self, upstream: usize, channel: u64, probe_id: u64) {
        let probe = Probe {
            probe_id,
            ..Probe::default()
        };
        self.ask(upstream, channel, from_collector::Message::Probe(probe));
    }

    fn connect(&mut self, connection: u64, name: &str) {
        self.introduce(connection, hello(name));
    }

    fn introduce(&mut self, connection: u64, hello: Hello) {
        self.step(Input::Connected {
            connection: ConnectionId(connection),
            hello,
        });
    }

    fn say(&mut self, connection: u64, message: from_instance::Message) {
        self.step(Input::Message {
            connection: ConnectionId(connection),
            message: FromInstance { message: Some(message) },
        });
    }

    fn disconnect(&mut self, connection: u64) {
        self.step(Input::Disconnected {
            connection: ConnectionId(connection),
        });
    }

    /// An instance with these calls open.
    fn instance(&mut self, connection: u64, name: &str, calls: &[u64]) {
        self.connect(connection, name);
        self.say(connection, open_set(calls.iter().copied().map(call), true));
    }

    /// Time passes, in the steps that the core asks for.
    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.now = self.core.wake_at().clamp(self.now, until);
            self.step(Input::Tick);
            if self.core.wake_at() <= self.now {
                panic!("the core wants to be woken in the past");
            }
        }
    }

    /// The probes that a connection was sent.
    fn probes(&self, connection: u64) -> Vec<u64> {
        let told = self.told.get(&ConnectionId(connection)).into_iter().flatten();
        told.filter_map(|message| match message {
            from_collector::Message::Probe(probe) => Some(probe.probe_id),
            from_collector::Message::Welcome(_) | from_collector::Message::ResyncRequest(_) => None,
        })
        .collect()
    }

    /// How often a connection was asked for its open set.
    fn resyncs(&self, connection: u64) -> usize {
        let told = self.told.get(&ConnectionId(connection)).into_iter().flatten();
        told.filter(|message| matches!(message, from_collector::Message::ResyncRequest(_)))
            .count()
    }

    /// What a collector takes to be open of the only instance that it knows of that name.
    fn open(&self, upstream: usize, name: &str) -> Vec<u64> {
        let channel = self.collectors[upstream].named(name);
        channel.open.keys().copied().collect()
    }
}

/// A collector as the relay sees it.
#[derive(Debug, Default)]
struct Collector {
    is_linked: bool,
    /// Messages that it will take.
    room: usize,
    channels: BTreeMap<u64, Heard>,
    relay_heartbeats: usize,
    relay_losses: Vec<Loss>,
    instances_refused: u64,
    has_heard: bool,
}

/// What was heard on a channel.
#[derive(Debug, Default)]
struct Heard {
    name: String,
    hello: Hello,
    open: BTreeMap<u64, Started>,
    /// Those that were named in batches, open or not.
    open_in_batches: BTreeSet<u64>,
    ended: Vec<Ended>,
    /// The spans of a set that is not complete.
    set: Option<BTreeSet<u64>>,
    is_synced: bool,
    sequence: u64,
    /// Everything, shortly.
    log: Vec<String>,
    last_heard: Duration,
    heartbeats: Vec<Heartbeat>,
    answers: Vec<ProbeAnswer>,
    /// With each answer, what was taken to be open when it came; `None` within a set.
    open_at_answers: Vec<Option<BTreeSet<u64>>>,
    has_ended: bool,
}

impl Collector {
    fn named(&self, name: &str) -> &Heard {
        let mut found = self.channels.values().filter(|it| it.name == name && !it.has_ended);
        let channel = found.next().expect("the instance has a channel");
        assert!(found.next().is_none(), "an instance has one channel");
        channel
    }

    fn number(&self, name: &str) -> u64 {
        let mut found = self.channels.iter().filter(|(_, it)| it.name == name && !it.has_ended);
        *found.next().expect("the instance has a channel").0
    }

    fn log(&self, name: &str) -> Vec<&str> {
        let channels = self.channels.values().filter(|it| it.name == name);
        channels.flat_map(|it| it.log.iter().map(String::as_str)).collect()
    }

    fn hear(&mut self, now: Duration, said: FromRelay) {
        let was_first = !std::mem::replace(&mut self.has_heard, true);
        match said.message.expect("a message") {
            from_relay::Message::Hello(hello) => {
                assert!(was_first && said.channel == 0);
                assert_eq!(hello.protocol_version, PROTOCOL_VERSION);
            }
            from_relay::Message::Heartbeat(heartbeat) => {
                assert_eq!(said.channel, 0);
                self.relay_heartbeats += 1;
                self.instances_refused = heartbeat.instances_refused;
                self.relay_losses = heartbeat.losses;
            }
            from_relay::Message::Instance(message) => {
                let message = message.message.expect("a message");
                if let from_instance::Message::Hello(hello) = message {
                    let last = self.channels.last_key_value().map_or(0, |(number, _)| *number);
                    assert!(said.channel > last, "numbers go upwards");
                    let channel = Heard {
                        name: hello.instance.clone().expect("an instance").instance_id,
                        hello,
                        last_heard: now,
                        ..Heard::default()
                    };
                    self.channels.insert(said.channel, channel);
                } else {
                    let channel = self.channels.get_mut(&said.channel).expect("a hello comes first");
                    channel.hear(now, message);
                }
            }
            from_relay::Message::Closed(closed) => {
                let channel = self.channels.get_mut(&said.channel).expect("a hello comes first");
                channel.end(if closed.process_died { "died" } else { "closed" });
            }
        }
    }
}

impl Heard {
    fn end(&mut self, how: &str) {
        assert!(!self.has_ended, "nothing comes after the end");
        self.has_ended = true;
        self.log.push(how.into());
    }

    fn hear(&mut self, now: Duration, message: from_instance::Message) {
        assert!(!self.has_ended, "nothing comes after the end");
        self.last_heard = now;
        match message {
            from_instance::Message::Hello(_) => panic!("a second hello"),
            from_instance::Message::OpenSet(set) => {
                let mut text = String::from(if set.complete { "SET" } else { "set" });
                let named = self.set.get_or_insert_default();
                for span in set.spans {
                    text += &format!(" +{}", span.span_id);
                    named.insert(span.span_id);
                    self.open.insert(span.span_id, span);
                }
                if set.complete {
                    let named = self.set.take().unwrap_or_default();
                    self.open.retain(|id, _| named.contains(id));
                    self.is_synced = true;
                    self.sequence = 0;
                }
                self.log.push(text);
            }
            from_instance::Message::Batch(batch) => {
                assert!(self.is_synced && self.set.is_none(), "batches follow a complete set");
                self.sequence += 1;
                assert_eq!(batch.sequence, self.sequence, "no batch is missing");
                let mut text = String::from("batch");
                for span in batch.finished {
                    text += &format!(" -{}", span.span_id);
                    assert!(
                        self.open.remove(&span.span_id).is_some(),
                        "{} was told of",
                        span.span_id
                    );
                }
                for span in batch.ended {
                    text += &format!(" ~{}", span.span_id);
                    self.ended.push(span);
                }
                for span in batch.started {
                    text += &format!(" +{}", span.span_id);
                    let id = span.span_id;
                    self.open_in_batches.insert(id);
                    let before = self.open.insert(id, span);
                    let may_repeat = self.hello.cannot_be_asked;
                    assert!(before.is_none() || may_repeat, "{id} is told of once");
                }
                self.log.push(text);
            }
            from_instance::Message::Heartbeat(heartbeat) => self.heartbeats.push(heartbeat),
            from_instance::Message::ProbeAnswer(answer) => {
                self.log.push(format!("answer {}", answer.probe_id));
                let open = || self.open.keys().copied().collect();
                self.open_at_answers.push(self.set.is_none().then(open));
                self.answers.push(answer);
            }
            from_instance::Message::Goodbye(_) => self.end("goodbye"),
        }
    }
}

fn goodbye() -> from_instance::Message {
    from_instance::Message::Goodbye(Goodbye {})
}

fn resync() -> from_collector::Message {
    from_collector::Message::ResyncRequest(ResyncRequest {})
}
