//! What would concern too many between two events, and is left to the full pass.

use super::shapes::{MANY, Shape};

/// The holder of a pool waits for itself. Most are queued for one unit, and one for both.
#[test]
fn among_very_many_the_one_who_wants_more_units_is_refused_too() {
    let mut shape = Shape::default();
    let (pool, holder) = (shape.resource(2), shape.task());
    shape.hold(holder, pool);
    shape.hold(holder, pool);
    for _ in 0..MANY {
        let waiter = shape.task();
        shape.wait(waiter, Some(pool), None);
    }
    let greedy = shape.task();
    let wait = shape.wait_for_units(greedy, Some(pool), 2, None);
    assert_eq!(shape.decide(), (0, true));
    let closing = shape.call(holder, holder);
    assert_eq!(shape.decide(), (1, false));
    assert_eq!(shape.full_pass(), MANY + 2);
    assert!(!shape.picture.can_finish(wait));
    shape.picture.remove_wait(closing);
    assert_eq!(shape.decide(), (0, true));
    assert!(shape.picture.can_finish(wait));
}

/// The holder of all units waits for itself. That this concerns many who want all of them is left to the full pass, however
/// often it happens.
#[test]
fn very_many_are_refused_by_the_full_pass_when_the_holder_dies_and_revives() {
    for units in [1, 2] {
        let mut shape = Shape::default();
        let (pool, holder) = (shape.resource(units.into()), shape.task());
        for _ in 0..units {
            shape.hold(holder, pool);
        }
        for _ in 0..MANY {
            let waiter = shape.task();
            shape.wait_for_units(waiter, Some(pool), units, None);
        }
        assert_eq!(shape.decide(), (0, true));
        let closing = shape.call(holder, holder);
        assert_eq!(shape.decide(), (1, false));
        shape.picture.remove_wait(closing);
        assert_eq!(shape.decide(), (0, false));
        assert_eq!(shape.full_pass(), 0);
        let closing = shape.call(holder, holder);
        assert_eq!(shape.decide(), (1, false));
        assert_eq!(shape.full_pass(), MANY + 1);
        shape.picture.remove_wait(closing);
        assert_eq!(shape.decide(), (0, true));
    }
}
