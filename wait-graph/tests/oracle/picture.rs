//! The wait-for graph: tasks, the groups of waits that each needs, and the resources between them.
//!
//! Drawn from the facts and their links, from scratch. Only this is what [`super::liveness`] and [`super::cores`] see.
//! Waits and occupations meet at the resource, so there are as many edges as waits and occupations, never their
//! product.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use standoff_wait_graph::{Call, CallState, Capacity, Quorum, Role, Span, SpanId};

use super::capacity::Sayings;
use super::facts::{Facts, Fate};
use super::links::{Links, TaskId};

/// The index of a task in [`Picture::tasks`].
pub(crate) type TaskIndex = usize;
/// The index of a resource in [`Picture::resources`].
pub(crate) type ResourceIndex = usize;

/// Everything that decides who can proceed.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    /// By id.
    pub(crate) tasks: Vec<Task>,
    /// By name.
    pub(crate) resources: Vec<Resource>,
    /// Where each wait is found: its task, its group, its place in it.
    waits: BTreeMap<SpanId, (TaskIndex, usize, usize)>,
    by_name: BTreeMap<Arc<str>, ResourceIndex>,
}

/// Somebody who may have to wait.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) id: TaskId,
    /// Its instance is silent: nothing is known of it.
    pub(crate) is_silent: bool,
    /// All of these must get what they need.
    pub(crate) groups: Vec<Group>,
    /// What it occupies, and by which open spans.
    pub(crate) occupies: BTreeMap<ResourceIndex, Occupation>,
}

/// The units of one resource that one task occupies.
#[derive(Debug, Default)]
pub(crate) struct Occupation {
    pub(crate) units: u64,
    pub(crate) spans: Vec<SpanId>,
    /// One of the units is that of its handles: a resource named by several of one task is occupied once.
    by_handle: bool,
}

/// Waits of one task of which some must finish.
#[derive(Debug)]
pub(crate) struct Group {
    /// `None` for a wait that is needed for itself alone.
    pub(crate) name: Option<Arc<str>>,
    /// `None` if nobody has said how many must finish: live.
    pub(crate) quorum: Option<Quorum>,
    pub(crate) waits: Vec<Wait>,
}

/// A call for whose reply its task waits.
#[derive(Debug)]
pub(crate) struct Wait {
    pub(crate) call: SpanId,
    pub(crate) state: CallState,
    /// The open handles that answer it, and their tasks.
    pub(crate) handlers: Vec<(TaskIndex, SpanId)>,
    /// It may have handlers that are not among `handlers`: live.
    pub(crate) is_uncertain: bool,
    /// `None` if unknown: live while queued.
    pub(crate) target: Option<ResourceIndex>,
    pub(crate) units: u64,
}

/// What tasks occupy and wait for.
#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: Arc<str>,
    pub(crate) capacity: Capacity,
    pub(crate) is_overfull: bool,
    /// The tasks that occupy units of it, and how many.
    pub(crate) occupants: BTreeMap<TaskIndex, u64>,
    /// How many waits are queued for it.
    pub(crate) queued: u64,
}

impl Resource {
    /// Units that are occupied.
    pub(crate) fn held(&self) -> u64 {
        self.occupants.values().sum()
    }
}

impl Wait {
    /// The units that it needs, of which resource, and the units that this has; `None` if it is not queued, or if
    /// one of them is unknown.
    pub(crate) fn demand(&self, picture: &Picture) -> Option<(u64, ResourceIndex, u64)> {
        let target = self.target.filter(|_| self.state == CallState::Queued)?;
        match picture.resources[target].capacity {
            Capacity::Unknown => None,
            Capacity::Declared(units) | Capacity::Counted(units) => Some((self.units, target, units)),
        }
    }
}

impl Picture {
    pub(crate) fn of(facts: &Facts, links: &Links) -> Self {
        let mut picture = Self::default();
        picture.add_resources(facts);
        let tasks = picture.add_tasks(facts, links);
        picture.add_capacities(facts);
        picture.add_waits(facts, links, &tasks);
        picture
    }

    pub(crate) fn resource(&self, name: &str) -> Option<&Resource> {
        self.by_name.get(name).map(|index| &self.resources[*index])
    }

    pub(crate) fn wait(&self, call: SpanId) -> Option<&Wait> {
        self.waits
            .get(&call)
            .map(|(task, group, place)| &self.tasks[*task].groups[*group].waits[*place])
    }

    pub(crate) fn waits(&self) -> impl Iterator<Item = &Wait> {
        self.tasks
            .iter()
            .flat_map(|task| &task.groups)
            .flat_map(|group| &group.waits)
    }

    /// Every resource that an open span names.
    fn add_resources(&mut self, facts: &Facts) {
        let names: BTreeSet<Arc<str>> = facts.open.values().flat_map(named_by).collect();
        for name in names {
            self.by_name.insert(Arc::clone(&name), self.resources.len());
            let (capacity, occupants) = (Capacity::Unknown, BTreeMap::new());
            self.resources.push(Resource {
                name,
                capacity,
                is_overfull: false,
                occupants,
                queued: 0,
            });
        }
    }

    /// Every task, with what it occupies.
    fn add_tasks(&mut self, facts: &Facts, links: &Links) -> BTreeMap<TaskId, TaskIndex> {
        let ids: BTreeSet<TaskId> = facts.open.keys().filter_map(|id| links.task(*id)).collect();
        self.tasks.extend(ids.iter().map(|id| Task {
            id: *id,
            is_silent: facts.is_silent(id.instance),
            groups: Vec::new(),
            occupies: BTreeMap::new(),
        }));
        let tasks: BTreeMap<TaskId, TaskIndex> = ids.into_iter().enumerate().map(|(index, id)| (id, index)).collect();
        for span in facts.open.values() {
            if !matches!(span.role, Role::Handle(_) | Role::Hold(_)) {
                continue;
            }
            let Some(index) = links.task(span.id).and_then(|id| tasks.get(&id)) else {
                continue;
            };
            let task = &mut self.tasks[*index];
            for resource in named_by(span).iter().filter_map(|name| self.by_name.get(name)) {
                let occupation = task.occupies.entry(*resource).or_default();
                occupation.spans.push(span.id);
                match &span.role {
                    Role::Hold(hold) => occupation.units += u64::from(hold.units),
                    Role::Handle(_) => occupation.by_handle = true,
                    Role::Call(_) | Role::Member(_) | Role::Structural => {}
                }
            }
        }
        for (index, task) in self.tasks.iter_mut().enumerate() {
            for (resource, occupation) in &mut task.occupies {
                occupation.units += u64::from(occupation.by_handle);
                self.resources[*resource].occupants.insert(index, occupation.units);
            }
        }
        tasks
    }

    /// What is known of every resource's capacity. Needs their occupants.
    fn add_capacities(&mut self, facts: &Facts) {
        let mut sayings: BTreeMap<Arc<str>, Sayings> = BTreeMap::new();
        for span in facts.open.values() {
            for name in named_by(span) {
                listen(sayings.entry(name).or_default(), span, facts);
            }
        }
        for (resource, mut said) in self.resources.iter_mut().zip(sayings.into_values()) {
            said.had_members = facts.had_members(&resource.name);
            said.offered_by_several =
                facts.served.has_offers(&resource.name) && facts.served.by_several(&resource.name);
            said.held = resource.held();
            resource.capacity = said.capacity();
            resource.is_overfull = said.is_overfull();
        }
    }

    /// Every wait, in the group of its task that it belongs to.
    fn add_waits(&mut self, facts: &Facts, links: &Links, tasks: &BTreeMap<TaskId, TaskIndex>) {
        let mut groups: BTreeMap<(TaskIndex, Arc<str>), usize> = BTreeMap::new();
        for span in links.waits().filter_map(|id| facts.open.get(&id)) {
            let Role::Call(call) = &span.role else { continue };
            let Some(task_index) = links.task(span.id).and_then(|id| tasks.get(&id)).copied() else {
                continue;
            };
            let wait = self.wait_of(span, call, links, tasks);
            if let (CallState::Queued, Some(target)) = (wait.state, wait.target) {
                self.resources[target].queued += 1;
            }
            let task = &mut self.tasks[task_index];
            let new_group = task.groups.len();
            let group_index = match &call.group {
                None => new_group,
                Some(group) => *groups.entry((task_index, Arc::clone(&group.name))).or_insert(new_group),
            };
            if group_index == new_group {
                task.groups.push(Group {
                    name: call.group.as_ref().map(|group| Arc::clone(&group.name)),
                    quorum: call.group.as_ref().map_or(Some(ALONE), |group| group.quorum),
                    waits: Vec::new(),
                });
            }
            let group = &mut task.groups[group_index];
            if let Some(said) = &call.group {
                group.quorum = group.quorum.zip(said.quorum).map(|(one, other)| weaker(one, other));
            }
            self.waits.insert(span.id, (task_index, group_index, group.waits.len()));
            group.waits.push(wait);
        }
    }

    fn wait_of(&self, span: &Span, call: &Call, links: &Links, tasks: &BTreeMap<TaskId, TaskIndex>) -> Wait {
        let task_of = |handle: SpanId| Some((*tasks.get(&links.task(handle)?)?, handle));
        let handlers: Vec<_> = links
            .handlers(span.id)
            .iter()
            .filter_map(|handle| task_of(*handle))
            .collect();
        let state = match links.fate(span.id) {
            Some(Fate::Answered) => CallState::Answered,
            Some(Fate::Orphaned) | None if !handlers.is_empty() => CallState::Accepted,
            Some(Fate::Orphaned) => CallState::Orphaned,
            None => CallState::Queued,
        };
        Wait {
            call: span.id,
            state,
            handlers,
            is_uncertain: links.is_uncertain(span.id),
            target: call.target.as_ref().and_then(|name| self.by_name.get(name)).copied(),
            units: u64::from(call.units),
        }
    }
}

/// A call outside any group is a group of its own.
const ALONE: Quorum = Quorum { needed: 1, size: 1 };

/// Where calls of one group contradict one another, what is easier to get counts.
fn weaker(one: Quorum, other: Quorum) -> Quorum {
    Quorum {
        needed: one.needed.min(other.needed),
        size: one.size.max(other.size),
    }
}

/// The resources that a span names, each once.
fn named_by(span: &Span) -> BTreeSet<Arc<str>> {
    match &span.role {
        Role::Call(call) => call.target.iter().cloned().collect(),
        Role::Handle(handle) => handle.resources.iter().cloned().collect(),
        Role::Hold(hold) => hold.resources.iter().cloned().collect(),
        Role::Member(member) => member.resources.iter().cloned().collect(),
        Role::Structural => BTreeSet::new(),
    }
}

/// Takes note of what an open span says of a resource that it names.
fn listen(said: &mut Sayings, span: &Span, facts: &Facts) {
    match &span.role {
        Role::Handle(handle) => {
            said.is_named = true;
            said.by_handles = said.by_handles.max(handle.capacity.map(u64::from));
        }
        Role::Hold(hold) => {
            said.is_named = true;
            said.by_holds = said.by_holds.max(hold.capacity.map(u64::from));
        }
        Role::Member(member) => {
            said.members = Some(said.members.unwrap_or(0) + u64::from(member.units));
            said.member_is_silent |= facts.is_silent(span.instance);
        }
        Role::Call(_) | Role::Structural => {}
    }
}
