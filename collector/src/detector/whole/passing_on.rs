//! How relays connect, hear and speak.

use prost::Message as _;
use standoff_protocol::stream::{FromInstance, FromRelay, from_instance, from_relay};

use super::collector::Out;
use super::network::{Frame, LinkId, Node, Way};
use super::{Event, Whole};

impl Whole {
    pub(super) fn connect_relay(&mut self, number: usize, to: usize) {
        let Some(relay) = &mut self.relays[number] else { return };
        let upstream = &mut relay.upstreams[to];
        if upstream.link.is_some() {
            return;
        }
        upstream.attempt += 1;
        upstream.retry.begin(self.now);
        let attempt = upstream.attempt;
        let Some(link) = self.reach(Node::Relay(number), to, Node::Collector(to), attempt) else {
            return;
        };
        if let Some(relay) = &mut self.relays[number] {
            relay.upstreams[to].link = Some(link);
            relay.upstream_connected(self.now, to);
        }
        self.relay_spoke(number);
    }

    /// A connection of a relay to a collector has ended, or could not be made.
    pub(super) fn lose_upstream(&mut self, number: usize, to: usize) {
        let jitter = self.random.below(1000) as f64 / 1000.0;
        let Some(relay) = &mut self.relays[number] else { return };
        let upstream = &mut relay.upstreams[to];
        upstream.attempt += 1;
        let again = self.now + upstream.retry.end(self.now, jitter);
        self.agenda.add(again, Event::Connect(Node::Relay(number), to));
        if let Some(link) = upstream.link.take() {
            relay.upstream_disconnected(self.now, to);
            self.close(link, Way::Up);
            self.relay_spoke(number);
        }
    }

    pub(super) fn relay_hears(&mut self, number: usize, link: LinkId, frame: Frame) {
        let Some(relay) = &mut self.relays[number] else { return };
        match frame {
            Frame::Message(bytes) => {
                if let Some(Out::Accepted) = relay.hear_instance(self.now, link, &bytes) {
                    self.put(link, Way::Down, Frame::Accepted);
                }
            }
            Frame::End => {
                relay.disconnect(self.now, link);
                self.network.abandon(link, Way::Down);
            }
            Frame::Accepted => {}
        }
        self.relay_spoke(number);
    }

    pub(super) fn relay_hears_collector(&mut self, number: usize, link: LinkId, frame: Frame) {
        let Some(relay) = &mut self.relays[number] else { return };
        let Some(to) = relay.upstreams.iter().position(|it| it.link == Some(link)) else {
            return;
        };
        match frame {
            Frame::Message(bytes) => relay.hear_upstream(self.now, to, &bytes),
            Frame::End => self.lose_upstream(number, to),
            Frame::Accepted => {}
        }
        self.relay_spoke(number);
    }

    /// What a relay has to say goes on its way, as far as there is room.
    pub(super) fn relay_spoke(&mut self, number: usize) {
        let Some(relay) = &mut self.relays[number] else { return };
        let hung_up = std::mem::take(&mut relay.hung_up);
        for to in hung_up {
            self.say("the relay hangs up", &(number, to));
            self.lose_upstream(number, to);
        }
        let Some(relay) = &mut self.relays[number] else { return };
        let links: Vec<Option<LinkId>> = relay.upstreams.iter().map(|it| it.link).collect();
        for link in relay.links() {
            while self.network.has_room(link, Way::Down) {
                let relay = self.relays[number].as_mut();
                match relay.and_then(|it| it.next_outgoing(link)) {
                    Some(Out::Message(bytes)) => self.send(link, Way::Down, bytes, None),
                    Some(Out::End) => {
                        if let Some(relay) = &mut self.relays[number] {
                            relay.disconnect(self.now, link);
                        }
                        self.close(link, Way::Down);
                        break;
                    }
                    Some(Out::Accepted) | None => break,
                }
            }
        }
        for (to, link) in links.into_iter().enumerate() {
            let Some(link) = link else { continue };
            while self.network.has_room(link, Way::Up) {
                let relay = self.relays[number].as_mut();
                let Some(message) = relay.and_then(|it| it.next_upstream(self.now, to)) else {
                    break;
                };
                self.say("relay says", &(number, to, &message));
                let batch = is_batch(&message).then_some(message.channel);
                self.send(link, Way::Up, message.encode_to_vec(), batch);
            }
        }
    }

    /// The operating system of a relay that was killed hangs up.
    pub(super) fn hang_up_for_the_dead(&mut self, id: LinkId) {
        if let Some(link) = self.network.get_mut(id) {
            link.cut = Some(link.cut.unwrap_or(self.now));
        }
        self.network.abandon(id, Way::Up);
        let at = self.now + self.random.ms(1000);
        self.agenda.add(at, Event::Notice(id, Way::Down));
    }
}

fn is_batch(message: &FromRelay) -> bool {
    let Some(from_relay::Message::Instance(FromInstance { message: Some(message) })) = &message.message else {
        return false;
    };
    matches!(message, from_instance::Message::Batch(_))
}
