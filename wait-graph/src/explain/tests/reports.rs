//! What is said of a deadlock.

use std::sync::Arc;

use super::world::{World, ids};
use crate::deadlock::{CallState, WAITS_OF_VICTIM_MAX};
use crate::span::{InstanceId, Quorum, SpanId, TraceId};
use crate::wait_for::TaskId;

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
fn what_blocks_a_core_from_outside_is_named_and_not_rested_on() {
    // b wants all of the pool, of which a unit is held by another core.
    let mut world = World::default();
    world.declare("pool", 2);
    let a = world.task(10, &["A", "pool"]);
    world.waits(a, 11, "B");
    let b = world.task(20, &["B"]);
    world.waits_for_units(b, 21, "pool", 2);
    let other = world.task(30, &["C", "pool"]);
    world.waits(other, 31, "C");
    let behind = world.task(40, &[]);
    world.waits(behind, 41, "C");
    let all = world.deadlocks();
    let [first, second] = &all[..] else { panic!("{all:#?}") };

    let wait = &first.core[1].waits[0];
    assert_eq!((&wait.blocked_by[..], wait.in_core), (&[10, 30].map(SpanId)[..], true));
    assert_eq!(*wait.rests_on, [SpanId(10)]);

    // The other core keeps all three from proceeding: behind directly, b through the pool, and a behind b.
    assert_eq!(ids(&second.victims), [10, 20, 40]);
    let blocked_by = |victim: usize| &second.victims[victim].waits[0].blocked_by[..];
    assert_eq!(blocked_by(0), [SpanId(20)]);
    assert_eq!(blocked_by(1), [SpanId(10), SpanId(30)]);
    assert_eq!(blocked_by(2), [SpanId(30)]);
}
