//! The full pass: who of those who count as live has no support, in time linear in the picture.
//!
//! The least fixpoint by counters of what is still missing, after Dowling and Gallier, *Linear-time algorithms for
//! testing the satisfiability of propositional Horn formulae* (1984). Who is known to be dead stays dead.

use crate::deadlock::CallState;

use super::handlers::FIRST;
use super::ids::TaskIx;
use super::picture::Picture;
use super::records::Task;
use super::rows::NONE;

/// What is still missing, by row.
struct Pass<'a> {
    picture: &'a Picture,
    /// The groups of each task that are not satisfied yet, or `SETTLED`.
    unmet: Vec<u32>,
    /// The answers that each group still needs.
    missing: Vec<u32>,
    is_waiting: Vec<bool>,
    /// The units of each resource that are free or held by who is live.
    granted: Vec<u64>,
    /// Who is live, and has not been followed up yet.
    live: Vec<u32>,
}

/// Nothing is asked of this task: it is dead, silent or vacant.
const SETTLED: u32 = u32::MAX;

impl Picture {
    /// The tasks that count as live and cannot be shown to be.
    pub(super) fn unsupported(&self) -> Vec<TaskIx> {
        let mut pass = Pass {
            picture: self,
            unmet: vec![0; self.tasks.len()],
            missing: self.groups.iter().map(|(_, group)| group.needed()).collect(),
            is_waiting: vec![false; self.waits.len()],
            granted: self
                .resources
                .iter()
                .map(|(_, resource)| resource.gauge().free)
                .collect(),
            live: Vec::new(),
        };
        pass.count();
        while let Some(task) = pass.live.pop() {
            pass.follow(task);
        }
        let unmet = (0..).zip(&pass.unmet);
        let unsupported = unmet.filter(|(_, unmet)| **unmet > 0 && **unmet != SETTLED);
        unsupported.map(|(task, _)| TaskIx(task)).collect()
    }
}

impl Pass<'_> {
    /// What is missing if nobody is live.
    fn count(&mut self) {
        let picture = self.picture;
        for (index, row) in picture.tasks.iter() {
            let is_vacant = row.slot == Task::VACANT;
            if is_vacant || row.is_dead || row.is_silent {
                self.unmet[index as usize] = SETTLED;
            }
            if row.is_silent && !row.is_dead && !is_vacant {
                self.live.push(index);
            }
        }
        for (index, row) in picture.waits.iter().filter(|(_, row)| row.task != NONE) {
            let unmet = &mut self.unmet[row.task as usize];
            if *unmet == SETTLED {
                continue;
            }
            if picture.is_granted_anyway(index) {
                if let Some(missing) = self.missing.get_mut(row.group as usize) {
                    *missing = missing.saturating_sub(1);
                }
            } else {
                self.is_waiting[index as usize] = true;
                *unmet += u32::from(row.group == NONE);
            }
        }
        for (index, row) in picture.groups.iter().filter(|(_, row)| row.task != NONE) {
            let unmet = &mut self.unmet[row.task as usize];
            if *unmet != SETTLED {
                *unmet += u32::from(self.missing[index as usize] > 0);
            }
        }
        let unmet = (0..).zip(&self.unmet);
        let live = unmet.filter(|(_, unmet)| **unmet == 0);
        self.live.extend(live.map(|(task, _)| task));
    }

    /// A task is live: what does that make so?
    fn follow(&mut self, task: u32) {
        let picture = self.picture;
        let mut place = FIRST;
        while let Some((next, wait, _)) = picture.handled_after(task, place) {
            place = next;
            if picture.waits[wait].state() == CallState::Accepted {
                self.satisfy(wait);
            }
        }
        let mut place = FIRST;
        while let Some((next, resource, units)) = picture.occupation_after(task, place) {
            place = next;
            let before = self.granted[resource as usize];
            let now = before.saturating_add(units);
            self.granted[resource as usize] = now;
            self.grant(resource, before, now);
        }
    }

    /// More units of a resource are granted than before.
    fn grant(&mut self, resource: u32, before: u64, now: u64) {
        let row = &self.picture.resources[resource];
        if before == 0 && now > 0 {
            let mut wait = row.first_narrow;
            while wait != NONE {
                self.satisfy(wait);
                wait = self.picture.waits[wait].neighbours.next;
            }
        }
        if row.wide > 0 {
            let [low, high] = [before, now].map(|units| u32::try_from(units).unwrap_or(u32::MAX));
            for (_, _, wait) in self.picture.wide.range((resource, low, 0)..=(resource, high, u32::MAX)) {
                self.satisfy(*wait);
            }
        }
    }

    fn satisfy(&mut self, wait: u32) {
        if !std::mem::replace(&mut self.is_waiting[wait as usize], false) {
            return;
        }
        let row = &self.picture.waits[wait];
        if let Some(missing) = self.missing.get_mut(row.group as usize) {
            match *missing {
                0 => return,
                1 => *missing = 0,
                _ => {
                    *missing -= 1;
                    return;
                }
            }
        }
        let unmet = &mut self.unmet[row.task as usize];
        *unmet -= 1;
        if *unmet == 0 {
            self.live.push(row.task);
        }
    }
}

impl Picture {
    /// Whether a call can finish even if nobody is live.
    pub(super) fn is_granted_anyway(&self, wait: u32) -> bool {
        let row = &self.waits[wait];
        let units = u64::from(row.units);
        row.is_uncertain
            || match row.state() {
                CallState::Answered | CallState::Orphaned => true,
                CallState::Accepted => false,
                CallState::Queued => {
                    row.target == NONE || {
                        let gauge = self.resources[row.target].gauge();
                        gauge.is_exceeded_by(units) || gauge.free >= units
                    }
                }
            }
    }
}
