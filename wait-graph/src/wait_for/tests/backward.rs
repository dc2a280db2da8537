//! Searches backward: who depends on a suspect whose own needs are many.

use super::shapes::{MANY, Shape};

/// ```text
///   long chain ◀── caller ──▶ last waiter ──▶ pool, held by holder ──▶ caller
/// ```
///
/// The ring runs through the last of those who are queued for more than one unit.
#[test]
fn all_who_are_queued_for_several_units_are_dependents() {
    // Fewer and more than may be looked at in the first attempt.
    for waiters in [3, 70] {
        let mut shape = Shape::default();
        let (pool, holder, caller) = (shape.resource(2), shape.task(), shape.task());
        shape.hold(holder, pool);
        let queue: Vec<_> = (0..waiters).map(|_| shape.task()).collect();
        for waiter in &queue {
            shape.wait_for_units(*waiter, Some(pool), 2, None);
            assert_eq!(shape.decide(), (0, true));
        }
        shape.call(caller, queue[waiters - 1]);
        // What was called last is looked at first.
        let chain = shape.chain(MANY);
        shape.call(caller, chain[0]);
        assert_eq!(shape.decide(), (0, true));
        shape.call(holder, caller);
        assert_eq!(shape.decide(), (waiters + 2, true), "{waiters} waiters");
    }
}

/// A long queue of those who hold what the next one wants, and somebody at its end again and again.
#[test]
fn a_chain_of_locks_grows_at_its_head_without_full_passes() {
    let mut shape = Shape::default();
    let mut lock = shape.resource(1);
    let first = shape.task();
    shape.hold(first, lock);
    for _ in 0..MANY {
        let (task, next) = (shape.task(), shape.resource(1));
        shape.wait(task, Some(lock), None);
        shape.hold(task, next);
        assert_eq!(shape.decide(), (0, true));
        lock = next;
    }
    for _ in 0..100 {
        let (client, task, next) = (shape.task(), shape.task(), shape.resource(1));
        shape.hold(task, next);
        // It is needed already when it waits.
        shape.wait(client, Some(next), None);
        shape.wait(task, Some(lock), None);
        assert_eq!(shape.decide(), (0, true));
        lock = next;
    }
}

/// ```text
///   x ──▶ ring of many, closed just now
///   │▲
///   ▼│ just now
///   y
/// ```
///
/// That y waits for x is judged first, trusting the ring to be live. What was shown by that does not count any more when
/// the ring has turned out to be dead, and x has nobody left but y.
#[test]
fn what_was_shown_by_trust_is_shown_anew() {
    const RING: usize = 100;
    let mut shape = Shape::default();
    let (x, y, ring) = (shape.task(), shape.task(), shape.chain(RING));
    let call = shape.call(x, ring[0]);
    let span = shape.slot();
    shape.picture.add_handler(call, y, span);
    assert_eq!(shape.decide(), (0, true));
    shape.call(ring[RING - 1], ring[0]);
    shape.call(y, x);
    assert_eq!(shape.decide(), (RING + 2, true));
}
