//! From cores to [`Deadlock`]s that can be read, named and confirmed.
//!
//! Everything is put in an order that depends on names and ids only: the same open spans give the same report.

use std::collections::HashMap;
use std::sync::Arc;

use crate::deadlock::{BLOCKED_BY_MAX, DeadTask, DeadWait, Deadlock, Resource, WAITS_OF_VICTIM_MAX};
use crate::explain::dead_part::{DeadCall, DeadGroup, DeadPart, DependsOn, ResourceNo, TaskNo};
use crate::explain::dependencies::Dependencies;
use crate::explain::named::Named;
use crate::explain::order::{Core, Seen};
use crate::explain::titles::Titles;
use crate::explain::victims;
use crate::span::SpanId;
use crate::wait_for::{Picture, ResourceIx, Slot, TaskIx};

/// The most waits and handlers of victims that all reports list together. A crowd behind a hundred thousand cores would
/// otherwise be written down as often. Reports beyond it count their victims and list none.
const LISTED_MAX: usize = 1 << 18;

/// Writes the reports of all cores.
pub(super) struct Writer<'a, N> {
    picture: &'a Picture,
    named: &'a N,
    dead: &'a DeadPart,
    dependencies: &'a Dependencies,
    titles: &'a Titles<'a>,
    seen: Seen,
    victims: victims::Search<'a>,
    /// The oldest waits of each task that has more than a victim's report lists.
    oldest_waits: HashMap<TaskNo, Vec<(&'a DeadGroup, &'a DeadCall)>>,
    listed_left: usize,
    nameless: Arc<str>,
    nobody: Arc<[SpanId]>,
}

/// What keeps a wait from finishing.
#[derive(Clone)]
struct Block {
    by: Arc<[SpanId]>,
    in_core: bool,
    rests_on: Arc<[SpanId]>,
}

/// How a core blocks waits. What it blocks by a resource is the same for all who are queued for that.
struct Blocks<'a> {
    core: Core<'a>,
    by_resource: HashMap<ResourceNo, Block>,
}

/// What is known of a resource, for readers.
pub(crate) fn resource(picture: &Picture, index: ResourceIx, named: &impl Named) -> Resource {
    let resource = picture.resource(index);
    Resource {
        name: Arc::clone(named.text(resource.name())),
        capacity: resource.capacity(),
        held: resource.held(),
        queued: resource.queued(),
    }
}

impl<'a, N: Named> Writer<'a, N> {
    pub(super) fn new(
        picture: &'a Picture,
        named: &'a N,
        dead: &'a DeadPart,
        dependencies: &'a Dependencies,
        titles: &'a Titles<'a>,
    ) -> Self {
        Self {
            picture,
            named,
            dead,
            dependencies,
            titles,
            seen: Seen::new(dependencies),
            victims: victims::Search::new(dependencies, titles),
            oldest_waits: HashMap::new(),
            listed_left: LISTED_MAX,
            nameless: "".into(),
            nobody: [].into(),
        }
    }

    pub(super) fn deadlock(&mut self, core: &[TaskNo]) -> Deadlock {
        let mut blocks = Blocks {
            core: Core::of(self.dead, core),
            by_resource: HashMap::new(),
        };
        let ordered = blocks
            .core
            .along_the_waits(self.dependencies, self.titles, &mut self.seen);
        let mut tasks = Vec::with_capacity(ordered.len());
        let mut waits = Vec::new();
        for task in ordered {
            waits.clear();
            waits.extend(self.dead.waits(task));
            tasks.push(self.task(task, &waits, &mut blocks));
        }
        let victims = self.victims.of(core);
        Deadlock {
            core: tasks,
            victims: self.list(&victims.first, &mut blocks),
            victims_total: victims.total,
            blast: victims.blast,
            resources: self.resources(core),
        }
    }

    /// The tasks that the report lists of the victims.
    fn list(&mut self, victims: &[TaskNo], blocks: &mut Blocks<'_>) -> Vec<DeadTask> {
        let mut listed = Vec::with_capacity(victims.len());
        for victim in victims {
            let waits = self.oldest_waits(*victim);
            let handlers = waits.iter().map(|(_, call)| match self.dead.depends_on(call) {
                DependsOn::Handlers(handlers) => handlers.len(),
                DependsOn::Units { .. } => 1,
            });
            let Some(left) = self.listed_left.checked_sub(handlers.sum()) else {
                break;
            };
            self.listed_left = left;
            listed.push(self.task(*victim, &waits, blocks));
        }
        listed
    }

    /// What a victim's report lists of its waits. Looks at all of them once, however many cores list it.
    fn oldest_waits(&mut self, task: TaskNo) -> Vec<(&'a DeadGroup, &'a DeadCall)> {
        let dead = self.dead;
        if dead.waits(task).nth(WAITS_OF_VICTIM_MAX).is_none() {
            return dead.waits(task).collect();
        }
        let (picture, named) = (self.picture, self.named);
        let oldest = self.oldest_waits.entry(task).or_insert_with(|| {
            let age = |call: &DeadCall| {
                let slot = picture.wait(call.wait).call();
                (named.span(slot).map(|span| span.started_at), named.id(slot))
            };
            let mut all: Vec<_> = dead.waits(task).collect();
            all.sort_by_cached_key(|(_, call)| age(call));
            all.truncate(WAITS_OF_VICTIM_MAX);
            all
        });
        oldest.clone()
    }

    fn task(&self, task: TaskNo, calls: &[(&DeadGroup, &DeadCall)], blocks: &mut Blocks<'_>) -> DeadTask {
        let index = self.dead.tasks[task];
        let it = self.picture.task(index);
        // There may be a million tasks: none has room for more than it has.
        let mut waits: Vec<DeadWait> = Vec::with_capacity(calls.len());
        waits.extend(calls.iter().filter_map(|(group, call)| self.wait(group, call, blocks)));
        waits.sort_unstable_by_key(|wait| (wait.started_at, wait.call));
        let own = self
            .named
            .span(it.slot())
            .filter(|span| span.instance == it.id().instance && !span.name.is_empty());
        let first = waits.first();
        let name = own.map(|span| span.name).or(first.map(|wait| &wait.name));
        let trace = own.map(|span| span.trace).or(first.map(|wait| wait.trace));
        let occupations = self.picture.occupations(index).count();
        let mut resources = Vec::with_capacity(occupations);
        let mut occupied_by = Vec::with_capacity(occupations);
        for (resource, _) in self.picture.occupations(index) {
            resources.push(Arc::clone(self.named.text(self.picture.resource(resource).name())));
            occupied_by.extend(self.spans(self.picture.occupiers(index, resource)));
        }
        resources.sort_unstable();
        occupied_by.sort_unstable();
        occupied_by.dedup();
        DeadTask {
            id: it.id().span,
            trace: trace.unwrap_or_default(),
            instance: it.id().instance,
            service: Arc::clone(self.named.service(it.id().instance).unwrap_or(&self.nameless)),
            name: Arc::clone(name.unwrap_or(&self.nameless)),
            resources,
            occupied_by,
            waits,
        }
    }

    fn spans(&self, slots: impl Iterator<Item = Slot>) -> impl Iterator<Item = SpanId> {
        slots.map(|slot| self.named.id(slot))
    }

    fn wait(&self, group: &DeadGroup, call: &DeadCall, blocks: &mut Blocks<'_>) -> Option<DeadWait> {
        let wait = self.picture.wait(call.wait);
        let span = self.named.span(wait.call())?;
        let block = match self.dead.depends_on(call) {
            DependsOn::Handlers(handlers) => self.block_by_handlers(call, handlers, &blocks.core),
            DependsOn::Units { resource, .. } => {
                let core = &blocks.core;
                let is_shared = self.picture.resource(self.dead.resources[resource].index).queued() > 1;
                if is_shared {
                    let block = blocks.by_resource.entry(resource);
                    block.or_insert_with(|| self.block_by_units(resource, core)).clone()
                } else {
                    self.block_by_units(resource, core)
                }
            }
        };
        let target = wait
            .target()
            .map(|target| self.named.text(self.picture.resource(target).name()));
        Some(DeadWait {
            call: self.named.id(wait.call()),
            trace: span.trace,
            name: Arc::clone(span.name),
            target: target.cloned(),
            state: self.picture.state(call.wait),
            blocked_by: block.by,
            in_core: block.in_core,
            rests_on: block.rests_on,
            group: group
                .said
                .map(|(name, quorum)| (Arc::clone(self.named.text(name)), quorum)),
            started_at: span.started_at,
            timeout_at: span.timeout.map(|timeout| span.started_at.saturating_add(timeout)),
        })
    }

    fn block_by_handlers(&self, call: &DeadCall, handlers: &[TaskNo], core: &Core<'_>) -> Block {
        let in_core: Vec<TaskNo> = handlers.iter().copied().filter(|task| core.contains(*task)).collect();
        let mut indexes: Vec<TaskIx> = in_core.iter().map(|task| self.dead.tasks[*task]).collect();
        indexes.sort_unstable();
        let handles = self.picture.handlers(call.wait);
        let of_core = handles.filter(|(task, _)| indexes.binary_search(task).is_ok());
        let rests_on = self.spans(of_core.map(|(_, handle)| handle)).collect();
        self.block(&in_core, handlers, core, rests_on)
    }

    fn block_by_units(&self, resource: ResourceNo, core: &Core<'_>) -> Block {
        let in_core: Vec<TaskNo> = core.holders(resource).collect();
        let index = self.dead.resources[resource].index;
        let occupiers = in_core
            .iter()
            .flat_map(|task| self.picture.occupiers(self.dead.tasks[*task], index));
        let rests_on = self.spans(occupiers).collect();
        self.block(&in_core, self.dead.holders(resource), core, rests_on)
    }

    /// The block by some tasks, of which those in the core block by these spans.
    fn block(&self, in_core: &[TaskNo], all: &[TaskNo], core: &Core<'_>, mut rests_on: Vec<SpanId>) -> Block {
        let outside = all.iter().filter(|task| in_core.is_empty() || !core.contains(**task));
        let listed = in_core.iter().chain(outside).take(BLOCKED_BY_MAX);
        let mut by: Vec<SpanId> = listed.map(|task| self.id(self.dead.tasks[*task])).collect();
        by.sort_unstable();
        by.dedup();
        rests_on.sort_unstable();
        rests_on.dedup();
        Block {
            by: by.into(),
            in_core: !in_core.is_empty(),
            rests_on: self.shared(rests_on),
        }
    }

    fn id(&self, task: TaskIx) -> SpanId {
        self.picture.task(task).id().span
    }

    /// Most waits of victims rest on nothing of the core.
    fn shared(&self, spans: Vec<SpanId>) -> Arc<[SpanId]> {
        if spans.is_empty() {
            Arc::clone(&self.nobody)
        } else {
            spans.into()
        }
    }

    /// What the tasks of the core occupy. What its waits are queued for is among it, since the core blocks them by that.
    fn resources(&self, core: &[TaskNo]) -> Vec<Resource> {
        let occupied = core
            .iter()
            .flat_map(|task| self.picture.occupations(self.dead.tasks[*task]));
        let mut indexes: Vec<ResourceIx> = occupied.map(|(resource, _)| resource).collect();
        indexes.sort_unstable();
        indexes.dedup();
        let mut resources: Vec<Resource> = indexes
            .into_iter()
            .map(|index| resource(self.picture, index, self.named))
            .collect();
        resources.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        resources
    }
}
