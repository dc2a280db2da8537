use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::deadlock::{CallState, Capacity, VICTIMS_MAX, WAITS_OF_VICTIM_MAX};
use crate::span::{InstanceId, Quorum, SpanId, TraceId};
use crate::wait_for::{GroupOf, NewWait, Occupier, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};

/// A picture that is told directly what there is, with the spans and names that it refers to.
#[derive(Default)]
struct World {
    picture: Picture,
    names: Names,
    resources: HashMap<String, ResourceIx>,
    tasks: HashMap<u64, TaskIx>,
}

#[derive(Default)]
struct Names {
    /// By slot.
    spans: Vec<(SpanId, Option<Span>)>,
    texts: Vec<Arc<str>>,
    symbols: HashMap<String, Symbol>,
    services: HashMap<InstanceId, Arc<str>>,
}

struct Span {
    instance: InstanceId,
    name: Symbol,
    started_at: Duration,
}

impl Named for Names {
    fn id(&self, span: Slot) -> SpanId {
        self.spans[span.0 as usize].0
    }

    fn span(&self, span: Slot) -> Option<SpanFacts<'_>> {
        let span = self.spans[span.0 as usize].1.as_ref()?;
        Some(SpanFacts {
            trace: TraceId(1),
            instance: span.instance,
            name: self.text(span.name),
            started_at: span.started_at,
            timeout: Some(Duration::from_secs(5)),
        })
    }

    fn service(&self, instance: InstanceId) -> Option<&Arc<str>> {
        self.services.get(&instance)
    }

    fn text(&self, name: Symbol) -> &Arc<str> {
        &self.texts[name.0 as usize]
    }
}

impl Names {
    fn symbol(&mut self, name: &str) -> Symbol {
        *self.symbols.entry(name.to_owned()).or_insert_with(|| {
            self.texts.push(name.into());
            Symbol(self.texts.len() as u32 - 1)
        })
    }

    fn unseen(&mut self, id: u64) -> Slot {
        self.spans.push((SpanId(id), None));
        Slot(self.spans.len() as u32 - 1)
    }

    fn span_of(&mut self, id: u64, instance: u64, name: &str) -> Slot {
        let name = self.symbol(name);
        let slot = self.unseen(id);
        let started_at = Duration::from_millis(id);
        self.spans[slot.0 as usize].1 = Some(Span {
            instance: InstanceId(instance),
            name,
            started_at,
        });
        slot
    }
}

impl World {
    /// A resource of one unit, unless it is declared otherwise.
    fn resource(&mut self, name: &str) -> ResourceIx {
        if let Some(known) = self.resources.get(name) {
            return *known;
        }
        let symbol = self.names.symbol(name);
        let index = self.picture.add_resource(symbol);
        self.picture.set_declared(index, Capacity::Declared(1));
        self.resources.insert(name.to_owned(), index);
        index
    }

    fn declare(&mut self, name: &str, units: u64) {
        let index = self.resource(name);
        self.picture.set_declared(index, Capacity::Declared(units));
    }

    /// A task that a handle of this id stands for, in an instance of the same number.
    fn task(&mut self, id: u64, occupies: &[&str]) -> TaskIx {
        self.task_in(id, id, occupies)
    }

    fn task_in(&mut self, id: u64, instance: u64, occupies: &[&str]) -> TaskIx {
        let slot = self.names.span_of(id, instance, &format!("request {id}"));
        let task = self.picture.add_task(
            TaskId {
                span: SpanId(id),
                instance: InstanceId(instance),
            },
            slot,
            false,
        );
        for name in occupies {
            let resource = self.resource(name);
            self.picture.occupy(
                task,
                resource,
                Occupier {
                    span: slot,
                    units: 1,
                    by_handle: true,
                },
            );
        }
        self.tasks.insert(id, task);
        task
    }

    fn waits(&mut self, task: TaskIx, call: u64, target: &str) -> WaitIx {
        self.waits_in_group(task, call, target, None)
    }

    fn waits_in_group(&mut self, task: TaskIx, call: u64, target: &str, group: Option<(&str, u32, u32)>) -> WaitIx {
        let instance = self.picture.task(task).id().instance.0;
        let call = self.names.span_of(call, instance, "call");
        let target = Some(self.resource(target));
        let group = group.map(|(name, needed, size)| GroupOf {
            name: self.names.symbol(name),
            quorum: Some(Quorum { needed, size }),
        });
        self.picture.add_wait(
            task,
            NewWait {
                call,
                target,
                units: 1,
                group,
            },
        )
    }

    fn accepts(&mut self, task: TaskIx, wait: WaitIx) {
        let slot = self.picture.task(task).slot();
        self.picture.add_handler(wait, task, slot);
    }

    /// The dead or live task for which the span of this id stands.
    fn task_of(&self, id: u64) -> TaskIx {
        self.tasks[&id]
    }

    /// Tasks from this id on, ten ids apart, each of which occupies one of the names and waits for the next.
    fn ring(&mut self, first: u64, names: &[&str]) {
        for (place, name) in names.iter().enumerate() {
            let id = first + 10 * place as u64;
            let task = self.task(id, &[name]);
            self.waits(task, id + 1, names[(place + 1) % names.len()]);
        }
    }

    fn deadlocks(&mut self) -> Vec<Deadlock> {
        self.picture.full_pass();
        deadlocks(&self.picture, &self.names)
    }

    fn deadlock(&mut self) -> Deadlock {
        let mut all = self.deadlocks();
        assert_eq!(all.len(), 1, "{all:#?}");
        all.remove(0)
    }
}

fn ids(tasks: &[crate::deadlock::DeadTask]) -> Vec<u64> {
    tasks.iter().map(|task| task.id.0).collect()
}

fn cores(deadlocks: &[Deadlock]) -> Vec<Vec<u64>> {
    deadlocks.iter().map(|deadlock| ids(&deadlock.core)).collect()
}

#[test]
fn two_servers() {
    let mut world = World::default();
    let a = world.task(10, &["{:server_a, 42}"]);
    let b = world.task(20, &["{:server_b, 42}"]);
    let call_of_a = world.waits(a, 11, "{:server_b, 42}");
    world.accepts(b, call_of_a);
    world.waits(b, 21, "{:server_a, 42}");
    let deadlock = world.deadlock();
    assert_eq!(
        deadlock.summary(),
        "{:server_a, 42} → {:server_b, 42} → {:server_a, 42}"
    );
    // The same as for the same spans in `names`: fixed for good.
    assert_eq!(format!("{:016x}", deadlock.id()), "b43b7e1724019826");
    assert_eq!(format!("{:016x}", deadlock.fingerprint()), "f3ef34b91133cfa2");
    assert_eq!(format!("{:016x}", deadlock.pattern()), "97b0011f3386133e");
    assert_eq!(deadlock.spans(), [10, 11, 20, 21].map(SpanId));
    let waits: Vec<_> = deadlock
        .waits()
        .map(|wait| (wait.call.0, wait.state, wait.blocked_by[0].0))
        .collect();
    assert_eq!(waits, [(11, CallState::Accepted, 20), (21, CallState::Queued, 10)]);
    assert_eq!((deadlock.victims_total, &deadlock.blast[..]), (0, &[][..]));
    let resources: Vec<_> = deadlock
        .resources
        .iter()
        .map(|it| (&*it.name, it.held, it.queued))
        .collect();
    assert_eq!(resources, [("{:server_a, 42}", 1, 1), ("{:server_b, 42}", 1, 0)]);
}

#[test]
fn nobody_is_dead() {
    let mut world = World::default();
    assert_eq!(world.deadlocks(), []);
    let waiting = world.task(10, &["A"]);
    world.task(20, &["B"]);
    world.waits(waiting, 11, "B");
    assert_eq!(world.deadlocks(), []);
}

#[test]
fn victims_are_counted_by_name_and_belong_to_every_core_that_they_reach() {
    let mut world = World::default();
    world.ring(10, &["A", "B"]);
    world.ring(50, &["C", "D"]);
    for id in [100, 200, 300] {
        let task = world.task(id, &["pool"]);
        world.waits(task, id + 1, "A");
    }
    world.declare("pool", 3);
    let of_both = world.task(400, &["behind"]);
    world.waits(of_both, 401, "pool");
    world.waits(of_both, 402, "D");
    let all = world.deadlocks();
    assert_eq!(cores(&all), [[10, 20], [50, 60]]);
    assert_eq!(
        (ids(&all[0].victims), all[0].victims_total),
        (vec![400, 100, 200, 300], 4)
    );
    assert_eq!(all[0].blast, [("pool".into(), 3), ("behind".into(), 1)]);
    assert_eq!((ids(&all[1].victims), all[1].victims_total), (vec![400], 1));
    let rests_on_core: Vec<_> = all[1].victims[0].waits.iter().map(|wait| wait.in_core).collect();
    assert_eq!(rests_on_core, [false, true]);
}

#[test]
fn a_pool_is_a_knot_with_all_its_holders() {
    const UNITS: u64 = 1_000;
    let mut world = World::default();
    world.declare("pool", UNITS);
    for number in 1..=UNITS {
        let task = world.task(10 * number, &["pool"]);
        world.waits(task, 10 * number + 1, "pool");
    }
    let deadlock = world.deadlock();
    assert_eq!((deadlock.core.len(), deadlock.waits().count()), (1_000, 1_000));
    assert_eq!(deadlock.summary(), "pool ×1000 → pool ×1000");
    assert_eq!(deadlock.spans().len(), 2_000);
    let first = &deadlock.core[0].waits[0];
    assert_eq!(
        (first.blocked_by.len(), first.rests_on.len()),
        (crate::BLOCKED_BY_MAX, 1_000)
    );
    assert!(
        deadlock
            .waits()
            .all(|wait| Arc::ptr_eq(&wait.rests_on, &first.rests_on))
    );
    assert!(
        deadlock
            .waits()
            .all(|wait| Arc::ptr_eq(&wait.blocked_by, &first.blocked_by))
    );
    assert_eq!(deadlock.resources[0].held, UNITS);
}

#[test]
fn a_group_names_all_alternatives_that_are_dead() {
    let mut world = World::default();
    let chooser = world.task(10, &["A"]);
    for (call, target) in [(11, "B"), (12, "C")] {
        world.waits_in_group(chooser, call, target, Some(("either", 1, 2)));
    }
    for (id, name) in [(20, "B"), (30, "C")] {
        let task = world.task(id, &[name]);
        world.waits(task, id + 1, "A");
    }
    let deadlock = world.deadlock();
    assert_eq!(deadlock.summary(), "A → B and C; B → A; C → A");
    let group = Some(("either".into(), Quorum { needed: 1, size: 2 }));
    assert!(
        deadlock.core[0]
            .waits
            .iter()
            .all(|wait| wait.group == group && wait.in_core)
    );
    assert_eq!(deadlock.core[0].waits.len(), 2);
}

#[test]
fn only_the_part_of_a_component_that_stays_dead_is_the_core() {
    // X needs any of Y and A, so it is dead only because the ring of A and B is; the ring reaches X, since A calls it too.
    let mut world = World::default();
    world.ring(10, &["C", "D"]);
    let a = world.task(100, &["A"]);
    let x = world.task(200, &["X"]);
    world.waits(a, 101, "X");
    world.waits_in_group(x, 201, "A", Some(("either", 1, 2)));
    world.waits_in_group(x, 202, "C", Some(("either", 1, 2)));
    let all = world.deadlocks();
    assert_eq!(cores(&all), [[10, 20]]);
    assert_eq!(ids(&all[0].victims), [100, 200]);
}

#[test]
fn a_part_that_stays_dead_is_asked_again_as_long_as_that_is_not_too_much() {
    // T needs any of three, one of which is outside its component. Without T that is two rings, P with Q and R with S.
    let mut world = World::default();
    world.ring(500, &["outside 1", "outside 2"]);
    for (id, names) in [(10, ["P", "Q"]), (30, ["R", "S"])] {
        world.ring(id, &names);
    }
    for (place, call) in [(20, 25), (40, 45)] {
        let task = world.task_of(place);
        world.waits(task, call, "T");
    }
    let t = world.task(50, &["T"]);
    for (call, target) in [(51, "P"), (52, "R"), (53, "outside 1")] {
        world.waits_in_group(t, call, target, Some(("any", 1, 3)));
    }
    let all = world.deadlocks();
    assert_eq!(cores(&all), [[10, 20], [30, 40], [500, 510]]);
    assert_eq!(
        all.iter().map(|it| ids(&it.victims)).collect::<Vec<_>>()[2],
        [10, 20, 30, 40, 50]
    );

    let dead = dead_part::DeadPart::of(&world.picture, &world.names);
    let dependencies = dependencies::Tracing::new(&dead).of_all();
    let mut without_a_second_look = cores::cores_within(0, &world.picture, &dead, &dependencies);
    without_a_second_look.sort();
    assert_eq!(without_a_second_look, [vec![0, 1, 2, 3], vec![5, 6]]);
}

#[test]
fn a_component_that_falls_apart_again_and_again() {
    let mut world = World::default();
    onion(&mut world, 30);
    let all = world.deadlocks();
    assert_eq!(all.len(), 31);
    let cores: usize = all.iter().map(|deadlock| deadlock.core.len()).sum();
    assert_eq!(cores, 31 * 2);
}

/// Rings within rings: each layer holds a ring that stands for itself, and a task that needs any of it and of the rest, so
/// that without the ring that task, and with it the layer's hold on the rest, is live.
fn onion(world: &mut World, layers: u64) {
    world.ring(10, &["core 1", "core 2"]);
    let mut inner = "core 1".to_owned();
    for layer in 1..=layers {
        let (ring, skin) = (format!("ring {layer}"), format!("skin {layer}"));
        world.ring(1_000 * layer, &[&ring, &format!("ring {layer} too")]);
        let task = world.task(1_000 * layer + 100, &[&skin]);
        for (call, target) in [(101, &ring), (102, &inner)] {
            world.waits_in_group(task, 1_000 * layer + call, target, Some(("either", 1, 2)));
        }
        inner = skin;
    }
}

#[test]
fn tasks_of_one_name_are_told_apart_by_id_and_instance() {
    let mut world = World::default();
    world.declare("A", 3);
    for (id, instance) in [(20, 2), (10, 2), (10, 1)] {
        let task = world.task_in(id, instance, &["A"]);
        world.waits(task, 100 * id + instance, "A");
    }
    let deadlock = world.deadlock();
    let order: Vec<_> = deadlock.core.iter().map(|task| (task.id.0, task.instance.0)).collect();
    assert_eq!(order, [(10, 1), (10, 2), (20, 2)]);
    assert_eq!(*deadlock.core[0].waits[0].blocked_by, [SpanId(10), SpanId(20)]);
    assert_eq!(deadlock.summary(), "A ×3 → A ×3");
}

#[test]
fn a_task_whose_own_span_is_unseen_goes_by_its_oldest_call() {
    let mut world = World::default();
    world.names.services.insert(InstanceId(1), "client".into());
    world.names.services.insert(InstanceId(2), "client".into());
    world.ring(100, &["A", "B"]);
    for (unseen, instance) in [(7, 1), (8, 2)] {
        let slot = world.names.unseen(unseen);
        let id = TaskId {
            span: SpanId(unseen),
            instance: InstanceId(instance),
        };
        let task = world.picture.add_task(id, slot, false);
        world.waits(task, 70 + unseen, "A");
        world.waits(task, 60 + unseen, "B");
    }
    let deadlock = world.deadlock();
    assert_eq!(deadlock.blast, [("client/call".into(), 2)]);
    assert_eq!(deadlock.victims[0].canonical_name(), "client/call");
    assert_eq!(deadlock.victims[0].trace, TraceId(1));
    assert_eq!(
        deadlock.victims[0]
            .waits
            .iter()
            .map(|wait| wait.call.0)
            .collect::<Vec<_>>(),
        [67, 77]
    );
}

#[test]
fn the_history_of_the_picture_does_not_show() {
    let build = |order: &[u64]| {
        let mut world = World::default();
        for number in order {
            let id = 100 * number;
            let task = world.task(id, &[&format!("n{}", number % 4), "pool"]);
            for call in if number % 2 == 0 { [1, 2] } else { [2, 1] } {
                world.waits(task, id + call, &format!("n{}", (number + call) % 4));
            }
        }
        world.declare("pool", 100);
        world.deadlocks()
    };
    let one = build(&[1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(one.len(), 1);
    assert_eq!(one, build(&[7, 3, 1, 2, 6, 5, 4]));
}

#[test]
fn a_victim_lists_its_oldest_waits() {
    let mut world = World::default();
    world.ring(10, &["A", "B"]);
    let batch = world.task(1_000, &["batch"]);
    for call in (2_000..2_250).rev() {
        world.waits(batch, call, "A");
    }
    let deadlock = world.deadlock();
    let waits: Vec<u64> = deadlock.victims[0].waits.iter().map(|wait| wait.call.0).collect();
    assert_eq!(waits, (2_000..2_000 + WAITS_OF_VICTIM_MAX as u64).collect::<Vec<_>>());
}

#[test]
fn a_ring_of_a_hundred_thousand() {
    const TASKS: u64 = 100_000;
    let names: Vec<String> = (0..TASKS).map(|number| format!("n{number:06}")).collect();
    let mut world = World::default();
    world.ring(10, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let deadlock = world.deadlock();
    assert!(
        ids(&deadlock.core)
            .into_iter()
            .eq((0..TASKS).map(|number| 10 + 10 * number))
    );
    assert!(deadlock.summary().ends_with("→ (99984 more) → n000000"));
    assert_eq!(to_dot(std::slice::from_ref(&deadlock)), to_dot(&[deadlock]));
}

#[test]
fn a_hundred_thousand_rings_of_two() {
    const RINGS: u64 = 100_000;
    let mut world = World::default();
    for ring in 0..RINGS {
        world.ring(100 * ring, &[&format!("a{ring:06}"), &format!("b{ring:06}")]);
    }
    let all = world.deadlocks();
    assert_eq!(all.len() as u64, RINGS);
    assert!(
        all.iter()
            .enumerate()
            .all(|(place, it)| it.core[0].id.0 == 100 * place as u64)
    );
    let mut episodes = crate::Episodes::default();
    assert_eq!(episodes.update(all.clone()).len() as u64, RINGS);
    assert_eq!(episodes.update(all).len(), 0);
    assert_eq!(episodes.update(Vec::new()).len() as u64, RINGS);
}

#[test]
fn a_crowd_behind_one_core() {
    const CROWD: u64 = 50_000;
    let mut world = World::default();
    world.ring(10, &["A", "B"]);
    for number in 1..=CROWD {
        let name = format!("{}", number % 1_000);
        let task = world.task(1_000 * number, &[]);
        let resource = world.resource(&name);
        world.declare(&name, CROWD);
        let slot = world.picture.task(task).slot();
        world.picture.occupy(
            task,
            resource,
            Occupier {
                span: slot,
                units: 1,
                by_handle: false,
            },
        );
        world.waits(task, 1_000 * number + 1, "A");
    }
    let deadlock = world.deadlock();
    assert_eq!((deadlock.victims.len(), deadlock.victims_total), (VICTIMS_MAX, CROWD));
    assert!(
        deadlock
            .victims
            .iter()
            .all(|victim| ["0", "1", "10"].contains(&&*victim.canonical_name()))
    );
    assert_eq!(deadlock.blast.len(), crate::BLAST_MAX);
    assert_eq!(deadlock.blast[..2], [("0".into(), 50), ("1".into(), 50)]);
}

#[test]
fn a_crowd_behind_very_many_cores_is_not_counted_for_each_without_end() {
    const RINGS: u64 = 2_000;
    let mut world = World::default();
    let batch = world.task(1, &["batch"]);
    for ring in 1..=RINGS {
        world.ring(100 * ring, &[&format!("a{ring:06}"), &format!("b{ring:06}")]);
        world.waits(batch, 100 * ring + 50, &format!("a{ring:06}"));
        let victim = world.task(100 * ring + 60, &[]);
        world.waits(victim, 100 * ring + 61, "batch");
    }
    let all = world.deadlocks();
    assert_eq!(all.len() as u64, RINGS);
    assert_eq!(all[0].victims_total, RINGS + 1);
    assert!(all.iter().all(|it| it.victims_total > 100));
}
