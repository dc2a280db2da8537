//! Who depends on a suspect: a search backward, for when the one forward is long.
//!
//! Whoever does not depend on a suspect, through whomever, can be judged without it. So if all its dependents are found,
//! a search forward has to visit only them, and may trust the flags of all others. What it finds dead is dead in any
//! case, since these flags are never wrong where they say so.
//!
//! What it finds live may rest on somebody who is wrongly flagged live because of another suspect, which comes to light
//! with that one. In detail: assume that in the end some tasks are wrongly flagged live, and take a smallest set of them
//! that depend on each other and on no other such task. The first of them in the order of [`super`] was a suspect, or
//! what it is queued for was. All of the set depend on it, so they were among its dependents, and it was not shown by
//! trust in them, nor in any other wrong flag, since it depends on none. So it is live after all.

use super::handlers::FIRST;
use super::picture::Picture;
use super::rows::NONE;
use super::search::Root;
use super::visits::{Node, State};

impl Picture {
    /// Takes note of all who depend on a suspect, itself included, for the search that follows. `false` if there are
    /// too many.
    pub(super) fn note_dependents(&mut self, root: Root) -> bool {
        self.search.dependents.clear();
        let is_noted = match root {
            Root::Wait(wait) => self.note_dependent(self.waits[wait].task),
            Root::Group(group) => self.note_dependent(self.groups[group].task),
            Root::Task(task) => self.note_dependent(task),
            Root::Demand(resource, _) => self.note_queue(resource),
        };
        if !is_noted {
            return false;
        }
        while let Some(task) = self.search.dependents.pop() {
            let mut place = FIRST;
            while let Some((next, wait, _)) = self.handled_after(task, place) {
                place = next;
                if !self.note_dependent(self.waits[wait].task) {
                    return false;
                }
            }
            let mut place = FIRST;
            while let Some((next, resource, _)) = self.occupation_after(task, place) {
                place = next;
                if !self.note_queue(resource) {
                    return false;
                }
            }
        }
        self.search.is_confined = true;
        true
    }

    /// Everybody who is queued for a resource depends on whoever occupies it.
    fn note_queue(&mut self, resource: u32) -> bool {
        let mut wait = self.resources[resource].first_narrow;
        while wait != NONE {
            if !self.note_dependent(self.waits[wait].task) {
                return false;
            }
            wait = self.waits[wait].neighbours.next;
        }
        if self.resources[resource].wide == 0 {
            return true;
        }
        let of_resource = (resource, 0, 0)..=(resource, u32::MAX, u32::MAX);
        let most = self.budget.left_for_attempt() + 1;
        let wide: Vec<u32> = self
            .wide
            .range(of_resource)
            .map(|(_, _, wait)| *wait)
            .take(most)
            .collect();
        wide.into_iter().all(|wait| self.note_dependent(self.waits[wait].task))
    }

    fn note_dependent(&mut self, task: u32) -> bool {
        if self.budget.is_spent() {
            return false;
        }
        self.budget.spend();
        let is_live = !self.tasks[task].is_dead && !self.tasks[task].is_silent;
        if is_live && self.noted(Node::Task(task)).is_none() {
            self.note(Node::Task(task), State::Dependent);
            self.search.dependents.push(task);
        }
        true
    }
}
