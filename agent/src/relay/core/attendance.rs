//! Instances come, speak and go.

use std::time::Duration;

use standoff_protocol::stream::{
    Batch, Ended, Finished, FromCollector, FromInstance, Heartbeat, Hello, OpenSet, Outcome, PROTOCOL_VERSION,
    ProbeAnswer, ResyncRequest, Sight, Started, Welcome, check_ended, check_spans, from_collector, from_instance,
};

use super::channel::{End, Noted};
use super::instances::{Full, InstanceNo, Key, Order};
use super::mirror::Taken;
use super::{ConnectionId, Core, DEPARTED_MAX, Departed, Effect, Refusal, UpstreamId, hello};

impl Core {
    pub(super) fn connected(&mut self, now: Duration, connection: ConnectionId, hello: Hello) {
        if self.is_leaving {
            return self.effects.push(Effect::Refuse(connection, Refusal::ShuttingDown));
        }
        if let Err(refusal) = hello::check(&hello) {
            return self.effects.push(Effect::Refuse(connection, refusal));
        }
        let key = Key::of(&hello);
        // What was known before its silence is too old to build on.
        if let Some(no) = self.instances.find(&key)
            && let Some(older) = self.instances.get(no).filter(|it| !it.is_present(now))
        {
            if let Some(connection) = older.connection {
                self.effects.push(Effect::Refuse(connection, Refusal::Superseded));
            }
            self.gone(now, no, End::Closed);
        }
        let limit = self.settings.limits.instances;
        let connected = self
            .instances
            .connect(now, connection, hello.clone(), self.settings.lease, limit);
        let (no, older) = match connected {
            Ok(connected) => connected,
            Err(Full) => {
                self.refused_total += 1;
                return self
                    .effects
                    .push(Effect::Refuse(connection, Refusal::TooManyInstances(limit)));
            }
        };
        if let Some(older) = older {
            self.effects.push(Effect::Refuse(older, Refusal::Superseded));
        }
        self.departed.retain(|it| Key::of(&it.hello) != key);
        self.next_house = self.next_house.min(now + self.house_every());
        self.welcome(connection);
        for upstream in &mut self.upstreams {
            if let Some(channel) = upstream.channel(no) {
                channel.forget_probes();
            }
            upstream.begin(now, no, &hello);
        }
    }

    pub(super) fn welcome(&mut self, connection: ConnectionId) {
        let heartbeat_ms = u32::try_from(self.heartbeat.as_millis()).unwrap_or(u32::MAX);
        self.send(
            connection,
            from_collector::Message::Welcome(Welcome {
                protocol_version: PROTOCOL_VERSION,
                heartbeat_ms,
            }),
        );
    }

    pub(super) fn send(&mut self, connection: ConnectionId, message: from_collector::Message) {
        self.effects
            .push(Effect::Send(connection, FromCollector { message: Some(message) }));
    }

    pub(super) fn said(&mut self, now: Duration, connection: ConnectionId, message: FromInstance) {
        let Some(no) = self.instances.of(connection) else {
            return;
        };
        self.heard(now, no);
        match message.message {
            Some(from_instance::Message::OpenSet(set)) => self.open_set(now, connection, no, set),
            Some(from_instance::Message::Batch(batch)) => self.batch(now, connection, no, batch),
            Some(from_instance::Message::Heartbeat(heartbeat)) => self.beat(no, heartbeat),
            Some(from_instance::Message::ProbeAnswer(answer)) => self.answered(no, &answer),
            Some(from_instance::Message::Goodbye(_)) => self.leaves(now, no),
            // Once is enough, and of what a later version says we know nothing.
            Some(from_instance::Message::Hello(_)) | None => {}
        }
    }

    /// Any message renews the lease.
    fn heard(&mut self, now: Duration, no: InstanceNo) {
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        instance.last_heard = now;
        for upstream in &mut self.upstreams {
            match upstream.channel(no) {
                Some(channel) => channel.hear(),
                None => upstream.begin(now, no, &instance.hello),
            }
        }
    }

    fn open_set(&mut self, now: Duration, connection: ConnectionId, no: InstanceNo, set: OpenSet) {
        if let Err(malformed) = check_spans(&set.spans) {
            return self.refuse(connection, malformed.into());
        }
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        instance.begin_part();
        self.start_all(now, no, true, set.spans);
        if !set.complete {
            return;
        }
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        let ended = instance.complete_set();
        let outcome = Outcome::Finished.into();
        let finished = ended.into_iter().map(|span_id| Finished { span_id, outcome });
        self.finish_all(now, no, finished, Vec::new());
        for upstream in &mut self.upstreams {
            if let Some(channel) = upstream.channel(no) {
                channel.complete();
            }
            upstream.wake(no);
        }
    }

    fn batch(&mut self, now: Duration, connection: ConnectionId, no: InstanceNo, batch: Batch) {
        if let Err(malformed) = check_spans(&batch.started).and_then(|()| check_ended(&batch.ended)) {
            return self.refuse(connection, malformed.into());
        }
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        let cannot_be_asked = instance.hello.cannot_be_asked;
        if instance.batch(batch.sequence) == Order::Gap {
            self.gaps_total += 1;
            if !cannot_be_asked {
                self.send(connection, from_collector::Message::ResyncRequest(ResyncRequest {}));
            }
        }
        // Who can be asked says what it has accepted when it is asked.
        let ended = if cannot_be_asked { batch.ended } else { Vec::new() };
        self.finish_all(now, no, batch.finished, ended);
        self.start_all(now, no, false, batch.started);
    }

    fn start_all(&mut self, now: Duration, no: InstanceNo, in_set: bool, spans: Vec<Started>) {
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        self.started_total += spans.len() as u64;
        let mut any = false;
        for started in spans {
            let span_id = started.span_id;
            match instance.take_in(&mut self.kept, &self.settings.limits, now, in_set, started) {
                Taken::New => {}
                // It is said again since whoever was told that the span had expired may not have believed it at once.
                Taken::Known if instance.hello.cannot_be_asked && !in_set => {}
                Taken::Known | Taken::NoRoom => continue,
            }
            any = true;
            for upstream in &mut self.upstreams {
                let only = upstream.only();
                if let Some(channel) = upstream.channel(no) {
                    channel.start(span_id, &mut instance.mirror, only);
                }
            }
        }
        if any {
            self.wake(no);
        }
    }

    /// Spans have ended that were open here, and others of which nothing else is known.
    fn finish_all(
        &mut self,
        now: Duration,
        no: InstanceNo,
        finished: impl IntoIterator<Item = Finished>,
        mut ended: Vec<Ended>,
    ) {
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        self.ended_total += ended.len() as u64;
        let mut any = false;
        let outcome = Outcome::Finished.into();
        let has_ended_after_all = ended
            .iter()
            .map(|it| it.span_id)
            .filter(|id| instance.expired.contains(id));
        let late = has_ended_after_all.map(|span_id| Finished { span_id, outcome });
        let late: Vec<Finished> = late.collect();
        for finished in finished.into_iter().chain(late) {
            self.finished_total += 1;
            let has_expired = finished.outcome() == Outcome::Expired;
            if has_expired && instance.mirror.is_member(finished.span_id) {
                // A pool must not seem smaller because nobody speaks of it.
                instance.expired.insert(finished.span_id);
                continue;
            }
            instance.expired.remove(&finished.span_id);
            let Some(gone) = instance.mirror.end(&mut self.kept, finished.span_id) else {
                continue;
            };
            any = true;
            // One that has expired may not have ended, and be heard of again.
            if instance.hello.cannot_be_asked && !has_expired {
                ended.extend(gone.ended());
            }
            for upstream in &mut self.upstreams {
                if gone.was_told(upstream.only())
                    && let Some(channel) = upstream.channel(no)
                    && channel.finish(finished) == Noted::Overflow
                {
                    upstream.counts.overflows += 1;
                }
            }
        }
        if !ended.is_empty() {
            any = true;
            let lost = instance.endings.add(&mut self.kept, &self.settings.limits, now, ended);
            for (upstream, lost) in self.upstreams.iter_mut().zip(lost) {
                upstream.counts.ended_dropped += lost;
                if let Some(channel) = upstream.channel(no) {
                    channel.endings(instance.endings.end());
                }
            }
        }
        if any {
            self.wake(no);
        }
    }

    fn wake(&mut self, no: InstanceNo) {
        for upstream in &mut self.upstreams {
            upstream.wake(no);
        }
    }

    fn beat(&mut self, no: InstanceNo, heartbeat: Heartbeat) {
        if let Some(instance) = self.instances.get_mut(no) {
            instance.beat(heartbeat);
        }
        for upstream in &mut self.upstreams {
            if let Some(channel) = upstream.channel(no) {
                channel.beat();
            }
            upstream.wake(no);
        }
    }

    fn answered(&mut self, no: InstanceNo, answer: &ProbeAnswer) {
        let lacks_links = self.instances.get(no).is_some_and(|it| it.lack.links);
        for upstream in &mut self.upstreams {
            let Some(channel) = upstream.channel(no) else {
                continue;
            };
            if lacks_links {
                // A handler may have as its parent a span that there was no room for: the answer would support a
                // suspicion that is none.
                if channel.forget_probe(answer.probe_id) {
                    upstream.counts.probes_dropped += 1;
                    return;
                }
            } else if channel.answer(answer) {
                return upstream.wake(no);
            }
        }
    }

    /// The instance says goodbye. For one that cannot be asked it is said by whoever has not heard of it for long: of
    /// what it has open nothing is known then, and what is unknown is not over.
    fn leaves(&mut self, now: Duration, no: InstanceNo) {
        let is_unknown = |it: &super::instances::Instance| it.hello.cannot_be_asked && it.mirror.len() > 0;
        let end = if self.instances.get(no).is_some_and(is_unknown) {
            End::Closed
        } else {
            End::Goodbye
        };
        self.gone(now, no, end);
    }

    /// Ends a connection. Nothing that still comes on it counts.
    fn refuse(&mut self, connection: ConnectionId, refusal: Refusal) {
        self.effects.push(Effect::Refuse(connection, refusal));
        self.disconnected(connection);
    }

    pub(super) fn disconnected(&mut self, connection: ConnectionId) {
        let Some(no) = self.instances.disconnect(connection) else {
            return;
        };
        for upstream in &mut self.upstreams {
            if let Some(channel) = upstream.channel(no) {
                channel.forget_probes();
            }
        }
        if let Some(instance) = self.instances.get(no).filter(|it| it.is_here) {
            self.effects.push(Effect::Look(no, instance.process()));
        }
    }

    pub(super) fn seen(&mut self, now: Duration, no: InstanceNo, sight: Sight) {
        let Some(instance) = self.instances.get_mut(no) else {
            return;
        };
        match sight {
            Sight::Dead if instance.connection.is_none() => self.gone(now, no, End::Died),
            Sight::Dead | Sight::Alive => {}
            // There is no point in looking again.
            Sight::Unknown => instance.is_here = false,
        }
    }

    /// The instance has said goodbye, is known to be dead, or was silent for its lease.
    pub(super) fn gone(&mut self, now: Duration, no: InstanceNo, end: End) {
        let Some(mut instance) = self.instances.remove(no) else {
            return;
        };
        instance.mirror.clear(&mut self.kept);
        self.dropped_before += instance.dropped;
        for upstream in &mut self.upstreams {
            upstream.counts.ended_dropped += instance.endings.waiting(upstream.only());
        }
        instance.endings.clear(&mut self.kept);
        for (number, upstream) in self.upstreams.iter_mut().enumerate() {
            if !upstream.end(no, end) {
                upstream.link = None;
                upstream.counts.stuck += 1;
                self.effects.push(Effect::HangUp(UpstreamId(number)));
            }
        }
        if end != End::Closed {
            if self.departed.len() >= DEPARTED_MAX {
                self.departed.pop_front();
            }
            self.departed.push_back(Departed {
                no,
                hello: instance.hello,
                end,
                at: now,
            });
        }
    }
}
