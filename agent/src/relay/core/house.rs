//! Upstreams come, speak and go; and what happens because time passes.

use std::time::Duration;

use standoff_protocol::stream::{FromCollector, Probe, ResyncRequest, ToRelay, from_collector, to_relay};

use super::channel::End;
use super::instances::{Instance, InstanceNo};
use super::{
    ASK_AGAIN_EVERY, ConnectionId, Core, DEPARTED_FOR, Effect, HEARTBEAT_MIN, IDLE, LOOK_EVERY, STUCK_AFTER,
    UpstreamId, WELCOME_WITHIN,
};

impl Core {
    pub(super) fn upstream_connected(&mut self, now: Duration, id: UpstreamId) {
        if self.is_leaving {
            return;
        }
        let Some(upstream) = self.upstreams.get_mut(id.0) else {
            return;
        };
        upstream.connect(now);
        if let Some(link) = &mut upstream.link {
            for departed in &self.departed {
                link.tell_departed(now, departed.no, &departed.hello, departed.end);
            }
        }
        self.next_house = self.next_house.min(now + self.house_every());
        let Some(upstream) = self.upstreams.get_mut(id.0) else {
            return;
        };
        // Of one that is silent there is no news: to speak of it would be to say that it lives.
        for (no, instance) in self.instances.iter().filter(|(_, it)| it.is_present(now)) {
            upstream.begin(now, no, &instance.hello);
        }
    }

    pub(super) fn upstream_disconnected(&mut self, id: UpstreamId) {
        if let Some(upstream) = self.upstreams.get_mut(id.0) {
            upstream.link = None;
        }
        self.settle_heartbeat();
    }

    pub(super) fn upstream_said(&mut self, now: Duration, id: UpstreamId, message: ToRelay) {
        let Some(upstream) = self.upstreams.get_mut(id.0) else {
            return;
        };
        let Some(link) = &mut upstream.link else { return };
        match message.message {
            Some(to_relay::Message::Welcome(welcome)) => {
                link.is_welcome = true;
                self.wants_heartbeat(id, welcome.heartbeat_ms);
            }
            Some(to_relay::Message::Collector(FromCollector { message: Some(said) })) => match said {
                from_collector::Message::Welcome(welcome) => self.wants_heartbeat(id, welcome.heartbeat_ms),
                from_collector::Message::ResyncRequest(_) => {
                    if let Some(channel) = link.by_number(message.channel) {
                        channel.repeat();
                        link.wake(message.channel);
                        upstream.counts.resyncs += 1;
                    }
                }
                from_collector::Message::Probe(probe) => self.probe(id, message.channel, probe),
            },
            Some(to_relay::Message::Refused(_)) => {
                upstream.refuse(now, message.channel);
            }
            // Of what a later version says we know nothing.
            Some(to_relay::Message::Collector(FromCollector { message: None })) | None => {}
        }
    }

    fn wants_heartbeat(&mut self, id: UpstreamId, heartbeat_ms: u32) {
        if heartbeat_ms == 0 {
            return;
        }
        let wanted = Duration::from_millis(heartbeat_ms.into()).max(HEARTBEAT_MIN);
        if let Some(link) = self.upstreams.get_mut(id.0).and_then(|it| it.link.as_mut()) {
            link.heartbeat = Some(link.heartbeat.map_or(wanted, |before| before.min(wanted)));
        }
        self.settle_heartbeat();
    }

    /// Instances are asked for the most frequent heartbeat that any upstream wants.
    fn settle_heartbeat(&mut self) {
        let links = self.upstreams.iter().filter_map(|it| it.link.as_ref());
        let wanted = links.filter_map(|link| link.heartbeat).min();
        let own = self.settings.heartbeat.max(HEARTBEAT_MIN);
        let heartbeat = wanted.map_or(own, |wanted| wanted.min(own));
        let before = std::mem::replace(&mut self.heartbeat, heartbeat);
        if heartbeat < before {
            let connected: Vec<ConnectionId> = self.instances.iter().filter_map(|(_, it)| it.connection).collect();
            for connection in connected {
                self.welcome(connection);
            }
        }
    }

    /// Passes a probe on. Without an answer the collector asks again.
    fn probe(&mut self, id: UpstreamId, number: u64, probe: Probe) {
        let Some(upstream) = self.upstreams.get_mut(id.0) else {
            return;
        };
        self.last_probe += 1;
        let channel = upstream.link.as_mut().and_then(|link| link.by_number(number));
        let Some(channel) = channel.filter(|it| !it.has_ended()) else {
            return;
        };
        let instance = self.instances.get(channel.instance);
        let asked = instance.filter(|it| !it.hello.cannot_be_asked);
        let connection = asked.and_then(|it| it.connection);
        if let Some(connection) = connection
            && channel.probe(self.last_probe, probe.probe_id)
        {
            upstream.counts.probes += 1;
            let probe = Probe {
                probe_id: self.last_probe,
                ..probe
            };
            self.send(connection, from_collector::Message::Probe(probe));
        } else {
            upstream.counts.probes_dropped += 1;
        }
    }

    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
        for link in self.upstreams.iter_mut().filter_map(|it| it.link.as_mut()) {
            link.leave();
        }
        let connected: Vec<ConnectionId> = self.instances.iter().filter_map(|(_, it)| it.connection).collect();
        for connection in connected {
            self.effects
                .push(Effect::Refuse(connection, super::Refusal::ShuttingDown));
            self.instances.disconnect(connection);
        }
    }

    /// The relay itself did not run: nobody's silence is longer for that.
    pub(super) fn excuse(&mut self, gap: Duration) {
        self.instances.excuse(gap);
        for link in self.upstreams.iter_mut().filter_map(|it| it.link.as_mut()) {
            link.excuse(gap);
        }
    }

    /// Everything that happens because time passes.
    pub(super) fn keep_house(&mut self, now: Duration) {
        let mut over: Vec<InstanceNo> = Vec::new();
        let mut asked: Vec<(InstanceNo, ConnectionId)> = Vec::new();
        for (no, instance) in self.instances.iter() {
            match instance.connection {
                None if !instance.is_present(now) => over.push(no),
                None if instance.is_here => self.effects.push(Effect::Look(no, instance.process())),
                Some(connection) if self.has_room_again(now, instance) => asked.push((no, connection)),
                Some(_) | None => {}
            }
        }
        for no in over {
            self.gone(now, no, End::Closed);
        }
        for (no, connection) in asked {
            if let Some(instance) = self.instances.get_mut(no) {
                instance.asked_at = Some(now);
            }
            self.send(connection, from_collector::Message::ResyncRequest(ResyncRequest {}));
        }
        while self.departed.front().is_some_and(|it| now >= it.at + DEPARTED_FOR) {
            self.departed.pop_front();
        }
        self.instances.forget(&mut self.kept, now);
        self.keep_upstreams(now);
        let anybody = self.instances.len() > 0 || self.upstreams.iter().any(|it| it.link.is_some());
        self.next_house = now + if anybody { self.house_every() } else { IDLE };
    }

    /// How often house is kept while anybody is there.
    pub(super) fn house_every(&self) -> Duration {
        LOOK_EVERY.min(self.heartbeat / 2)
    }

    fn keep_upstreams(&mut self, now: Duration) {
        let mut any_lost = false;
        for (number, upstream) in self.upstreams.iter_mut().enumerate() {
            let Some(link) = &mut upstream.link else { continue };
            link.keep_alive(now, self.settings.heartbeat.max(HEARTBEAT_MIN));
            let is_unwelcome = !link.is_welcome && now >= link.connected_at + WELCOME_WITHIN;
            if is_unwelcome || link.is_stuck(now, STUCK_AFTER) {
                upstream.link = None;
                upstream.counts.stuck += 1;
                self.effects.push(Effect::HangUp(UpstreamId(number)));
                any_lost = true;
            }
        }
        if any_lost {
            self.settle_heartbeat();
        }
    }

    /// Whether something of the instance was dropped for which there may be room now.
    fn has_room_again(&self, now: Duration, instance: &Instance) -> bool {
        let limits = &self.settings.limits;
        let most = |limit: usize| limit - limit / 8;
        instance.lack.anything
            && !instance.hello.cannot_be_asked
            && instance.is_whole()
            && instance.asked_at.is_none_or(|at| now >= at + ASK_AGAIN_EVERY)
            && instance.mirror.len() < most(limits.spans_per_instance)
            && self.kept.spans < most(limits.spans)
            && self.kept.bytes < most(limits.bytes)
    }
}
