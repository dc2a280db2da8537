//! Who belongs to whom: which calls are waits, which task a span belongs to, which call a handle answers.
//!
//! Everything here follows parents:
//!
//! ```text
//!   client (instance 1)                          server (instance 2)
//!   ───────────────────                          ───────────────────
//!   handle ◀─────┐  the task of the call
//!     structural │
//!       call ────┴──── a wait ◀────────────────┐
//!         structural                           │ answers
//!           call      part of the same wait    │
//!             structural ◀── remote parent ── handle      a task
//!                                               handle    the same task
//! ```
//!
//! Each span's facts are derived from what was reported of it and from the facts of the span above it, so after a change
//! everything that may depend on it lies beneath: it is derived again downwards, as far as something does change. Where
//! a span starts or ends that has nothing beneath it, as in ordinary traffic, that is the span alone.

use crate::slab::{Slot, at_place};
use crate::wait_for::{GroupOf, NewWait, Occupier, TaskId, TaskIx, WaitIx};

use super::Spans;
use super::instances::InstanceIx;
use super::record::{Flag, Kind, NO_NODE};

/// Why a span is derived again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reason(u8);

impl Reason {
    /// Only its own place in the picture.
    pub(super) const NONE: Self = Self(0);
    /// Something about the nearest call or handle above it.
    const LANDMARK_ABOVE: Self = Self(1);
    /// Something about where it runs.
    const HOME_ABOVE: Self = Self(2);
    /// It is another landmark now for what is beneath it.
    pub(super) const LANDMARK: Self = Self(4);
    /// It is another place to run in.
    pub(super) const HOME: Self = Self(8);
    pub(super) const BOTH: Self = Self(4 | 8);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn or(self, is_so: bool, other: Self) -> Self {
        if is_so { Self(self.0 | other.0) } else { self }
    }
}

/// What is to be derived again.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<(Slot, Reason)>);

impl Pending {
    pub(super) fn push(&mut self, slot: Slot, reason: Reason) {
        self.0.push((slot, reason));
    }
}

impl Spans {
    /// Derives again whatever depends on what has changed, unless that is put off.
    pub(super) fn derive_pending(&mut self) {
        while let Some((slot, reason)) = self.pending.0.pop() {
            if !self.effort.spend(1) {
                self.pending.0.clear();
                return;
            }
            let reason = if self.store[slot].is_known() {
                self.derive(slot, reason)
            } else {
                reason
            };
            let beneath = Reason::NONE
                .or(reason.has(Reason::LANDMARK), Reason::LANDMARK_ABOVE)
                .or(reason.has(Reason::HOME), Reason::HOME_ABOVE);
            if beneath == Reason::NONE {
                continue;
            }
            let mut child = self.store[slot].first_child;
            while child.is_some() {
                let record = &self.store[child];
                // One on a loop of parents depends on none of them.
                if !record.is(Flag::Loop) {
                    self.pending.push(child, beneath);
                }
                child = record.next;
            }
            // A hint at anything else than a root does not count, whatever becomes of that.
            let record = &self.store[slot];
            if beneath.has(Reason::HOME_ABOVE) && (record.is_root() || !record.is_known()) {
                for hinting in self.store.hinting(slot) {
                    self.pending.0.push((hinting, Reason::HOME_ABOVE));
                }
            }
        }
        if self.conversations.has_changed() && !self.is_behind() {
            self.settle_conversations();
        }
    }

    /// Derives everything again, once from above to below.
    pub(super) fn derive_all(&mut self) {
        self.pending.0.clear();
        let mut hinting = Vec::new();
        let mut next = Vec::new();
        for top in self.store.tops() {
            next.push(top);
            while let Some(slot) = next.pop() {
                if self.store[slot].is_known() {
                    self.derive(slot, Reason::BOTH);
                    hinting.extend(self.store.hint(slot).some().map(|_| slot));
                }
                let mut child = self.store[slot].first_child;
                while child.is_some() {
                    next.extend((!self.store[child].is(Flag::Loop)).then_some(child));
                    child = self.store[child].next;
                }
            }
        }
        // Where these run depends on spans that need not be above them.
        for slot in hinting {
            self.pending.push(slot, Reason::HOME_ABOVE);
        }
        self.derive_pending();
    }

    /// Derives what follows for one span, and returns what of it concerns those beneath.
    fn derive(&mut self, slot: Slot, reason: Reason) -> Reason {
        let local = self.store.local_parent(slot);
        let anchor = self.anchor_of(slot, local);
        let (home, is_topmost) = self.home_of(slot, local);
        let record = &mut self.store[slot];
        let (kind, is_open) = (record.kind(), record.is_open());
        let anchor_changed = std::mem::replace(&mut record.anchor, anchor) != anchor;
        let home_changed = std::mem::replace(&mut record.home, home) != home || record.is(Flag::Topmost) != is_topmost;
        record.set(Flag::Topmost, is_topmost);
        let is_root = record.is_root();
        match kind {
            Kind::Call if is_open => {
                self.place_wait(slot);
                if anchor_changed {
                    self.conversation_changed(slot);
                }
            }
            Kind::Handle | Kind::Hold if is_open => self.place_occupier(slot),
            Kind::Call | Kind::Handle | Kind::Hold | Kind::Member | Kind::Structural => {}
        }
        if kind == Kind::Handle {
            self.place_handler(slot);
        }
        self.place_word(slot);
        match kind {
            Kind::Structural | Kind::Hold | Kind::Member => reason
                .or(anchor_changed || reason.has(Reason::LANDMARK_ABOVE), Reason::LANDMARK)
                .or(home_changed || reason.has(Reason::HOME_ABOVE), Reason::HOME),
            Kind::Call if is_root => reason.or(anchor_changed, Reason::LANDMARK),
            Kind::Call => reason
                .or(anchor_changed, Reason::LANDMARK)
                .or(home_changed || reason.has(Reason::HOME_ABOVE), Reason::HOME),
            Kind::Handle => reason.or(anchor_changed, Reason::BOTH),
        }
    }

    /// Of a call the outermost open one of those directly inside one another, of an open handle likewise. Of another span
    /// the nearest call or handle above it, through the links of its instance.
    fn anchor_of(&self, slot: Slot, local: Option<Slot>) -> Slot {
        let record = &self.store[slot];
        let above = local.map_or(Slot::NONE, |parent| self.store.landmark(parent));
        let landmark = above.some().map(|above| &self.store[above]);
        match record.kind() {
            Kind::Structural | Kind::Hold | Kind::Member => above,
            Kind::Call => {
                // A detached call is a task of its own, so it is nobody's inner call.
                let outer = landmark.filter(|landmark| landmark.is_call() && !record.is(Flag::Detached));
                let outermost = outer.map_or(Slot::NONE, |outer| outer.anchor);
                if !outermost.is_some() && record.is_open() {
                    slot
                } else {
                    outermost
                }
            }
            Kind::Handle if record.is_open() => {
                let outer = landmark.filter(|landmark| landmark.is_handle() && landmark.is_open());
                outer.and_then(|outer| outer.anchor.some()).unwrap_or(slot)
            }
            Kind::Handle => Slot::NONE,
        }
    }

    /// The handle or detached call under which a span runs, or its topmost ancestor, and whether it is that.
    fn home_of(&self, slot: Slot, local: Option<Slot>) -> (Slot, bool) {
        let record = &self.store[slot];
        if record.is_root() {
            return (slot, false);
        }
        // A hint counts if it names a handle or detached call of the same instance, open or remembered.
        let hint = self.store.hint(slot);
        if hint.is_some() && hint != slot {
            let hinted = &self.store[hint];
            if hinted.is_known() && hinted.is_root() && hinted.instance == record.instance {
                return (hint, false);
            }
        }
        if let Some(parent) = local {
            let above = &self.store[parent];
            return (above.home, above.is(Flag::Topmost));
        }
        // Spans under the same unseen local parent run together.
        let unseen = record.above().some().filter(|_| !record.is(Flag::Remote));
        let unseen = unseen.filter(|parent| !self.store[*parent].is_known());
        (unseen.unwrap_or(slot), true)
    }

    /// The span that stands for the task of an open call, handle or hold.
    fn stands_for(&self, slot: Slot) -> Slot {
        let record = &self.store[slot];
        if record.is(Flag::Topmost) {
            return record.home;
        }
        let root = &self.store[record.home];
        if root.is_open() {
            return root.anchor.some().filter(|_| root.is_handle()).unwrap_or(record.home);
        }
        // What its handler has left behind: a call waits for itself alone, a hold stays with the ended handler.
        if record.is_call() { slot } else { record.home }
    }
}

// Tasks.
impl Spans {
    fn task_of(&mut self, slot: Slot) -> TaskIx {
        self.task_for(self.stands_for(slot), self.store[slot].instance)
    }

    /// The task for which a span stands, made if there is none. The span itself remembers it if it can: it has room for
    /// one number of the picture.
    fn task_for(&mut self, stands: Slot, instance: InstanceIx) -> TaskIx {
        let record = &self.store[stands];
        let id = TaskId {
            span: record.id,
            instance: self.store.instances.id(instance),
        };
        let own = match record.node {
            NO_NODE => None,
            wait if record.is(Flag::Waits) => Some(self.picture.wait(WaitIx(wait)).task()),
            task => Some(TaskIx(task)),
        };
        if let Some(task) = own.filter(|task| self.picture.task(*task).id() == id) {
            return task;
        }
        if let Some(task) = self.tasks_of_unseen.get(&(stands, instance)) {
            return *task;
        }
        let task = self
            .picture
            .add_task(id, stands, self.store.instances.is_silent(instance));
        if own.is_none() && record.is_known() && record.instance == instance {
            self.store[stands].node = task.0;
        } else {
            self.tasks_of_unseen.insert((stands, instance), task);
        }
        at_place(&mut self.task_spans, task.0 as usize);
        task
    }

    fn keep_task(&mut self, task: TaskIx) {
        self.task_spans[task.0 as usize] += 1;
    }

    fn release_task(&mut self, task: TaskIx) {
        let spans = &mut self.task_spans[task.0 as usize];
        *spans -= 1;
        if *spans > 0 {
            return;
        }
        let (id, stands) = (self.picture.task(task).id(), self.picture.task(task).slot());
        let record = &mut self.store[stands];
        if record.node == task.0 && !record.is(Flag::Waits) {
            record.node = NO_NODE;
        }
        if !self.tasks_of_unseen.is_empty()
            && let Some(instance) = self.store.instances.find(id.instance)
            && self.tasks_of_unseen.get(&(stands, instance)) == Some(&task)
        {
            self.tasks_of_unseen.remove(&(stands, instance));
        }
        self.picture.remove_task(task);
    }

    /// A span has no place of its own in the picture any more. If it still stands for a task of others, it remembers that.
    fn leave_task(&mut self, slot: Slot, task: TaskIx) {
        let is_own = self.picture.task(task).slot() == slot;
        self.store[slot].node = if is_own { task.0 } else { NO_NODE };
        self.release_task(task);
    }
}

// Waits.
impl Spans {
    fn place_wait(&mut self, slot: Slot) {
        if self.store[slot].anchor != slot {
            return self.remove_wait(slot);
        }
        let task = self.task_of(slot);
        match self.wait(slot) {
            None => self.add_wait(slot, task),
            Some(wait) if self.picture.wait(wait).task() != task => {
                let handlers: Vec<(TaskIx, Slot)> = self.picture.handlers(wait).collect();
                self.keep_task(task);
                self.remove_wait(slot);
                self.add_wait(slot, task);
                self.release_task(task);
                let wait = WaitIx(self.store[slot].node);
                for (task, handle) in handlers {
                    self.picture.add_handler(wait, task, handle);
                    self.store[handle].set(Flag::Handles, true);
                }
            }
            Some(_) => {}
        }
    }

    fn add_wait(&mut self, slot: Slot, task: TaskIx) {
        let group = self.store.rare(slot).and_then(|rare| rare.group);
        let wait = NewWait {
            call: slot,
            target: self.store[slot]
                .resource
                .some()
                .and_then(|name| self.resources.get(name)),
            units: self.store.units(slot),
            group: group.map(|(name, quorum)| GroupOf { name, quorum }),
        };
        self.keep_task(task);
        let wait = self.picture.add_wait(task, wait);
        self.store[slot].node = wait.0;
        self.store[slot].set(Flag::Waits, true);
        self.look_at_fate(slot);
    }

    /// A call is not a wait any more.
    pub(super) fn remove_wait(&mut self, slot: Slot) {
        let Some(wait) = self.wait(slot) else { return };
        for (_, handle) in self.picture.handlers(wait) {
            self.store[handle].set(Flag::Handles, false);
        }
        let task = self.picture.wait(wait).task();
        self.picture.remove_wait(wait);
        self.store[slot].set(Flag::Waits, false);
        self.leave_task(slot, task);
    }
}

// Handles and holds.
impl Spans {
    fn place_occupier(&mut self, slot: Slot) {
        let task = self.task_of(slot);
        let record = &self.store[slot];
        if record.is(Flag::Occupies) && record.node == task.0 {
            return;
        }
        self.keep_task(task);
        self.vacate(slot);
        let record = &mut self.store[slot];
        record.node = task.0;
        record.set(Flag::Occupies, true);
        let by = Occupier {
            span: slot,
            units: self.store.units(slot),
            by_handle: self.store[slot].is_handle(),
        };
        let mut place = 0;
        while let Some(name) = self.store.resource(slot, place) {
            if let Some(resource) = self.resources.get(name) {
                self.picture.occupy(task, resource, by);
            }
            place += 1;
        }
    }

    /// A handle or hold occupies nothing and handles nothing any more.
    pub(super) fn vacate(&mut self, slot: Slot) {
        if !self.store[slot].is(Flag::Occupies) {
            return;
        }
        if self.store[slot].is_handle() {
            self.detach_handler(slot);
        }
        let task = TaskIx(self.store[slot].node);
        let mut place = 0;
        while let Some(name) = self.store.resource(slot, place) {
            if let Some(resource) = self.resources.get(name) {
                self.picture.vacate(task, resource, slot);
            }
            place += 1;
        }
        self.store[slot].set(Flag::Occupies, false);
        self.leave_task(slot, task);
    }

    /// A handle answers the nearest call above it; failing that, the calls of its conversation.
    fn place_handler(&mut self, slot: Slot) {
        let parent = self.store[slot].above().some();
        let by_parent = parent.filter(|parent| self.store[*parent].is_known());
        let wait = by_parent.map_or(Slot::NONE, |parent| self.store.wait_at(parent));
        if !wait.is_some() {
            if !self.store[slot].is(Flag::Converses) {
                self.detach_handler(slot);
                self.store[slot].extra = Slot::NONE.0;
                self.join_conversation(slot);
            }
            return;
        }
        self.leave_conversation(slot);
        if self.store[slot].extra != wait.0 {
            self.detach_handler(slot);
            self.store[slot].extra = wait.0;
        }
        self.attach_handler(slot);
    }

    /// Lets an open handle handle the wait that it answers, and one that has ended count for its fate.
    pub(super) fn attach_handler(&mut self, slot: Slot) {
        let record = &self.store[slot];
        let call = Slot(record.extra);
        if record.is_ended() && !record.is(Flag::Counts) {
            let fate = super::fates::fate_by(record.state());
            self.store[slot].set(Flag::Counts, true);
            self.count_fate(call, fate, true);
        } else if record.is(Flag::Occupies)
            && !record.is(Flag::Handles)
            && let Some(wait) = self.wait(call)
        {
            let task = TaskIx(record.node);
            self.picture.add_handler(wait, task, slot);
            self.store[slot].set(Flag::Handles, true);
        }
    }

    /// Undoes whatever a handle does to the calls that it answers. To be said before it ends, or ends otherwise.
    pub(super) fn detach_handler(&mut self, slot: Slot) {
        if self.store[slot].is(Flag::Converses) {
            self.detach_from_conversation(slot);
        }
        let record = &self.store[slot];
        let call = Slot(record.extra);
        let (handles, counts, state) = (record.is(Flag::Handles), record.is(Flag::Counts), record.state());
        if handles {
            self.store[slot].set(Flag::Handles, false);
            if let Some(wait) = self.wait(call) {
                self.picture.remove_handler(wait, slot);
            }
        }
        if counts {
            self.store[slot].set(Flag::Counts, false);
            self.count_fate(call, super::fates::fate_by(state), false);
        }
    }
}
