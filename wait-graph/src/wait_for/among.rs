//! Who stays dead if everybody else is live: the least fixpoint over a part of the dead.
//!
//! By counters of what is still missing, as in [`super::pass`]; but everything is numbered within the part, so that
//! what is outside costs nothing.

use std::collections::BTreeMap;

use crate::deadlock::CallState;

use super::handlers::FIRST;
use super::ids::{TaskIx, WaitIx};
use super::picture::Picture;
use super::rows::NONE;

/// Judges parts of a picture, one after the other, and keeps its memory between them.
#[derive(Debug)]
pub(crate) struct Among<'a> {
    picture: &'a Picture,
    /// The number within the part of each dead task, by its place in the list of the dead; `NONE` outside.
    number: Vec<u32>,
    /// By number.
    members: Vec<Member>,
    groups: Vec<Missing>,
    waits: Vec<Waiting>,
    handlers: Vec<Handler>,
    demands: BTreeMap<u32, Demand>,
    /// Whoever is live, and has not been followed up yet.
    live: Vec<u32>,
}

/// A task of the part.
#[derive(Debug)]
struct Member {
    task: u32,
    /// How many of its groups are not satisfied yet.
    unmet: u32,
    /// The first of `handlers` that it is.
    first_handled: u32,
}

/// A group that is not satisfied yet.
#[derive(Debug)]
struct Missing {
    member: u32,
    answers: u32,
}

/// A wait that is not live yet.
#[derive(Debug)]
struct Waiting {
    group: u32,
    is_over: bool,
}

/// That a wait is live if a member is.
#[derive(Debug)]
struct Handler {
    wait: u32,
    next: u32,
}

/// What is asked of a resource.
#[derive(Debug)]
struct Demand {
    /// Units that nobody holds who is in the part and not live yet.
    granted: u64,
    /// Units and waits. Those with the fewest are last once this is sorted.
    queue: Vec<(u64, u32)>,
}

impl<'a> Among<'a> {
    pub(crate) fn new(picture: &'a Picture) -> Self {
        Self {
            picture,
            number: vec![NONE; picture.dead.len()],
            members: Vec::new(),
            groups: Vec::new(),
            waits: Vec::new(),
            handlers: Vec::new(),
            demands: BTreeMap::new(),
            live: Vec::new(),
        }
    }

    /// The tasks of `part` that stay dead if everything outside `part` is live, in the order of `part`. In time linear
    /// in the part, but for the look-up of resources, whatever is outside.
    pub(crate) fn dead(&mut self, part: &[TaskIx]) -> Vec<TaskIx> {
        self.enter(part);
        self.add_demands();
        for member in 0..self.members.len() as u32 {
            self.add_member(member);
        }
        for demand in self.demands.values_mut() {
            demand.queue.sort_unstable_by(|one, other| other.cmp(one));
        }
        while let Some(member) = self.live.pop() {
            self.follow(member);
        }
        let dead = self.members.iter().filter(|member| member.unmet > 0);
        let dead = dead.map(|member| TaskIx(member.task)).collect();
        self.leave();
        dead
    }

    fn enter(&mut self, part: &[TaskIx]) {
        for task in part {
            let Some(place) = self.picture.place_among_dead(*task) else {
                continue;
            };
            let number = &mut self.number[place];
            if *number == NONE {
                *number = self.members.len() as u32;
                self.members.push(Member {
                    task: task.0,
                    unmet: 0,
                    first_handled: NONE,
                });
            }
        }
    }

    fn leave(&mut self) {
        for member in self.members.drain(..) {
            if let Some(place) = self.picture.place_among_dead(TaskIx(member.task)) {
                self.number[place] = NONE;
            }
        }
        self.groups.clear();
        self.waits.clear();
        self.handlers.clear();
        self.demands.clear();
    }

    /// The number of a task of the part.
    fn number(&self, task: u32) -> Option<u32> {
        let place = self.picture.place_among_dead(TaskIx(task))?;
        (self.number[place] != NONE).then_some(self.number[place])
    }

    /// What the part occupies nobody is granted.
    fn add_demands(&mut self) {
        let picture = self.picture;
        for member in &self.members {
            let mut place = FIRST;
            while let Some((next, resource, units)) = picture.occupation_after(member.task, place) {
                place = next;
                let demand = self.demands.entry(resource).or_insert_with(|| Demand {
                    granted: picture.resources[resource].gauge().capacity,
                    queue: Vec::new(),
                });
                demand.granted = demand.granted.saturating_sub(units);
            }
        }
    }

    /// What a member still needs if nobody in the part is live.
    fn add_member(&mut self, member: u32) {
        let picture = self.picture;
        let task = self.members[member as usize].task;
        for group in picture.groups(TaskIx(task)) {
            let first_wait = self.waits.len();
            let mut live = 0_u32;
            for wait in group.waits() {
                live += u32::from(!self.add_wait(wait.0));
            }
            let answers = group.needed().saturating_sub(live);
            if answers == 0 {
                for wait in &mut self.waits[first_wait..] {
                    wait.is_over = true;
                }
            } else {
                self.groups.push(Missing { member, answers });
                self.members[member as usize].unmet += 1;
            }
        }
        if self.members[member as usize].unmet == 0 {
            self.live.push(member);
        }
    }

    /// Whether a wait has to wait for somebody of the part. If so, it is noted for the group that comes next.
    fn add_wait(&mut self, wait: u32) -> bool {
        let picture = self.picture;
        let row = &picture.waits[wait];
        let noted = self.waits.len() as u32;
        if row.is_uncertain {
            return false;
        }
        match row.state() {
            CallState::Answered | CallState::Orphaned => return false,
            CallState::Accepted => {
                if handlers(picture, wait).any(|task| self.number(task).is_none()) {
                    return false;
                }
                for task in handlers(picture, wait) {
                    let Some(member) = self.number(task) else { continue };
                    let first = &mut self.members[member as usize].first_handled;
                    let next = std::mem::replace(first, self.handlers.len() as u32);
                    self.handlers.push(Handler { wait: noted, next });
                }
            }
            CallState::Queued => {
                // Where nobody of the part occupies any of it, the target has all its units.
                let Some(demand) = self.demands.get_mut(&row.target) else {
                    return false;
                };
                let units = u64::from(row.units);
                if picture.resources[row.target].gauge().is_exceeded_by(units) || demand.granted >= units {
                    return false;
                }
                demand.queue.push((units, noted));
            }
        }
        self.waits.push(Waiting {
            group: self.groups.len() as u32,
            is_over: false,
        });
        true
    }

    /// A member is live: what does that make so?
    fn follow(&mut self, member: u32) {
        let Member {
            task, first_handled, ..
        } = self.members[member as usize];
        let mut handler = first_handled;
        while handler != NONE {
            let Handler { wait, next } = self.handlers[handler as usize];
            handler = next;
            self.satisfy(wait);
        }
        let mut place = FIRST;
        while let Some((next, resource, units)) = self.picture.occupation_after(task, place) {
            place = next;
            if let Some(demand) = self.demands.get_mut(&resource) {
                demand.granted = demand.granted.saturating_add(units);
            }
            while let Some(wait) = self.next_granted(resource) {
                self.satisfy(wait);
            }
        }
    }

    /// Takes the next wait from a queue for whom there are units enough.
    fn next_granted(&mut self, resource: u32) -> Option<u32> {
        let demand = self.demands.get_mut(&resource)?;
        let granted = demand.granted;
        demand
            .queue
            .pop_if(|(units, _)| *units <= granted)
            .map(|(_, wait)| wait)
    }

    fn satisfy(&mut self, wait: u32) {
        let row = &mut self.waits[wait as usize];
        if std::mem::replace(&mut row.is_over, true) {
            return;
        }
        let group = &mut self.groups[row.group as usize];
        group.answers = match group.answers {
            0 => return,
            answers => answers - 1,
        };
        let member = group.member;
        if group.answers == 0 {
            let row = &mut self.members[member as usize];
            row.unmet -= 1;
            if row.unmet == 0 {
                self.live.push(member);
            }
        }
    }
}

/// The tasks that handle a wait.
fn handlers(picture: &Picture, wait: u32) -> impl Iterator<Item = u32> {
    picture.handlers(WaitIx(wait)).map(|(task, _)| task.0)
}
