//! From cores in the picture to [`Deadlock`]s that can be read, named and confirmed.
//!
//! Everything is put in an order that depends on names and ids only: the same open spans give the same report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use standoff_wait_graph::{
    BLAST_MAX, BLOCKED_BY_MAX, CallState, DeadTask, DeadWait, Deadlock, InstanceId, Resource, Role, SpanId,
    VICTIMS_MAX, WAITS_OF_VICTIM_MAX,
};

use super::cores::{self, Dependencies, Node};
use super::facts::Facts;
use super::liveness::Liveness;
use super::picture::{self, Group, Picture, ResourceIndex, TaskIndex, Wait};

/// Every deadlock there is, by the names of its core.
pub(crate) fn deadlocks(facts: &Facts, picture: &Picture) -> Vec<Deadlock> {
    let liveness = Liveness::of(picture);
    let dependencies = cores::dependencies(picture, &liveness);
    let found = cores::cores(picture, liveness.dead());
    let report = |core| Report::about(facts, picture, &liveness, &dependencies, core).deadlock();
    let mut deadlocks: Vec<Deadlock> = found.iter().map(report).collect();
    deadlocks.sort_by_cached_key(|deadlock| deadlock.core.first().map(sort_key));
    deadlocks
}

/// What is known of a resource, for readers.
pub(crate) fn resource(resource: &picture::Resource) -> Resource {
    Resource {
        name: Arc::clone(&resource.name),
        capacity: resource.capacity,
        held: resource.held(),
        queued: resource.queued,
    }
}

/// The report of one core.
struct Report<'a> {
    facts: &'a Facts,
    picture: &'a Picture,
    liveness: &'a Liveness<'a>,
    dependencies: &'a Dependencies,
    core: &'a BTreeSet<TaskIndex>,
    /// How each resource for which dead tasks are queued blocks them: the same for all of them.
    by_resource: BTreeMap<ResourceIndex, Block>,
}

/// What keeps a wait from finishing.
struct Block {
    by: Arc<[SpanId]>,
    in_core: bool,
    rests_on: Arc<[SpanId]>,
}

/// By name; by id, and by instance if they claim the same id, where names are the same.
fn sort_key(task: &DeadTask) -> (String, SpanId, InstanceId) {
    (task.canonical_name().into_owned(), task.id, task.instance)
}

/// The tasks by canonical name, with their numbers.
fn blast(victims: &[DeadTask]) -> Vec<(Arc<str>, u64)> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for victim in victims {
        *counts.entry(victim.canonical_name().into_owned()).or_default() += 1;
    }
    let mut blast: Vec<(Arc<str>, u64)> = counts.into_iter().map(|(name, count)| (name.into(), count)).collect();
    blast.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    blast.truncate(BLAST_MAX);
    blast
}

impl<'a> Report<'a> {
    fn about(
        facts: &'a Facts,
        picture: &'a Picture,
        liveness: &'a Liveness<'a>,
        dependencies: &'a Dependencies,
        core: &'a BTreeSet<TaskIndex>,
    ) -> Self {
        let mut report = Self {
            facts,
            picture,
            liveness,
            dependencies,
            core,
            by_resource: BTreeMap::new(),
        };
        for (node, holders) in dependencies {
            if let Node::Resource(resource) = node {
                let spans = |task: TaskIndex| {
                    let occupation = picture.tasks[task].occupies.get(resource);
                    occupation
                        .map_or(&[][..], |occupation| &occupation.spans)
                        .iter()
                        .copied()
                };
                let block = report.block(holders.iter().filter_map(|node| node.task()), spans);
                report.by_resource.insert(*resource, block);
            }
        }
        report
    }

    /// The block by some tasks, each of which blocks by some of its spans.
    fn block<S: Iterator<Item = SpanId>>(
        &self,
        tasks: impl Iterator<Item = TaskIndex>,
        spans: impl Fn(TaskIndex) -> S,
    ) -> Block {
        let (in_core, outside): (BTreeSet<TaskIndex>, BTreeSet<TaskIndex>) =
            tasks.partition(|task| self.core.contains(task));
        let listed = in_core.iter().chain(&outside).take(BLOCKED_BY_MAX);
        let by: BTreeSet<SpanId> = listed.map(|task| self.picture.tasks[*task].id.span).collect();
        let rests_on: BTreeSet<SpanId> = in_core.iter().flat_map(|task| spans(*task)).collect();
        Block {
            by: by.into_iter().collect(),
            in_core: !in_core.is_empty(),
            rests_on: rests_on.into_iter().collect(),
        }
    }

    fn deadlock(&self) -> Deadlock {
        let victims = cores::victims(self.dependencies, self.core);
        let mut victims: Vec<DeadTask> = victims.into_iter().map(|task| self.task(task)).collect();
        victims.sort_by_cached_key(sort_key);
        let (victims_total, blast) = (victims.len() as u64, blast(&victims));
        victims.truncate(VICTIMS_MAX);
        for victim in &mut victims {
            victim.waits.truncate(WAITS_OF_VICTIM_MAX);
        }
        Deadlock {
            core: self.along_the_waits(),
            victims,
            victims_total,
            blast,
            resources: self.resources(),
        }
    }

    /// The tasks of the core, each followed by one that it waits for as far as possible: depth first, from the one with
    /// the smallest name, to those with smaller names first. A ring comes out in its order.
    fn along_the_waits(&self) -> Vec<DeadTask> {
        let mut tasks: BTreeMap<TaskIndex, DeadTask> = self.core.iter().map(|task| (*task, self.task(*task))).collect();
        let keys: BTreeMap<TaskIndex, _> = tasks.iter().map(|(task, dead)| (*task, sort_key(dead))).collect();
        let mut ordered = Vec::with_capacity(tasks.len());
        let mut seen = BTreeSet::new();
        let mut next: Vec<TaskIndex> = self
            .core
            .iter()
            .copied()
            .min_by_key(|task| keys.get(task))
            .into_iter()
            .collect();
        while let Some(task) = next.pop() {
            let Some(dead) = tasks.remove(&task) else { continue };
            ordered.push(dead);
            let mut on: Vec<TaskIndex> = Vec::new();
            for node in self.dependencies.get(&Node::Task(task)).into_iter().flatten() {
                match node {
                    Node::Task(other) => on.push(*other),
                    // The holders of a resource that has been seen are on their way already.
                    Node::Resource(_) if !seen.insert(*node) => {}
                    Node::Resource(_) => {
                        on.extend(
                            self.dependencies
                                .get(node)
                                .into_iter()
                                .flatten()
                                .filter_map(|it| it.task()),
                        );
                    }
                }
            }
            on.retain(|other| tasks.contains_key(other));
            on.sort_by_key(|other| std::cmp::Reverse(keys.get(other)));
            next.extend(on);
        }
        ordered
    }

    fn task(&self, index: TaskIndex) -> DeadTask {
        let task = &self.picture.tasks[index];
        let mut waits: Vec<DeadWait> = self
            .liveness
            .blocking_waits(index)
            .filter_map(|(group, wait)| self.wait(group, wait))
            .collect();
        waits.sort_by_key(|wait| (wait.started_at, wait.call));
        let own = self
            .facts
            .span(task.id.span)
            .filter(|span| span.instance == task.id.instance);
        let first = waits.first();
        let name = own.map(|span| &span.name).or(first.map(|wait| &wait.name));
        let instance = self.facts.instances.get(&task.id.instance);
        let occupied_by: BTreeSet<SpanId> = task.occupies.values().flat_map(|it| it.spans.iter().copied()).collect();
        DeadTask {
            id: task.id.span,
            trace: own
                .map(|span| span.trace)
                .or(first.map(|wait| wait.trace))
                .unwrap_or_default(),
            instance: task.id.instance,
            service: instance.and_then(|it| it.service.clone()).unwrap_or_else(|| "".into()),
            name: name.cloned().unwrap_or_else(|| "".into()),
            resources: task
                .occupies
                .keys()
                .map(|it| Arc::clone(&self.picture.resources[*it].name))
                .collect(),
            occupied_by: occupied_by.into_iter().collect(),
            waits,
        }
    }

    fn wait(&self, group: &Group, wait: &Wait) -> Option<DeadWait> {
        let span = self.facts.open.get(&wait.call)?;
        let Role::Call(call) = &span.role else { return None };
        let by_handlers;
        let block = match wait.state {
            CallState::Queued => self.by_resource.get(&wait.target?)?,
            CallState::Accepted | CallState::Answered | CallState::Orphaned => {
                let handles = |task| wait.handlers.iter().filter(move |it| it.0 == task).map(|it| it.1);
                by_handlers = self.block(wait.handlers.iter().map(|it| it.0), handles);
                &by_handlers
            }
        };
        Some(DeadWait {
            call: wait.call,
            trace: span.trace,
            name: Arc::clone(&span.name),
            target: call.target.clone(),
            state: wait.state,
            blocked_by: Arc::clone(&block.by),
            in_core: block.in_core,
            rests_on: Arc::clone(&block.rests_on),
            group: group.name.clone().zip(group.quorum),
            started_at: span.started_at,
            timeout_at: call.timeout.map(|timeout| span.started_at.saturating_add(timeout)),
        })
    }

    /// What the tasks of the core occupy. What its waits are queued for is among it, since the core blocks them by that.
    fn resources(&self) -> Vec<Resource> {
        let indexes: BTreeSet<_> = self
            .core
            .iter()
            .flat_map(|task| self.picture.tasks[*task].occupies.keys())
            .collect();
        indexes
            .into_iter()
            .map(|index| resource(&self.picture.resources[*index]))
            .collect()
    }
}
