//! Random changes: the picture says what the model says.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::model::{Model, ModelWait};
use crate::deadlock::Capacity;
use crate::span::{InstanceId, Quorum, SpanId};
use crate::wait_for::budget::Steps;
use crate::wait_for::rows::NONE;
use crate::wait_for::{Among, Fate, GroupOf, NewWait, Occupier, Picture, ResourceIx, Slot, Symbol, TaskId, WaitIx};

/// A change. Whom it concerns is said by a number, modulo how many there are.
#[derive(Clone, Debug)]
enum Op {
    AddTask {
        is_silent: bool,
    },
    RemoveTask(usize),
    SetSilent(usize, bool),
    AddResource,
    RemoveResource(usize),
    SetDeclared(usize, Capacity),
    Occupy {
        task: usize,
        resource: usize,
        units: u32,
        by_handle: bool,
    },
    Vacate(usize),
    AddWait {
        task: usize,
        target: Option<usize>,
        units: u32,
        group: Option<GroupOf>,
    },
    RemoveWait(usize),
    SetFate(usize, Option<Fate>),
    SetUncertain(usize, bool),
    AddHandler {
        wait: usize,
        task: usize,
    },
    RemoveHandler(usize),
    Decide,
    FullPass,
    /// Who of some of the dead is dead for themselves.
    Part(u32),
}

fn op() -> impl Strategy<Value = Op> {
    let any_one = || 0..64_usize;
    let rarely = || prop::bool::weighted(0.1);
    let capacity = prop_oneof![
        1 => Just(Capacity::Unknown),
        6 => (0..4_u64).prop_map(Capacity::Declared),
        1 => (0..4_u64).prop_map(Capacity::Counted),
    ];
    let quorum = prop_oneof![
        4 => (1..3_u32, 1..4_u32).prop_map(|(needed, size)| Some(Quorum { needed, size })),
        4 => Just(Some(Quorum { needed: 2, size: 2 })),
        1 => (0..5_u32, 0..5_u32).prop_map(|(needed, size)| Some(Quorum { needed, size })),
        1 => Just(None),
    ];
    let group = (0..2_u32, quorum).prop_map(|(name, quorum)| GroupOf {
        name: Symbol(name),
        quorum,
    });
    let units = || prop_oneof![6 => Just(1_u32), 1 => 1..4_u32];
    prop_oneof![
        4 => rarely().prop_map(|is_silent| Op::AddTask { is_silent }),
        1 => any_one().prop_map(Op::RemoveTask),
        1 => (any_one(), rarely()).prop_map(|(task, is_silent)| Op::SetSilent(task, is_silent)),
        2 => Just(Op::AddResource),
        1 => any_one().prop_map(Op::RemoveResource),
        3 => (any_one(), capacity).prop_map(|(resource, capacity)| Op::SetDeclared(resource, capacity)),
        8 => (any_one(), any_one(), units(), any::<bool>())
            .prop_map(|(task, resource, units, by_handle)| Op::Occupy { task, resource, units, by_handle }),
        4 => any_one().prop_map(Op::Vacate),
        10 => (any_one(), prop::option::weighted(0.8, any_one()), units(), prop::option::weighted(0.4, group))
            .prop_map(|(task, target, units, group)| Op::AddWait { task, target, units, group }),
        4 => any_one().prop_map(Op::RemoveWait),
        1 => (any_one(), prop::option::of(prop_oneof![Just(Fate::Orphaned), Just(Fate::Answered)]))
            .prop_map(|(wait, fate)| Op::SetFate(wait, fate)),
        1 => (any_one(), rarely()).prop_map(|(wait, is_uncertain)| Op::SetUncertain(wait, is_uncertain)),
        8 => (any_one(), any_one()).prop_map(|(wait, task)| Op::AddHandler { wait, task }),
        3 => any_one().prop_map(Op::RemoveHandler),
        20 => Just(Op::Decide),
        2 => Just(Op::FullPass),
        2 => any::<u32>().prop_map(Op::Part),
    ]
}

/// A picture and the model of it.
struct Pair {
    picture: Picture,
    model: Model,
    next_slot: u32,
    told: (u64, String),
}

fn pick<T: Copy>(all: impl IntoIterator<Item = T>, number: usize) -> Option<T> {
    let all: Vec<T> = all.into_iter().collect();
    all.get(number.checked_rem(all.len())?).copied()
}

/// The waits that are queued for a resource.
fn queue(picture: &Picture, resource: ResourceIx) -> BTreeSet<WaitIx> {
    let filled = |wait: u32| (wait != NONE).then_some(wait);
    let first = filled(picture.resources[resource.0].first_narrow);
    let narrow = std::iter::successors(first, |wait| filled(picture.waits[*wait].neighbours.next));
    let wide = picture.wide.iter().filter(|(of, ..)| *of == resource.0);
    narrow.chain(wide.map(|(_, _, wait)| *wait)).map(WaitIx).collect()
}

impl Pair {
    fn new(steps: Option<Steps>) -> Self {
        let mut picture = Picture::default();
        if let Some(steps) = steps {
            picture.budget.limit(steps);
        }
        Self {
            picture,
            model: Model::default(),
            next_slot: 0,
            told: (0, String::new()),
        }
    }

    fn slot(&mut self) -> Slot {
        self.next_slot += 1;
        Slot(self.next_slot)
    }

    fn apply(&mut self, op: Op) {
        let _ = self.try_apply(op);
    }

    /// `None` if there is nobody whom it could concern.
    fn try_apply(&mut self, op: Op) -> Option<()> {
        let tasks: Vec<_> = self.model.tasks.keys().copied().collect();
        let resources: Vec<_> = self.model.resources.keys().copied().collect();
        let waits: Vec<_> = self.model.waits.keys().copied().collect();
        let slot = self.slot();
        let Self { picture, model, .. } = self;
        match op {
            Op::AddTask { is_silent } => {
                if tasks.len() < 10 {
                    let id = TaskId {
                        span: SpanId(slot.0.into()),
                        instance: InstanceId(1),
                    };
                    model.tasks.insert(picture.add_task(id, slot, is_silent), is_silent);
                }
            }
            Op::RemoveTask(task) => {
                let waits = |task| {
                    model
                        .waits
                        .values()
                        .any(|it| it.task == task || it.handlers.iter().any(|it| it.0 == task))
                };
                let is_idle = |task| !waits(task) && model.occupations(task).is_empty();
                let task = pick(tasks.into_iter().filter(|task| is_idle(*task)), task)?;
                model.tasks.remove(&task);
                picture.remove_task(task);
            }
            Op::SetSilent(task, is_silent) => {
                let task = pick(tasks, task)?;
                model.tasks.insert(task, is_silent);
                picture.set_silent(task, is_silent);
            }
            Op::AddResource => {
                if resources.len() < 4 {
                    model
                        .resources
                        .insert(picture.add_resource(Symbol(slot.0)), Capacity::Unknown);
                }
            }
            Op::RemoveResource(resource) => {
                let is_target = |resource| model.waits.values().any(|it| it.target == Some(resource));
                let is_idle = |resource| !is_target(resource) && model.occupants(resource).is_empty();
                let resource = pick(resources.into_iter().filter(|it| is_idle(*it)), resource)?;
                model.resources.remove(&resource);
                picture.remove_resource(resource);
            }
            Op::SetDeclared(resource, capacity) => {
                let resource = pick(resources, resource)?;
                model.resources.insert(resource, capacity);
                picture.set_declared(resource, capacity);
            }
            Op::Occupy {
                task,
                resource,
                units,
                by_handle,
            } => {
                let (task, resource) = (pick(tasks, task)?, pick(resources, resource)?);
                let by = Occupier {
                    span: slot,
                    units,
                    by_handle,
                };
                model.occupiers.push((task, resource, by));
                picture.occupy(task, resource, by);
            }
            Op::Vacate(number) => {
                let number = number.checked_rem(model.occupiers.len())?;
                let (task, resource, by) = model.occupiers.remove(number);
                picture.vacate(task, resource, by.span);
            }
            Op::AddWait {
                task,
                target,
                units,
                group,
            } => {
                let task = pick(tasks, task)?;
                let target = target.and_then(|target| pick(resources, target));
                let index = picture.add_wait(
                    task,
                    NewWait {
                        call: slot,
                        target,
                        units,
                        group,
                    },
                );
                model.waits.insert(
                    index,
                    ModelWait {
                        call: slot,
                        task,
                        target,
                        units: units.into(),
                        group,
                        fate: None,
                        is_uncertain: false,
                        handlers: Vec::new(),
                    },
                );
            }
            Op::RemoveWait(wait) => {
                let wait = pick(waits, wait)?;
                model.waits.remove(&wait);
                picture.remove_wait(wait);
            }
            Op::SetFate(wait, fate) => {
                let wait = pick(waits, wait)?;
                model.waits.get_mut(&wait)?.fate = fate;
                picture.set_fate(wait, fate);
            }
            Op::SetUncertain(wait, is_uncertain) => {
                let wait = pick(waits, wait)?;
                model.waits.get_mut(&wait)?.is_uncertain = is_uncertain;
                picture.set_uncertain(wait, is_uncertain);
            }
            Op::AddHandler { wait, task } => {
                let (wait, task) = (pick(waits, wait)?, pick(tasks, task)?);
                model.waits.get_mut(&wait)?.handlers.push((task, slot));
                picture.add_handler(wait, task, slot);
            }
            Op::RemoveHandler(number) => {
                let all = model
                    .waits
                    .iter()
                    .flat_map(|(wait, it)| it.handlers.iter().map(|(_, span)| (*wait, *span)));
                let (wait, span) = pick(all, number)?;
                model.waits.get_mut(&wait)?.handlers.retain(|it| it.1 != span);
                picture.remove_handler(wait, span);
            }
            Op::Decide => {
                picture.decide();
                self.check();
            }
            Op::FullPass => {
                picture.decide();
                if picture.pass_wanted() {
                    picture.full_pass();
                }
                assert!(!picture.pass_wanted());
                self.check();
            }
            Op::Part(mask) => self.check_part(mask),
        }
        Some(())
    }

    /// Right after deciding.
    fn check(&mut self) {
        let (picture, model) = (&self.picture, &self.model);
        let dead: BTreeSet<_> = picture.dead().collect();
        assert_eq!(dead.len(), picture.dead_count());
        let is_late = picture.pass_wanted();
        if is_late {
            assert!(dead.is_subset(&model.dead()), "too many are dead");
        } else {
            assert_eq!(dead, model.dead());
        }
        for (task, is_silent) in &model.tasks {
            assert_eq!(picture.task(*task).is_dead, dead.contains(task));
            assert_eq!(picture.task(*task).is_silent, *is_silent);
            assert_eq!(
                picture.occupations(*task).collect::<BTreeMap<_, _>>(),
                model.occupations(*task)
            );
            let mut groups: Vec<_> = picture.groups(*task).collect();
            groups.sort_by_key(|group| (group.name, group.waits().min()));
            let all: Vec<_> = groups
                .iter()
                .map(|it| (it.name, it.quorum, it.waits().collect()))
                .collect();
            assert_eq!(all, model.groups(*task));
            for (group, it) in groups.iter().zip(&all) {
                let (found, right) = (picture.can_be_satisfied(*group), model.can_be_satisfied(it, &dead));
                assert!(found == right || (found && is_late));
            }
            let handled: BTreeSet<_> = picture.handled(*task).collect();
            let by_model = model.waits.iter().flat_map(|(wait, it)| {
                let mine = it.handlers.iter().filter(|handler| handler.0 == *task);
                mine.map(|handler| (*wait, handler.1))
            });
            assert_eq!(handled, by_model.collect());
        }
        for (index, wait) in &model.waits {
            assert_eq!(picture.wait(*index).call(), wait.call);
            assert_eq!(picture.wait(*index).target(), wait.target);
            assert_eq!(picture.state(*index), wait.state());
            let (found, right) = (picture.can_finish(*index), model.can_finish(*index, &dead));
            assert!(found == right || (found && is_late));
            let handlers: BTreeSet<_> = picture.handlers(*index).collect();
            assert_eq!(handlers, wait.handlers.iter().copied().collect());
        }
        for index in model.resources.keys() {
            let resource = picture.resource(*index);
            assert_eq!(resource.capacity(), model.capacity(*index));
            assert_eq!(resource.held(), model.held(*index));
            assert_eq!(resource.queued(), model.queue(*index).len() as u64);
            assert_eq!(queue(picture, *index), model.queue(*index));
            assert_eq!(
                picture.occupants(*index).collect::<BTreeMap<_, _>>(),
                model.occupants(*index)
            );
            for task in model.tasks.keys() {
                let spans: BTreeSet<_> = picture.occupiers(*task, *index).collect();
                let by_model = model.occupiers.iter().filter(|it| it.0 == *task && it.1 == *index);
                assert_eq!(spans, by_model.map(|it| it.2.span).collect());
            }
        }
        assert_eq!(picture.waits_count(), model.waits.len() as u64);
        assert_eq!(picture.undecided(), model.undecided());
        assert_eq!(picture.excessive(), model.excessive());
        let overfull = model.resources.keys().filter(|resource| model.is_overfull(**resource));
        assert_eq!(picture.overfull(), overfull.count() as u64);
        let told = (picture.revision(), model.told(&dead));
        assert!(
            told.1 == self.told.1 || told.0 != self.told.0,
            "another report of the same revision"
        );
        self.told = told;
    }

    fn check_part(&mut self, mask: u32) {
        self.picture.decide();
        let dead: BTreeSet<_> = self.picture.dead().collect();
        let mut among = Among::new(&self.picture);
        for mask in [mask, mask.rotate_left(16)] {
            let part: BTreeSet<_> = (0..)
                .zip(&dead)
                .filter(|(bit, _)| mask >> (bit % 32) & 1 == 1)
                .map(|it| *it.1)
                .collect();
            let found = among.dead(&Vec::from_iter(part.iter().copied()));
            assert_eq!(BTreeSet::from_iter(found), self.model.dead_among(part));
        }
        self.check();
    }
}

fn run(ops: Vec<Op>, steps: Option<Steps>) {
    let mut pair = Pair::new(steps);
    for _ in 0..4 {
        pair.apply(Op::AddTask { is_silent: false });
    }
    pair.apply(Op::AddResource);
    pair.apply(Op::AddResource);
    for op in ops {
        pair.apply(op);
    }
    pair.apply(Op::FullPass);
}

proptest! {
    #[test]
    fn searches_forward_find_who_is_dead(ops in prop::collection::vec(op(), 1..120)) {
        run(ops, None);
    }

    #[test]
    fn searches_backward_find_who_is_dead(ops in prop::collection::vec(op(), 1..120), first in 0..5_u32) {
        let least = 1_000;
        run(ops, Some(Steps { first, least, saved: 0, most: least }));
    }

    #[test]
    fn full_passes_find_who_is_dead(ops in prop::collection::vec(op(), 1..120), first in 0..5_u32, least in 0..12_u32) {
        run(ops, Some(Steps { first, least, saved: 0, most: least }));
    }
}
