//! Full passes over what searches and flags would have settled.

use super::shapes::Shape;
use crate::wait_for::Occupier;

#[test]
fn the_silent_are_live_whatever_they_wait_for() {
    let mut shape = Shape::default();
    let (stuck, silent, caller) = (shape.task(), shape.task(), shape.task());
    shape.picture.set_silent(silent, true);
    shape.call(stuck, stuck);
    shape.call(silent, stuck);
    shape.call(caller, silent);
    assert_eq!(shape.full_pass(), 1);
    shape.picture.set_silent(silent, false);
    assert_eq!(shape.full_pass(), 3);
}

/// ```text
///   holder ──▶ waiter ──▶ pool of one, held by holder
/// ```
#[test]
fn who_occupies_no_unit_of_a_pool_sets_none_free() {
    let mut shape = Shape::default();
    let (pool, holder, waiter, other) = (shape.resource(1), shape.task(), shape.task(), shape.task());
    shape.hold(holder, pool);
    let span = shape.slot();
    let (units, by_handle) = (0, false);
    shape.picture.occupy(other, pool, Occupier { span, units, by_handle });
    shape.call(holder, waiter);
    shape.wait(waiter, Some(pool), None);
    assert_eq!(shape.full_pass(), 2);
}
