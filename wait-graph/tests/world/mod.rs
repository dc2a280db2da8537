//! Random worlds of tasks that hold and want things, and what is true in them.
//!
//! A world is described by itself, not by spans: [`World::events`] says it in spans, and [`World::dead_by_simulation`]
//! and [`World::dead_by_definition`] decide it without them. Both are written differently from the engine on purpose.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

/// Few enough that the definition can try every set of tasks.
const TASKS_MAX: usize = 7;
const RESOURCES: usize = 3;

#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) tasks: Vec<Task>,
    pub(crate) resources: Vec<Resource>,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    kind: TaskKind,
    /// The call that it handles: one of the tasks before it and the place of a call in it, taken modulo what there is.
    /// A span begins after its parent, so nobody handles what it has caused itself.
    handles: Option<(usize, usize)>,
    /// Resource and units.
    holds: Vec<(usize, u32)>,
    calls: Vec<Want>,
    /// What each of its groups says of itself.
    groups: [Quorum; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskKind {
    /// Has an open handle.
    Handler,
    /// Has spans under a parent that nobody has seen.
    Client,
    /// A handler in an instance that is silent.
    Silent,
}

#[derive(Clone, Debug)]
struct Want {
    target: Option<usize>,
    units: u32,
    /// One of the groups of its task.
    group: Option<usize>,
    is_answered: bool,
}

#[derive(Clone, Debug)]
pub(crate) struct Resource {
    capacity: u32,
    kind: ResourceKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ResourceKind {
    /// Each hold declares the capacity.
    Declared,
    /// A member for each unit.
    Counted,
    /// Of a member nothing has been heard.
    Silent,
}

pub(crate) fn worlds() -> impl Strategy<Value = World> {
    let quorum = (0..3u32, 1..4u32).prop_map(|(needed, size)| Quorum { needed, size });
    let want = (
        prop::option::weighted(0.9, 0..RESOURCES),
        1..4u32,
        prop::option::weighted(0.4, 0..2usize),
        0..12u8,
    )
        .prop_map(|(target, units, group, chance)| Want {
            target,
            units,
            group,
            is_answered: chance == 0,
        });
    let kind = prop_oneof![
        8 => Just(TaskKind::Handler),
        3 => Just(TaskKind::Client),
        1 => Just(TaskKind::Silent),
    ];
    let task = (
        kind,
        prop::option::weighted(0.6, (0..TASKS_MAX, 0..3usize)),
        vec((0..RESOURCES, 1..3u32), 0..3),
        vec(want, 0..4),
        [quorum.clone(), quorum],
    )
        .prop_map(|(kind, handles, holds, calls, groups)| Task {
            kind,
            handles,
            holds,
            calls,
            groups,
        });
    let resource_kind = prop_oneof![
        6 => Just(ResourceKind::Declared),
        3 => Just(ResourceKind::Counted),
        1 => Just(ResourceKind::Silent),
    ];
    let resource = (1..5u32, resource_kind).prop_map(|(capacity, kind)| Resource { capacity, kind });
    (vec(task, 1..=TASKS_MAX), vec(resource, RESOURCES)).prop_map(|(tasks, resources)| World { tasks, resources })
}

/// The world in spans.
impl World {
    pub(crate) fn task_id(&self, task: usize) -> SpanId {
        SpanId(1 + task as u64)
    }

    fn call_id(&self, task: usize, call: usize) -> SpanId {
        SpanId(100 + 10 * task as u64 + call as u64)
    }

    fn instance(&self, task: usize) -> InstanceId {
        InstanceId(1 + task as u64)
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, task) in self.tasks.iter().enumerate() {
            if task.kind != TaskKind::Client {
                let parent = self.handled_by(index).map(|(caller, call)| self.call_id(caller, call));
                let parent = parent.map(|id| Parent { id, remote: true });
                let role = Role::Handle(Handle::default());
                events.push(self.started(self.task_id(index), self.instance(index), parent, role));
            }
            if task.kind == TaskKind::Silent {
                events.push(Event::InstanceSilent(self.instance(index)));
            }
            let parent = Some(Parent {
                id: self.task_id(index),
                remote: false,
            });
            for (place, (resource, units)) in task.holds.iter().enumerate() {
                let capacity = (self.resources[*resource].kind == ResourceKind::Declared)
                    .then_some(self.resources[*resource].capacity);
                let role = Role::Hold(Hold {
                    resources: vec![name(*resource)],
                    capacity,
                    units: *units,
                });
                let id = SpanId(200 + 10 * index as u64 + place as u64);
                events.push(self.started(id, self.instance(index), parent, role));
            }
            for (place, want) in task.calls.iter().enumerate() {
                let group = want.group.map(|group| WaitGroup {
                    name: format!("group {group}").into(),
                    quorum: Some(task.groups[group]),
                });
                let target = want.target.map(name);
                let call = Call {
                    target,
                    units: want.units,
                    group,
                    detached: false,
                    timeout: None,
                };
                let id = self.call_id(index, place);
                events.push(self.started(id, self.instance(index), parent, Role::Call(call)));
                if want.is_answered {
                    events.push(Event::Answered(id));
                }
            }
        }
        for (index, resource) in self.resources.iter().enumerate() {
            let instance = InstanceId(50 + index as u64);
            if resource.kind != ResourceKind::Declared {
                for unit in 0..resource.capacity {
                    let role = Role::Member(Member {
                        resources: vec![name(index)],
                        units: 1,
                    });
                    let id = SpanId(300 + 10 * index as u64 + u64::from(unit));
                    events.push(self.started(id, instance, None, role));
                }
            }
            if resource.kind == ResourceKind::Silent {
                events.push(Event::InstanceSilent(instance));
            }
        }
        events
    }

    fn started(&self, id: SpanId, instance: InstanceId, parent: Option<Parent>, role: Role) -> Event {
        Event::Started(Span {
            id,
            trace: TraceId::default(),
            instance,
            parent,
            task: None,
            name: format!("span {id}").into(),
            conversation: None,
            role,
            started_at: Duration::ZERO,
        })
    }
}

/// What is true in it.
impl World {
    /// The call that a task handles.
    fn handled_by(&self, task: usize) -> Option<(usize, usize)> {
        let (caller, call) = self.tasks[task]
            .handles
            .filter(|_| self.tasks[task].kind != TaskKind::Client)?;
        let caller = caller.checked_rem(task)?;
        let calls = self.tasks[caller].calls.len();
        (calls > 0).then(|| (caller, call % calls))
    }

    fn handlers(&self, caller: usize, call: usize) -> Vec<usize> {
        (0..self.tasks.len())
            .filter(|task| self.handled_by(*task) == Some((caller, call)))
            .collect()
    }

    fn held_by(&self, tasks: impl Iterator<Item = usize>, resource: usize) -> u32 {
        let holds = tasks.flat_map(|task| &self.tasks[task].holds);
        holds
            .filter(|(held, _)| *held == resource)
            .map(|(_, units)| units)
            .sum()
    }

    /// The units that there are: never fewer than are held.
    fn units_of(&self, resource: usize) -> u32 {
        self.resources[resource]
            .capacity
            .max(self.held_by(0..self.tasks.len(), resource))
    }

    /// Tasks that exist: a client that holds nothing and calls nobody leaves no span.
    fn all(&self) -> BTreeSet<usize> {
        (0..self.tasks.len()).collect()
    }

    /// Whether a task can end, once those that are not in `stuck` have ended and have given back what they held.
    fn can_end(&self, task: usize, stuck: &BTreeSet<usize>) -> bool {
        if self.tasks[task].kind == TaskKind::Silent {
            return true;
        }
        let mut missing: BTreeMap<usize, i64> = BTreeMap::new();
        for (place, want) in self.tasks[task].calls.iter().enumerate() {
            let gets_it = self.gets_it(task, place, want, stuck);
            match want.group {
                None if !gets_it => return false,
                None => {}
                // The calls of a group that are there but stay unanswered must leave enough others.
                Some(group) => {
                    let slack = missing.entry(group).or_insert_with(|| {
                        let open = self.tasks[task]
                            .calls
                            .iter()
                            .filter(|it| it.group == want.group)
                            .count() as i64;
                        let Quorum { needed, size } = self.tasks[task].groups[group];
                        (i64::from(size).max(open) - i64::from(needed)).max(0)
                    });
                    *slack -= i64::from(!gets_it);
                }
            }
        }
        missing.values().all(|slack| *slack >= 0)
    }

    fn gets_it(&self, task: usize, call: usize, want: &Want, stuck: &BTreeSet<usize>) -> bool {
        let handlers = self.handlers(task, call);
        if want.is_answered {
            return true;
        }
        if !handlers.is_empty() {
            return handlers.iter().any(|handler| !stuck.contains(handler));
        }
        let Some(target) = want.target else { return true };
        let free = self.units_of(target) - self.held_by(stuck.iter().copied(), target);
        self.resources[target].kind == ResourceKind::Silent || want.units > self.units_of(target) || free >= want.units
    }

    /// Lets whoever can end do so, one at a time, until nobody can. Who is left is dead.
    pub(crate) fn dead_by_simulation(&self) -> BTreeSet<SpanId> {
        let mut left = self.all();
        while let Some(next) = left.iter().rev().copied().find(|task| self.can_end(*task, &left)) {
            left.remove(&next);
        }
        left.into_iter().map(|task| self.task_id(task)).collect()
    }

    /// The union of all sets of tasks of which none can end even if everybody outside the set has.
    pub(crate) fn dead_by_definition(&self) -> BTreeSet<SpanId> {
        let mut dead = BTreeSet::new();
        for members in 1u32..1 << self.tasks.len() {
            let set: BTreeSet<usize> = self
                .all()
                .into_iter()
                .filter(|task| members & (1 << task) != 0)
                .collect();
            if self.is_stuck(&set) {
                dead.extend(set);
            }
        }
        dead.into_iter().map(|task| self.task_id(task)).collect()
    }

    /// Whether none of a set of tasks can end even if everybody outside the set has.
    pub(crate) fn is_stuck(&self, set: &BTreeSet<usize>) -> bool {
        set.iter().all(|task| !self.can_end(*task, set))
    }
}

fn name(resource: usize) -> std::sync::Arc<str> {
    format!("resource {resource}").into()
}
