//! How what foreign services export reaches whoever receives it.

use std::time::Duration;

use standoff_agent::Outcome;
use standoff_protocol::stream::Started;

use super::foreign::Sent;
use super::network::Node;
use super::otlp::Request;
use super::{Event, Whole};

/// How long an exporter waits before it tries again. All try at the same times, so that none overtakes another.
const AGAIN_EVERY: Duration = Duration::from_millis(100);

impl Whole {
    pub(super) fn foreign_starts(&mut self, number: usize, span: Started) {
        let Some(foreign) = self.foreigners.get_mut(&number) else {
            return;
        };
        self.foreign_names.extend(span.resources.iter().cloned());
        foreign.start(self.now, span);
        self.expect_export(number);
    }

    pub(super) fn foreign_ends(&mut self, number: usize, span: u64, outcome: Outcome) {
        let Some(foreign) = self.foreigners.get_mut(&number) else {
            return;
        };
        let sent = foreign.end(self.now, span, outcome);
        self.sends(number, sent);
        self.expect_export(number);
    }

    /// Exporters export at fixed intervals. Those that have nothing to do are left out.
    fn expect_export(&mut self, number: usize) {
        let foreign = &self.foreigners[&number];
        if foreign.is_alive && foreign.is_busy() && self.exports.insert(number) {
            let every = foreign.every.as_nanos();
            let next = (self.now.as_nanos() / every + 1) * every;
            self.agenda
                .add(Duration::from_nanos(next as u64), Event::Export(number));
        }
    }

    pub(super) fn export(&mut self, number: usize) {
        self.exports.remove(&number);
        let Some(foreign) = self.foreigners.get_mut(&number).filter(|it| it.is_alive) else {
            return;
        };
        let sent = foreign.export(self.now);
        self.sends(number, sent);
        self.expect_export(number);
    }

    fn sends(&mut self, number: usize, sent: impl IntoIterator<Item = Sent>) {
        let home = self.homes[number];
        for Sent {
            request,
            after,
            again_after,
        } in sent
        {
            if let Some(again_after) = again_after {
                self.agenda
                    .add(self.now + again_after, Event::Receive(home, request.clone()));
            }
            self.agenda.add(self.now + after, Event::Receive(home, request));
        }
    }

    /// A request reaches its receiver, or is sent again as soon as there is one.
    pub(super) fn receive(&mut self, node: Node, request: Request) {
        let batch = match node {
            _ if !self.is_up(node) => {
                let every = AGAIN_EVERY.as_nanos();
                let next = (self.now.as_nanos() / every + 1) * every;
                let again = Event::Receive(node, request);
                return self.agenda.add(Duration::from_nanos(next as u64), again);
            }
            Node::Instance(_) => return,
            Node::Collector(_) | Node::Relay(_) => request.read(),
        };
        self.say("receives", &(node, &batch.finished, &batch.started));
        match node {
            Node::Collector(number) => {
                if let Some(collector) = &mut self.collectors[number] {
                    collector.receive(self.now, batch);
                }
                self.collector_spoke(number);
            }
            Node::Relay(number) => {
                if let Some(relay) = &mut self.relays[number] {
                    relay.receive(self.now, batch);
                }
                self.relay_spoke(number);
            }
            Node::Instance(_) => {}
        }
    }

    /// The process of a foreign service ends in good order, which exports what is left.
    pub(super) fn foreign_leaves(&mut self, number: usize) {
        let Some(foreign) = self.foreigners.get_mut(&number).filter(|it| it.is_alive) else {
            return;
        };
        let sent = foreign.leave(self.now);
        self.sends(number, sent);
    }

    /// The process of a foreign service dies, of which nobody hears.
    pub(super) fn foreign_dies(&mut self, number: usize) {
        if let Some(foreign) = self.foreigners.get_mut(&number).filter(|it| it.is_alive) {
            self.mishaps.counts.foreign_crashes += 1;
            foreign.crash();
        }
    }
}
