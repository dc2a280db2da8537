//! Everything between a service and an alert, under simulated time, in a world of which the truth is known.
//!
//! Each run is made from a seed: a random script, which a simulator [runs](world) that knows who is stuck; for each of its
//! servers and clients the [library](instance) that a service links; [relays](relay) on some of the hosts; one or two
//! [collectors](collector); and between them a [network] that delays, loses, repeats and breaks. All of these but the world
//! and the network are the code that ships: it does no I/O and reads no clock. [`mishaps`] says what goes wrong.
//!
//! A run goes through chaos, a calm in which whoever is stuck stays stuck, and a drain in which everybody gives up and
//! leaves. What is checked in all of it is in [`checks`].
//!
//! `WHOLE_SEEDS=10000` runs so many seeds, from `STANDOFF_SCRIPTS_FROM` on; `WHOLE_SEED=77` runs that one alone, and says
//! what happens.

mod abroad;
mod checks;
mod collector;
mod exporting;
mod foreign;
mod instance;
mod mishaps;
mod network;
mod otlp;
mod passing_on;
mod plan;
mod receiver;
mod relay;
mod routes;
mod runs;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::time::Duration;

use self::abroad::Home;
use self::collector::Collector;
use self::foreign::Foreign;
use self::instance::Host;
use self::mishaps::Mishaps;
use self::network::{Delivery, LinkId, Network, Node, Way};
use self::otlp::Request;
use self::plan::Plan;
use self::relay::Relay;
use self::world::{Change, World};
use super::chance::{Agenda, Random};
use crate::settings::Times;

const START: Duration = Duration::from_secs(1_000_000);

/// How long nothing must have happened until whatever is stuck fires: longer than a lease, and than it takes to connect
/// again and to ask everybody, several times over.
const SETTLE: Duration = Duration::from_secs(10);

/// After how long a silent instance is taken to be gone: longer than any stall and partition, and short, so that a run
/// does not have to last for ten minutes.
const FORGET_AFTER: Duration = Duration::from_secs(20);

/// How old a span gets of a foreign service that says no more of it: older than a run, and not so old that the end of a run
/// lasts for long.
const MAX_OPEN: Duration = Duration::from_secs(120);

/// How long anybody waits in the drain before he gives up.
const PATIENCE: Duration = Duration::from_millis(400);

/// No script is still running after so long.
const RUN_MAX: Duration = Duration::from_secs(3600);

/// What is to happen at some time.
#[derive(Clone, Debug)]
enum Event {
    /// A client connects to the server that has this number among those it connects to.
    Connect(Node, usize),
    /// It hears that it cannot, in this attempt.
    ConnectFails(Node, usize, u64),
    /// The server should have accepted the stream by now.
    AcceptBy(LinkId),
    Deliver(Delivery),
    /// A side notices that its link is cut.
    Notice(LinkId, Way),
    Flush(usize, u64),
    /// A service is to end.
    Leave(usize),
    /// The process of an instance ends.
    Exit(usize),
    /// A process that was killed is started again.
    Restart(Node),
    /// A foreign service exports what it has to say.
    Export(usize),
    /// What it has exported reaches whoever receives it.
    Receive(Node, Request),
    Mishap,
}

struct Whole {
    seed: u64,
    plan: Plan,
    now: Duration,
    random: Random,
    agenda: Agenda<Event>,
    world: World,
    network: Network,
    hosts: Vec<Host>,
    /// The services that speak OTLP, and have no library, by their numbers.
    foreigners: BTreeMap<usize, Foreign>,
    /// Those whose next export is on the agenda.
    exports: BTreeSet<usize>,
    /// What their spans have named.
    foreign_names: BTreeSet<String>,
    /// The numbers by which receivers tell their sources from those of others.
    sources: Random,
    /// To whom each instance connects.
    homes: Vec<Node>,
    /// `None` while it is down.
    collectors: Vec<Option<Collector>>,
    /// Their computers, while they are down.
    computers: BTreeMap<usize, collector::Computer>,
    /// `None` while it is down.
    relays: Vec<Option<Relay>>,
    /// Processes that are no more.
    dead: BTreeSet<u32>,
    stalled_until: BTreeMap<Node, Duration>,
    cut_off_until: BTreeMap<Node, Duration>,
    mishaps: Mishaps,
    /// Alerts, with the collectors that told of them.
    fired: BTreeSet<(usize, String)>,
    /// Those of them that rest on somebody who could not be asked.
    settled: BTreeSet<(usize, String)>,
    /// How often something was told of a foreign service that had died.
    false_since_dead: usize,
    /// What was told and was not so, since foreign services were heard of too late.
    false_since_late: BTreeSet<(usize, String)>,
    talks: bool,
    transcript: Option<Vec<String>>,
}

/// Says which seed it was, should a run panic.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("WHOLE_SEED={}", self.0);
        }
    }
}

impl Whole {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(seed, &mut random);
        Self::of(seed, plan, random)
    }

    /// The same with foreign services, who are heard of within so long.
    fn abroad(seed: u64, within: Duration) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw_abroad(seed, &mut random, within);
        Self::of(seed, plan, random)
    }

    fn of(seed: u64, plan: Plan, mut random: Random) -> Self {
        // Foreign services are heard of late, also when they come, and nobody waits for those whom he has never heard of.
        let from = START + plan.abroad.as_ref().map_or(Duration::ZERO, |it| it.exporting.within);
        let world = World::new(&plan.script, plan.settings.clone(), from, plan.style, random.fork());
        let mut whole = Self {
            seed,
            now: START,
            agenda: Agenda::default(),
            network: Network::new(plan.weather, random.fork()),
            world,
            hosts: Vec::new(),
            foreigners: BTreeMap::new(),
            exports: BTreeSet::new(),
            foreign_names: BTreeSet::new(),
            sources: Random::new(!seed),
            homes: Vec::new(),
            collectors: Vec::new(),
            computers: BTreeMap::new(),
            relays: Vec::new(),
            dead: BTreeSet::new(),
            stalled_until: BTreeMap::new(),
            cut_off_until: BTreeMap::new(),
            mishaps: Mishaps::new(plan.nature, random.fork()),
            fired: BTreeSet::new(),
            settled: BTreeSet::new(),
            false_since_dead: 0,
            false_since_late: BTreeSet::new(),
            talks: std::env::var("WHOLE_SEED").is_ok(),
            transcript: None,
            random,
            plan,
        };
        let plan = whole.plan.clone();
        whole.say("begins", &(plan.script.to_string(), plan));
        for number in 0..whole.plan.collectors {
            whole.collectors.push(None);
            whole.start_collector(number, Collector::computer("h0"));
            whole.say("collector", &number);
        }
        for number in 0..whole.plan.relays {
            whole.relays.push(None);
            whole.start_relay(number);
        }
        for (number, name) in whole.world.instances().into_iter().enumerate() {
            whole.join(number, &name);
        }
        let first = START + whole.random.ms(1500);
        whole.agenda.add(first, Event::Mishap);
        whole
    }

    fn join(&mut self, number: usize, name: &str) {
        let relays = self.plan.relays;
        let dialect = self
            .plan
            .abroad
            .as_mut()
            .and_then(|it| it.dialect(name, number, &mut self.random));
        let is_direct = relays == 0 || self.plan.collectors == 1 && self.random.percent(40);
        let (home, host) = if let Some((abroad, dialect)) = self.plan.abroad.as_ref().zip(dialect) {
            let foreign = Foreign::new(number, name, dialect, abroad.exporting, self.random.fork());
            self.foreigners.insert(number, foreign);
            let home = match abroad.home {
                Home::Collector => Node::Collector(0),
                Home::Relay => Node::Relay(self.random.below(relays)),
            };
            (home, String::new())
        } else if is_direct {
            (Node::Collector(0), "h0".to_owned())
        } else {
            let relay = self.random.below(relays);
            (Node::Relay(relay), Relay::host(relay))
        };
        // Only who is on its host sees a process die.
        let host = if self.random.percent(80) { &host } else { "" };
        let host = Host::new(self.now, number, name, host, self.plan.times);
        self.hosts.push(host);
        self.homes.push(home);
        let members = self.world.members(self.now, number);
        self.tell(members);
        if self.foreigners.contains_key(&number) {
            return;
        }
        let at = self.now + self.random.ms(200);
        self.agenda.add(at, Event::Connect(Node::Instance(number), 0));
    }

    fn run(mut self) -> Self {
        let _seed = Seed(self.seed);
        self.run_until(START + self.plan.chaos);
        self.calm();
        while !self.world.is_at_rest() {
            let next = self.now + Duration::from_secs(1);
            self.run_until(next);
            assert!(self.now < START + RUN_MAX, "the script does not come to rest");
        }
        self.settle();
        if self.is_in_time() {
            self.check_that_all_is_known();
        }
        let changes = self.world.give_up_after(self.now, PATIENCE);
        self.tell(changes);
        while !self.world.is_over() {
            let next = self.now + Duration::from_secs(1);
            self.run_until(next);
            assert!(self.now < START + RUN_MAX, "the world does not come to an end");
        }
        self.settle();
        // Of what was open in a foreign service that has died, or before its receiver did, nobody knows that it is not.
        if !self.is_all_told() {
            self.run_until(self.now + MAX_OPEN);
        }
        self.check_that_nothing_is_left();
        self.say("leave", &());
        for number in 0..self.hosts.len() {
            self.leave(number);
        }
        self.settle();
        if !self.foreigners.is_empty() {
            self.run_until(self.now + FORGET_AFTER);
        }
        self.check_that_nobody_is_left();
        self
    }

    /// Lets everybody hear of everything.
    fn settle(&mut self) {
        let quiet = self.now.max(self.undisturbed_at());
        self.run_until(quiet + SETTLE);
        // Of whoever has ended where nobody saw it, nobody knows that before he is taken to be gone.
        if self.mishaps.counts.lost_hosts > 0 {
            self.run_until(quiet + SETTLE + FORGET_AFTER);
        }
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            let world = self.world.next_at().unwrap_or(Duration::MAX);
            let agenda = self.agenda.next_at().unwrap_or(Duration::MAX);
            let (wake, node) = self.next_wake();
            let next = world.min(agenda).min(wake);
            if next > end {
                self.now = end;
                return;
            }
            assert!(next >= self.now, "time goes backwards");
            self.now = next;
            if next == world {
                let changes = self.world.step(self.now);
                self.tell(changes);
            } else if next == agenda {
                if let Some((_, event)) = self.agenda.pop() {
                    self.happen(event);
                }
            } else if let Some(node) = node {
                self.wake(node);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        if let Some(node) = self.place_of(&event)
            && let Some(until) = self.stalled(node)
        {
            self.agenda.add(until, event);
            return;
        }
        match event {
            Event::Connect(node, to) => self.connect(node, to),
            Event::ConnectFails(node, to, attempt) => self.connect_fails(node, to, attempt),
            Event::AcceptBy(link) => self.accept_by(link),
            Event::Deliver(delivery) => self.deliver(delivery),
            Event::Notice(link, side) => self.notice(link, side),
            Event::Flush(number, session) => self.flush(number, session),
            Event::Leave(number) => self.leaves(number),
            Event::Exit(number) => self.exit(number),
            Event::Restart(node) => self.restart(node),
            Event::Export(number) => self.export(number),
            Event::Receive(node, request) => self.receive(node, request),
            Event::Mishap => self.mishap(),
        }
    }

    /// Where something is to happen, if it does not happen while that stands still.
    fn place_of(&self, event: &Event) -> Option<Node> {
        match event {
            Event::Connect(node, _) | Event::ConnectFails(node, ..) => Some(*node),
            Event::AcceptBy(link) => self.network.get(*link).map(|it| it.client),
            Event::Deliver(delivery) => self.network.get(delivery.link).map(|it| it.receiver(delivery.way)),
            Event::Notice(link, side) => self.network.get(*link).map(|it| it.receiver(side.back())),
            Event::Flush(number, _) | Event::Leave(number) => Some(Node::Instance(*number)),
            Event::Receive(node, _) => Some(*node),
            Event::Exit(_) | Event::Restart(_) | Event::Export(_) | Event::Mishap => None,
        }
    }

    /// Until when a process stands still, if it does.
    fn stalled(&self, node: Node) -> Option<Duration> {
        self.stalled_until.get(&node).copied().filter(|until| *until > self.now)
    }

    /// When a collector or relay is to be stepped next, and which.
    fn next_wake(&self) -> (Duration, Option<Node>) {
        let collectors = self.collectors.iter().enumerate().filter_map(|(number, it)| {
            let node = Node::Collector(number);
            let wake = it.as_ref()?.wake_at(self.now).max(self.now + Duration::from_nanos(1));
            Some((wake.max(self.stalled(node).unwrap_or(wake)), Some(node)))
        });
        let relays = self.relays.iter().enumerate().filter_map(|(number, it)| {
            let node = Node::Relay(number);
            let wake = it.as_ref()?.wake_at().max(self.now + Duration::from_nanos(1));
            Some((wake.max(self.stalled(node).unwrap_or(wake)), Some(node)))
        });
        let first = collectors.chain(relays).min_by_key(|(at, _)| *at);
        first.unwrap_or((Duration::MAX, None))
    }

    fn wake(&mut self, node: Node) {
        match node {
            Node::Collector(number) => {
                if let Some(collector) = &mut self.collectors[number] {
                    collector.tick(self.now);
                }
                self.collector_spoke(number);
            }
            Node::Relay(number) => {
                if let Some(relay) = &mut self.relays[number] {
                    relay.tick(self.now);
                }
                self.relay_spoke(number);
            }
            Node::Instance(_) => {}
        }
    }

    fn tell(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.say("world", &change);
            match change {
                Change::Started(number, span) if self.foreigners.contains_key(&number) => {
                    self.foreign_starts(number, span);
                }
                Change::Ended(number, span, outcome) if self.foreigners.contains_key(&number) => {
                    self.foreign_ends(number, span, outcome);
                }
                Change::Died(number) if self.foreigners.contains_key(&number) => self.foreign_dies(number),
                Change::Started(number, span) => {
                    let host = &mut self.hosts[number];
                    host.start(self.now, span);
                    let flushes = host.flushes_for_start(self.now);
                    self.schedule(number, flushes);
                }
                Change::Ended(number, span, outcome) => {
                    let host = &mut self.hosts[number];
                    host.end(self.now, span, outcome);
                    let flush = host.flush_for(self.now, self.now);
                    self.schedule(number, flush);
                }
                Change::Died(number) => self.crash(number),
                Change::Idle(number) => {
                    if self.plan.nature.leaves {
                        self.leave(number);
                    }
                }
            }
        }
    }

    fn schedule(&mut self, number: usize, flushes: impl IntoIterator<Item = Duration>) {
        let session = self.hosts[number].session;
        for at in flushes {
            self.agenda.add(at, Event::Flush(number, session));
        }
    }

    fn say(&mut self, what: &str, about: &dyn Debug) {
        if self.talks {
            println!("{:>12?} {what}: {about:?}", self.now - START);
        }
        if let Some(transcript) = &mut self.transcript {
            transcript.push(format!("{:?} {what}: {about:?}", self.now - START));
        }
    }
}

fn times() -> Times {
    Times {
        forget_after: FORGET_AFTER,
        max_open: MAX_OPEN,
        ..Times::default()
    }
}
