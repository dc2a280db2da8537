//! What is asked of the picture.

use std::iter::successors;

use crate::deadlock::CallState;
use crate::span::Quorum;

use super::handlers::FIRST;
use super::ids::{ResourceIx, Slot, Symbol, TaskIx, WaitIx};
use super::picture::Picture;
use super::records::{Resource, Task, Wait};
use super::rows::NONE;

/// Waits of one task of which some must finish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Group<'a> {
    /// `None` for a wait that is needed for itself alone.
    pub(crate) name: Option<Symbol>,
    /// `None` if nobody has said how many must finish: live.
    pub(crate) quorum: Option<Quorum>,
    picture: &'a Picture,
    members: Members,
}

#[derive(Clone, Copy, Debug)]
enum Members {
    Wait(u32),
    Group(u32),
}

/// A call outside any group is a group of its own.
const ALONE: Quorum = Quorum { needed: 1, size: 1 };

impl<'a> Group<'a> {
    /// In no particular order.
    pub(crate) fn waits(&self) -> impl Iterator<Item = WaitIx> + use<'a> {
        let picture = self.picture;
        let (first, is_alone) = match self.members {
            Members::Wait(wait) => (wait, true),
            Members::Group(group) => (picture.groups[group].first_wait, false),
        };
        let next = move |wait: &u32| filled(picture.waits[*wait].siblings.next).filter(|_| !is_alone);
        successors(filled(first), next).map(WaitIx)
    }

    /// How many of them have to finish.
    pub(super) fn needed(&self) -> u32 {
        match self.members {
            Members::Wait(_) => 1,
            Members::Group(group) => self.picture.groups[group].needed(),
        }
    }
}

fn filled(index: u32) -> Option<u32> {
    (index != NONE).then_some(index)
}

/// Goes along a chain that is followed by places.
fn chain<T>(mut after: impl FnMut(u32) -> Option<(u32, T)>) -> impl Iterator<Item = T> {
    let mut place = FIRST;
    std::iter::from_fn(move || {
        let (next, item) = after(place)?;
        place = next;
        Some(item)
    })
}

impl Picture {
    pub(crate) fn task(&self, task: TaskIx) -> &Task {
        &self.tasks[task.0]
    }

    pub(crate) fn wait(&self, wait: WaitIx) -> &Wait {
        &self.waits[wait.0]
    }

    pub(crate) fn resource(&self, resource: ResourceIx) -> &Resource {
        &self.resources[resource.0]
    }

    /// Everybody who is dead, in no particular order, in time linear in their number.
    pub(crate) fn dead(&self) -> impl Iterator<Item = TaskIx> {
        self.dead.iter().copied()
    }

    pub(crate) fn dead_count(&self) -> usize {
        self.dead.len()
    }

    /// Where a task is among the dead, as [`Picture::dead`] lists them; `None` if it is not.
    pub(crate) fn place_among_dead(&self, task: TaskIx) -> Option<usize> {
        let row = &self.tasks[task.0];
        row.is_dead.then_some(row.mark as usize)
    }

    /// In no particular order.
    pub(crate) fn groups(&self, task: TaskIx) -> impl Iterator<Item = Group<'_>> {
        let row = &self.tasks[task.0];
        let alone = successors(filled(row.first_wait), |wait| filled(self.waits[*wait].siblings.next));
        let first_group = filled(row.extra).and_then(|extra| filled(self.extras[extra].first_group));
        let groups = successors(first_group, |group| filled(self.groups[*group].siblings.next));
        let alone = alone.map(|wait| Group {
            name: None,
            quorum: Some(ALONE),
            picture: self,
            members: Members::Wait(wait),
        });
        alone.chain(groups.map(|group| Group {
            name: Some(self.groups[group].name),
            quorum: self.groups[group].quorum,
            picture: self,
            members: Members::Group(group),
        }))
    }

    /// The groups that cannot be satisfied, as far as is known now.
    pub(crate) fn blocking_groups(&self, task: TaskIx) -> impl Iterator<Item = Group<'_>> {
        self.groups(task).filter(|group| !self.can_be_satisfied(*group))
    }

    pub(crate) fn state(&self, wait: WaitIx) -> CallState {
        self.waits[wait.0].state()
    }

    /// The open handles that answer a wait, and their tasks, in no particular order.
    pub(crate) fn handlers(&self, wait: WaitIx) -> impl Iterator<Item = (TaskIx, Slot)> {
        chain(move |place| {
            let (next, task, span) = self.handler_after(wait.0, place)?;
            Some((next, (TaskIx(task), span)))
        })
    }

    /// The waits that a task handles, each as often as it has handles for it, in no particular order.
    pub(crate) fn handled(&self, task: TaskIx) -> impl Iterator<Item = (WaitIx, Slot)> {
        chain(move |place| {
            let (next, wait, span) = self.handled_after(task.0, place)?;
            Some((next, (WaitIx(wait), span)))
        })
    }

    /// What a task occupies, each resource once, in no particular order.
    pub(crate) fn occupations(&self, task: TaskIx) -> impl Iterator<Item = (ResourceIx, u64)> {
        chain(move |place| {
            let (next, resource, units) = self.occupation_after(task.0, place)?;
            Some((next, (ResourceIx(resource), units)))
        })
    }

    /// Who occupies a resource, each task once, in no particular order.
    pub(crate) fn occupants(&self, resource: ResourceIx) -> impl Iterator<Item = (TaskIx, u64)> {
        chain(move |place| {
            let (next, task, units) = self.occupant_after(resource.0, place)?;
            Some((next, (TaskIx(task), units)))
        })
    }

    /// Whether a call is live, by who is dead now.
    pub(crate) fn can_finish(&self, wait: WaitIx) -> bool {
        !self.waits[wait.0].is_stuck
    }

    /// Whether a group can still get the answers it needs, by who is dead now.
    pub(crate) fn can_be_satisfied(&self, group: Group<'_>) -> bool {
        match group.members {
            Members::Wait(wait) => !self.waits[wait].is_stuck,
            Members::Group(group) => !self.groups[group].is_unmet,
        }
    }

    /// Waits.
    pub(crate) fn waits_count(&self) -> u64 {
        self.waits.used() as u64
    }

    /// Queued waits of which too little is known.
    pub(crate) fn undecided(&self) -> u64 {
        self.undecided
    }

    /// Queued waits that ask for more units than their target has.
    pub(crate) fn excessive(&self) -> u64 {
        self.excessive
    }

    /// Resources of which more is in use than was declared.
    pub(crate) fn overfull(&self) -> u64 {
        self.overfull
    }
}
