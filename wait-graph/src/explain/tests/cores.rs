//! What is a core, and what is not.

use super::world::{World, cores, ids};
use crate::explain::{cores as find, dead_part, dependencies};

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
    let mut without_a_second_look = find::cores_within(0, &world.picture, &dead, &dependencies);
    without_a_second_look.sort();
    assert_eq!(without_a_second_look, [vec![0, 1, 2, 3], vec![5, 6]]);
}

#[test]
fn a_component_that_falls_apart_again_and_again() {
    // More often than each task may be looked at again in a large graph.
    const LAYERS: u64 = 60;
    let mut world = World::default();
    onion(&mut world, LAYERS);
    let all = world.deadlocks();
    let mut rings: Vec<Vec<u64>> = (1..=LAYERS).map(|layer| vec![100 * layer, 100 * layer + 10]).collect();
    rings.sort();
    let mut found = cores(&all);
    found.sort();
    assert_eq!(found, rings);
}

/// Layers, each of which is a ring, and a skin that needs any of that ring and of the next skin. Each ring but the first
/// needs the skin before it. So all but the first ring hangs together; with that ring live the first skin is live, without
/// which the second ring stands for itself; and so on, a layer at a time.
///
/// ```text
///   ring 1 ◀── skin 1 ──▶ skin 2 ──▶ skin 3
///                 ▲         │ ▲        │
///                 └─ ring 2 ┘ └ ring 3 ┘
/// ```
fn onion(world: &mut World, layers: u64) {
    for layer in 1..=layers {
        let first = 100 * layer;
        let (ring, skin) = (format!("ring {layer}"), format!("skin {layer}"));
        world.ring(first, &[&ring, &format!("ring {layer} too")]);
        let task = world.task(first + 50, &[&skin]);
        let next = if layer == layers {
            ring.clone()
        } else {
            format!("skin {}", layer + 1)
        };
        for (call, target) in [(51, &ring), (52, &next)] {
            world.waits_in_group(task, first + call, target, Some(("either", 1, 2)));
        }
        if layer > 1 {
            let of_ring = world.task_of(first);
            world.waits(of_ring, first + 5, &format!("skin {}", layer - 1));
        }
    }
}

#[test]
fn a_core_is_told_without_what_it_also_waits_for() {
    let mut world = World::default();
    world.ring(10, &["A", "B"]);
    world.ring(50, &["C", "D"]);
    let (a, c) = (world.task_of(10), world.task_of(50));
    let call = world.waits(a, 15, "C");
    world.accepts(c, call);
    world.waits(a, 16, "D");
    let all = world.deadlocks();
    assert_eq!(cores(&all), [[10, 20], [50, 60]]);
    assert_eq!((ids(&all[0].victims), ids(&all[1].victims)), (vec![], vec![10, 20]));
}

#[test]
fn a_core_is_told_along_its_waits() {
    // b and d share a pool, for which a and b are queued; b also waits for e. Whoever holds the pool is told once.
    let mut world = World::default();
    world.declare("pool", 2);
    let a = world.task(10, &["a"]);
    world.waits(a, 11, "pool");
    let b = world.task(20, &["b", "pool"]);
    world.waits(b, 21, "pool");
    world.waits(b, 22, "e");
    for (id, occupies) in [(30, &["d", "pool"][..]), (40, &["e"])] {
        let task = world.task(id, occupies);
        world.waits(task, id + 1, "a");
    }
    assert_eq!(cores(&world.deadlocks()), [[10, 20, 40, 30]]);
}

#[test]
fn a_task_that_handles_its_own_call_is_a_core() {
    let mut world = World::default();
    let task = world.task(10, &[]);
    let call = world.waits(task, 11, "A");
    world.accepts(task, call);
    assert_eq!(cores(&world.deadlocks()), [[10]]);
}

#[test]
fn what_hangs_together_only_by_a_choice_with_a_live_alternative_is_two_cores() {
    // P needs any of R and T, and T any of P and the ring outside. With that live T is live, and P no longer needs R.
    let mut world = World::default();
    world.ring(500, &["outside 1", "outside 2"]);
    world.ring(10, &["P", "Q"]);
    world.ring(30, &["R", "S"]);
    let (p, r, t) = (world.task_of(10), world.task_of(30), world.task(50, &["T"]));
    world.waits(r, 35, "P");
    for (task, first, targets) in [(p, 15, ["R", "T"]), (t, 55, ["P", "outside 1"])] {
        for (call, target) in (first..).zip(targets) {
            world.waits_in_group(task, call, target, Some(("either", 1, 2)));
        }
    }
    assert_eq!(cores(&world.deadlocks()), [[10, 20], [30, 40], [500, 510]]);
}

#[test]
fn a_group_may_have_more_calls_than_it_says() {
    let mut world = World::default();
    let chooser = world.task(10, &["A"]);
    for (call, target) in [(11, "B"), (12, "B"), (13, "C")] {
        world.waits_in_group(chooser, call, target, Some(("two", 2, 2)));
    }
    for (id, name) in [(20, "B"), (30, "C")] {
        let task = world.task(id, &[name]);
        world.waits(task, id + 1, "A");
    }
    assert_eq!(cores(&world.deadlocks()), [[10, 20, 30]]);
}
