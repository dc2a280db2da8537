//! How what one says reaches another: connecting, delivering, hanging up, and noticing that somebody is gone.

use std::time::Duration;

use prost::Message as _;
use standoff_agent::sans_io::{CONNECT_WITHIN, Standing, WELCOME_WITHIN};
use standoff_protocol::stream::{FromCollector, MESSAGE_BYTES_MAX, from_instance};

use super::collector::Out;
use super::network::{Delivery, Frame, LinkId, Node, Way};
use super::{Event, Whole};

/// How long a library may take to say goodbye before its process ends.
const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);

impl Whole {
    pub(super) fn connect(&mut self, node: Node, to: usize) {
        match node {
            Node::Instance(number) => self.connect_instance(number),
            Node::Relay(number) => self.connect_relay(number, to),
            Node::Collector(_) => {}
        }
    }

    /// A new link between the two, or an attempt that fails.
    pub(super) fn reach(&mut self, node: Node, to: usize, server: Node, attempt: u64) -> Option<LinkId> {
        let is_unreachable = self.cut_off_until.get(&node).is_some_and(|until| *until > self.now);
        if is_unreachable || !self.is_up(server) {
            let after = if is_unreachable {
                CONNECT_WITHIN
            } else {
                self.random.ms(5)
            };
            self.agenda
                .add(self.now + after, Event::ConnectFails(node, to, attempt));
            return None;
        }
        Some(self.network.open(self.now, node, server))
    }

    fn connect_instance(&mut self, number: usize) {
        let node = Node::Instance(number);
        let host = &mut self.hosts[number];
        if !host.is_alive || host.link.is_some() {
            return;
        }
        let Some(hello) = host.connect(self.now) else { return };
        let attempt = host.session;
        let server = self.homes[number];
        let Some(link) = self.reach(node, 0, server, attempt) else {
            return;
        };
        self.hosts[number].link = Some(link);
        self.agenda.add(self.now + WELCOME_WITHIN, Event::AcceptBy(link));
        self.send(link, Way::Up, hello.encode_to_vec(), None);
    }

    pub(super) fn is_up(&self, node: Node) -> bool {
        match node {
            Node::Instance(number) => self.hosts[number].is_alive,
            Node::Relay(number) => self.relays[number].is_some(),
            Node::Collector(number) => self.collectors[number].is_some(),
        }
    }

    pub(super) fn connect_fails(&mut self, node: Node, to: usize, attempt: u64) {
        match node {
            Node::Instance(number) if self.hosts[number].session == attempt => self.lose(number),
            Node::Relay(number) => {
                let relay = self.relays[number].as_ref();
                if relay.is_some_and(|it| it.upstreams[to].attempt == attempt && it.upstreams[to].link.is_none()) {
                    self.lose_upstream(number, to);
                }
            }
            Node::Instance(_) | Node::Collector(_) => {}
        }
    }

    pub(super) fn accept_by(&mut self, link: LinkId) {
        let Some(Node::Instance(number)) = self.network.get(link).map(|it| it.client) else {
            return;
        };
        if self.hosts[number].link == Some(link) && !self.hosts[number].is_accepted {
            self.lose(number);
        }
    }

    pub(super) fn send(&mut self, link: LinkId, way: Way, message: Vec<u8>, batch: Option<u64>) {
        assert!(message.len() <= MESSAGE_BYTES_MAX, "messages are bounded");
        for delivery in self.network.send(self.now, link, way, message, batch) {
            self.agenda.add(delivery.at, Event::Deliver(delivery));
        }
    }

    pub(super) fn put(&mut self, link: LinkId, way: Way, frame: Frame) {
        if let Some(delivery) = self.network.put(self.now, link, way, frame) {
            self.agenda.add(delivery.at, Event::Deliver(delivery));
        }
    }

    /// A side lets go of its end of a link.
    pub(super) fn close(&mut self, link: LinkId, side: Way) {
        if let Some(delivery) = self.network.close(self.now, link, side) {
            self.agenda.add(delivery.at, Event::Deliver(delivery));
        }
    }

    pub(super) fn deliver(&mut self, delivery: Delivery) {
        let Delivery { link: id, way, .. } = delivery;
        let Some(link) = self.network.get(id) else { return };
        let (client, server, receiver, blocked_until) =
            (link.client, link.server, link.receiver(way), link.blocked_until);
        if blocked_until > self.now {
            self.agenda.add(blocked_until, Event::Deliver(delivery));
            return;
        }
        if let Some(frame) = self.network.take(id, way) {
            match (receiver, way) {
                (Node::Instance(number), _) => self.instance_hears(number, id, frame),
                (Node::Collector(number), _) => self.collector_hears(number, id, client, frame),
                (Node::Relay(number), Way::Up) => self.relay_hears(number, id, frame),
                (Node::Relay(number), Way::Down) => self.relay_hears_collector(number, id, frame),
            }
        }
        // There is room for one more.
        let sender = if way == Way::Up { client } else { server };
        if self.stalled(sender).is_none() {
            match sender {
                Node::Instance(number) => self.instance_speaks(number),
                Node::Collector(number) => self.collector_spoke(number),
                Node::Relay(number) => self.relay_spoke(number),
            }
        }
    }

    fn instance_hears(&mut self, number: usize, link: LinkId, frame: Frame) {
        let host = &mut self.hosts[number];
        if host.link != Some(link) {
            return;
        }
        match frame {
            Frame::Accepted => {
                host.accepted(self.now);
                let flush = host.flush_for(self.now, self.now);
                let flushes = host.flushes(self.now);
                self.schedule(number, flush.into_iter().chain(flushes));
            }
            Frame::Message(bytes) => {
                let message = FromCollector::decode(&*bytes).unwrap();
                self.say("hears", &(number, &message));
                let standing = self.hosts[number].hear(self.now, message);
                self.go_on(number, standing);
            }
            Frame::End => {
                host.link = None;
                self.network.abandon(link, Way::Up);
                self.lose(number);
            }
        }
    }

    pub(super) fn flush(&mut self, number: usize, session: u64) {
        let host = &mut self.hosts[number];
        if host.is_alive && host.session == session && !host.has_left {
            let standing = host.flush(self.now);
            self.go_on(number, standing);
        }
    }

    fn go_on(&mut self, number: usize, standing: Standing) {
        match standing {
            Standing::Lost => self.lose(number),
            Standing::Left => {
                self.hosts[number].has_left = true;
                self.instance_speaks(number);
            }
            Standing::GoesOn => {
                self.instance_speaks(number);
                let flushes = self.hosts[number].flushes(self.now);
                self.schedule(number, flushes);
            }
        }
    }

    /// What the library has in its queue goes on its way, as far as there is room.
    fn instance_speaks(&mut self, number: usize) {
        let Some(link) = self.hosts[number].link.filter(|_| self.hosts[number].is_accepted) else {
            return;
        };
        while self.network.has_room(link, Way::Up) {
            let Some(message) = self.hosts[number].next_outgoing() else {
                if self.hosts[number].has_left {
                    self.exit(number);
                }
                return;
            };
            let is_batch = matches!(message.message, Some(from_instance::Message::Batch(_)));
            self.say("says", &(number, link, &message));
            self.send(link, Way::Up, message.encode_to_vec(), is_batch.then_some(0));
        }
    }

    /// A library gives its connection up, or has to.
    fn lose(&mut self, number: usize) {
        if let Some(link) = self.hosts[number].link.take() {
            self.close(link, Way::Up);
        }
        let jitter = self.random.below(1000) as f64 / 1000.0;
        let again = self.hosts[number].lose(self.now, jitter);
        self.say("loses", &(number, again - self.now));
        if self.hosts[number].is_leaving {
            self.exit(number);
        } else {
            self.agenda.add(again, Event::Connect(Node::Instance(number), 0));
        }
    }

    /// The service is to end.
    pub(super) fn leave(&mut self, number: usize) {
        self.agenda.add(self.now, Event::Leave(number));
    }

    pub(super) fn leaves(&mut self, number: usize) {
        if self.foreigners.contains_key(&number) {
            return self.foreign_leaves(number);
        }
        let host = &mut self.hosts[number];
        if !host.is_alive || std::mem::replace(&mut host.is_leaving, true) {
            return;
        }
        if !host.is_accepted {
            return self.exit(number);
        }
        self.agenda.add(self.now + SHUTDOWN_WITHIN, Event::Exit(number));
        let standing = self.hosts[number].leave(self.now);
        self.go_on(number, standing);
    }

    /// The process of an instance ends, and its operating system hangs up.
    pub(super) fn exit(&mut self, number: usize) {
        if !self.ends(number) {
            return;
        }
        if let Some(link) = self.hosts[number].link.take() {
            self.close(link, Way::Up);
        }
    }

    /// The process of an instance dies.
    pub(super) fn crash(&mut self, number: usize) {
        if !self.ends(number) {
            return;
        }
        self.mishaps.counts.crashes += 1;
        let is_visible = self.hosts[number].is_visible();
        let Some(link) = self.hosts[number].link.take() else {
            return;
        };
        if is_visible && self.random.percent(50) {
            return self.close(link, Way::Up);
        }
        // A host that loses its power hangs up nothing.
        let notices = if is_visible {
            self.random.ms(1000)
        } else {
            self.random.ms_within(5000, 15_000)
        };
        if let Some(link) = self.network.get_mut(link) {
            link.cut = Some(self.now);
        }
        self.network.abandon(link, Way::Up);
        self.agenda.add(self.now + notices, Event::Notice(link, Way::Down));
    }

    fn ends(&mut self, number: usize) -> bool {
        let host = &mut self.hosts[number];
        if !std::mem::replace(&mut host.is_alive, false) {
            return false;
        }
        // A relay that is started anew knows nothing of those who were there before.
        let is_unseen = !host.is_visible() || matches!(self.homes[number], Node::Relay(_)) && self.plan.nature.restarts;
        self.mishaps.counts.lost_hosts += usize::from(is_unseen);
        self.dead.insert(number as u32);
        for relay in self.relays.iter_mut().flatten() {
            relay.dead.insert(number as u32);
        }
        let running = self.collectors.iter_mut().flatten().map(|it| it.computer_mut());
        for computer in running.chain(self.computers.values_mut()) {
            computer.dead.insert(number as u32);
        }
        true
    }

    pub(super) fn notice(&mut self, id: LinkId, side: Way) {
        let Some(link) = self.network.get(id).filter(|it| it.has(side)) else {
            return;
        };
        let node = if side == Way::Up { link.client } else { link.server };
        self.say("notices the end", &(node, id));
        match node {
            Node::Instance(number) if self.hosts[number].link == Some(id) => self.lose(number),
            Node::Instance(_) => {}
            Node::Relay(number) if side == Way::Up => {
                let relay = self.relays[number].as_ref();
                let to = relay.and_then(|it| it.upstreams.iter().position(|it| it.link == Some(id)));
                if let Some(to) = to {
                    self.lose_upstream(number, to);
                }
            }
            Node::Relay(number) => {
                if let Some(relay) = &mut self.relays[number] {
                    relay.disconnect(self.now, id);
                }
                self.network.abandon(id, Way::Down);
                self.relay_spoke(number);
            }
            Node::Collector(number) => {
                if let Some(collector) = &mut self.collectors[number] {
                    collector.disconnect(self.now, id);
                }
                self.network.abandon(id, Way::Down);
                self.collector_spoke(number);
            }
        }
    }

    fn collector_hears(&mut self, number: usize, link: LinkId, client: Node, frame: Frame) {
        let Some(collector) = &mut self.collectors[number] else {
            return;
        };
        let answer = match frame {
            Frame::Message(bytes) => {
                if matches!(client, Node::Relay(_)) {
                    collector.hear_relay(self.now, link, &bytes)
                } else {
                    collector.hear_instance(self.now, link, &bytes)
                }
            }
            Frame::End => {
                collector.disconnect(self.now, link);
                self.network.abandon(link, Way::Down);
                None
            }
            Frame::Accepted => None,
        };
        if let Some(Out::Accepted) = answer {
            self.put(link, Way::Down, Frame::Accepted);
        }
        self.collector_spoke(number);
    }

    /// What a collector has to say goes on its way, as far as there is room, and what it has published is judged.
    pub(super) fn collector_spoke(&mut self, number: usize) {
        let Some(collector) = &self.collectors[number] else {
            return;
        };
        for link in collector.links() {
            while self.network.has_room(link, Way::Down) {
                let collector = self.collectors[number].as_mut();
                match collector.and_then(|it| it.next_outgoing(link)) {
                    Some(Out::Message(bytes)) => self.send(link, Way::Down, bytes, None),
                    Some(Out::End) => {
                        if let Some(collector) = &mut self.collectors[number] {
                            collector.disconnect(self.now, link);
                        }
                        self.close(link, Way::Down);
                        break;
                    }
                    Some(Out::Accepted) | None => break,
                }
            }
        }
        self.check_what_is_published(number);
    }
}
