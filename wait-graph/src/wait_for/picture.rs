//! The picture, and the changes that it is told of.
//!
//! Every change keeps [`super::flags`] up to date for those who are dead so far, and takes note of who may have become
//! live or dead by it. Deciding that is left to [`super::decide`].

use std::collections::{BTreeMap, BTreeSet};

use crate::deadlock::{CallState, Capacity};
use crate::hashing::IdMap;
use crate::span::Quorum;

use super::budget::Budget;
use super::decide::Suspect;
use super::handlers::FIRST;
use super::ids::{Fate, NewWait, Occupier, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};
use super::records::{Edge, Extra, GroupRow, Occupation, Resource, Task, Wait};
use super::rows::{Chained, Links, NONE, Rows};
use super::visits::Search;

/// Rows by what they are about.
pub(super) type Table<K> = IdMap<K, u32>;

/// Everything that decides who can proceed, and who can.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    pub(super) tasks: Rows<Task>,
    pub(super) waits: Rows<Wait>,
    pub(super) resources: Rows<Resource>,
    pub(super) groups: Rows<GroupRow>,
    pub(super) extras: Rows<Extra>,
    /// Handlers of waits, but the first of each.
    pub(super) edges: Rows<Edge>,
    /// Occupations that do not fit into their task.
    pub(super) occupations: Rows<Occupation>,
    /// Waits queued for another number of units than one, by resource and units.
    pub(super) wide: BTreeSet<(u32, u32, u32)>,
    /// Those of `edges`, by wait and span.
    pub(super) edge_of: Table<(u32, Slot)>,
    /// Those of `occupations`, by task and resource.
    pub(super) occupation_of: Table<(u32, u32)>,
    /// The spans of `occupations` but the first of each, by task, resource and span.
    pub(super) occupiers: BTreeMap<(u32, u32, Slot), Occupier>,
    /// Groups by task and name.
    pub(super) group_of: Table<(u32, Symbol)>,

    pub(super) dead: Vec<TaskIx>,
    /// Dead tasks that may be live now.
    pub(super) eased: Vec<u32>,
    /// Live tasks that may have a group that cannot be satisfied.
    pub(super) broken: Vec<u32>,
    pub(super) suspects: Vec<Suspect>,
    /// Resources for which so many are queued that they are refused by the next full pass only.
    pub(super) deferred: Vec<u32>,
    pub(super) search: Search,
    pub(super) budget: Budget,
    pub(super) pass_wanted: bool,
    pub(super) revision: u64,

    pub(super) undecided: u64,
    pub(super) excessive: u64,
    pub(super) overfull: u64,
}

/// Siblings: waits of one task outside any group, or of one group.
pub(super) struct Siblings<'a>(pub(super) &'a mut Rows<Wait>);

impl Chained for Siblings<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        &mut self.0[node].siblings
    }
}

/// Waits that are queued for one unit of one resource.
struct Queue<'a>(&'a mut Rows<Wait>);

impl Chained for Queue<'_> {
    fn links(&mut self, node: u32) -> &mut Links {
        &mut self.0[node].neighbours
    }
}

impl Picture {
    pub(crate) fn add_task(&mut self, id: TaskId, slot: Slot, is_silent: bool) -> TaskIx {
        TaskIx(self.tasks.insert(Task {
            id,
            slot,
            first_wait: NONE,
            extra: NONE,
            unmet: 0,
            mark: NONE,
            first_handled: NONE,
            is_dead: false,
            is_silent,
            occupies_by_handle: false,
            resource: NONE,
            occupier: Task::VACANT,
            units: 0,
            co_occupants: Links::NONE,
        }))
    }

    /// Precondition: it waits for nothing, occupies nothing and handles nothing.
    pub(crate) fn remove_task(&mut self, task: TaskIx) {
        let row = &self.tasks[task.0];
        debug_assert!(row.slot != Task::VACANT);
        debug_assert!(row.first_wait == NONE && row.extra == NONE, "it waits or occupies");
        debug_assert!(
            row.first_handled == NONE && row.resource == NONE,
            "it handles or occupies"
        );
        if row.is_dead {
            self.bury(task.0);
        }
        let row = &mut self.tasks[task.0];
        row.slot = Task::VACANT;
        row.is_dead = false;
        self.tasks.remove(task.0);
    }

    pub(crate) fn set_silent(&mut self, task: TaskIx, is_silent: bool) {
        let row = &mut self.tasks[task.0];
        if row.is_silent == is_silent {
            return;
        }
        row.is_silent = is_silent;
        self.touch(task.0);
        if is_silent {
            self.eased.push(task.0);
        } else {
            self.broken.push(task.0);
            self.suspect(Suspect::Task(task.0));
        }
    }

    /// A resource of unknown capacity.
    pub(crate) fn add_resource(&mut self, name: Symbol) -> ResourceIx {
        ResourceIx(self.resources.insert(Resource::new(name)))
    }

    /// Precondition: nobody occupies it, and no wait has it as its target.
    pub(crate) fn remove_resource(&mut self, resource: ResourceIx) {
        let row = &self.resources[resource.0];
        debug_assert!(row.first_occupant == NONE && row.queued() == 0, "it is in use");
        self.set_declared(resource, Capacity::Unknown);
        self.resources.remove(resource.0);
    }

    /// What is declared or counted, whatever is in use.
    pub(crate) fn set_declared(&mut self, resource: ResourceIx, declared: Capacity) {
        if self.resources[resource.0].declared != declared {
            self.change_resource(resource.0, |row| row.declared = declared);
        }
    }

    pub(crate) fn add_wait(&mut self, task: TaskIx, wait: NewWait) -> WaitIx {
        let quorum = wait.group.and_then(|group| group.quorum);
        let index = self.waits.insert(Wait {
            call: wait.call,
            task: task.0,
            siblings: Links::NONE,
            group: NONE,
            target: wait.target.map_or(NONE, |target| target.0),
            units: wait.units,
            neighbours: Links::NONE,
            handler: NONE,
            handler_span: Task::VACANT,
            more_handlers: NONE,
            live_handlers: 0,
            quorum: quorum.unwrap_or(Quorum { needed: 0, size: 0 }),
            has_quorum: quorum.is_some(),
            is_uncertain: false,
            is_stuck: false,
            fate: None,
        });
        match wait.group {
            None => Siblings(&mut self.waits).push(&mut self.tasks[task.0].first_wait, index),
            Some(group) => self.join_group(index, group.name),
        }
        self.join_queue(index);
        self.refresh_wait(index);
        self.suspect(Suspect::Wait(index));
        WaitIx(index)
    }

    /// Removes a wait, with whatever handlers it still has.
    pub(crate) fn remove_wait(&mut self, wait: WaitIx) {
        let index = wait.0;
        self.touch_wait(index);
        if self.is_queued(index) {
            self.leave_queue(index);
        }
        while let Some((_, _, span)) = self.handler_after(index, FIRST) {
            self.unlink_handler(index, span);
        }
        let Wait {
            task, group, is_stuck, ..
        } = self.waits[index];
        if group == NONE {
            Siblings(&mut self.waits).take_out(&mut self.tasks[task].first_wait, index);
            if is_stuck {
                self.count_unmet(task, false);
            }
        } else {
            self.leave_group(index);
        }
        self.waits[index].task = NONE;
        self.waits.remove(index);
    }

    pub(crate) fn set_fate(&mut self, wait: WaitIx, fate: Option<Fate>) {
        self.restate(wait.0, |waits| waits[wait.0].fate = fate);
    }

    pub(crate) fn set_uncertain(&mut self, wait: WaitIx, is_uncertain: bool) {
        self.restate(wait.0, |waits| waits[wait.0].is_uncertain = is_uncertain);
    }

    /// Changes a wait in a way that its state may depend on.
    fn restate(&mut self, wait: u32, change: impl FnOnce(&mut Rows<Wait>)) {
        self.touch_wait(wait);
        let was_queued = self.is_queued(wait);
        if was_queued {
            self.leave_queue(wait);
        }
        change(&mut self.waits);
        self.requeue(wait);
    }

    /// To be called when a wait that is in no queue may have to be in one, and may be stuck for another reason.
    pub(super) fn requeue(&mut self, wait: u32) {
        if self.is_queued(wait) {
            self.join_queue(wait);
        }
        self.refresh_wait(wait);
        self.suspect(Suspect::Wait(wait));
    }

    pub(super) fn is_queued(&self, wait: u32) -> bool {
        self.waits[wait].state() == CallState::Queued
    }

    fn join_queue(&mut self, wait: u32) {
        let Wait { target, units, .. } = self.waits[wait];
        if target == NONE {
            self.undecided += 1;
            return;
        }
        let row = &mut self.resources[target];
        if units == 1 {
            row.narrow += 1;
            Queue(&mut self.waits).push(&mut row.first_narrow, wait);
        } else {
            row.wide += 1;
            self.wide.insert((target, units, wait));
        }
        self.count_queued(target, units, true);
    }

    pub(super) fn leave_queue(&mut self, wait: u32) {
        let Wait { target, units, .. } = self.waits[wait];
        if target == NONE {
            self.undecided -= 1;
            return;
        }
        let row = &mut self.resources[target];
        if units == 1 {
            row.narrow -= 1;
            Queue(&mut self.waits).take_out(&mut row.first_narrow, wait);
        } else {
            row.wide -= 1;
            self.wide.remove(&(target, units, wait));
        }
        self.count_queued(target, units, false);
    }

    fn count_queued(&mut self, target: u32, units: u32, is_more: bool) {
        let row = &self.resources[target];
        if row.held_by_dead > 0 {
            self.revision += 1;
        }
        let counter = if row.declared == Capacity::Unknown {
            &mut self.undecided
        } else if row.gauge().is_exceeded_by(u64::from(units)) {
            &mut self.excessive
        } else {
            return;
        };
        if is_more {
            *counter += 1;
        } else {
            *counter -= 1;
        }
    }
}
