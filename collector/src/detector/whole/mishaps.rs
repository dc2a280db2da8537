//! What goes wrong: connections that break, partitions, processes that stand still, and those that are killed.

use std::time::Duration;

use super::collector::{Collector, Computer};
use super::network::{LinkId, Node, Way};
use super::relay::Relay;
use super::{Event, Whole, times};
use crate::detector::chance::Random;

/// How long HTTP/2 takes at least to notice that the other side does not answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Partitions and stalls that have begun last no longer than this once it is calm.
const CALM_WITHIN: Duration = Duration::from_secs(2);

/// The longest delay of a message once it is calm, in milliseconds.
const CALM_DELAY_MS: usize = 30;

/// What may go wrong in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nature {
    pub(super) breaks: bool,
    pub(super) partitions: bool,
    /// The thread of a library does not run.
    pub(super) starves: bool,
    /// A process of a service does not run, or nothing of it but the library's thread.
    pub(super) stalls: bool,
    /// A relay or collector does not run.
    pub(super) halts: bool,
    /// Relays and collectors are killed, and started again.
    pub(super) restarts: bool,
    /// Collectors keep over a restart whom they know.
    pub(super) remembers: bool,
    /// Clients end when they are done.
    pub(super) leaves: bool,
    /// Requests that were lost are delivered again.
    pub(super) delivers_again: bool,
}

impl Nature {
    pub(super) fn draw(random: &mut Random) -> Self {
        Self {
            breaks: random.percent(60),
            partitions: random.percent(35),
            starves: random.percent(40),
            stalls: random.percent(40),
            halts: random.percent(40),
            restarts: random.percent(45),
            remembers: random.percent(70),
            leaves: random.percent(50),
            delivers_again: random.percent(30),
        }
    }
}

/// How often it happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) breaks: usize,
    pub(super) partitions: usize,
    /// Threads of libraries alone.
    pub(super) starved: usize,
    /// All threads but those of libraries.
    pub(super) stuck: usize,
    pub(super) stalls: usize,
    pub(super) collector_halts: usize,
    pub(super) relay_halts: usize,
    pub(super) collector_restarts: usize,
    pub(super) relay_restarts: usize,
    pub(super) crashes: usize,
    /// Processes that ended where nobody could see it.
    pub(super) lost_hosts: usize,
    pub(super) foreign_crashes: usize,
}

impl Counts {
    pub(super) fn add(&mut self, other: &Self) {
        self.breaks += other.breaks;
        self.partitions += other.partitions;
        self.starved += other.starved;
        self.stuck += other.stuck;
        self.stalls += other.stalls;
        self.collector_halts += other.collector_halts;
        self.relay_halts += other.relay_halts;
        self.collector_restarts += other.collector_restarts;
        self.relay_restarts += other.relay_restarts;
        self.crashes += other.crashes;
        self.lost_hosts += other.lost_hosts;
        self.foreign_crashes += other.foreign_crashes;
    }
}

#[derive(Debug)]
pub(super) struct Mishaps {
    nature: Nature,
    random: Random,
    is_calm: bool,
    /// Until when something that was killed is down.
    down_until: Duration,
    pub(super) counts: Counts,
}

impl Mishaps {
    pub(super) fn new(nature: Nature, random: Random) -> Self {
        Self {
            nature,
            random,
            is_calm: false,
            down_until: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    /// Mostly short, now and then longer than a lease.
    fn while_ms(&mut self, long_ms: usize) -> Duration {
        if self.random.percent(65) {
            self.random.ms_within(10, 800)
        } else {
            self.random.ms_within(800, long_ms)
        }
    }
}

impl Whole {
    pub(super) fn mishap(&mut self) {
        if self.mishaps.is_calm {
            return;
        }
        let next = self.now + self.mishaps.random.ms_within(20, 1200);
        self.agenda.add(next, Event::Mishap);
        let Nature {
            breaks,
            partitions,
            starves,
            stalls,
            halts,
            restarts,
            delivers_again,
            ..
        } = self.mishaps.nature;
        let instance = self.mishaps.random.below(self.hosts.len());
        match self.mishaps.random.below(14) {
            0..=2 if breaks => self.break_a_link(),
            3 | 4 if partitions => {
                let node = self.a_client(instance);
                let until = self.now + self.mishaps.while_ms(13_000);
                self.mishaps.counts.partitions += 1;
                self.cut_off(node, until);
            }
            5 if starves => {
                let until = self.now + self.mishaps.while_ms(6000);
                self.mishaps.counts.starved += 1;
                self.stall(Node::Instance(instance), until);
            }
            6 | 7 | 12 | 13 if stalls => {
                let until = self.now + self.mishaps.while_ms(6000);
                let changes = self.world.stand_still(self.now, instance, until);
                self.tell(changes);
                if self.mishaps.random.percent(50) {
                    self.mishaps.counts.stalls += 1;
                    self.stall(Node::Instance(instance), until);
                } else {
                    self.mishaps.counts.stuck += 1;
                }
            }
            8 | 9 if halts => {
                let until = self.now + self.mishaps.while_ms(6000);
                let node = self.a_server();
                match node {
                    Node::Relay(_) => self.mishaps.counts.relay_halts += 1,
                    Node::Collector(_) | Node::Instance(_) => self.mishaps.counts.collector_halts += 1,
                }
                self.stall(node, until);
            }
            10 if restarts => {
                let node = self.a_server();
                self.kill(node);
            }
            11 if delivers_again => {
                let changes = self.world.answer_lost(self.now);
                self.tell(changes);
            }
            _ => {}
        }
    }

    /// An instance, or a relay.
    fn a_client(&mut self, instance: usize) -> Node {
        let relays = self.relays.len();
        if relays > 0 && self.mishaps.random.percent(30) {
            Node::Relay(self.mishaps.random.below(relays))
        } else {
            Node::Instance(instance)
        }
    }

    /// A collector, or a relay.
    fn a_server(&mut self) -> Node {
        let relays = self.relays.len();
        let number = self.mishaps.random.below(relays + self.collectors.len());
        if number < relays {
            Node::Relay(number)
        } else {
            Node::Collector(number - relays)
        }
    }

    fn break_a_link(&mut self) {
        let links = self
            .network
            .ids(|link| link.cut.is_none() && link.has_client && link.has_server);
        if let Some(link) = self.mishaps.random.pick(&links) {
            self.mishaps.counts.breaks += 1;
            self.cut(link);
        }
    }

    /// What is under way is lost. Some time later both sides notice.
    fn cut(&mut self, id: LinkId) {
        self.say("cut", &id);
        if let Some(link) = self.network.get_mut(id) {
            link.cut = Some(self.now);
        }
        for side in [Way::Up, Way::Down] {
            let at = self.now + self.mishaps.random.ms(1000);
            self.agenda.add(at, Event::Notice(id, side));
        }
    }

    /// Nothing gets through to or from what this client connects to.
    fn cut_off(&mut self, node: Node, until: Duration) {
        self.say("cut off", &(node, until - self.now));
        let until = until.max(self.cut_off_until.get(&node).copied().unwrap_or_default());
        self.cut_off_until.insert(node, until);
        for id in self.network.ids(|link| link.client == node) {
            if let Some(link) = self.network.get_mut(id) {
                link.blocked_until = until;
            }
            if until >= self.now + KEEP_ALIVE {
                self.agenda.add(self.now + KEEP_ALIVE, Event::Notice(id, Way::Up));
            }
        }
    }

    fn stall(&mut self, node: Node, until: Duration) {
        self.say("stands still", &(node, until - self.now));
        let until = until.max(self.stalled_until.get(&node).copied().unwrap_or_default());
        self.stalled_until.insert(node, until);
        if let Node::Instance(number) = node {
            let host = &mut self.hosts[number];
            host.resume(until);
            let flush = host.flush_for(until, until);
            self.schedule(number, flush);
        }
    }

    fn kill(&mut self, node: Node) {
        self.say("is killed", &node);
        match node {
            Node::Collector(number) => {
                let Some(collector) = self.collectors[number].take() else {
                    return;
                };
                self.mishaps.counts.collector_restarts += 1;
                let mut computer = collector.kill();
                if !self.mishaps.nature.remembers {
                    computer.known.clear();
                }
                self.computers.insert(number, computer);
            }
            Node::Relay(number) => {
                if self.relays[number].take().is_none() {
                    return;
                }
                self.mishaps.counts.relay_restarts += 1;
                for id in self.network.ids(|link| link.client == node) {
                    self.hang_up_for_the_dead(id);
                }
            }
            Node::Instance(_) => return,
        }
        self.stalled_until.remove(&node);
        for id in self.network.ids(|link| link.server == node) {
            if let Some(link) = self.network.get_mut(id) {
                link.cut = Some(link.cut.unwrap_or(self.now));
            }
            self.network.abandon(id, Way::Down);
            let at = self.now + self.mishaps.random.ms(300);
            self.agenda.add(at, Event::Notice(id, Way::Up));
        }
        let again = self.now + self.mishaps.while_ms(4000);
        self.mishaps.down_until = self.mishaps.down_until.max(again);
        self.agenda.add(again, Event::Restart(node));
    }

    pub(super) fn restart(&mut self, node: Node) {
        self.say("is started again", &node);
        match node {
            Node::Collector(number) => {
                if let Some(computer) = self.computers.remove(&number) {
                    self.start_collector(number, computer);
                }
            }
            Node::Relay(number) => self.start_relay(number),
            Node::Instance(_) => {}
        }
    }

    pub(super) fn start_collector(&mut self, number: usize, computer: Computer) {
        let seed = self.sources.next();
        self.collectors[number] = Some(Collector::start(self.now, times(), computer, seed));
    }

    pub(super) fn start_relay(&mut self, number: usize) {
        let upstreams = self.collectors.len();
        let seed = self.sources.next();
        let relay = Relay::start(self.now, number, upstreams, self.dead.clone(), times(), seed);
        self.relays[number] = Some(relay);
        for upstream in 0..upstreams {
            let at = self.now + self.random.ms(20);
            self.agenda.add(at, Event::Connect(Node::Relay(number), upstream));
        }
    }

    /// Nothing goes wrong from now on.
    pub(super) fn calm(&mut self) {
        self.say("calm", &());
        self.mishaps.is_calm = true;
        let weather = &mut self.network.weather;
        weather.delay_max_ms = weather.delay_max_ms.min(CALM_DELAY_MS);
        (weather.lost, weather.repeated) = (0, 0);
        let by = self.now + CALM_WITHIN;
        for until in self.cut_off_until.values_mut() {
            *until = (*until).min(by);
        }
        for id in self.network.ids(|_| true) {
            let Some(link) = self.network.get_mut(id) else { continue };
            link.blocked_until = link.blocked_until.min(by);
            // Nobody can notice that the last of all batches was lost; but a middle that loses some does not last.
            if !link.lost_unnoticed.is_empty() && link.cut.is_none() {
                self.cut(id);
            }
        }
    }

    /// From when on everything runs and reaches everything, once it is calm.
    pub(super) fn undisturbed_at(&self) -> Duration {
        let until = self.stalled_until.values().chain(self.cut_off_until.values());
        until.copied().fold(self.mishaps.down_until, Duration::max)
    }
}
