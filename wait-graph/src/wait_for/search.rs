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

use crate::deadlock::CallState;

use super::handlers::FIRST;
use super::picture::Picture;
use super::rows::NONE;

/// How many steps the searches of one decision may take together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// In any case.
    pub(super) least: u32,
    /// What every decision adds for later ones.
    pub(super) saved: u32,
    /// What can be saved up.
    pub(super) most: u32,
}

/// A step takes some ten nanoseconds, or a hundred where memory is slow. So the least is well below what one event may
/// take at its worst, what is saved is no more than the event itself takes, and the most is what can be taken once
/// without being noticed.
const STEPS: Steps = Steps {
    least: 1_000,
    saved: 16,
    most: 1 << 16,
};

/// Memory of searches, kept for the next.
#[derive(Debug)]
pub(super) struct Search {
    /// Everything visited by the searches of one decision. Where a task or resource is in it, it says itself; it is only
    /// believed if the same is said here, so nothing has to be cleaned up.
    visits: Vec<Visit>,
    /// What the current search has visited.
    trail: Vec<u32>,
    frames: Vec<Frame>,
    watchers: Vec<Watcher>,
    /// The number of the current search.
    current: u32,
    budget: u32,
    steps: Steps,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            visits: Vec::new(),
            trail: Vec::new(),
            frames: Vec::new(),
            watchers: Vec::new(),
            current: 0,
            budget: STEPS.least,
            steps: STEPS,
        }
    }
}

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

/// What is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Node {
    Task(u32),
    /// Units of a resource.
    Demand(u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It has a frame.
    Open,
    /// It has a frame, and something that it passed by has been proven since.
    Outdated,
    /// It needs something that is not proven.
    Blocked,
    Proven,
}

#[derive(Debug)]
struct Visit {
    node: Node,
    state: State,
    /// The last search that has come by. What an earlier one left unproven is not visited for this one.
    search: u32,
    /// Who is to be looked at again if this is proven.
    first_watcher: u32,
}

#[derive(Debug)]
struct Watcher {
    visit: u32,
    next: u32,
}

/// What is being looked at, and how far that has come.
#[derive(Clone, Copy, Debug)]
struct Frame {
    visit: u32,
    /// If only one wait or group of a task is asked for.
    is_part: bool,
    /// The demand for more than one unit that was visited last, from here.
    wide: u32,
    at: At,
}

#[derive(Clone, Copy, Debug)]
enum At {
    /// A wait of a task, outside any group, and the place before the handler to look at next.
    Wait { wait: u32, handler: u32 },
    /// The same within a group, of whose waits so many are proven, and so many not.
    Group {
        group: u32,
        wait: u32,
        handler: u32,
        proven: u32,
        stuck: u32,
    },
    /// The place before the occupant to look at next. So many units are free or held by who is proven, and so many by
    /// others who are not dead.
    Demand { occupant: u32, covered: u64, unproven: u64 },
}

enum Step {
    Proven,
    Blocked,
    Visit(Node),
}

enum Look {
    Proven,
    Stuck,
    Visit(Node),
}

impl Search {
    /// Forgets what was visited: the picture has changed.
    pub(super) fn begin(&mut self) {
        self.visits.clear();
        self.current = 0;
        self.budget = (self.budget + self.steps.saved).clamp(self.steps.least, self.steps.most);
    }

    /// How many steps may be taken at once by something else than a search.
    pub(super) fn allowance(&self) -> usize {
        self.budget.max(self.steps.least) as usize
    }

    /// Whether something may be done that takes so many steps; if so, it is paid for.
    pub(super) fn affords(&mut self, steps: usize) -> bool {
        let affords = steps <= self.allowance();
        if affords {
            self.budget = self.budget.saturating_sub(steps as u32);
        }
        affords
    }

    /// For a full pass there is no limit.
    pub(super) fn lift_limit(&mut self) {
        self.budget = u32::MAX;
    }

    pub(super) fn restore_limit(&mut self) {
        self.budget = self.steps.least;
    }

    #[cfg(test)]
    pub(super) fn limit(&mut self, steps: Steps) {
        self.steps = steps;
        self.budget = steps.least;
    }

    /// The next task that the last search has left unproven.
    pub(super) fn unproven(&mut self) -> Option<u32> {
        while let Some(visit) = self.trail.pop() {
            let visit = &self.visits[visit as usize];
            if let (Node::Task(task), State::Open | State::Outdated | State::Blocked) = (visit.node, visit.state) {
                return Some(task);
            }
        }
        None
    }

    fn state(&mut self, visit: u32) -> &mut State {
        &mut self.visits[visit as usize].state
    }
}

impl Picture {
    /// Whether what a suspect needs can be shown.
    pub(super) fn judge(&mut self, root: Root) -> Verdict {
        let search = &mut self.search;
        search.current += 1;
        search.trail.clear();
        search.frames.clear();
        search.watchers.clear();
        let (node, at) = match root {
            Root::Task(task) => (Node::Task(task), None),
            Root::Demand(resource, units) => (Node::Demand(resource, units), None),
            Root::Wait(wait) => (
                Node::Task(self.waits[wait].task),
                Some(At::Wait { wait, handler: FIRST }),
            ),
            Root::Group(group) => (Node::Task(self.groups[group].task), Some(self.at_group(group))),
        };
        if self
            .found(node)
            .is_some_and(|visit| *self.search.state(visit) == State::Proven)
        {
            return Verdict::Live;
        }
        self.visit(node);
        if let (Some(at), Some(frame)) = (at, self.search.frames.last_mut()) {
            frame.at = at;
            frame.is_part = true;
        }
        let restart = self.search.frames.last().copied();
        while let Some(mut frame) = self.search.frames.pop() {
            if self.search.budget == 0 {
                return Verdict::Undecided;
            }
            let is_root = self.search.frames.is_empty();
            match self.step(&mut frame) {
                Step::Visit(node) => {
                    self.search.frames.push(frame);
                    let visit = self.visit(node);
                    if let (Node::Demand(_, 2..), Some(frame)) = (node, self.search.frames.iter_mut().rev().nth(1)) {
                        frame.wide = visit;
                    }
                }
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

    /// Where something was visited, if it was, by this search or, if it is proven, by one before.
    fn found(&self, node: Node) -> Option<u32> {
        let mark = match node {
            Node::Task(task) => self.tasks[task].mark,
            Node::Demand(resource, 1) => self.resources[resource].mark,
            Node::Demand(..) => return None,
        };
        let visit = self
            .search
            .visits
            .get(mark as usize)
            .filter(|visit| visit.node == node)?;
        (visit.state == State::Proven || visit.search == self.search.current).then_some(mark)
    }

    fn visit(&mut self, node: Node) -> u32 {
        let visit = self.search.visits.len() as u32;
        match node {
            Node::Task(task) => self.tasks[task].mark = visit,
            Node::Demand(resource, 1) => self.resources[resource].mark = visit,
            Node::Demand(..) => {}
        }
        self.search.visits.push(Visit {
            node,
            state: State::Open,
            search: self.search.current,
            first_watcher: NONE,
        });
        self.search.trail.push(visit);
        let frame = self.frame(visit);
        self.search.frames.push(frame);
        visit
    }

    /// A look at something from its beginning.
    fn frame(&self, visit: u32) -> Frame {
        let at = match self.search.visits[visit as usize].node {
            Node::Task(task) => self.at_task(task),
            Node::Demand(resource, _) => At::Demand {
                occupant: FIRST,
                covered: self.resources[resource].gauge().free,
                unproven: 0,
            },
        };
        Frame {
            visit,
            is_part: false,
            wide: NONE,
            at,
        }
    }

    fn at_task(&self, task: u32) -> At {
        match self.tasks[task].first_wait {
            NONE => self.at_group(self.first_group(task)),
            wait => At::Wait { wait, handler: FIRST },
        }
    }

    fn at_group(&self, group: u32) -> At {
        let wait = if group == NONE {
            NONE
        } else {
            self.groups[group].first_wait
        };
        At::Group {
            group,
            wait,
            handler: FIRST,
            proven: 0,
            stuck: 0,
        }
    }

    fn first_group(&self, task: u32) -> u32 {
        match self.tasks[task].extra {
            NONE => NONE,
            extra => self.extras[extra].first_group,
        }
    }

    /// Somebody is proven: whoever has passed by is to be looked at again.
    fn prove(&mut self, visit: u32) {
        *self.search.state(visit) = State::Proven;
        let mut watcher = self.search.visits[visit as usize].first_watcher;
        while watcher != NONE {
            let Watcher { visit, next } = self.search.watchers[watcher as usize];
            watcher = next;
            match *self.search.state(visit) {
                State::Open => *self.search.state(visit) = State::Outdated,
                State::Blocked => {
                    *self.search.state(visit) = State::Open;
                    let frame = self.frame(visit);
                    self.search.frames.push(frame);
                }
                State::Outdated | State::Proven => {}
            }
        }
    }

    /// Whether something visited is proven. If not, `watcher` is looked at again when it is.
    fn ask(&mut self, visit: u32, watcher: u32) -> bool {
        if *self.search.state(visit) == State::Proven {
            return true;
        }
        let place = self.search.watchers.len() as u32;
        let next = std::mem::replace(&mut self.search.visits[visit as usize].first_watcher, place);
        self.search.watchers.push(Watcher { visit: watcher, next });
        false
    }

    /// Goes on until something is found, or somebody has to be visited first.
    fn step(&mut self, frame: &mut Frame) -> Step {
        loop {
            match frame.at {
                At::Demand { .. } => return self.step_demand(frame),
                At::Wait { wait, .. } => match self.look(frame, wait) {
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

    fn spend(&mut self) {
        self.search.budget = self.search.budget.saturating_sub(1);
    }

    /// Looks at the wait at which a frame is.
    fn look(&mut self, frame: &mut Frame, wait: u32) -> Look {
        self.spend();
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
            self.spend();
            match self.look_at_task(frame.visit, task) {
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
        match self.found(Node::Task(task)) {
            None => Look::Visit(Node::Task(task)),
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
            self.spend();
            match self.look_at_task(frame.visit, task) {
                Look::Visit(node) => {
                    frame.at = At::Demand {
                        occupant,
                        covered,
                        unproven,
                    };
                    return Step::Visit(node);
                }
                Look::Proven => covered += held,
                Look::Stuck if self.tasks[task].is_dead => {}
                Look::Stuck => unproven += held,
            }
            if unproven > rest {
                return Step::Blocked;
            }
            occupant = next;
        }
        Step::Proven
    }
}
