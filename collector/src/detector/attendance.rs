//! Instances come, speak and go. What it means for deadlocks is not judged here.

use std::time::Duration;

use standoff_protocol::api::{LossCause, Resolution};
use standoff_protocol::stream::{
    Batch, FromCollector, Heartbeat, PROTOCOL_VERSION, ProbeAnswer, Process, ResyncRequest, Sight, Started, Welcome,
    check_ended, from_collector,
};
use standoff_wait_graph::{Event, InstanceId, Span, SpanId};

use super::judgement::resolution;
use super::{Detector, Effect, GAPS_PER_SETTLE, HOUSEKEEPING_EVERY, LOOK_EVERY, Published, Refusal};
use crate::confirm::Verdict;
use crate::decode;
use crate::describe;
use crate::instances::{ConnectionId, Full, Identity, Order, Presence, TooLarge};
use crate::known::{self, InstanceKey};

impl Detector {
    pub(super) fn connected(&mut self, now: Duration, connection: ConnectionId, identity: Identity) {
        tracing::debug!(
            instance = identity.key.instance_id,
            service = identity.service,
            namespace = identity.namespace,
            cannot_be_asked = identity.cannot_be_asked,
            "instance connects"
        );
        let service = identity.service.as_str().into();
        let key = identity.key.clone();
        // Of whom nobody can ask it is not known after a restart what he has open, and so there is nothing to wait for.
        let joined =
            (!identity.cannot_be_asked).then(|| known::Change::Joined(identity.key.clone(), identity.process.clone()));
        let older = self.instances.connection_of(&identity.key);
        let Ok(id) = self
            .instances
            .connect(now, connection, identity, self.times.lease)
            .map_err(|Full| {
                self.losses.add(LossCause::Instances, 1);
                self.effects.push(Effect::Refuse(connection, Refusal::TooManyInstances));
            })
        else {
            return;
        };
        // Hellos of different connections may overtake each other, so the one that is left may be the only one that the
        // instance still has: it must hear that nobody listens there.
        if let Some(older) = older {
            self.effects.push(Effect::Refuse(older, Refusal::Superseded));
        }
        if let Some(instance) = self.instances.get_mut(id) {
            self.losses.comes(&key, &mut instance.losses);
        }
        self.confirmations.disconnected(id);
        self.graph.describe_instance(id, service);
        self.effects.extend(joined.map(Effect::Remember));
        self.sync_changed(id);
        self.quiet_twins(now, id);
        let heartbeat_ms = u32::try_from(self.times.heartbeat.as_millis()).unwrap_or(u32::MAX);
        self.send(
            connection,
            from_collector::Message::Welcome(Welcome {
                protocol_version: PROTOCOL_VERSION,
                heartbeat_ms,
            }),
        );
    }

    pub(super) fn open_set(&mut self, now: Duration, connection: ConnectionId, spans: Vec<Started>, complete: bool) {
        let Some(id) = self.heard(now, connection) else { return };
        let spans = self.counted(id, spans);
        let named: Vec<SpanId> = spans.iter().map(|it| SpanId(it.span_id)).collect();
        if !self.start_all(now, connection, id, spans) {
            return;
        }
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        let whole = match instance.open_set(named.into_iter(), complete) {
            Ok(Some(whole)) => whole,
            Ok(None) => return,
            Err(TooLarge { spans }) => {
                self.lost(id, LossCause::OpenSets, spans);
                return self.refuse(now, connection, Refusal::OpenSetTooLarge);
            }
        };
        instance.steady_since = now;
        let key = instance.identity.key.clone();
        self.sync_changed(id);
        for span in self.graph.open_spans(id) {
            if !whole.contains(&span) {
                self.apply(now, &Event::Finished(span), Resolution::Finished);
            }
        }
        if self.awaited.remove(&key).is_some() {
            self.dirty = true;
        }
        self.believe(now, id);
    }

    pub(super) fn batch(&mut self, now: Duration, connection: ConnectionId, batch: Batch) {
        let Some(id) = self.heard(now, connection) else { return };
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        if let Order::Gap { batches } = instance.batch(batch.sequence) {
            tracing::warn!(
                instance = instance.identity.key.instance_id,
                batches,
                "batches were lost; asking for the open set"
            );
            self.lost(id, LossCause::Batches, batches);
            self.lost(id, LossCause::Resyncs, 1);
            self.sync_changed(id);
            self.send(connection, from_collector::Message::ResyncRequest(ResyncRequest {}));
        }
        if let Err(error) = check_ended(&batch.ended) {
            self.lost(id, LossCause::Malformed, batch.ended.len() as u64);
            return self.refuse(now, connection, error.into());
        }
        self.events_total += batch.finished.len() as u64;
        let finished = batch.finished.iter().filter(|it| !self.outlives_its_news(it));
        let finished: Vec<(Event, Resolution)> = finished
            .map(|it| (Event::Finished(SpanId(it.span_id)), resolution(it.outcome())))
            .collect();
        self.apply_all(now, &finished);
        // Whoever can be asked says of all that matters when it starts.
        if !self.instances.answers(id) {
            let process = self.instances.voice_of(id).unwrap_or(id);
            self.ended_all(now, process, &batch.ended);
        }
        let started = self.counted(id, batch.started);
        self.start_all(now, connection, id, started);
    }

    /// Takes in spans that have started. Refuses the connection, and says so, if one cannot be accepted.
    fn start_all(&mut self, now: Duration, connection: ConnectionId, id: InstanceId, spans: Vec<Started>) -> bool {
        let count = spans.len() as u64;
        self.events_total += count;
        match decode::spans(id, now, spans) {
            Ok(spans) => {
                self.begin_all(now, spans.collect());
                true
            }
            Err(error) => {
                // None of them is taken in.
                self.lost(id, LossCause::Malformed, count);
                self.refuse(now, connection, error.into());
                false
            }
        }
    }

    fn begin_all(&mut self, now: Duration, spans: Vec<Span>) {
        let finish = |id| (Event::Finished(id), Resolution::Finished);
        let mut events: Vec<_> = self.ended_before(&spans).into_iter().map(finish).collect();
        let beginnings = self.beginnings(&spans);
        events.extend(spans.into_iter().map(|it| (Event::Started(it), Resolution::Finished)));
        self.apply_all(now, &events);
        self.begun(now, beginnings);
    }

    pub(super) fn probe_answer(&mut self, now: Duration, connection: ConnectionId, answer: &ProbeAnswer) {
        let Some(id) = self.heard(now, connection) else { return };
        // Whatever came before the answer must be in the graph's verdict before the answer is.
        if self.dirty {
            self.evaluate(now, Resolution::Finished);
        }
        if self.graph.is_behind() {
            // Nobody knows what is suspected just now. Who is still suspected then is asked again.
            return;
        }
        for verdict in self.confirmations.answer(now, self.times.probe_timeout, id, answer) {
            match verdict {
                Verdict::Confirmed(episode) => self.fire(now, episode),
                Verdict::Refuted {
                    episode,
                    not_open,
                    answered,
                } => {
                    self.refuted_total += 1;
                    tracing::debug!(
                        episode = describe::hex(episode),
                        ?not_open,
                        ?answered,
                        "suspicion refuted"
                    );
                    for span in not_open {
                        self.apply(now, &Event::Finished(span), Resolution::Finished);
                    }
                    for call in answered {
                        self.apply(now, &Event::Answered(call), Resolution::Finished);
                    }
                }
            }
        }
    }

    /// Ends a connection. Nothing that still comes on it counts.
    fn refuse(&mut self, now: Duration, connection: ConnectionId, refusal: Refusal) {
        self.effects.push(Effect::Refuse(connection, refusal));
        self.disconnected(now, connection);
    }

    pub(super) fn heartbeat(&mut self, now: Duration, connection: ConnectionId, heartbeat: &Heartbeat) {
        if let Some(instance) = self.lives(now, connection).and_then(|id| self.instances.get_mut(id)) {
            self.losses.heard(&mut instance.losses, heartbeat);
        }
    }

    /// An instance gives a sign of life, after all that there was to say of it.
    pub(super) fn lives(&mut self, now: Duration, connection: ConnectionId) -> Option<InstanceId> {
        let id = self.heard(now, connection)?;
        if let Some(instance) = self.instances.get_mut(id) {
            instance.heartbeat_at = now;
        }
        Some(id)
    }

    /// A message could not even be read, so nobody knows what was in it.
    pub(super) fn unreadable(&mut self, now: Duration, connection: ConnectionId) {
        if let Some(id) = self.instances.of(connection) {
            self.lost(id, LossCause::Malformed, 1);
        }
        self.disconnected(now, connection);
    }

    /// A relay's stream has ended, and all its channels with it: once for all of them.
    pub(super) fn relay_ended(&mut self, now: Duration, relay: ConnectionId, connections: Vec<ConnectionId>) {
        self.losses.relay_leaves(relay);
        for connection in connections {
            self.disconnected(now, connection);
        }
    }

    /// Any message renews the lease.
    pub(super) fn heard(&mut self, now: Duration, connection: ConnectionId) -> Option<InstanceId> {
        let id = self.instances.of(connection)?;
        let instance = self.instances.get_mut(id)?;
        let longest_gap = self.times.heartbeat + self.times.settle / GAPS_PER_SETTLE;
        let is_steady = now <= instance.last_heard + longest_gap;
        instance.last_heard = now;
        if !is_steady {
            instance.steady_since = now;
        }
        let is_synced = instance.is_synced();
        if !is_steady {
            self.sync_changed(id);
        }
        if is_synced {
            self.believe(now, id);
        }
        Some(id)
    }

    /// What the instance has open is known again.
    fn believe(&mut self, now: Duration, id: InstanceId) {
        let Some(instance) = self.instances.get(id) else { return };
        if instance.presence == Presence::Silent {
            tracing::info!(instance = instance.identity.key.instance_id, "instance is back");
            self.instances.is_back(now, id);
            self.apply(now, &Event::InstanceBack(id), Resolution::Finished);
        }
    }

    pub(super) fn disconnected(&mut self, now: Duration, connection: ConnectionId) {
        if let Some(id) = self.instances.disconnect(connection) {
            self.confirmations.disconnected(id);
            self.sync_changed(id);
            self.look(id);
            self.next_look.get_or_insert(now + LOOK_EVERY);
        }
    }

    fn look(&mut self, id: InstanceId) {
        if let Some(instance) = self.instances.get(id) {
            self.effects.push(Effect::Look(id, instance.identity.process.clone()));
        }
    }

    pub(super) fn seen(&mut self, now: Duration, id: InstanceId, sight: Sight) {
        let Some(instance) = self.instances.get_mut(id) else {
            return;
        };
        match sight {
            Sight::Dead if instance.connection.is_none() => self.gone(now, id),
            Sight::Dead | Sight::Alive => {}
            // There is no point in looking again.
            Sight::Unknown => instance.identity.process = Process::default(),
        }
    }

    /// Of an instance that is no more there is nothing to wait for.
    pub(super) fn seen_awaited(&mut self, key: InstanceKey, sight: Sight) {
        match sight {
            Sight::Dead => {
                if self.awaited.remove(&key).is_some() {
                    self.dirty = true;
                    self.effects.push(Effect::Remember(known::Change::Gone(key)));
                }
            }
            Sight::Alive => {}
            // There is no point in looking again.
            Sight::Unknown => {
                self.awaited.entry(key).and_modify(|it| *it = Process::default());
            }
        }
    }

    /// The instance has said goodbye, or is known to be dead.
    pub(super) fn gone(&mut self, now: Duration, id: InstanceId) {
        self.departures.leave(now, self.graph.served_by(id));
        self.apply(now, &Event::InstanceGone(id), Resolution::InstanceLost);
        if let Some(instance) = self.instances.remove(id) {
            tracing::info!(
                instance = instance.identity.key.instance_id,
                told_twice = instance.told_twice,
                "instance is gone"
            );
            self.confirmations.disconnected(id);
            self.losses.leaves(&instance.identity.key, instance.losses);
            self.awaited.remove(&instance.identity.key);
            if !instance.identity.cannot_be_asked {
                self.effects
                    .push(Effect::Remember(known::Change::Gone(instance.identity.key)));
            }
        }
    }

    /// Everything that happens because time passes.
    pub(super) fn keep_house(&mut self, now: Duration) {
        let overdue = self.instances.overdue(now);
        for id in overdue.iter().copied() {
            if let Some(instance) = self.instances.get(id) {
                tracing::warn!(
                    instance = instance.identity.key.instance_id,
                    "nothing heard of the instance for its lease"
                );
            }
            self.graph.apply(now, &Event::InstanceSilent(id));
        }
        if !overdue.is_empty() {
            // Once for all of them: a relay that dies takes many along.
            self.evaluate(now, Resolution::InstanceLost);
        }
        if self.next_look.is_some_and(|at| now >= at) {
            let lost: Vec<InstanceId> = self
                .instances
                .iter()
                .filter(|(_, it)| it.connection.is_none() && !it.identity.process.host.is_empty())
                .map(|(id, _)| id)
                .collect();
            let awaited = self.awaited.iter().filter(|(_, process)| !process.host.is_empty());
            let awaited: Vec<Effect> = awaited
                .map(|(key, process)| Effect::LookFor(key.clone(), process.clone()))
                .collect();
            self.next_look = (!lost.is_empty() || !awaited.is_empty()).then_some(now + LOOK_EVERY);
            for id in lost {
                self.look(id);
            }
            self.effects.extend(awaited);
        }
        if now >= self.next_housekeeping {
            self.next_housekeeping = now + HOUSEKEEPING_EVERY;
            self.graph.expire(now);
            self.ended.forget_old(now);
            self.forget_silent(now);
            self.tell_evidence();
            self.effects.push(Effect::Publish(Published::Stats(self.stats())));
        }
    }

    fn forget_silent(&mut self, now: Duration) {
        let forget_after = self.times.forget_after;
        let silent: Vec<InstanceId> = self
            .instances
            .iter()
            .filter(|(_, it)| it.presence == Presence::Silent && now >= it.last_heard + forget_after)
            .map(|(id, _)| id)
            .collect();
        for id in silent {
            // Should it ever speak again, it has to introduce itself anew.
            if let Some(connection) = self.instances.get(id).and_then(|it| it.connection) {
                self.effects.push(Effect::Refuse(connection, Refusal::Forgotten));
            }
            self.gone(now, id);
        }
        if now >= self.started_at + forget_after && !self.awaited.is_empty() {
            for key in std::mem::take(&mut self.awaited).into_keys() {
                self.effects.push(Effect::Remember(known::Change::Gone(key)));
            }
            self.dirty = true;
        }
    }

    pub(super) fn send(&mut self, connection: ConnectionId, message: from_collector::Message) {
        self.effects
            .push(Effect::Send(connection, FromCollector { message: Some(message) }));
    }
}
