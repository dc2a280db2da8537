//! Who suffers from a core.

use super::world::{World, cores, ids};
use crate::deadlock::{BLAST_MAX, VICTIMS_MAX};
use crate::wait_for::Occupier;

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
    assert_eq!(deadlock.blast.len(), BLAST_MAX);
    assert_eq!(deadlock.blast[..2], [("0".into(), 50), ("1".into(), 50)]);
}

#[test]
fn a_crowd_behind_very_many_cores_is_not_counted_for_each_without_end() {
    const RINGS: u64 = 1_200;
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
    assert!(all[RINGS as usize - 1].victims_total < RINGS);
    assert!(all.iter().all(|it| it.victims_total > 2 * VICTIMS_MAX as u64));
}

#[test]
fn a_crowd_behind_some_cores_is_counted_for_each() {
    const RINGS: u64 = 100;
    const CROWD: u64 = 600;
    let mut world = World::default();
    let batch = world.task(1, &["batch"]);
    for ring in 1..=RINGS {
        world.ring(10_000 * ring, &[&format!("a{ring}"), &format!("b{ring}")]);
        world.waits(batch, 10_000 * ring + 50, &format!("a{ring}"));
    }
    for number in 1..=CROWD {
        let victim = world.task(10 * number, &[]);
        world.waits(victim, 10 * number + 1, "batch");
    }
    let all = world.deadlocks();
    assert_eq!(all.len() as u64, RINGS);
    assert!(all.iter().all(|it| it.victims_total == CROWD + 1));
}

#[test]
fn as_many_victims_as_are_listed_are_all_listed() {
    let mut world = World::default();
    world.ring(10, &["A", "B"]);
    for number in 1..=VICTIMS_MAX as u64 {
        let name = format!("{}", number % BLAST_MAX as u64);
        world.declare(&name, VICTIMS_MAX as u64);
        let victim = world.task(1_000 * number, &[&name]);
        world.waits(victim, 1_000 * number + 1, "A");
    }
    let deadlock = world.deadlock();
    assert_eq!(
        (deadlock.victims.len(), deadlock.victims_total),
        (VICTIMS_MAX, VICTIMS_MAX as u64)
    );
    assert_eq!(deadlock.blast.len(), BLAST_MAX);
}
