//! Who has become live or dead.

use crate::deadlock::CallState;

use super::handlers::FIRST;
use super::ids::TaskIx;
use super::picture::Picture;
use super::records::Task;
use super::rows::NONE;
use super::search::{Root, Verdict};

/// Something whose tasks were live, and for which that has to be shown anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Suspect {
    /// What a wait needs. If a group has another wait for it, it has what it had.
    Wait(u32),
    /// What a group needs.
    Group(u32),
    /// All that a task needs.
    Task(u32),
    /// What those need who are queued for it.
    Resource(u32),
}

impl Picture {
    /// Brings the dead up to date with all changes since it was last called. Either exactly, or, where that would take
    /// too long, [`Picture::pass_wanted`] is true afterwards and too few may be dead, never too many.
    pub(crate) fn decide(&mut self) {
        if self.eased.is_empty() && self.broken.is_empty() && self.suspects.is_empty() {
            return;
        }
        self.search.begin();
        self.settle_flags();
        while let Some(suspect) = self.suspects.pop() {
            if self.pass_wanted {
                self.suspects.clear();
                break;
            }
            let Some(root) = self.root_of(suspect) else { continue };
            match self.judge(root) {
                Verdict::Live => {}
                Verdict::Dead if self.has_alternatives(root) => {}
                Verdict::Dead => {
                    while let Some(task) = self.search.unproven() {
                        self.die_if_afforded(task);
                        // Where not everybody could die, or be refused, it may have no reason to be dead: then it
                        // has to wait for the full pass, too.
                        self.eased.push(task);
                    }
                    self.settle_flags();
                }
                Verdict::Undecided => self.pass_wanted = true,
            }
        }
        self.budget.renew();
    }

    /// Whether too much would have had to be looked at, so that only a full pass can tell who is dead.
    pub(crate) fn pass_wanted(&self) -> bool {
        self.pass_wanted
    }

    /// Decides exactly, in time linear in the picture.
    pub(crate) fn full_pass(&mut self) {
        self.budget.lift();
        self.refuse_deferred();
        self.settle_flags();
        for task in self.unsupported() {
            if !self.tasks[task.0].is_dead {
                self.die(task.0);
            }
        }
        self.settle_flags();
        self.suspects.clear();
        self.pass_wanted = false;
        self.budget.restore();
    }

    /// Changes whenever who is dead changes, and whatever concerns somebody who is.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Revives who can proceed if everybody is live who is not known to be dead, then lets die who even so cannot.
    fn settle_flags(&mut self) {
        while let Some(task) = self.eased.pop() {
            let row = &self.tasks[task];
            if row.is_dead && (row.unmet == 0 || row.is_silent) {
                self.revive(task);
            }
        }
        while let Some(task) = self.broken.pop() {
            let row = &self.tasks[task];
            if row.is_dead || row.unmet == 0 || row.is_silent {
                continue;
            }
            if !self.die_if_afforded(task) {
                self.broken.push(task);
                return;
            }
        }
    }

    /// Lets a task die, unless that would concern too many. Then it is left to the full pass.
    fn die_if_afforded(&mut self, task: u32) -> bool {
        let handled = self.handled(TaskIx(task)).take(self.budget.left()).count();
        let is_afforded = self.budget.affords(handled + 1);
        if is_afforded {
            self.die(task);
        } else {
            self.pass_wanted = true;
        }
        is_afforded
    }

    /// Whether a wait that cannot be shown to be live is one of several. Then their group is to be judged.
    fn has_alternatives(&mut self, root: Root) -> bool {
        let Root::Wait(wait) = root else { return false };
        let group = self.waits[wait].group;
        if group != NONE {
            self.suspects.push(Suspect::Group(group));
        }
        group != NONE
    }

    /// From where to search; `None` if there is nothing to be shown. A suspect may have been removed since.
    fn root_of(&self, suspect: Suspect) -> Option<Root> {
        let (task, root) = match suspect {
            Suspect::Wait(wait) if self.can_plainly_finish(wait) => return None,
            Suspect::Wait(wait) => (self.waits[wait].task, Root::Wait(wait)),
            Suspect::Group(group) => (self.groups[group].task, Root::Group(group)),
            Suspect::Task(task) => (task, Root::Task(task)),
            Suspect::Resource(resource) => {
                let units = self.largest_demand(resource)?;
                return (!self.can_plainly_grant(resource, units.into())).then_some(Root::Demand(resource, units));
            }
        };
        if task == NONE {
            return None;
        }
        let row = &self.tasks[task];
        let is_settled = row.slot == Task::VACANT || row.is_dead || row.is_silent;
        if is_settled || !self.is_needed(task) {
            return None;
        }
        // The last look before a search: at whoever holds what it is queued for.
        let is_granted = match root {
            Root::Wait(wait) if self.is_queued(wait) => {
                let row = &self.waits[wait];
                self.can_plainly_grant(row.target, row.units.into())
            }
            Root::Wait(_) | Root::Group(_) | Root::Task(_) | Root::Demand(..) => false,
        };
        (!is_granted).then_some(root)
    }

    /// Whether it takes no search to see that a wait can finish, and not even a look at its task.
    fn can_plainly_finish(&self, wait: u32) -> bool {
        let row = &self.waits[wait];
        match row.state() {
            CallState::Answered | CallState::Orphaned => true,
            CallState::Accepted => row.is_uncertain || self.needs_nothing(row.handler),
            CallState::Queued => {
                row.is_uncertain || row.target == NONE || {
                    let (gauge, units) = (self.resources[row.target].gauge(), u64::from(row.units));
                    gauge.free >= units || gauge.is_exceeded_by(units)
                }
            }
        }
    }

    /// The same for units of a resource, which are free, or of which the one who took some last needs nothing.
    fn can_plainly_grant(&self, resource: u32, units: u64) -> bool {
        let gauge = self.resources[resource].gauge();
        if gauge.free >= units || gauge.is_exceeded_by(units) {
            return true;
        }
        let last = self.occupant_after(resource, FIRST);
        last.is_some_and(|(_, task, held)| gauge.free.saturating_add(held) >= units && self.needs_nothing(task))
    }

    /// Whether anybody depends on a task: a wait that it handles, or a queue for what it occupies.
    fn is_needed(&self, task: u32) -> bool {
        if self.tasks[task].first_handled != NONE {
            return true;
        }
        let mut place = FIRST;
        while let Some((next, resource, _)) = self.occupation_after(task, place) {
            if self.resources[resource].queued() > 0 {
                return true;
            }
            place = next;
        }
        false
    }

    /// The most units for which somebody is queued, of those who are not refused: if these can be granted to him, then
    /// everybody else gets what he needs.
    fn largest_demand(&self, resource: u32) -> Option<u32> {
        let row = &self.resources[resource];
        let gauge = row.gauge();
        if !gauge.is_known() {
            return None;
        }
        let narrow = (row.narrow > 0 && gauge.available >= 1).then_some(1);
        if row.wide == 0 {
            return narrow;
        }
        let most = u32::try_from(gauge.available).unwrap_or(u32::MAX);
        let granted = (resource, 0, 0)..=(resource, most, u32::MAX);
        let wide = self.wide.range(granted).next_back().map(|(_, units, _)| *units);
        narrow.max(wide)
    }
}
