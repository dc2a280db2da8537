//! What searches have visited, and how far they have come.

use super::handlers::FIRST;
use super::picture::Picture;
use super::rows::NONE;

/// Memory of searches, kept for the next.
#[derive(Debug, Default)]
pub(super) struct Search {
    /// Everything visited by the searches of one decision. Where a task or resource is in it, it says itself; it is only
    /// believed if the same is said here, so nothing has to be cleaned up.
    pub(super) visits: Vec<Visit>,
    /// What the current search has visited.
    pub(super) trail: Vec<u32>,
    pub(super) frames: Vec<Frame>,
    pub(super) watchers: Vec<Watcher>,
    /// The number of the current search.
    pub(super) current: u32,
    /// Whether it visits nobody who does not depend on its root: see [`super::dependents`].
    pub(super) is_confined: bool,
    /// Dependents that have none noted yet.
    pub(super) dependents: Vec<u32>,
}

/// What is visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Task(u32),
    /// Units of a resource.
    Demand(u32, u32),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It is only known to depend on the root.
    Dependent,
    /// It has a frame.
    Open,
    /// It has a frame, and something that it passed by has been proven since.
    Outdated,
    /// It needs something that is not proven.
    Blocked,
    Proven,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) node: Node,
    pub(super) state: State,
    /// The last search that has come by. What an earlier one left unproven is not visited for this one.
    pub(super) search: u32,
    /// Who is to be looked at again if this is proven.
    pub(super) first_watcher: u32,
}

#[derive(Debug)]
pub(super) struct Watcher {
    pub(super) visit: u32,
    pub(super) next: u32,
}

/// What is being looked at, and how far that has come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) visit: u32,
    /// If only one wait or group of a task is asked for.
    pub(super) is_part: bool,
    /// The demand for more than one unit that was visited last, from here.
    pub(super) wide: u32,
    pub(super) at: At,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum At {
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

impl Search {
    /// Forgets what was visited: the picture has changed.
    pub(super) fn begin(&mut self) {
        self.visits.clear();
        self.trail.clear();
        self.is_confined = false;
        self.current = 0;
    }

    /// Begins another search. What is proven stays so, unless that rests on trust.
    pub(super) fn next(&mut self) {
        while let Some(visit) = self.trail.pop() {
            self.forget_trust(visit);
        }
        self.is_confined = false;
        self.current += 1;
        self.frames.clear();
        self.watchers.clear();
    }

    /// The next task that the last search has visited and left unproven.
    pub(super) fn unproven(&mut self) -> Option<u32> {
        while let Some(visit) = self.trail.pop() {
            let Visit { node, state, .. } = self.visits[visit as usize];
            self.forget_trust(visit);
            if let (Node::Task(task), State::Open | State::Outdated | State::Blocked) = (node, state) {
                return Some(task);
            }
        }
        None
    }

    /// What was shown by trust in flags is not shown for another search.
    fn forget_trust(&mut self, visit: u32) {
        if self.is_confined {
            *self.state(visit) = State::Blocked;
        }
    }

    pub(super) fn state(&mut self, visit: u32) -> &mut State {
        &mut self.visits[visit as usize].state
    }
}

impl Picture {
    /// Where something was visited, if it was, by this search or, if it is proven, by one before.
    pub(super) fn found(&self, node: Node) -> Option<u32> {
        self.noted(node)
            .filter(|visit| self.search.visits[*visit as usize].state != State::Dependent)
    }

    /// The same, also if it is only known to depend on the root.
    pub(super) fn noted(&self, node: Node) -> Option<u32> {
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

    /// Takes note of something, in a state.
    pub(super) fn note(&mut self, node: Node, state: State) -> u32 {
        let visit = self.search.visits.len() as u32;
        match node {
            Node::Task(task) => self.tasks[task].mark = visit,
            Node::Demand(resource, 1) => self.resources[resource].mark = visit,
            Node::Demand(..) => {}
        }
        self.search.visits.push(Visit {
            node,
            state,
            search: self.search.current,
            first_watcher: NONE,
        });
        self.search.trail.push(visit);
        visit
    }

    pub(super) fn visit(&mut self, node: Node) -> u32 {
        let visit = match self.noted(node) {
            Some(visit) => visit,
            None => self.note(node, State::Open),
        };
        *self.search.state(visit) = State::Open;
        let frame = self.frame(visit);
        self.search.frames.push(frame);
        visit
    }

    /// A look at something from its beginning.
    pub(super) fn frame(&self, visit: u32) -> Frame {
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

    pub(super) fn at_task(&self, task: u32) -> At {
        match self.tasks[task].first_wait {
            NONE => self.at_group(self.first_group(task)),
            wait => At::Wait { wait, handler: FIRST },
        }
    }

    pub(super) fn at_group(&self, group: u32) -> At {
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

    pub(super) fn first_group(&self, task: u32) -> u32 {
        match self.tasks[task].extra {
            NONE => NONE,
            extra => self.extras[extra].first_group,
        }
    }

    /// Somebody is proven: whoever has passed by is to be looked at again.
    pub(super) fn prove(&mut self, visit: u32) {
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
                State::Outdated | State::Proven | State::Dependent => {}
            }
        }
    }

    /// Whether something visited is proven. If not, `watcher` is looked at again when it is.
    pub(super) fn ask(&mut self, visit: u32, watcher: u32) -> bool {
        if *self.search.state(visit) == State::Proven {
            return true;
        }
        let place = self.search.watchers.len() as u32;
        let next = std::mem::replace(&mut self.search.visits[visit as usize].first_watcher, place);
        self.search.watchers.push(Watcher { visit: watcher, next });
        false
    }
}
