//! The picture: tasks, waits, resources, and who is dead.

use crate::deadlock::{CallState, Capacity};
use crate::span::Quorum;

use super::ids::{Fate, NewWait, Occupier, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};

/// Everything that decides who can proceed, and who can.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    tasks: Vec<Task>,
    waits: Vec<Wait>,
    resources: Vec<Resource>,
}

/// Somebody who may have to wait.
#[derive(Debug)]
pub(crate) struct Task {
    id: TaskId,
    slot: Slot,
    is_silent: bool,
}

impl Task {
    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.is_silent
    }
}

/// A call for whose reply its task waits.
#[derive(Debug)]
pub(crate) struct Wait {
    call: Slot,
    task: TaskIx,
    target: Option<ResourceIx>,
    units: u32,
    is_uncertain: bool,
}

impl Wait {
    pub(crate) fn call(&self) -> Slot {
        self.call
    }

    pub(crate) fn task(&self) -> TaskIx {
        self.task
    }

    pub(crate) fn target(&self) -> Option<ResourceIx> {
        self.target
    }

    pub(crate) fn units(&self) -> u64 {
        u64::from(self.units)
    }

    pub(crate) fn is_uncertain(&self) -> bool {
        self.is_uncertain
    }
}

/// What tasks occupy and wait for.
#[derive(Debug)]
pub(crate) struct Resource {
    name: Symbol,
    declared: Capacity,
}

impl Resource {
    pub(crate) fn name(&self) -> Symbol {
        self.name
    }

    /// Never less than what is in use, whatever was declared.
    pub(crate) fn capacity(&self) -> Capacity {
        self.declared
    }

    /// Units that are occupied.
    pub(crate) fn held(&self) -> u64 {
        0
    }

    /// How many waits are queued for it.
    pub(crate) fn queued(&self) -> u64 {
        0
    }

    /// Whether more is in use than was declared.
    pub(crate) fn is_overfull(&self) -> bool {
        false
    }
}

/// Waits of one task of which some must finish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    /// `None` for a wait that is needed for itself alone.
    pub(crate) name: Option<Symbol>,
    /// `None` if nobody has said how many must finish: live.
    pub(crate) quorum: Option<Quorum>,
    _picture: &'a Picture,
}

impl<'a> Group<'a> {
    /// In no particular order.
    pub(crate) fn waits(&self) -> impl Iterator<Item = WaitIx> + use<'a> {
        std::iter::empty()
    }
}

// What is told to the picture.
impl Picture {
    /// An empty picture.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn add_task(&mut self, id: TaskId, slot: Slot, is_silent: bool) -> TaskIx {
        self.tasks.push(Task { id, slot, is_silent });
        TaskIx(self.tasks.len() as u32 - 1)
    }

    /// Precondition: it waits for nothing, occupies nothing and handles nothing.
    pub(crate) fn remove_task(&mut self, _task: TaskIx) {}

    pub(crate) fn set_silent(&mut self, task: TaskIx, is_silent: bool) {
        self.tasks[task.0 as usize].is_silent = is_silent;
    }

    /// A resource of unknown capacity.
    pub(crate) fn add_resource(&mut self, name: Symbol) -> ResourceIx {
        self.resources.push(Resource {
            name,
            declared: Capacity::Unknown,
        });
        ResourceIx(self.resources.len() as u32 - 1)
    }

    /// Precondition: nobody occupies it, and no wait has it as its target.
    pub(crate) fn remove_resource(&mut self, _resource: ResourceIx) {}

    /// What is declared or counted, whatever is in use.
    pub(crate) fn set_declared(&mut self, resource: ResourceIx, declared: Capacity) {
        self.resources[resource.0 as usize].declared = declared;
    }

    /// Precondition: this span does not occupy this resource yet.
    pub(crate) fn occupy(&mut self, _task: TaskIx, _resource: ResourceIx, _by: Occupier) {}

    /// Precondition: this span occupies this resource for this task.
    pub(crate) fn vacate(&mut self, _task: TaskIx, _resource: ResourceIx, _span: Slot) {}

    pub(crate) fn add_wait(&mut self, task: TaskIx, wait: NewWait) -> WaitIx {
        self.waits.push(Wait {
            call: wait.call,
            task,
            target: wait.target,
            units: wait.units,
            is_uncertain: false,
        });
        WaitIx(self.waits.len() as u32 - 1)
    }

    /// Removes a wait, with whatever handlers it still has.
    pub(crate) fn remove_wait(&mut self, _wait: WaitIx) {}

    pub(crate) fn set_fate(&mut self, _wait: WaitIx, _fate: Option<Fate>) {}

    pub(crate) fn set_uncertain(&mut self, wait: WaitIx, is_uncertain: bool) {
        self.waits[wait.0 as usize].is_uncertain = is_uncertain;
    }

    /// Precondition: this span does not handle this wait yet.
    pub(crate) fn add_handler(&mut self, _wait: WaitIx, _task: TaskIx, _span: Slot) {}

    /// Precondition: this span handles this wait.
    pub(crate) fn remove_handler(&mut self, _wait: WaitIx, _span: Slot) {}
}

// Deciding who is dead.
impl Picture {
    /// Brings the dead up to date with all changes since it was last called. Either exactly, or, where that would take
    /// too long, [`Picture::pass_wanted`] is true afterwards and too few may be dead, never too many.
    pub(crate) fn decide(&mut self) {}

    pub(crate) fn pass_wanted(&self) -> bool {
        false
    }

    /// Decides exactly, in time linear in the picture.
    pub(crate) fn full_pass(&mut self) {}

    /// Changes whenever who is dead changes, and whatever concerns somebody who is.
    pub(crate) fn revision(&self) -> u64 {
        0
    }
}

// What is asked of the picture.
impl Picture {
    pub(crate) fn task(&self, task: TaskIx) -> &Task {
        &self.tasks[task.0 as usize]
    }

    pub(crate) fn wait(&self, wait: WaitIx) -> &Wait {
        &self.waits[wait.0 as usize]
    }

    pub(crate) fn resource(&self, resource: ResourceIx) -> &Resource {
        &self.resources[resource.0 as usize]
    }

    pub(crate) fn is_dead(&self, _task: TaskIx) -> bool {
        false
    }

    /// Everybody who is dead, in no particular order, in time linear in their number.
    pub(crate) fn dead(&self) -> impl Iterator<Item = TaskIx> {
        std::iter::empty()
    }

    pub(crate) fn dead_count(&self) -> usize {
        0
    }

    /// In no particular order.
    pub(crate) fn groups(&self, _task: TaskIx) -> impl Iterator<Item = Group<'_>> {
        std::iter::empty()
    }

    /// The groups that cannot be satisfied, as far as is known now.
    pub(crate) fn blocking_groups(&self, task: TaskIx) -> impl Iterator<Item = Group<'_>> {
        self.groups(task).filter(|group| !self.can_be_satisfied(*group))
    }

    pub(crate) fn state(&self, _wait: WaitIx) -> CallState {
        CallState::Queued
    }

    /// The open handles that answer a wait, and their tasks, in no particular order.
    pub(crate) fn handlers(&self, _wait: WaitIx) -> impl Iterator<Item = (TaskIx, Slot)> {
        std::iter::empty()
    }

    /// The waits that a task handles, each as often as it has handles for it, in no particular order.
    pub(crate) fn handled(&self, _task: TaskIx) -> impl Iterator<Item = (WaitIx, Slot)> {
        std::iter::empty()
    }

    /// What a task occupies, each resource once, in no particular order.
    pub(crate) fn occupations(&self, _task: TaskIx) -> impl Iterator<Item = (ResourceIx, u64)> {
        std::iter::empty()
    }

    /// The open spans by which a task occupies a resource, in no particular order.
    pub(crate) fn occupiers(&self, _task: TaskIx, _resource: ResourceIx) -> impl Iterator<Item = Slot> {
        std::iter::empty()
    }

    /// Who occupies a resource, each task once, in no particular order.
    pub(crate) fn occupants(&self, _resource: ResourceIx) -> impl Iterator<Item = (TaskIx, u64)> {
        std::iter::empty()
    }

    /// The waits that are queued for a resource, in no particular order.
    pub(crate) fn queue(&self, _resource: ResourceIx) -> impl Iterator<Item = WaitIx> {
        std::iter::empty()
    }

    /// Whether a call is live, by who is dead now.
    pub(crate) fn can_finish(&self, _wait: WaitIx) -> bool {
        true
    }

    /// Whether a group can still get the answers it needs, by who is dead now.
    pub(crate) fn can_be_satisfied(&self, _group: Group<'_>) -> bool {
        true
    }

    /// Waits.
    pub(crate) fn waits_count(&self) -> u64 {
        0
    }

    /// Queued waits of which too little is known.
    pub(crate) fn undecided(&self) -> u64 {
        0
    }

    /// Queued waits that ask for more units than their target has.
    pub(crate) fn excessive(&self) -> u64 {
        0
    }

    /// Resources of which more is in use than was declared.
    pub(crate) fn overfull(&self) -> u64 {
        0
    }
}
