//! What events change in the facts.

use std::sync::Arc;
use std::time::Duration;

use crate::anomalies::has_long_name;
use crate::slab::Slot;
use crate::span::{Event, InstanceId, Role, Span, SpanId};

use super::Spans;
use super::derive::Reason;
use super::fates::fate_by;
use super::instances::InstanceIx;
use super::record::{Flag, Kind, State, nanoseconds};

impl Spans {
    /// Takes note of an event, and of everything that follows. Returns whether it changed anything.
    pub(crate) fn apply(&mut self, now: Duration, event: &Event) -> bool {
        self.effort.earn();
        let changed = match event {
            Event::Started(span) => self.start(now, span),
            Event::Finished(id) => self.finish(now, *id),
            Event::Answered(id) => self.answer(now, *id),
            Event::InstanceSilent(id) => self.set_silent(*id, true),
            Event::InstanceBack(id) => self.set_silent(*id, false),
            Event::InstanceGone(id) => self.lose(now, *id),
        };
        self.derive_pending();
        self.make_room(now);
        self.clear_up();
        changed
    }

    /// Names an instance.
    pub(crate) fn describe(&mut self, id: InstanceId, service: Arc<str>) {
        if let Some(ix) = self.enter(id)
            && self.store.instances.describe(ix, service)
        {
            self.revision += 1;
        }
    }

    fn start(&mut self, now: Duration, span: &Span) -> bool {
        // Made at once, so that it is looked up once.
        let slot = self.store.make_place(span.id);
        if self.store[slot].is_known() {
            let record = &self.store[slot];
            // An instance that was taken to be gone is back under another number, and its span was never lost.
            let was_lost = record.state() == State::Lost && self.store.instance(slot) != span.instance;
            if !was_lost {
                self.anomalies.contradicting_starts += u64::from(!self.store.is_same(slot, span));
                return false;
            }
            self.forget(slot);
        }
        if let Some(refused) = self.refused.get(&span.id) {
            self.anomalies.contradicting_starts += u64::from(!is_same(refused, span));
            self.store.suspect_orphan(slot);
            return false;
        }
        self.anomalies.long_names += u64::from(has_long_name(span));
        let is_gone = self.gone.contains(&span.instance);
        let instance = self.enter(span.instance);
        let state = if self.early_finishes.forget(&span.id) {
            State::Finished
        } else if is_gone {
            self.anomalies.late_starts += 1;
            State::Lost
        } else {
            State::Open
        };
        let slot = if state == State::Open && (self.is_full() || instance.is_none()) {
            self.store.suspect_orphan(slot);
            self.refuse(now, span);
            None
        } else {
            self.admit_at(slot, instance, now, span, state);
            Some(slot)
        };
        if instance.is_some() {
            self.record_service(span, slot);
        }
        true
    }

    /// A handle serves what it occupies. A member's handlers may all be too short to be reported. The names of a span that
    /// was not refused are known already.
    fn record_service(&mut self, span: &Span, slot: Option<Slot>) {
        let (names, offers) = match &span.role {
            Role::Handle(handle) => (&handle.resources, handle.capacity.is_some()),
            Role::Member(member) => (&member.resources, false),
            Role::Call(_) | Role::Hold(_) | Role::Structural => return,
        };
        for (place, name) in names.iter().enumerate() {
            let known = slot.and_then(|slot| self.store.reported_resource(slot, place));
            let symbols = &mut self.store.symbols;
            let limit = self.limits.served;
            let name_is_known = known.is_some();
            let name = known.unwrap_or_else(|| symbols.intern(name));
            let change = self.served.record(name, span.instance, offers, limit, symbols);
            if !name_is_known {
                symbols.release(name);
            }
            if let Some(change) = change {
                self.take_served_change(change);
            }
        }
    }

    /// A span becomes known.
    fn admit(&mut self, now: Duration, span: &Span, state: State) {
        let slot = self.store.make_place(span.id);
        self.admit_at(slot, None, now, span, state);
    }

    /// The same, where its place is known already, and perhaps its instance.
    fn admit_at(&mut self, slot: Slot, instance: Option<InstanceIx>, now: Duration, span: &Span, state: State) {
        self.effort.earn();
        let is_named = self.store[slot].first_child.is_some() || self.store[slot].is(Flag::Hinted);
        self.store.fill(slot, instance, span, state);
        let is_answered = self.answered.contains(&span.id);
        self.store[slot].set(Flag::Answered, is_answered);
        if state == State::Open {
            self.open += 1;
            self.store.enter_instance(slot);
            self.shift_need_above(slot, true);
            self.shift_need(self.store.hint(slot), true);
            let mut place = 0;
            while let Some(name) = self.store.resource(slot, place) {
                if self.resources.add(name, slot, &self.store, &mut self.picture) {
                    self.look_at_capacity(name);
                }
                place += 1;
            }
            if self.store[slot].is_call() {
                self.join_as_call(slot);
            }
        } else {
            self.remember_end(now, slot);
            if self.needs_above(slot) {
                self.shift_need_above(slot, true);
            }
        }
        self.look_for_loop(slot);
        if is_named {
            // It may stand for a task that is dead, and gives it its name.
            self.revision += 1;
            self.chains_changed(slot);
        }
        self.pending
            .push(slot, if is_named { Reason::BOTH } else { Reason::NONE });
        // At once, since the next to become known may be beneath it.
        self.derive_pending();
    }

    fn remember_end(&mut self, now: Duration, slot: Slot) {
        self.ended.remember(nanoseconds(now), slot, &mut self.store[slot]);
        self.count_needs(slot);
        if self.store[slot].kind() == Kind::Member {
            let mut place = 0;
            while let Some(name) = self.store.resource(slot, place) {
                let text = Arc::clone(self.store.symbols.text(name));
                if self.pools.remember(nanoseconds(now), text) {
                    self.look_at_capacity(name);
                }
                place += 1;
            }
        }
    }

    /// An open span ends.
    fn end(&mut self, now: Duration, slot: Slot, end: State) {
        self.effort.earn();
        let record = &self.store[slot];
        let kind = record.kind();
        // The fate comes before the handler goes, so that the call is never queued in between.
        let answers = (record.is(Flag::Handles) && !record.is(Flag::Converses)).then_some(Slot(record.extra));
        if let Some(call) = answers {
            self.count_fate(call, fate_by(end), true);
        }
        let record = &self.store[slot];
        self.looping -= u64::from(record.is(Flag::Loop));
        let reason = match kind {
            Kind::Call => {
                let is_detached = record.is(Flag::Detached);
                self.leave_as_call(slot);
                self.remove_wait(slot);
                Some(if is_detached { Reason::BOTH } else { Reason::LANDMARK })
            }
            Kind::Handle => {
                self.vacate(slot);
                Some(Reason::BOTH)
            }
            Kind::Hold => {
                self.vacate(slot);
                None
            }
            Kind::Member | Kind::Structural => None,
        };
        let mut place = 0;
        while let Some(name) = self.store.resource(slot, place) {
            if self.resources.remove(name, slot, &self.store, &mut self.picture) {
                self.look_at_capacity(name);
            }
            place += 1;
        }
        self.drop_kept_fate(slot);
        self.shift_need(self.store.hint(slot), false);
        self.store.leave_instance(slot);
        self.open -= 1;
        self.store[slot].set_state(end);
        self.store[slot].set(Flag::Counts, answers.is_some());
        self.remember_end(now, slot);
        if !self.needs_above(slot) {
            self.shift_need_above(slot, false);
        }
        if let Some(reason) = reason {
            self.pending.push(slot, reason);
        }
    }

    fn finish(&mut self, now: Duration, id: SpanId) -> bool {
        if let Some(slot) = self.store.known(id) {
            match self.store[slot].state() {
                State::Open => {
                    self.end(now, slot, State::Finished);
                    self.readmit(now);
                    return true;
                }
                State::Lost => {
                    self.detach_handler(slot);
                    self.store[slot].set_state(State::Finished);
                    self.pending.push(slot, Reason::NONE);
                    return true;
                }
                State::Finished | State::Unseen => return false,
            }
        }
        if let Some(span) = self.refused.remove(&id) {
            self.admit(now, &span, State::Finished);
            self.readmit(now);
            self.revision += 1;
            return true;
        }
        self.early_finishes.remember(nanoseconds(now), id);
        false
    }

    fn answer(&mut self, now: Duration, id: SpanId) -> bool {
        let is_news = self.answered.remember(nanoseconds(now), id);
        if let Some(slot) = self.store.known(id) {
            self.store[slot].set(Flag::Answered, true);
            self.pending.push(slot, Reason::NONE);
        }
        is_news
    }

    fn set_silent(&mut self, id: InstanceId, is_silent: bool) -> bool {
        let Some(ix) = self.enter(id) else {
            return false;
        };
        if self.store.instances.set_silent(ix, is_silent) == is_silent {
            return false;
        }
        for slot in self.store.open_of(id).collect::<Vec<_>>() {
            if let Some(task) = self.own_task(slot) {
                self.picture.set_silent(task, is_silent);
            }
            if self.store[slot].kind() == Kind::Member {
                let mut place = 0;
                while let Some(name) = self.store.resource(slot, place) {
                    self.resources.set_member_silent(name, is_silent);
                    self.look_at_capacity(name);
                    place += 1;
                }
            }
        }
        true
    }

    fn lose(&mut self, now: Duration, id: InstanceId) -> bool {
        self.gone.remember(nanoseconds(now), id);
        let was_complete = self.is_complete();
        self.refused_untold.remove(&id);
        for slot in self.store.open_of(id).collect::<Vec<_>>() {
            self.end(now, slot, State::Lost);
        }
        let refused: Vec<Span> = self
            .refused
            .extract_if(.., |_, span| span.instance == id)
            .map(|it| it.1)
            .collect();
        for span in refused {
            self.admit(now, &span, State::Lost);
        }
        let change = self.served.forget(id, &mut self.store.symbols);
        self.take_served_change(change);
        let was_known = self.store.instances.leave(id);
        self.readmit(now);
        self.revision += u64::from(!was_complete);
        was_known || !was_complete
    }

    /// Enters an instance if it is new. `None` if it is gone, or one too many.
    fn enter(&mut self, id: InstanceId) -> Option<InstanceIx> {
        let instances = &mut self.store.instances;
        let present = instances.find_present(id);
        let has_room = present.is_some() || instances.present() < self.limits.instances;
        let is_welcome = has_room && !self.gone.contains(&id);
        is_welcome.then(|| present.unwrap_or_else(|| instances.enter(id)))
    }

    fn is_full(&self) -> bool {
        self.open + self.needed >= self.limits.open_spans
    }

    /// What cannot be kept at all might be the handler of a call, so that call counts as answered: unknown is live.
    fn refuse(&mut self, now: Duration, span: &Span) {
        self.revision += 1;
        self.anomalies.refused_starts += 1;
        if self.refused.len() < self.limits.refused {
            self.refused.insert(span.id, span.clone());
        } else {
            self.refused_untold.insert(span.instance);
            if let Some(parent) = span.parent {
                self.answer(now, parent.id);
            }
        }
    }

    /// Lets refused spans in for which there is room now.
    pub(super) fn readmit(&mut self, now: Duration) {
        while !self.is_full()
            && let Some((id, span)) = self.refused.pop_first()
        {
            if self.enter(span.instance).is_none() {
                self.refused.insert(id, span);
                return;
            }
            self.admit(now, &span, State::Open);
            self.revision += 1;
        }
    }
}

/// Whether two starts say the same, but for when it started.
fn is_same(one: &Span, other: &Span) -> bool {
    let Span {
        id,
        trace,
        instance,
        parent,
        task,
        name,
        conversation,
        role,
        started_at: _,
    } = one;
    *id == other.id
        && *trace == other.trace
        && *instance == other.instance
        && *parent == other.parent
        && *task == other.task
        && *name == other.name
        && *conversation == other.conversation
        && *role == other.role
}
