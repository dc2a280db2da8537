//! The dead part of the picture, copied into dense arrays.
//!
//! Everything that the explanation does is linear in this part, so it is read from the picture once, and numbered: tasks
//! by their ids, which no history of the picture changes. Tasks outside are live for good; of what a dead task waits for
//! only what is dead is kept. Knows no names.

use crate::deadlock::{CallState, Capacity};
use crate::explain::lists::Lists;
use crate::explain::named::Named;
use crate::explain::numbers::Numbers;
use crate::span::{Quorum, SpanId};
use crate::wait_for::{Picture, ResourceIx, Symbol, TaskId, TaskIx, WaitIx};

/// The place of a dead task in [`DeadPart::tasks`].
pub(super) type TaskNo = usize;
/// The place of a resource in [`DeadPart::resources`].
pub(super) type ResourceNo = usize;

/// All dead tasks, what each of them lacks, and the resources between them.
#[derive(Debug)]
pub(super) struct DeadPart {
    /// By id.
    pub(super) tasks: Vec<TaskIx>,
    /// Those for which a dead task is queued without hope, in the order in which tasks and waits come to them.
    pub(super) resources: Vec<AwaitedResource>,
    /// The groups of each task that cannot be satisfied.
    groups: Lists<DeadGroup>,
    /// The waits of each such group that cannot finish, by the groups' places.
    waits: Lists<DeadCall>,
    /// The handlers of all accepted waits.
    handlers: Vec<TaskNo>,
    /// What each task occupies of [`DeadPart::resources`].
    occupations: Lists<(ResourceNo, u64)>,
    /// By whom they are occupied.
    holders: Lists<TaskNo>,
}

/// A resource for which a dead task is queued without hope.
#[derive(Debug)]
pub(super) struct AwaitedResource {
    pub(super) index: ResourceIx,
    pub(super) capacity: u64,
}

/// A group that cannot be satisfied.
#[derive(Debug)]
pub(super) struct DeadGroup {
    /// How many of its waits would have to finish.
    pub(super) lacks: usize,
    /// Its name and what it needs, unless it is a wait for itself alone.
    pub(super) said: Option<(Symbol, Quorum)>,
}

/// A wait that cannot finish.
#[derive(Debug)]
pub(super) struct DeadCall {
    pub(super) wait: WaitIx,
    on: On,
}

#[derive(Clone, Copy, Debug)]
enum On {
    Handlers { start: usize, end: usize },
    Units { resource: ResourceNo, needed: u64 },
}

/// What a wait that cannot finish depends on.
#[derive(Clone, Copy, Debug)]
pub(super) enum DependsOn<'a> {
    /// One of these tasks must proceed.
    Handlers(&'a [TaskNo]),
    /// So many units must become free.
    Units { resource: ResourceNo, needed: u64 },
}

impl DeadPart {
    pub(super) fn of(picture: &Picture, named: &impl Named) -> Self {
        let mut tasks: Vec<(TaskId, TaskIx)> = picture.dead().map(|index| (picture.task(index).id(), index)).collect();
        tasks.sort_unstable();
        let tasks: Vec<TaskIx> = tasks.into_iter().map(|(_, index)| index).collect();
        let mut numbers = vec![0; tasks.len()];
        for (number, index) in tasks.iter().enumerate() {
            if let Some(place) = picture.place_among_dead(*index) {
                numbers[place] = number;
            }
        }
        let mut reading = Reading {
            picture,
            numbers,
            resource_numbers: resource_numbers(picture, &tasks),
            resources: Vec::new(),
            groups: Lists::with_capacity(tasks.len()),
            waits: Lists::with_capacity(tasks.len()),
            handlers: Vec::new(),
        };
        for task in &tasks {
            reading.read_task(*task, named);
        }
        reading.finish(tasks)
    }

    /// Its groups that cannot be satisfied, by their places.
    pub(super) fn groups(&self, task: TaskNo) -> impl Iterator<Item = (usize, &DeadGroup)> {
        self.groups.range(task).map(|place| (place, self.groups.item(place)))
    }

    /// The waits of a group that cannot finish, by their places.
    pub(super) fn waits_of_group(&self, group: usize) -> impl Iterator<Item = (usize, &DeadCall)> {
        self.waits.range(group).map(|place| (place, self.waits.item(place)))
    }

    /// All waits that keep a task from proceeding, with their groups.
    pub(super) fn waits(&self, task: TaskNo) -> impl Iterator<Item = (&DeadGroup, &DeadCall)> {
        self.groups(task)
            .flat_map(|(place, group)| self.waits[place].iter().map(move |wait| (group, wait)))
    }

    pub(super) fn depends_on(&self, call: &DeadCall) -> DependsOn<'_> {
        match call.on {
            On::Handlers { start, end } => DependsOn::Handlers(&self.handlers[start..end]),
            On::Units { resource, needed } => DependsOn::Units { resource, needed },
        }
    }

    /// What a task occupies of the resources that are waited for in vain.
    pub(super) fn occupations(&self, task: TaskNo) -> &[(ResourceNo, u64)] {
        &self.occupations[task]
    }

    /// The dead tasks that occupy a resource, by id.
    pub(super) fn holders(&self, resource: ResourceNo) -> &[TaskNo] {
        &self.holders[resource]
    }
}

/// Room for the numbers of whatever dead tasks occupy. Where one is queued without hope, somebody dead occupies it.
pub(super) fn resource_numbers(picture: &Picture, tasks: &[TaskIx]) -> Numbers {
    let occupied = tasks.iter().flat_map(|task| picture.occupations(*task));
    Numbers::of(tasks.len(), occupied.map(|(resource, _)| resource.0 as usize))
}

/// A dead part that is being read.
struct Reading<'a> {
    picture: &'a Picture,
    /// The number of each task, by its place in the picture's list of the dead.
    numbers: Vec<TaskNo>,
    resource_numbers: Numbers,
    resources: Vec<AwaitedResource>,
    groups: Lists<DeadGroup>,
    waits: Lists<DeadCall>,
    handlers: Vec<TaskNo>,
}

/// A group and its waits while they are put in order.
struct Found {
    group: DeadGroup,
    waits: Vec<(SpanId, WaitIx)>,
}

impl Reading<'_> {
    /// The groups of a task by their first waits, and the waits by id: the picture has them in the order of its history.
    fn read_task(&mut self, task: TaskIx, named: &impl Named) {
        let mut found: Vec<Found> = self
            .picture
            .blocking_groups(task)
            .filter_map(|group| {
                // Of others nobody knows when they are satisfied.
                let quorum = group.quorum?;
                let mut open = 0_usize;
                let mut waits: Vec<(SpanId, WaitIx)> = Vec::new();
                for wait in group.waits() {
                    open += 1;
                    if !self.picture.can_finish(wait) {
                        waits.push((named.id(self.picture.wait(wait).call()), wait));
                    }
                }
                // Calls of the group that are not open have finished or are still to come; both count as live.
                let size = open.max(quorum.size as usize);
                let may_finish = size - waits.len();
                let lacks = size.min(quorum.needed as usize).saturating_sub(may_finish);
                let said = group.name.map(|name| (name, quorum));
                waits.sort_unstable();
                Some(Found {
                    group: DeadGroup { lacks, said },
                    waits,
                })
            })
            .collect();
        found.sort_unstable_by_key(|found| found.waits.first().copied());
        for Found { group, waits } in found {
            self.groups.push(group);
            for (_, wait) in waits {
                let on = self.on(wait);
                self.waits.push(DeadCall { wait, on });
            }
            self.waits.end_list();
        }
        self.groups.end_list();
    }

    fn on(&mut self, index: WaitIx) -> On {
        let wait = self.picture.wait(index);
        let start = self.handlers.len();
        match (self.picture.state(index), wait.target()) {
            (CallState::Queued, Some(target)) => {
                return On::Units {
                    resource: self.resource(target),
                    needed: wait.units(),
                };
            }
            // Others are not dead.
            (CallState::Accepted | CallState::Answered | CallState::Orphaned | CallState::Queued, _) => {
                let places = self
                    .picture
                    .handlers(index)
                    .filter_map(|(task, _)| self.picture.place_among_dead(task));
                let tasks = places.map(|place| self.numbers[place]);
                let mut tasks: Vec<TaskNo> = tasks.collect();
                tasks.sort_unstable();
                tasks.dedup();
                self.handlers.append(&mut tasks);
            }
        }
        On::Handlers {
            start,
            end: self.handlers.len(),
        }
    }

    fn resource(&mut self, index: ResourceIx) -> ResourceNo {
        if let Some(number) = self.resource_numbers.get(index.0 as usize) {
            return number;
        }
        let number = self.resources.len();
        let capacity = match self.picture.resource(index).capacity() {
            Capacity::Declared(units) | Capacity::Counted(units) => units,
            // Nobody waits for this in vain.
            Capacity::Unknown => u64::MAX,
        };
        self.resources.push(AwaitedResource { index, capacity });
        self.resource_numbers.set(index.0 as usize, number);
        number
    }

    fn finish(self, tasks: Vec<TaskIx>) -> DeadPart {
        let mut occupations = Lists::with_capacity(tasks.len());
        let mut holders = Vec::with_capacity(self.resources.len());
        for (task, index) in tasks.iter().enumerate() {
            let mut own: Vec<(ResourceNo, u64)> = self
                .picture
                .occupations(*index)
                .filter_map(|(resource, units)| Some((self.resource_numbers.get(resource.0 as usize)?, units)))
                .collect();
            own.sort_unstable();
            for occupation in own {
                holders.push((occupation.0, task));
                occupations.push(occupation);
            }
            occupations.end_list();
        }
        let holders = Lists::of_pairs(self.resources.len(), holders);
        DeadPart {
            tasks,
            resources: self.resources,
            groups: self.groups,
            waits: self.waits,
            handlers: self.handlers,
            occupations,
            holders,
        }
    }
}
