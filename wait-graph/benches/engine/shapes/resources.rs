//! Shapes in which tasks wait for units of what others hold.

use std::collections::VecDeque;

use standoff_wait_graph::SpanId;

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, handle, hold, instance, server};

/// Everybody waits for one lock, which is handed to whoever has waited for longest.
#[derive(Default)]
pub(crate) struct HotLock {
    source: Source,
    /// The task, its number, and the hold.
    holder: Option<(SpanId, usize, SpanId)>,
    /// The tasks, their numbers, and their calls.
    waiting: VecDeque<(SpanId, usize, SpanId)>,
}

const LOCK: &str = "lock";

impl HotLock {
    fn enqueue(&mut self, task: SpanId, number: usize, sink: Sink<'_>) {
        let id = self.source.id();
        sink(call(id, instance(number), Above::Local(task), LOCK.to_owned()));
        self.waiting.push_back((task, number, id));
    }

    fn grant(&mut self, task: SpanId, number: usize, sink: Sink<'_>) {
        let id = self.source.id();
        sink(hold(id, instance(number), Above::Local(task), LOCK.to_owned(), None));
        self.holder = Some((task, number, id));
    }
}

impl Shape for HotLock {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for number in 0..=waits {
            let task = self.source.id();
            sink(handle(task, instance(number), Above::Nothing, None));
            if number == 0 {
                self.grant(task, number, sink);
            } else {
                self.enqueue(task, number, sink);
            }
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let (Some((last, number, held)), Some((next, next_number, waited))) =
            (self.holder.take(), self.waiting.pop_front())
        else {
            return;
        };
        sink(finished(held));
        sink(finished(waited));
        self.grant(next, next_number, sink);
        self.enqueue(last, number, sink);
    }
}

/// Pools all of whose units are taken, with two waiting for each unit. Half of those who hold one wait for another pool.
#[derive(Default)]
pub(crate) struct Pools {
    source: Source,
    pools: Vec<Pool>,
    tasks: usize,
}

#[derive(Default)]
struct Pool {
    /// Those who hold a unit and work: the task, its number, and the hold.
    working: Vec<(SpanId, usize, SpanId)>,
    /// Those who hold a unit and wait for another pool: as before, and the call.
    nested: Vec<((SpanId, usize, SpanId), SpanId)>,
    /// Those who wait and hold nothing: the task, its number, and the call.
    waiting: VecDeque<(SpanId, usize, SpanId)>,
}

const UNITS: u32 = 100;
const WAITING: usize = 150;

fn pool(number: usize) -> String {
    format!("pool {number}")
}

impl Pools {
    fn task(&mut self, sink: Sink<'_>) -> (SpanId, usize) {
        self.tasks += 1;
        let id = self.source.id();
        sink(handle(id, instance(self.tasks), Above::Nothing, None));
        (id, self.tasks)
    }

    fn take(&mut self, number: usize, (task, place): (SpanId, usize), sink: Sink<'_>) {
        let id = self.source.id();
        sink(hold(id, instance(place), Above::Local(task), pool(number), Some(UNITS)));
        self.pools[number].working.push((task, place, id));
    }

    fn wait(&mut self, number: usize, (task, place): (SpanId, usize), sink: Sink<'_>) -> SpanId {
        let id = self.source.id();
        sink(call(id, instance(place), Above::Local(task), pool(number)));
        id
    }

    fn enqueue(&mut self, number: usize, task: (SpanId, usize), sink: Sink<'_>) {
        let id = self.wait(number, task, sink);
        self.pools[number].waiting.push_back((task.0, task.1, id));
    }

    /// Somebody who holds a unit of one pool begins to wait for another.
    fn nest(&mut self, number: usize, sink: Sink<'_>) {
        let place = self.source.below(self.pools[number].working.len());
        let other = self.source.below(self.pools.len());
        if place < self.pools[number].working.len() {
            let holder = self.pools[number].working.swap_remove(place);
            let id = self.wait(other, (holder.0, holder.1), sink);
            self.pools[number].nested.push((holder, id));
        }
    }
}

impl Shape for Pools {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        let of_each = WAITING + UNITS as usize / 2;
        self.pools.resize_with(waits.div_ceil(of_each), Pool::default);
        for number in 0..self.pools.len() {
            for _ in 0..UNITS {
                let task = self.task(sink);
                self.take(number, task, sink);
            }
            for _ in 0..WAITING {
                let task = self.task(sink);
                self.enqueue(number, task, sink);
            }
        }
        for number in 0..self.pools.len() {
            for _ in 0..UNITS / 2 {
                self.nest(number, sink);
            }
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        // A unit is handed over, and who had it queues up elsewhere.
        let number = self.source.below(self.pools.len());
        let pool = &mut self.pools[number];
        if let (Some((task, place, held)), Some((next, next_place, waited))) =
            (pool.working.pop(), pool.waiting.pop_front())
        {
            sink(finished(held));
            sink(finished(waited));
            self.take(number, (next, next_place), sink);
            let other = self.source.below(self.pools.len());
            self.enqueue(other, (task, place), sink);
        }
        // Somebody who holds a unit begins to wait, and somebody else who did has waited for long enough.
        let number = self.source.below(self.pools.len());
        let pool = &mut self.pools[number];
        if let Some((holder, waited)) = pool.nested.pop() {
            sink(finished(waited));
            pool.working.insert(0, holder);
            self.nest(number, sink);
        }
    }
}

/// Many who are served, and two servers one of whom has called the other, who calls back and gives up again and again.
#[derive(Default)]
pub(crate) struct TwoRing {
    source: Source,
    second: Option<SpanId>,
}

impl Shape for TwoRing {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for number in 2..=waits {
            let (id, above) = (self.source.id(), Above::Nothing);
            sink(call(id, instance(number + 1), above, server(number)));
            let answers = self.source.id();
            let resource = Some(server(number));
            sink(handle(answers, instance(number), Above::Remote(id), resource));
        }
        let (first, asks, second) = (self.source.id(), self.source.id(), self.source.id());
        sink(handle(first, instance(0), Above::Nothing, Some(server(0))));
        sink(call(asks, instance(0), Above::Local(first), server(1)));
        sink(handle(second, instance(1), Above::Remote(asks), Some(server(1))));
        self.second = Some(second);
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let Some(second) = self.second else { return };
        let id = self.source.id();
        sink(call(id, instance(1), Above::Local(second), server(0)));
        sink(finished(id));
    }
}
