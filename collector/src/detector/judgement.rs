//! Deadlocks are suspected, confirmed and told. Knows instances only as those who can be asked.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::api::{Alert, Confirmation, Resolution};
use standoff_protocol::stream::{Outcome, from_collector};
use standoff_wait_graph::{CallState, Change, DeadTask, DeadWait, Deadlock, Event, Settled, SpanId, WaitGraph};

use super::{Detector, EXPLAINED_SPACING, EXPLAINED_TASKS, Effect, Published};
use crate::alerts::EpisodeId;
use crate::confirm::Questions;
use crate::describe;
use crate::instances::{Instances, Presence};

/// What is not confirmed of an episode.
#[derive(Debug)]
pub(super) struct Suspect {
    /// As it is now.
    pub(super) deadlock: Arc<Deadlock>,
    /// Since when it has rested on the same waits and units.
    pub(super) since: Duration,
}

/// What has been confirmed of an episode.
#[derive(Debug)]
pub(super) struct Confirmed {
    /// The waits of its core when it was last confirmed.
    waits: BTreeSet<SpanId>,
    /// The waits of the core that people are shown: the widest that was confirmed, while it lasts.
    shown: BTreeSet<SpanId>,
}

impl Confirmed {
    /// Whether a core with these waits is to be shown instead.
    fn gives_way_to(&self, waits: &BTreeSet<SpanId>) -> bool {
        waits.len() >= self.shown.len() || waits.is_disjoint(&self.shown)
    }
}

impl Detector {
    /// Changes the graph. If that ends a wait of a suspect or of an alert, this is judged before anything else happens:
    /// a wait that begins in the next moment belongs to another episode.
    pub(super) fn apply(&mut self, now: Duration, event: &Event, ends_as: Resolution) {
        self.graph.apply(now, event);
        self.dirty = true;
        match *event {
            Event::Finished(span) if self.episodes.touches(span) => self.judge_end(now, span, ends_as),
            Event::InstanceGone(_) => self.evaluate(now, ends_as),
            Event::Finished(_)
            | Event::Started(_)
            | Event::Answered(_)
            | Event::InstanceSilent(_)
            | Event::InstanceBack(_) => {}
        }
    }

    /// The same for many changes.
    pub(super) fn apply_all(&mut self, now: Duration, events: &[(Event, Resolution)]) {
        for events in events.chunks(WaitGraph::LOOK_AHEAD) {
            self.graph.look_ahead(events.iter().map(|(event, _)| event));
            for (event, ends_as) in events {
                self.apply(now, event, *ends_as);
            }
        }
    }

    /// A wait of an episode has ended. In a storm thousands of deadlocks end one by one, so the others are looked at only if
    /// somebody of this one is still dead.
    fn judge_end(&mut self, now: Duration, wait: SpanId, ends_as: Resolution) {
        self.settle(now);
        let graph = &self.graph;
        let closed = if graph.is_behind() {
            None
        } else {
            self.episodes.close(wait, |call| graph.is_dead(call))
        };
        match closed {
            Some(id) => self.resolve(now, id, self.putting_off.resolution(id, ends_as)),
            None => self.evaluate(now, ends_as),
        }
    }

    /// When deadlocks are to be looked at next, if the graph has changed.
    pub(super) fn next_evaluation(&self) -> Duration {
        let factor = u32::try_from(self.graph.dead_task_count() / EXPLAINED_TASKS).unwrap_or(u32::MAX);
        let paced = self.last_evaluation + EXPLAINED_SPACING.saturating_mul(factor);
        self.settles_at.map_or(paced, |at| paced.max(at))
    }

    /// Lets the graph draw its conclusions. Returns whether it has drawn all; if not, [`Detector::next_evaluation`] waits
    /// for them.
    pub(super) fn settle(&mut self, now: Duration) -> bool {
        self.settles_at = match self.graph.settle(now) {
            Settled::Exact => None,
            Settled::PassDueAt(at) => Some(at),
        };
        self.settles_at.is_none()
    }

    /// Looks at what deadlocks there are. Episodes that are over by now ended as `ends_as`.
    pub(super) fn evaluate(&mut self, now: Duration, ends_as: Resolution) {
        self.compare(now, ends_as);
        // While the graph is behind, suspects stay as they are: none of their calls is doubted twice.
        let mut doubted = BTreeSet::new();
        loop {
            let before = doubted.len();
            for call in self.doubtful() {
                if doubted.insert(call) {
                    self.refuted_total += 1;
                    self.graph.apply(now, &Event::Answered(call));
                }
            }
            if doubted.len() == before {
                break;
            }
            self.compare(now, Resolution::Finished);
        }
        // Also of those that look the same: who could have accepted their calls may have changed.
        for (id, suspect) in &self.suspects {
            if self.putting_off.holds(*id) {
                self.confirmations.forget(*id);
                continue;
            }
            let instances = &self.instances;
            let answers = |id| instances.answers(id);
            let questions = Questions::about(&suspect.deadlock, &self.graph, self.times.settle, answers);
            let settled_at = self
                .settled_at(suspect)
                .max(self.settled_unasked_at(suspect, &questions));
            self.confirmations.watch(*id, questions, settled_at);
            self.alerts.will_be(*id, self.confirmations.kind(*id));
        }
    }

    /// The calls on which a suspicion rests, and of which nobody can say any more that they were not answered.
    fn doubtful(&self) -> BTreeSet<SpanId> {
        let mut doubtful = BTreeSet::new();
        for (id, suspect) in &self.suspects {
            let confirmed = self.confirmed.get(id);
            let is_open_question = |wait: &&DeadWait| {
                wait.state == CallState::Queued
                    && confirmed.is_none_or(|it| !it.waits.contains(&wait.call))
                    && (self.departures.may_have_accepted(wait) || self.may_have_ended_unheard(wait))
            };
            doubtful.extend(suspect.deadlock.waits().filter(is_open_question).map(|wait| wait.call));
        }
        doubtful
    }

    fn compare(&mut self, now: Duration, ends_as: Resolution) {
        let is_exact = self.settle(now);
        self.dirty = !is_exact;
        let (graph, instances) = (&self.graph, &self.instances);
        let has_ended = |it: &Deadlock| has_ended(it, graph, instances);
        let mut is_new = !is_exact && self.putting_off.note_ends(ends_as, has_ended);
        if self.graph.is_behind() {
            return;
        }
        self.last_evaluation = now;
        let revision = Some(self.graph.revision());
        is_new |= self.revision != revision || is_exact && self.putting_off.holds_any();
        self.revision = revision;
        if !is_new {
            return;
        }
        let mut deadlocks = self.graph.deadlocks();
        if is_exact {
            self.putting_off.release();
        } else {
            deadlocks = self.putting_off.hold(deadlocks);
        }
        for change in self.episodes.update(deadlocks) {
            match change {
                Change::Opened { id, deadlock } => self.open(now, id, deadlock),
                Change::Continued { id, current, .. } => {
                    self.go_on(now, id, current, self.putting_off.resolution(id, ends_as));
                }
                Change::Closed { id } => self.resolve(now, id, self.putting_off.resolution(id, ends_as)),
                Change::Merged { id, .. } => self.resolve(now, id, Resolution::Merged),
            }
        }
        self.putting_off.forget_ends();
    }

    fn describe(&self, now: Duration, id: EpisodeId, deadlock: &Deadlock) -> Alert {
        describe::alert(id, now, deadlock, &self.instances, self.evidence())
    }

    pub(super) fn probe(&mut self, now: Duration) {
        self.fire_settled(now);
        let instances = &self.instances;
        let reachable = |id| instances.get(id).is_some_and(|it| it.is_synced());
        let heard_at = |id| instances.heartbeat_at(id);
        let probes = self
            .confirmations
            .probes(now, self.times.probe_timeout, reachable, heard_at);
        for (id, probe) in probes {
            if let Some(connection) = self.instances.get(id).and_then(|it| it.connection) {
                self.send(connection, from_collector::Message::Probe(probe));
            }
        }
        self.count_unanswered();
    }

    fn open(&mut self, now: Duration, id: EpisodeId, deadlock: Arc<Deadlock>) {
        self.putting_off.goes_on(id, Arc::clone(&deadlock));
        self.alerts.suspect(id, self.describe(now, id, &deadlock));
        self.suspect(now, id, deadlock);
    }

    /// The episode looks different now. What it has grown by is as unconfirmed as any suspect, and is not told before it
    /// has been asked about too.
    fn go_on(&mut self, now: Duration, id: EpisodeId, current: Arc<Deadlock>, ends_as: Resolution) {
        self.putting_off.goes_on(id, Arc::clone(&current));
        let waits = waits_of(&current);
        match self.confirmed.get_mut(&id) {
            // Nothing is left of what people were told of: that is over, whatever it had grown by meanwhile.
            Some(confirmed) if waits.is_disjoint(&confirmed.waits) => {
                self.resolve(now, id, ends_as);
                if let Some(renewed) = self.episodes.renew(id) {
                    self.open(now, renewed, current);
                }
            }
            Some(confirmed) if waits.is_subset(&confirmed.waits) => {
                self.suspects.remove(&id);
                self.confirmations.forget(id);
                if confirmed.gives_way_to(&waits) {
                    confirmed.shown = waits;
                    self.show(now, id, &current, None);
                }
            }
            Some(_) => self.suspect(now, id, current),
            None => {
                self.show(now, id, &current, None);
                self.suspect(now, id, current);
            }
        }
    }

    fn suspect(&mut self, now: Duration, id: EpisodeId, deadlock: Arc<Deadlock>) {
        let before = self
            .suspects
            .remove(&id)
            .filter(|it| rest_on_the_same(&it.deadlock, &deadlock));
        let since = before.map_or(now, |it| it.since);
        self.suspects.insert(id, Suspect { deadlock, since });
    }

    /// The episode looks like this now, and has been confirmed anew if that is given.
    fn show(&mut self, now: Duration, id: EpisodeId, deadlock: &Deadlock, confirmation: Option<Confirmation>) {
        let alert = self.describe(now, id, deadlock);
        if let Some(alert) = self.alerts.update(id, alert, confirmation).cloned() {
            self.publish(alert);
        }
    }

    pub(super) fn fire(&mut self, now: Duration, id: EpisodeId) {
        let confirmation = self.confirmations.kind(id);
        self.confirmations.forget(id);
        // Another verdict of the same answer may have changed what is known of it.
        if self.putting_off.holds(id) {
            return;
        }
        let Some(Suspect { deadlock, .. }) = self.suspects.remove(&id) else {
            return;
        };
        let waits = waits_of(&deadlock);
        let shown = match self.confirmed.remove(&id) {
            Some(before) if !before.gives_way_to(&waits) => before.shown,
            Some(_) => {
                self.show(now, id, &deadlock, Some(confirmation));
                waits.clone()
            }
            None => waits.clone(),
        };
        self.confirmed.insert(id, Confirmed { waits, shown });
        if let Some(alert) = self.alerts.fire(now, id, confirmation).cloned() {
            tracing::warn!(
                id = alert.id,
                summary = alert.summary,
                victims = alert.victims_total,
                losses = describe::losses(&alert.evidence),
                "deadlock"
            );
            self.publish(alert);
        }
    }

    fn resolve(&mut self, now: Duration, id: EpisodeId, resolution: Resolution) {
        let deadlock = self.putting_off.is_over(id);
        self.suspects.remove(&id);
        self.confirmed.remove(&id);
        self.confirmations.forget(id);
        let instances = &self.instances;
        let has_no_connection = |task: &DeadTask| {
            let instance = instances.get(task.instance);
            instance.is_none_or(|it| it.connection.is_none())
        };
        let is_lost = || deadlock.is_some_and(|it| it.core.iter().any(has_no_connection));
        if let Some(alert) = self.alerts.resolve(now, id, resolution, is_lost).cloned() {
            tracing::info!(id = alert.id, summary = alert.summary, ?resolution, "deadlock is over");
            self.publish(alert);
        }
    }

    fn publish(&mut self, alert: Alert) {
        self.effects.push(Effect::Publish(Published::Alert(Box::new(alert))));
    }
}

/// Whether something of a core has ended, or may have as far as anybody knows: whatever the graph has put off, that is not
/// dead as it was.
fn has_ended(deadlock: &Deadlock, graph: &WaitGraph, instances: &Instances) -> bool {
    let is_silent = |task: &DeadTask| {
        let instance = instances.get(task.instance);
        instance.is_none_or(|it| it.presence == Presence::Silent)
    };
    let is_open = |wait: &DeadWait| {
        let state = graph.call_state(wait.call);
        matches!(state, Some(CallState::Queued | CallState::Accepted))
    };
    deadlock.core.iter().any(is_silent) || !deadlock.waits().all(is_open)
}

/// Whether what two deadlocks wait for, and the units there are of it, are the same.
fn rest_on_the_same(one: &Deadlock, other: &Deadlock) -> bool {
    let units = |it: &Deadlock| -> Vec<_> {
        let resources = it.resources.iter();
        resources
            .map(|resource| (Arc::clone(&resource.name), resource.capacity))
            .collect()
    };
    waits_of(one) == waits_of(other) && units(one) == units(other)
}

fn waits_of(deadlock: &Deadlock) -> BTreeSet<SpanId> {
    deadlock.waits().map(|wait| wait.call).collect()
}

pub(super) fn resolution(outcome: Outcome) -> Resolution {
    match outcome {
        Outcome::Finished => Resolution::Finished,
        Outcome::Error => Resolution::Error,
        Outcome::Timeout => Resolution::Timeout,
        Outcome::Cancelled => Resolution::Cancelled,
        Outcome::Expired => Resolution::InstanceLost,
    }
}
