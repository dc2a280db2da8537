//! What follows at once from who is dead: which waits are stuck, which groups cannot be satisfied.
//!
//! These follow every change, of the picture and of who is dead, so that nobody needs to look at a whole task, or at a
//! whole queue, to know them. A queue is only looked at where somebody in it is granted or refused by the change.

use std::ops::RangeInclusive;

use crate::deadlock::CallState;

use super::decide::Suspect;
use super::handlers::FIRST;
use super::ids::TaskIx;
use super::picture::Picture;
use super::records::{Gauge, Resource};
use super::rows::NONE;

impl Picture {
    /// To be called when something of a task changes.
    pub(super) fn touch(&mut self, task: u32) {
        self.revision += u64::from(self.tasks[task].is_dead);
    }

    /// To be called when a wait changes. Only one that cannot finish concerns somebody who is dead; of others the task
    /// is not looked at, since that is another place in memory.
    pub(super) fn touch_wait(&mut self, wait: u32) {
        if self.waits[wait].is_stuck {
            self.touch(self.waits[wait].task);
        }
    }

    /// One group more, or one less, of a task cannot be satisfied.
    pub(super) fn count_unmet(&mut self, task: u32, is_more: bool) {
        let row = &mut self.tasks[task];
        if is_more {
            row.unmet += 1;
            if !row.is_dead {
                self.broken.push(task);
            }
        } else {
            row.unmet -= 1;
            if row.is_dead && row.unmet == 0 {
                self.eased.push(task);
            }
        }
    }

    /// To be called when a wait may have become stuck, or free to go.
    pub(super) fn refresh_wait(&mut self, wait: u32) {
        let is_stuck = self.is_refused(wait);
        let row = &mut self.waits[wait];
        if row.is_stuck == is_stuck {
            return;
        }
        row.is_stuck = is_stuck;
        let (task, group) = (row.task, row.group);
        if group == NONE {
            self.count_unmet(task, is_stuck);
        } else {
            let row = &mut self.groups[group];
            row.stuck = row.stuck - u32::from(!is_stuck) + u32::from(is_stuck);
            self.refresh_group(group);
            if is_stuck {
                self.suspect(Suspect::Group(group));
            }
        }
        self.touch(task);
    }

    /// Whether a call cannot finish, by its state and by who is dead.
    fn is_refused(&self, wait: u32) -> bool {
        let row = &self.waits[wait];
        !row.is_uncertain
            && match row.state() {
                CallState::Answered | CallState::Orphaned => false,
                CallState::Accepted => row.live_handlers == 0,
                CallState::Queued if row.target == NONE => false,
                CallState::Queued => {
                    let target = &self.resources[row.target];
                    let is_deferred = if row.units == 1 {
                        target.defers_narrow
                    } else {
                        target.defers_wide
                    };
                    !is_deferred && target.gauge().refuses(u64::from(row.units))
                }
            }
    }

    /// To be called when a group has changed.
    pub(super) fn refresh_group(&mut self, group: u32) {
        let row = &mut self.groups[group];
        let is_unmet = row.slack().is_some_and(|slack| row.stuck > slack);
        let (was_unmet, task) = (row.is_unmet, row.task);
        row.is_unmet = is_unmet;
        if was_unmet != is_unmet {
            self.count_unmet(task, is_unmet);
        }
    }

    /// Changes a resource, and grants or refuses what is queued for it accordingly.
    pub(super) fn change_resource(&mut self, resource: u32, change: impl FnOnce(&mut Resource)) {
        let row = &mut self.resources[resource];
        let (before, had_dead) = (row.gauge(), row.held_by_dead > 0);
        self.undecided -= row.undecided();
        self.overfull -= u64::from(row.is_overfull());
        change(row);
        self.undecided += row.undecided();
        self.overfull += u64::from(row.is_overfull());
        self.revision += u64::from(had_dead || row.held_by_dead > 0);
        let after = row.gauge();
        let (narrow, wide) = (row.narrow, row.wide);
        if before == after || narrow + wide == 0 {
            return;
        }
        if narrow > 0 {
            self.change_narrow(resource, before, after);
        }
        if wide > 0 {
            self.change_wide(resource, before, after);
        }
        let is_harder =
            after.free < before.free || after.available < before.available || after.capacity != before.capacity;
        if is_harder && after.is_known() {
            self.suspect(Suspect::Resource(resource));
        }
    }

    fn change_narrow(&mut self, resource: u32, before: Gauge, after: Gauge) {
        let all = u64::from(self.resources[resource].narrow);
        if before.is_exceeded_by(1) {
            self.excessive -= all;
        }
        if after.is_exceeded_by(1) {
            self.excessive += all;
        }
        match (before.refuses(1), after.refuses(1)) {
            (false, true) if !self.budget.affords(self.resources[resource].narrow as usize) => {
                self.resources[resource].defers_narrow = true;
                self.deferred.push(resource);
                self.pass_wanted = true;
            }
            (true, false) if self.resources[resource].defers_narrow => self.resources[resource].defers_narrow = false,
            (false, true) | (true, false) => self.refresh_narrow(resource),
            (true, true) | (false, false) => {}
        }
    }

    /// Refuses those whom it would have taken too long to refuse at once.
    pub(super) fn refuse_deferred(&mut self) {
        while let Some(resource) = self.deferred.pop() {
            if self.resources[resource].defers_narrow {
                self.refresh_narrow(resource);
            }
            if std::mem::take(&mut self.resources[resource].defers_wide) {
                self.refresh_wide((resource, 0, 0)..=(resource, u32::MAX, u32::MAX));
            }
        }
    }

    fn refresh_narrow(&mut self, resource: u32) {
        self.resources[resource].defers_narrow = false;
        let mut wait = self.resources[resource].first_narrow;
        while wait != NONE {
            self.refresh_wait(wait);
            wait = self.waits[wait].neighbours.next;
        }
    }

    /// Only those can be concerned whose number of units lies between what was and what is.
    fn change_wide(&mut self, resource: u32, before: Gauge, after: Gauge) {
        let between = |one: u64, other: u64| {
            let [low, high] = [one.min(other), one.max(other)].map(|units| u32::try_from(units).unwrap_or(u32::MAX));
            // Who needs no more than the lower number is granted before and after.
            (low < high).then(|| (resource, low + 1, 0)..=(resource, high, u32::MAX))
        };
        if let Some(range) = between(before.capacity, after.capacity) {
            for (_, units, _) in self.wide.range(range.clone()) {
                self.excessive -= u64::from(before.is_exceeded_by(u64::from(*units)));
                self.excessive += u64::from(after.is_exceeded_by(u64::from(*units)));
            }
            self.refresh_wide(range);
        }
        let Some(range) = between(before.available, after.available) else {
            return;
        };
        if after.available < before.available {
            let concerned = self.wide.range(range.clone()).take(self.budget.left() + 1).count();
            if !self.budget.affords(concerned) {
                self.resources[resource].defers_wide = true;
                self.deferred.push(resource);
                self.pass_wanted = true;
                return;
            }
        }
        self.refresh_wide(range);
    }

    fn refresh_wide(&mut self, range: RangeInclusive<(u32, u32, u32)>) {
        let waits: Vec<u32> = self.wide.range(range).map(|(_, _, wait)| *wait).collect();
        for wait in waits {
            self.refresh_wait(wait);
        }
    }

    /// Takes a task from the list of the dead.
    pub(super) fn bury(&mut self, task: u32) {
        let place = self.tasks[task].mark as usize;
        self.dead.swap_remove(place);
        if let Some(moved) = self.dead.get(place) {
            self.tasks[moved.0].mark = place as u32;
        }
        self.revision += 1;
    }

    /// A task that was live is dead, and whoever needs it may be.
    pub(super) fn die(&mut self, task: u32) {
        let row = &mut self.tasks[task];
        row.is_dead = true;
        row.mark = self.dead.len() as u32;
        self.dead.push(TaskIx(task));
        self.revision += 1;
        let mut place = FIRST;
        while let Some((next, wait, _)) = self.handled_after(task, place) {
            place = next;
            self.waits[wait].live_handlers -= 1;
            self.refresh_wait(wait);
            if self.waits[wait].live_handlers > 0 {
                self.suspect(Suspect::Wait(wait));
            }
        }
        let mut place = FIRST;
        while let Some((next, resource, units)) = self.occupation_after(task, place) {
            place = next;
            self.change_resource(resource, |row| row.held_by_dead += units);
        }
    }

    /// A task that was dead is live, and whoever needs it may be.
    pub(super) fn revive(&mut self, task: u32) {
        self.bury(task);
        self.tasks[task].is_dead = false;
        let mut place = FIRST;
        while let Some((next, wait, _)) = self.handled_after(task, place) {
            place = next;
            self.waits[wait].live_handlers += 1;
            self.refresh_wait(wait);
        }
        let mut place = FIRST;
        while let Some((next, resource, units)) = self.occupation_after(task, place) {
            place = next;
            self.change_resource(resource, |row| row.held_by_dead -= units);
        }
    }

    /// Takes note of what may not be live any more: it is harder to get, or to be had for another reason than it was.
    pub(super) fn suspect(&mut self, suspect: Suspect) {
        if self.suspects.last() != Some(&suspect) {
            self.suspects.push(suspect);
        }
    }
}
