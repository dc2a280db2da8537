//! Deadlocks of very many tasks, and very many deadlocks.

use super::world::{World, ids};
use crate::explain::to_dot;

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
