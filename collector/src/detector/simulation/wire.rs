//! Libraries as they behave, and the connections between them and the collector.
//!
//! A library reports a span once it is old enough, members at once, in the order in which things happened; answers from
//! its memory, and only after everything that was due before; and sends its open set whenever the collector has lost
//! track. Connections delay, lose, repeat and break. Knows nothing of what the spans mean.

mod library;

use std::collections::BTreeMap;
use std::time::Duration;

use standoff_protocol::stream::{Batch, FromCollector, Heartbeat, ProbeAnswer, Process, Started, from_collector};

use self::library::Library;
use super::world::{Change, Goodbye, Stall};
use crate::detector::chance::{Agenda, Random};
use crate::detector::{ConnectionId, Identity, Input, InstanceKey};

/// How libraries and connections are in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) report_after: Duration,
    pub(super) delay_max_ms: usize,
    /// In percent of mishaps: connections that break.
    pub(super) breaks: bool,
    /// In percent of batches.
    pub(super) lost: usize,
    pub(super) repeated: usize,
    /// How many ended handlers a library remembers.
    pub(super) remembered: usize,
}

/// Reports are flushed so often.
const FLUSH_EVERY: Duration = Duration::from_millis(5);
/// A library connects again within this time.
const RECONNECT_MS: usize = 500;
const HEARTBEAT: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
enum Event {
    Connect(usize),
    Flush(usize),
    /// A batch follows one that was lost.
    Follow(usize),
    Heartbeat(usize),
    Storm,
    Up(ConnectionId, Up),
    /// The collector notices that the connection has ended.
    Ended(ConnectionId),
    Down(ConnectionId, FromCollector),
}

/// A message to the collector.
#[derive(Clone, Debug)]
enum Up {
    Hello(Identity),
    OpenSet { spans: Vec<Started>, complete: bool },
    Batch(Batch),
    Heartbeat,
    ProbeAnswer(ProbeAnswer),
    Goodbye,
}

#[derive(Debug)]
struct Connection {
    instance: usize,
    /// What would arrive later than this does not arrive.
    cut: Option<Duration>,
    last_up: Duration,
    last_down: Duration,
}

/// One instance's side of the wire.
#[derive(Debug)]
struct Host {
    library: Library,
    identity: Identity,
    connection: Option<ConnectionId>,
    is_alive: bool,
    is_stalled: bool,
    /// Whatever it says takes long to arrive.
    is_slow: bool,
    deferred: Vec<Event>,
}

#[derive(Debug)]
pub(super) struct Wire {
    pub(super) now: Duration,
    random: Random,
    weather: Weather,
    is_calm: bool,
    /// Until then no connection breaks.
    spared_until: Duration,
    agenda: Agenda<Event>,
    hosts: Vec<Host>,
    connections: BTreeMap<ConnectionId, Connection>,
    last_connection: u64,
}

impl Wire {
    pub(super) fn new(now: Duration, random: Random, weather: Weather) -> Self {
        let mut agenda = Agenda::default();
        agenda.add(now + Duration::from_secs(2), Event::Storm);
        Self {
            now,
            random,
            weather,
            is_calm: false,
            spared_until: now,
            agenda,
            hosts: Vec::new(),
            connections: BTreeMap::new(),
            last_connection: 0,
        }
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.agenda.next_at()
    }

    /// Nothing breaks and nothing is lost from now on.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
    }

    /// Every connection lasts until then.
    pub(super) fn spare(&mut self, until: Duration) {
        self.spared_until = until;
    }

    /// The collector has been started anew: all connections are gone at once.
    pub(super) fn collector_restarted(&mut self, now: Duration, remembers: bool) {
        self.now = now;
        self.connections.clear();
        // One that remembers nobody gives everybody a moment.
        for instance in 0..self.hosts.len() {
            let is_slow = remembers && self.random.percent(20);
            let max_ms = if is_slow { 8 * RECONNECT_MS } else { RECONNECT_MS };
            self.reconnect(instance, max_ms);
        }
    }

    /// The collector has ended a connection.
    pub(super) fn refused(&mut self, now: Duration, id: ConnectionId) {
        self.now = now;
        if let Some(connection) = self.connections.remove(&id)
            && self.hosts[connection.instance].connection == Some(id)
        {
            self.reconnect(connection.instance, RECONNECT_MS);
        }
    }

    /// Who is about to connect, or has not been heard of in full.
    pub(super) fn is_settled(&self) -> bool {
        self.hosts
            .iter()
            .all(|it| !it.is_alive || !it.is_stalled && it.connection.is_some())
    }

    /// Something has happened in an instance.
    pub(super) fn change(&mut self, now: Duration, change: Change, is_visible: impl Fn(usize) -> bool) {
        self.now = now;
        match change {
            Change::Joined(instance) => self.join(instance, is_visible(instance)),
            Change::Started(instance, span) => {
                let due = self.hosts[instance].library.start(now, span);
                self.flush_at(instance, due);
            }
            Change::Ended(instance, span, outcome) => {
                if self.hosts[instance].library.end(now, span, outcome) {
                    self.flush_at(instance, now);
                }
            }
            Change::Stalled(instance, stall) => self.hosts[instance].is_stalled = stall == Stall::Process,
            Change::Resumed(instance) => {
                let host = &mut self.hosts[instance];
                host.is_stalled = false;
                for event in std::mem::take(&mut host.deferred) {
                    self.agenda.add(now, event);
                }
            }
            Change::Died(instance, goodbye) => self.die(instance, goodbye),
        }
    }

    /// The collector sends something.
    pub(super) fn send(&mut self, now: Duration, id: ConnectionId, message: FromCollector) {
        self.now = now;
        let delay = self.delay(false);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.last_down = connection.last_down.max(now + delay);
            self.agenda.add(connection.last_down, Event::Down(id, message));
        }
    }

    /// Lets the next thing happen. Returns what the collector hears.
    pub(super) fn step(&mut self) -> Option<Input> {
        let (at, event) = self.agenda.pop()?;
        self.now = at;
        if let Some(instance) = self.place_of(&event)
            && self.hosts[instance].is_stalled
        {
            self.hosts[instance].deferred.push(event);
            return None;
        }
        match event {
            Event::Connect(instance) => self.connect(instance),
            Event::Flush(instance) => self.flush(instance),
            Event::Follow(instance) => {
                if self.hosts[instance].is_alive {
                    let batch = self.hosts[instance].library.empty_batch();
                    self.up(instance, Up::Batch(batch));
                }
            }
            Event::Heartbeat(instance) => {
                if self.hosts[instance].is_alive {
                    self.up(instance, Up::Heartbeat);
                    self.agenda.add(self.now + HEARTBEAT, Event::Heartbeat(instance));
                }
            }
            Event::Storm => self.storm(),
            Event::Up(id, message) => return self.arrive(id, message),
            Event::Ended(connection) => {
                return self
                    .connections
                    .remove(&connection)
                    .map(|_| Input::Disconnected { connection });
            }
            Event::Down(id, message) => {
                let open = self.connections.get(&id).filter(|it| it.cut.is_none());
                if let (Some(connection), Some(message)) = (open, message.message) {
                    self.hear(connection.instance, id, message);
                }
            }
        }
        None
    }

    fn place_of(&self, event: &Event) -> Option<usize> {
        match event {
            Event::Connect(instance)
            | Event::Flush(instance)
            | Event::Follow(instance)
            | Event::Heartbeat(instance) => Some(*instance),
            Event::Down(connection, _) => self.connections.get(connection).map(|it| it.instance),
            Event::Storm | Event::Up(..) | Event::Ended(_) => None,
        }
    }

    fn delay(&mut self, is_slow: bool) -> Duration {
        // Mostly fast, so that what is slow now and then is overtaken.
        let max = if !is_slow && self.random.percent(70) {
            5
        } else {
            self.weather.delay_max_ms
        };
        self.random.ms(max)
    }

    fn join(&mut self, instance: usize, is_visible: bool) {
        let process = if is_visible {
            Process {
                host: "here".into(),
                pid: instance as u32,
                start_ticks: 1,
            }
        } else {
            Process::default()
        };
        let identity = Identity {
            key: InstanceKey {
                instance_id: format!("i-{instance}"),
                incarnation: 1,
            },
            service: "simulated".into(),
            namespace: String::new(),
            process,
            lease: None,
            cannot_be_asked: false,
        };
        self.hosts.push(Host {
            library: Library::new(self.weather.report_after, self.weather.remembered),
            identity,
            connection: None,
            is_alive: true,
            is_stalled: false,
            is_slow: self.random.percent(25),
            deferred: Vec::new(),
        });
        let at = self.now + self.random.ms(10);
        self.agenda.add(at, Event::Connect(instance));
        let beat = self.now + self.random.ms(1000);
        self.agenda.add(beat, Event::Heartbeat(instance));
    }

    /// Connections break.
    fn storm(&mut self) {
        if self.is_calm || !self.weather.breaks {
            return;
        }
        let again = self.now + self.random.ms_within(100, 2000);
        self.agenda.add(again, Event::Storm);
        let instance = self.random.below(self.hosts.len());
        let host = &self.hosts[instance];
        if host.is_alive && !host.is_stalled && self.now >= self.spared_until {
            self.cut(instance);
            self.reconnect(instance, RECONNECT_MS);
        }
    }

    fn reconnect(&mut self, instance: usize, max_ms: usize) {
        let host = &mut self.hosts[instance];
        host.connection = None;
        host.library.end_session();
        if host.is_alive {
            let at = self.now + self.random.ms(max_ms);
            self.agenda.add(at, Event::Connect(instance));
        }
    }

    /// What is under way may still arrive, up to some moment; some time later the collector notices.
    fn cut(&mut self, instance: usize) {
        let cut = self.now + self.random.ms(self.weather.delay_max_ms);
        let ended = cut + self.random.ms(1000);
        if let Some(id) = self.hosts[instance].connection
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.cut = Some(cut);
            self.agenda.add(ended, Event::Ended(id));
        }
    }

    fn die(&mut self, instance: usize, goodbye: Goodbye) {
        let host = &mut self.hosts[instance];
        host.is_alive = false;
        host.is_stalled = false;
        host.deferred.clear();
        match goodbye {
            Goodbye::Said => {
                self.up(instance, Up::Goodbye);
                if let Some(id) = self.hosts[instance].connection
                    && let Some(connection) = self.connections.get(&id)
                {
                    self.agenda.add(connection.last_up, Event::Ended(id));
                }
            }
            Goodbye::Unsaid => self.cut(instance),
        }
        self.hosts[instance].connection = None;
    }

    fn connect(&mut self, instance: usize) {
        let host = &mut self.hosts[instance];
        if !host.is_alive || host.connection.is_some() {
            return;
        }
        self.last_connection += 1;
        let id = ConnectionId(self.last_connection);
        host.connection = Some(id);
        let hello = host.identity.clone();
        self.connections.insert(
            id,
            Connection {
                instance,
                cut: None,
                last_up: self.now,
                last_down: self.now,
            },
        );
        self.up(instance, Up::Hello(hello));
        self.open_set(instance);
    }

    fn open_set(&mut self, instance: usize) {
        let mut spans = self.hosts[instance].library.open_set(self.now);
        while spans.len() > 3 && self.random.percent(50) {
            let rest = spans.split_off(spans.len() / 2);
            self.up(instance, Up::OpenSet { spans, complete: false });
            spans = rest;
        }
        self.up(instance, Up::OpenSet { spans, complete: true });
    }

    fn flush_at(&mut self, instance: usize, due: Duration) {
        let beat = FLUSH_EVERY.as_micros();
        let micros = due.as_micros().div_ceil(beat) * beat;
        let at = Duration::from_micros(micros as u64).max(self.now);
        self.agenda.add(at, Event::Flush(instance));
    }

    fn flush(&mut self, instance: usize) {
        let host = &mut self.hosts[instance];
        if !host.is_alive || host.connection.is_none() {
            return;
        }
        let Some(mut batch) = host.library.batch(self.now) else {
            return;
        };
        if self.random.percent(self.weather.repeated) {
            batch.started.extend(self.hosts[instance].library.repeated(self.now));
        }
        if self.random.percent(self.weather.lost) && !self.is_calm {
            // Nobody can notice that the last of all batches is lost, so another one follows.
            let later = self.now + self.random.ms(100);
            self.agenda.add(later, Event::Follow(instance));
            return;
        }
        if self.random.percent(self.weather.repeated / 4) {
            self.up(instance, Up::Batch(batch.clone()));
        }
        self.up(instance, Up::Batch(batch));
    }

    fn up(&mut self, instance: usize, message: Up) {
        let delay = self.delay(self.hosts[instance].is_slow);
        if let Some(id) = self.hosts[instance].connection
            && let Some(connection) = self.connections.get_mut(&id)
        {
            connection.last_up = connection.last_up.max(self.now + delay);
            self.agenda.add(connection.last_up, Event::Up(id, message));
        }
    }

    fn arrive(&mut self, connection: ConnectionId, message: Up) -> Option<Input> {
        let cut = self.connections.get(&connection)?.cut;
        if cut.is_some_and(|cut| self.now > cut) {
            return None;
        }
        Some(match message {
            Up::Hello(identity) => Input::Connected { connection, identity },
            Up::OpenSet { spans, complete } => Input::OpenSet {
                connection,
                spans,
                complete,
            },
            Up::Batch(batch) => Input::Batch { connection, batch },
            Up::Heartbeat => Input::Heartbeat {
                connection,
                heartbeat: Heartbeat::default(),
            },
            Up::ProbeAnswer(answer) => Input::ProbeAnswer { connection, answer },
            Up::Goodbye => Input::Goodbye { connection },
        })
    }

    fn hear(&mut self, instance: usize, id: ConnectionId, message: from_collector::Message) {
        if self.hosts[instance].connection != Some(id) {
            return;
        }
        match message {
            from_collector::Message::Welcome(_) => {}
            from_collector::Message::ResyncRequest(_) => self.open_set(instance),
            from_collector::Message::Probe(probe) => {
                let answer = self.hosts[instance].library.answer(self.now, &probe);
                self.flush(instance);
                self.up(instance, Up::ProbeAnswer(answer));
            }
        }
    }
}
