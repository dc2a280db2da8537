//! Shapes that were thought hard, and what they may cost.

use crate::deadlock::Capacity;
use crate::span::{InstanceId, Quorum, SpanId};
use crate::wait_for::{GroupOf, NewWait, Occupier, Picture, ResourceIx, Slot, Symbol, TaskId, TaskIx, WaitIx};

/// More than may be looked at between two events.
pub(super) const MANY: usize = 100_000;

/// A picture, and names for what is put into it.
#[derive(Default)]
pub(super) struct Shape {
    pub(super) picture: Picture,
    last_slot: u32,
}

impl Shape {
    pub(super) fn slot(&mut self) -> Slot {
        self.last_slot += 1;
        Slot(self.last_slot)
    }

    pub(super) fn task(&mut self) -> TaskIx {
        let slot = self.slot();
        let id = TaskId {
            span: SpanId(slot.0.into()),
            instance: InstanceId(1),
        };
        self.picture.add_task(id, slot, false)
    }

    pub(super) fn resource(&mut self, units: u64) -> ResourceIx {
        let name = Symbol(self.slot().0);
        let resource = self.picture.add_resource(name);
        self.picture.set_declared(resource, Capacity::Declared(units));
        resource
    }

    pub(super) fn hold(&mut self, task: TaskIx, resource: ResourceIx) -> Slot {
        let span = self.slot();
        let (units, by_handle) = (1, false);
        self.picture.occupy(task, resource, Occupier { span, units, by_handle });
        span
    }

    pub(super) fn wait(&mut self, task: TaskIx, target: Option<ResourceIx>, group: Option<GroupOf>) -> WaitIx {
        self.wait_for_units(task, target, 1, group)
    }

    pub(super) fn wait_for_units(
        &mut self,
        task: TaskIx,
        target: Option<ResourceIx>,
        units: u32,
        group: Option<GroupOf>,
    ) -> WaitIx {
        let call = self.slot();
        self.picture.add_wait(
            task,
            NewWait {
                call,
                target,
                units,
                group,
            },
        )
    }

    /// A call of one task that the other handles.
    pub(super) fn call(&mut self, from: TaskIx, to: TaskIx) -> WaitIx {
        let wait = self.wait(from, None, None);
        let span = self.slot();
        self.picture.add_handler(wait, to, span);
        wait
    }

    /// Each calls the next.
    pub(super) fn chain(&mut self, length: usize) -> Vec<TaskIx> {
        let tasks: Vec<TaskIx> = (0..length).map(|_| self.task()).collect();
        for pair in tasks.windows(2) {
            self.call(pair[0], pair[1]);
            self.picture.decide();
        }
        tasks
    }

    /// How many are dead, and whether that is all.
    pub(super) fn decide(&mut self) -> (usize, bool) {
        self.picture.decide();
        (self.picture.dead_count(), !self.picture.pass_wanted())
    }

    pub(super) fn full_pass(&mut self) -> usize {
        self.picture.full_pass();
        self.picture.dead_count()
    }
}

/// ```text
///   t0 → t1 → … → tn → t0
/// ```
#[test]
fn a_ring_too_large_for_a_search_dies_in_the_full_pass() {
    let mut shape = Shape::default();
    let tasks = shape.chain(MANY);
    let closing = shape.call(tasks[MANY - 1], tasks[0]);
    assert_eq!(shape.decide(), (0, false));
    assert_eq!(shape.full_pass(), MANY);
    shape.picture.remove_wait(closing);
    assert_eq!(shape.decide(), (0, true));
}

#[test]
fn a_small_ring_is_found_at_once_whatever_else_there_is() {
    let mut shape = Shape::default();
    let tasks = shape.chain(MANY);
    let ring = shape.chain(3);
    shape.call(ring[2], ring[0]);
    assert_eq!(shape.decide(), (3, true));
    // Whoever calls into the ring dies with it; the long chain does not matter.
    let victim = shape.task();
    shape.call(victim, ring[1]);
    shape.call(victim, tasks[0]);
    assert_eq!(shape.decide(), (4, true));
}

/// A long chain below, a few dependents above: the search backward sees that nothing closes.
#[test]
fn a_chain_grows_at_its_head_without_full_passes() {
    let mut shape = Shape::default();
    let tasks = shape.chain(MANY);
    let mut head = tasks[0];
    for _ in 0..100 {
        let (client, new) = (shape.task(), shape.task());
        // It is needed already when it calls.
        shape.call(client, new);
        shape.call(new, head);
        assert_eq!(shape.decide(), (0, true));
        head = new;
    }
}

/// An actor that waits for many answers at once, and is called again and again by somebody who is needed.
#[test]
fn a_wide_fan_out_is_not_looked_at_by_everybody_who_queues_for_it() {
    let mut shape = Shape::default();
    let (actor, turn) = (shape.resource(1), shape.task());
    shape.hold(turn, actor);
    for _ in 0..MANY {
        let (callee, other) = (shape.task(), shape.task());
        shape.call(callee, other);
        shape.call(turn, callee);
        assert_eq!(shape.decide(), (0, true));
    }
    for _ in 0..100 {
        let (client, caller) = (shape.task(), shape.task());
        shape.call(client, caller);
        shape.wait(caller, Some(actor), None);
        assert_eq!(shape.decide(), (0, true));
    }
}

/// Two long chains that are joined in the middle: nobody can tell quickly that they form no ring.
#[test]
fn joining_long_chains_takes_a_full_pass() {
    let mut shape = Shape::default();
    let (one, other) = (shape.chain(MANY), shape.chain(MANY));
    shape.call(one[MANY - 1], other[0]);
    assert_eq!(shape.decide(), (0, false));
    assert_eq!(shape.full_pass(), 0);
    assert_eq!(shape.decide(), (0, true));
}

#[test]
fn a_lock_with_many_waiters_is_handed_over() {
    let mut shape = Shape::default();
    let lock = shape.resource(1);
    let waiters: Vec<_> = (0..MANY)
        .map(|_| {
            let (client, waiter) = (shape.task(), shape.task());
            shape.call(client, waiter);
            (waiter, shape.wait(waiter, Some(lock), None))
        })
        .collect();
    let first = shape.task();
    let mut holder = (first, shape.hold(first, lock));
    assert_eq!(shape.decide(), (0, true));
    for (waiter, wait) in waiters.into_iter().take(100) {
        shape.picture.vacate(holder.0, lock, holder.1);
        shape.picture.set_declared(lock, Capacity::Unknown);
        assert_eq!(shape.decide(), (0, true));
        shape.picture.remove_wait(wait);
        shape.picture.set_declared(lock, Capacity::Declared(1));
        holder = (waiter, shape.hold(waiter, lock));
        assert_eq!(shape.decide(), (0, true));
    }
}

/// Many calls that one task handles.
#[test]
fn a_hub_with_many_callers_dies_in_the_full_pass() {
    let mut shape = Shape::default();
    let hub = shape.task();
    for _ in 0..MANY {
        let client = shape.task();
        shape.call(client, hub);
    }
    assert_eq!(shape.decide(), (0, true));
    shape.call(hub, hub);
    assert_eq!(shape.decide(), (0, false));
    assert_eq!(shape.full_pass(), MANY + 1);
}

/// Every call of a group is judged for itself, not the group for every call.
#[test]
fn a_group_of_many_calls_opens_without_full_passes() {
    let mut shape = Shape::default();
    let (client, task) = (shape.task(), shape.task());
    shape.call(client, task);
    let number = 10_000;
    let quorum = Some(Quorum {
        needed: number,
        size: number,
    });
    let group = GroupOf {
        name: Symbol(0),
        quorum,
    };
    for _ in 0..number {
        let wait = shape.wait(task, None, Some(group));
        // The handler is busy, so that this takes a search.
        let (handler, other, span) = (shape.task(), shape.task(), shape.slot());
        shape.call(handler, other);
        shape.picture.add_handler(wait, handler, span);
        assert_eq!(shape.decide(), (0, true));
    }
    let group = shape.picture.groups(task).next().unwrap();
    assert_eq!(group.waits().count(), number as usize);
}

/// ```text
///   holder ──▶ waiter ──▶ pool of two, one of them held by holder
/// ```
///
/// Nobody is refused when the pool shrinks to the unit that is held, but now they need each other.
#[test]
fn a_pool_that_shrinks_to_what_is_held() {
    let mut shape = Shape::default();
    let (pool, holder, waiter) = (shape.resource(2), shape.task(), shape.task());
    shape.hold(holder, pool);
    shape.call(holder, waiter);
    shape.wait(waiter, Some(pool), None);
    assert_eq!(shape.decide(), (0, true));
    shape.picture.set_declared(pool, Capacity::Declared(1));
    assert_eq!(shape.decide(), (2, true));
    shape.picture.set_declared(pool, Capacity::Unknown);
    assert_eq!(shape.decide(), (0, true));
}

/// A pool of a hundred units, whose holders all wait for one more of it.
#[test]
fn an_exhausted_pool() {
    let mut shape = Shape::default();
    let pool = shape.resource(100);
    let holders: Vec<TaskIx> = (0..100).map(|_| shape.task()).collect();
    for holder in &holders {
        shape.hold(*holder, pool);
    }
    for holder in &holders[1..] {
        shape.wait(*holder, Some(pool), None);
        assert_eq!(shape.decide(), (0, true));
    }
    shape.wait(holders[0], Some(pool), None);
    assert_eq!(shape.decide(), (100, true));
}
