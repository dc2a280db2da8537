//! Whether a suspect is live: a search forward, to what it needs, for as long as that is open.
//!
//! It goes into depth first, and ends at the first proof. Nobody counts as live because he was: a task is proven if each
//! of its groups is, and those who need nothing are proven to begin with. Who is known to be dead proves nothing.
//!
//! Of each task it looks no further than the first group that cannot be satisfied with what is proven so far, and of
//! a group or a resource no further than it takes to say so. Whoever stopped there is looked at again when something
//! that he needs is proven. So, when nothing is left to look at, everybody visited is either proven, or has a group
//! that only unproven and dead tasks could satisfy: these can never proceed.
//!
//! A demand for one unit of a resource is visited once, whoever is queued; so there are never waiters × holders steps.
//!
//! What a suspect needs may be much, and who depends on it few. So both directions are tried in turn, ever further: see
//! [`super::dependents`].

use crate::deadlock::CallState;

use super::handlers::FIRST;
use super::picture::Picture;
use super::rows::NONE;
use super::visits::{At, Frame, Node, State};

/// Where a search starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    Wait(u32),
    Group(u32),
    Task(u32),
    /// Units of a resource.
    Demand(u32, u32),
}

/// What a search says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Live,
    /// Everybody visited and unproven is dead.
    Dead,
    /// The budget is spent.
    Undecided,
}

enum Step {
    Proven,
    Blocked,
    Visit(Node),
    GiveUp,
}

enum Look {
    Proven,
    Stuck,
    Visit(Node),
    GiveUp,
}

impl Picture {
    /// Whether what a suspect needs can be shown.
    pub(super) fn judge(&mut self, root: Root) -> Verdict {
        for most in self.budget.attempts() {
            self.search.next();
            self.budget.attempt(most);
            let verdict = self.search_from(root);
            if verdict != Verdict::Undecided || self.budget.is_exhausted() {
                return verdict;
            }
            self.search.next();
            self.budget.attempt(most);
            if self.note_dependents(root) {
                self.budget.attempt(u32::MAX);
                return self.search_from(root);
            }
        }
        Verdict::Undecided
    }

    fn search_from(&mut self, root: Root) -> Verdict {
        let (node, at) = match root {
            Root::Task(task) => (Node::Task(task), None),
            Root::Demand(resource, units) => (Node::Demand(resource, units), None),
            Root::Wait(wait) => (
                Node::Task(self.waits[wait].task),
                Some(At::Wait { wait, handler: FIRST }),
            ),
            Root::Group(group) => (Node::Task(self.groups[group].task), Some(self.at_group(group))),
        };
        let found = self.found(node);
        if found.is_some_and(|visit| *self.search.state(visit) == State::Proven) {
            return Verdict::Live;
        }
        self.visit(node);
        if let (Some(at), Some(frame)) = (at, self.search.frames.last_mut()) {
            frame.at = at;
            frame.is_part = true;
        }
        let restart = self.search.frames.last().copied();
        while let Some(mut frame) = self.search.frames.pop() {
            let is_root = self.search.frames.is_empty();
            match self.step(&mut frame) {
                Step::Visit(node) => {
                    self.search.frames.push(frame);
                    let visit = self.visit(node);
                    if let (Node::Demand(_, 2..), Some(frame)) = (node, self.search.frames.iter_mut().rev().nth(1)) {
                        frame.wide = visit;
                    }
                }
                Step::GiveUp => return Verdict::Undecided,
                Step::Proven if is_root => {
                    if !frame.is_part {
                        *self.search.state(frame.visit) = State::Proven;
                    }
                    return Verdict::Live;
                }
                Step::Proven => self.prove(frame.visit),
                Step::Blocked if *self.search.state(frame.visit) == State::Outdated => {
                    *self.search.state(frame.visit) = State::Open;
                    let again = restart.filter(|_| is_root);
                    let again = again.unwrap_or_else(|| self.frame(frame.visit));
                    self.search.frames.push(again);
                }
                Step::Blocked => *self.search.state(frame.visit) = State::Blocked,
            }
        }
        Verdict::Dead
    }

    /// Goes on until something is found, or somebody has to be visited first.
    fn step(&mut self, frame: &mut Frame) -> Step {
        loop {
            if self.budget.is_spent() {
                return Step::GiveUp;
            }
            match frame.at {
                At::Demand { .. } => return self.step_demand(frame),
                At::Wait { wait, .. } => match self.look(frame, wait) {
                    Look::GiveUp => return Step::GiveUp,
                    Look::Visit(node) => return Step::Visit(node),
                    Look::Stuck => return Step::Blocked,
                    Look::Proven if frame.is_part => return Step::Proven,
                    Look::Proven => {
                        frame.at = match self.waits[wait].siblings.next {
                            NONE => self.at_group(self.first_group(self.waits[wait].task)),
                            wait => At::Wait { wait, handler: FIRST },
                        }
                    }
                },
                At::Group { group: NONE, .. } => return Step::Proven,
                At::Group {
                    group,
                    wait,
                    proven,
                    stuck,
                    ..
                } => {
                    let row = &self.groups[group];
                    let slack = row.slack().unwrap_or(u32::MAX);
                    if wait == NONE || proven >= row.waits.saturating_sub(slack) {
                        if frame.is_part {
                            return Step::Proven;
                        }
                        frame.at = self.at_group(row.siblings.next);
                        continue;
                    }
                    let (proven, stuck) = match self.look(frame, wait) {
                        Look::GiveUp => return Step::GiveUp,
                        Look::Visit(node) => return Step::Visit(node),
                        Look::Stuck => (proven, stuck + 1),
                        Look::Proven => (proven + 1, stuck),
                    };
                    if stuck > slack {
                        return Step::Blocked;
                    }
                    frame.at = At::Group {
                        group,
                        wait: self.waits[wait].siblings.next,
                        handler: FIRST,
                        proven,
                        stuck,
                    };
                }
            }
        }
    }

    /// Whether a task is live whatever others are.
    pub(super) fn needs_nothing(&self, task: u32) -> bool {
        let row = &self.tasks[task];
        row.is_silent || (row.first_wait == NONE && self.first_group(task) == NONE)
    }

    /// Looks at the wait at which a frame is.
    fn look(&mut self, frame: &mut Frame, wait: u32) -> Look {
        self.budget.spend();
        let row = &self.waits[wait];
        if row.is_stuck {
            return Look::Stuck;
        }
        if row.is_uncertain {
            return Look::Proven;
        }
        match row.state() {
            CallState::Answered | CallState::Orphaned => Look::Proven,
            CallState::Accepted => self.look_at_handlers(frame, wait),
            CallState::Queued => self.look_at_target(frame, wait),
        }
    }

    fn look_at_target(&mut self, frame: &mut Frame, wait: u32) -> Look {
        let (target, units) = (self.waits[wait].target, self.waits[wait].units);
        if target == NONE {
            return Look::Proven;
        }
        let gauge = self.resources[target].gauge();
        if gauge.free >= u64::from(units) || gauge.is_exceeded_by(u64::from(units)) {
            return Look::Proven;
        }
        let node = Node::Demand(target, units);
        let visited = match std::mem::replace(&mut frame.wide, NONE) {
            NONE => self.found(node),
            wide => Some(wide),
        };
        match visited {
            None => Look::Visit(node),
            Some(visit) if self.ask(visit, frame.visit) => Look::Proven,
            Some(_) => Look::Stuck,
        }
    }

    fn look_at_handlers(&mut self, frame: &mut Frame, wait: u32) -> Look {
        let (At::Wait { mut handler, .. } | At::Group { mut handler, .. }) = frame.at else {
            return Look::Stuck;
        };
        while let Some((next, task, _)) = self.handler_after(wait, handler) {
            if self.budget.is_spent() {
                return Look::GiveUp;
            }
            self.budget.spend();
            match self.look_at_task(frame.visit, task) {
                Look::GiveUp => return Look::GiveUp,
                Look::Proven => return Look::Proven,
                Look::Stuck => handler = next,
                Look::Visit(node) => {
                    if let At::Wait { handler: place, .. } | At::Group { handler: place, .. } = &mut frame.at {
                        *place = handler;
                    }
                    return Look::Visit(node);
                }
            }
        }
        Look::Stuck
    }

    /// Looks at a task for somebody who depends on it.
    fn look_at_task(&mut self, watcher: u32, task: u32) -> Look {
        if self.tasks[task].is_dead {
            return Look::Stuck;
        }
        if self.needs_nothing(task) {
            return Look::Proven;
        }
        let node = Node::Task(task);
        match self.found(node) {
            None if self.search.is_confined && self.noted(node).is_none() => Look::Proven,
            None => Look::Visit(node),
            Some(visit) if self.ask(visit, watcher) => Look::Proven,
            Some(_) => Look::Stuck,
        }
    }

    fn step_demand(&mut self, frame: &mut Frame) -> Step {
        let Node::Demand(resource, units) = self.search.visits[frame.visit as usize].node else {
            return Step::Blocked;
        };
        let At::Demand {
            mut occupant,
            mut covered,
            mut unproven,
        } = frame.at
        else {
            return Step::Blocked;
        };
        let units = u64::from(units);
        let available = self.resources[resource].gauge().available;
        // Where more than the rest is held by those who are not proven, it cannot be granted.
        let Some(rest) = available.checked_sub(units) else {
            return Step::Blocked;
        };
        while covered < units {
            let Some((next, task, held)) = self.occupant_after(resource, occupant) else {
                return Step::Blocked;
            };
            if self.budget.is_spent() {
                return Step::GiveUp;
            }
            self.budget.spend();
            match self.look_at_task(frame.visit, task) {
                Look::GiveUp => return Step::GiveUp,
                Look::Visit(node) => {
                    frame.at = At::Demand {
                        occupant,
                        covered,
                        unproven,
                    };
                    return Step::Visit(node);
                }
                Look::Proven => covered = covered.saturating_add(held),
                Look::Stuck if self.tasks[task].is_dead => {}
                Look::Stuck => unproven = unproven.saturating_add(held),
            }
            if unproven > rest {
                return Step::Blocked;
            }
            occupant = next;
        }
        Step::Proven
    }
}
