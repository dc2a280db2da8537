//! Who can still proceed: the least fixpoint of the design, written as its sentences.
//!
//! It covers single waits, AND, OR and k of n (Knapp, *Deadlock detection in distributed databases*, 1987), and
//! resources of several units, where a knot rather than a cycle is the deadlock (Holt, *Some deadlock properties of
//! computer systems*, 1972). It is computed the plain way, round by round, so that it can be read beside the
//! definition: it is what any faster way has to agree with.

use std::collections::BTreeSet;

use standoff_wait_graph::CallState;

use super::picture::{Group, Picture, Resource, Task, TaskIndex, Wait};

/// Which tasks are live.
#[derive(Debug)]
pub(crate) struct Liveness<'a> {
    picture: &'a Picture,
    live: Vec<bool>,
    /// The units of each resource that tasks which are not live occupy.
    held_by_dead: Vec<u64>,
}

impl<'a> Liveness<'a> {
    /// The liveness of all tasks.
    pub(crate) fn of(picture: &'a Picture) -> Self {
        Self::among(picture, &(0..picture.tasks.len()).collect())
    }

    /// The liveness of some tasks, if all others are taken to be live.
    ///
    /// The fixpoint is the least one: nobody is live until something makes it so, and what makes a task live never
    /// makes another one dead, so this ends after at most as many rounds as there are tasks.
    pub(crate) fn among(picture: &'a Picture, asked: &BTreeSet<TaskIndex>) -> Self {
        let mut liveness = Self {
            picture,
            live: vec![false; picture.tasks.len()],
            held_by_dead: picture.resources.iter().map(Resource::held).collect(),
        };
        for task in (0..picture.tasks.len()).filter(|task| !asked.contains(task)) {
            liveness.make_live(task);
        }
        loop {
            let mut has_grown = false;
            for task in asked {
                if !liveness.live[*task] && liveness.can_proceed(&picture.tasks[*task]) {
                    liveness.make_live(*task);
                    has_grown = true;
                }
            }
            if !has_grown {
                return liveness;
            }
        }
    }

    fn make_live(&mut self, task: TaskIndex) {
        self.live[task] = true;
        for (resource, occupation) in &self.picture.tasks[task].occupies {
            self.held_by_dead[*resource] -= occupation.units;
        }
    }

    pub(crate) fn is_live(&self, task: TaskIndex) -> bool {
        self.live[task]
    }

    /// What is not live is deadlocked.
    pub(crate) fn dead(&self) -> BTreeSet<TaskIndex> {
        (0..self.live.len()).filter(|task| !self.live[*task]).collect()
    }

    /// A task is live if each of its wait groups can still get the answers it needs; without calls it is. Of a task in
    /// a silent instance nothing is known.
    fn can_proceed(&self, task: &Task) -> bool {
        task.is_silent || task.groups.iter().all(|group| self.can_be_satisfied(group))
    }

    /// A group needs k answers of n, from live calls or from calls that are not open: finished, or still to come. If
    /// nobody has said how many, it is live; if it is said to need more than there are, it needs all.
    pub(crate) fn can_be_satisfied(&self, group: &Group) -> bool {
        let Some(quorum) = group.quorum else { return true };
        let size = group.waits.len().max(quorum.size as usize);
        let needed = size.min(quorum.needed as usize);
        let not_open = size - group.waits.len();
        let live = group.waits.iter().filter(|wait| self.can_finish(wait)).count();
        live + not_open >= needed
    }

    /// Whether a call is live, by its state.
    pub(crate) fn can_finish(&self, wait: &Wait) -> bool {
        wait.is_uncertain
            || match wait.state {
                CallState::Answered | CallState::Orphaned => true,
                CallState::Accepted => wait.handlers.iter().any(|(task, _)| self.live[*task]),
                CallState::Queued => self.can_be_granted(wait),
            }
    }

    /// A queued call is live if its target is unknown, or if the units that are free or held by live tasks cover what
    /// it needs. A call for more units than there are is an anomaly, not a deadlock.
    fn can_be_granted(&self, wait: &Wait) -> bool {
        let Some((needed, resource, capacity)) = wait.demand(self.picture) else {
            return true;
        };
        let free_or_held_by_live = capacity.saturating_sub(self.held_by_dead[resource]);
        needed > capacity || free_or_held_by_live >= needed
    }

    /// The waits that keep a dead task from proceeding: the dead ones of each group that cannot be satisfied.
    pub(crate) fn blocking_waits(&self, task: TaskIndex) -> impl Iterator<Item = (&'a Group, &'a Wait)> {
        let groups = self.picture.tasks[task]
            .groups
            .iter()
            .filter(|group| !self.can_be_satisfied(group));
        groups
            .flat_map(|group| group.waits.iter().map(move |wait| (group, wait)))
            .filter(|(_, wait)| !self.can_finish(wait))
    }
}
