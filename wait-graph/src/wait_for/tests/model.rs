//! The same as the picture, kept as plain facts, with everything worked out from them anew, round by round.

use std::collections::{BTreeMap, BTreeSet};

use crate::deadlock::{CallState, Capacity};
use crate::span::Quorum;
use crate::wait_for::{Fate, GroupOf, Occupier, ResourceIx, Slot, Symbol, TaskIx, WaitIx};

#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// Whether it is silent.
    pub(super) tasks: BTreeMap<TaskIx, bool>,
    pub(super) resources: BTreeMap<ResourceIx, Capacity>,
    pub(super) occupiers: Vec<(TaskIx, ResourceIx, Occupier)>,
    pub(super) waits: BTreeMap<WaitIx, ModelWait>,
}

#[derive(Clone, Debug)]
pub(super) struct ModelWait {
    pub(super) call: Slot,
    pub(super) task: TaskIx,
    pub(super) target: Option<ResourceIx>,
    pub(super) units: u64,
    pub(super) group: Option<GroupOf>,
    pub(super) fate: Option<Fate>,
    pub(super) is_uncertain: bool,
    pub(super) handlers: Vec<(TaskIx, Slot)>,
}

/// Name, quorum, waits.
pub(super) type ModelGroup = (Option<Symbol>, Option<Quorum>, BTreeSet<WaitIx>);

impl ModelWait {
    pub(super) fn state(&self) -> CallState {
        match self.fate {
            Some(Fate::Answered) => CallState::Answered,
            Some(Fate::Orphaned) | None if !self.handlers.is_empty() => CallState::Accepted,
            Some(Fate::Orphaned) => CallState::Orphaned,
            None => CallState::Queued,
        }
    }
}

impl Model {
    /// The units of one resource that one task occupies.
    pub(super) fn units(&self, task: TaskIx, resource: ResourceIx) -> u64 {
        let of = |by_handle: bool| {
            let mine = self.occupiers.iter().filter(move |it| it.0 == task && it.1 == resource);
            mine.filter(move |it| it.2.by_handle == by_handle)
        };
        of(false).map(|it| u64::from(it.2.units)).sum::<u64>() + of(true).count().min(1) as u64
    }

    pub(super) fn occupants(&self, resource: ResourceIx) -> BTreeMap<TaskIx, u64> {
        let tasks = self.occupiers.iter().filter(|it| it.1 == resource).map(|it| it.0);
        tasks.map(|task| (task, self.units(task, resource))).collect()
    }

    pub(super) fn occupations(&self, task: TaskIx) -> BTreeMap<ResourceIx, u64> {
        let resources = self.occupiers.iter().filter(|it| it.0 == task).map(|it| it.1);
        resources
            .map(|resource| (resource, self.units(task, resource)))
            .collect()
    }

    pub(super) fn held(&self, resource: ResourceIx) -> u64 {
        self.occupants(resource).values().sum()
    }

    pub(super) fn capacity(&self, resource: ResourceIx) -> Capacity {
        match self.resources[&resource] {
            Capacity::Unknown => Capacity::Unknown,
            Capacity::Declared(units) => Capacity::Declared(units.max(self.held(resource))),
            Capacity::Counted(units) => Capacity::Counted(units.max(self.held(resource))),
        }
    }

    pub(super) fn is_overfull(&self, resource: ResourceIx) -> bool {
        match self.resources[&resource] {
            Capacity::Unknown => false,
            Capacity::Declared(units) | Capacity::Counted(units) => self.held(resource) > units,
        }
    }

    pub(super) fn queue(&self, resource: ResourceIx) -> BTreeSet<WaitIx> {
        let queued = self.waits.iter().filter(|(_, wait)| wait.state() == CallState::Queued);
        queued
            .filter(|(_, wait)| wait.target == Some(resource))
            .map(|(index, _)| *index)
            .collect()
    }

    pub(super) fn groups(&self, task: TaskIx) -> Vec<ModelGroup> {
        let mut alone = Vec::new();
        let mut named: BTreeMap<Symbol, ModelGroup> = BTreeMap::new();
        for (index, wait) in self.waits.iter().filter(|(_, wait)| wait.task == task) {
            let Some(said) = wait.group else {
                alone.push((None, Some(Quorum { needed: 1, size: 1 }), BTreeSet::from([*index])));
                continue;
            };
            let group = named
                .entry(said.name)
                .or_insert_with(|| (Some(said.name), said.quorum, BTreeSet::new()));
            group.1 = group.1.zip(said.quorum).map(|(one, other)| Quorum {
                needed: one.needed.min(other.needed),
                size: one.size.max(other.size),
            });
            group.2.insert(*index);
        }
        alone.into_iter().chain(named.into_values()).collect()
    }

    /// What a queued wait needs of what there is, if both are known.
    pub(super) fn demand(&self, wait: &ModelWait) -> Option<(ResourceIx, u64)> {
        let target = wait.target.filter(|_| wait.state() == CallState::Queued)?;
        match self.capacity(target) {
            Capacity::Unknown => None,
            Capacity::Declared(units) | Capacity::Counted(units) => Some((target, units)),
        }
    }

    pub(super) fn can_finish(&self, wait: WaitIx, dead: &BTreeSet<TaskIx>) -> bool {
        let wait = &self.waits[&wait];
        wait.is_uncertain
            || match wait.state() {
                CallState::Answered | CallState::Orphaned => true,
                CallState::Accepted => wait.handlers.iter().any(|(task, _)| !dead.contains(task)),
                CallState::Queued => self.demand(wait).is_none_or(|(target, capacity)| {
                    let occupants = self.occupants(target);
                    let by_dead: u64 = occupants
                        .iter()
                        .filter(|(it, _)| dead.contains(it))
                        .map(|it| it.1)
                        .sum();
                    wait.units > capacity || capacity.saturating_sub(by_dead) >= wait.units
                }),
            }
    }

    pub(super) fn can_be_satisfied(&self, group: &ModelGroup, dead: &BTreeSet<TaskIx>) -> bool {
        let Some(quorum) = group.1 else { return true };
        let size = group.2.len().max(quorum.size as usize);
        let needed = size.min(quorum.needed as usize);
        let live = group.2.iter().filter(|wait| self.can_finish(**wait, dead)).count();
        live + size - group.2.len() >= needed
    }

    fn can_proceed(&self, task: TaskIx, dead: &BTreeSet<TaskIx>) -> bool {
        self.tasks[&task] || self.groups(task).iter().all(|group| self.can_be_satisfied(group, dead))
    }

    /// Who of `part` is dead if all others are live.
    pub(super) fn dead_among(&self, part: BTreeSet<TaskIx>) -> BTreeSet<TaskIx> {
        let mut dead = part;
        loop {
            let live: Vec<TaskIx> = dead
                .iter()
                .filter(|it| self.can_proceed(**it, &dead))
                .copied()
                .collect();
            if live.is_empty() {
                return dead;
            }
            dead.retain(|task| !live.contains(task));
        }
    }

    pub(super) fn dead(&self) -> BTreeSet<TaskIx> {
        self.dead_among(self.tasks.keys().copied().collect())
    }

    pub(super) fn undecided(&self) -> u64 {
        let queued = self.waits.values().filter(|wait| wait.state() == CallState::Queued);
        queued.filter(|wait| self.demand(wait).is_none()).count() as u64
    }

    pub(super) fn excessive(&self) -> u64 {
        let is_excessive = |wait: &&ModelWait| self.demand(wait).is_some_and(|(_, capacity)| wait.units > capacity);
        self.waits.values().filter(is_excessive).count() as u64
    }

    /// Everything that a report on the dead may tell.
    pub(super) fn told(&self, dead: &BTreeSet<TaskIx>) -> String {
        let mut told = String::new();
        for task in dead {
            told += &format!("{task:?}");
            let mut concerned: BTreeSet<ResourceIx> = self.occupations(*task).into_keys().collect();
            for (index, span) in self
                .occupiers
                .iter()
                .filter(|it| it.0 == *task)
                .map(|it| (it.1, it.2.span))
            {
                told += &format!(" occupies {index:?} by {span:?}");
            }
            for group in self
                .groups(*task)
                .iter()
                .filter(|group| !self.can_be_satisfied(group, dead))
            {
                told += &format!(" needs {:?}", group.1);
                for wait in group.2.iter().filter(|wait| !self.can_finish(**wait, dead)) {
                    let wait = &self.waits[wait];
                    told += &format!(" call {:?} {:?} {:?}", wait.call, wait.state(), wait.handlers);
                    concerned.extend(wait.target.filter(|_| wait.state() == CallState::Queued));
                }
            }
            for resource in concerned {
                let (capacity, queued) = (self.capacity(resource), self.queue(resource).len());
                told += &format!(" {resource:?} {capacity:?} {:?} {queued}", self.occupants(resource));
            }
        }
        told
    }
}
