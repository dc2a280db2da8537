//! Measuring: time per event, and bytes per open wait.
//!
//! A single event takes about as long as looking at the clock, so events are timed by the batch. The median says what an
//! event costs usually, the mean also counts what is done now and then, and the longest pause shows what that is.
//!
//! To the engine events come as they would to a collector, a hundred thousand a second: what comes while it is busy waits,
//! and is told in one go. So what it does at most every so often is done as often as in earnest.

use std::alloc::System;
use std::time::{Duration, Instant};

use standoff_wait_graph::{Event, WaitGraph};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

use crate::shapes::Shape;
use crate::subject::Subject;

/// Counts what is allocated; a crate, since ours may not contain the `unsafe` that an allocator needs. It counts what is
/// asked for, not what the system's allocator rounds that up to.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Events that are timed together, unless more have come.
const BATCH: usize = 64;
/// Events of which the engine is told in advance, as by a collector that has a batch of them.
const AT_HAND: usize = WaitGraph::LOOK_AHEAD;
/// The same where each event is told as soon as those before it are done. One of them may take a second.
const BATCH_WHEN_ASKED: usize = 8;
/// Between two events of those that come to the engine.
const ARRIVAL: Duration = Duration::from_micros(10);
/// What an event takes of the graph's time while a shape is being built.
pub(crate) const STEP: Duration = Duration::from_micros(1);

/// What came of it.
pub(crate) struct Measured {
    /// Nanoseconds per event.
    pub(crate) median: f64,
    pub(crate) mean: f64,
    /// The longest that events had to wait for those before them that were told in one go.
    pub(crate) longest: Duration,
    /// Events that were timed.
    pub(crate) events: usize,
}

/// Bytes that are allocated now.
pub(crate) fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// Builds a shape, and answers when it is in the graph's time.
pub(crate) fn build(shape: &mut dyn Shape, waits: usize, subject: &mut impl Subject) -> Duration {
    let mut now = Duration::ZERO;
    shape.grow(waits, &mut |event| {
        now += STEP;
        subject.build(now, &event);
    });
    subject.begin();
    now
}

/// The bytes that a shape needs to know itself.
pub(crate) fn own_bytes(make: fn() -> Box<dyn Shape>, waits: usize) -> usize {
    let before = allocated();
    let mut shape = make();
    shape.grow(waits, &mut drop);
    allocated().saturating_sub(before)
}

/// At least so many events of what goes on in a shape.
pub(crate) fn events(shape: &mut dyn Shape, count: usize) -> Vec<Event> {
    let mut events = Vec::with_capacity(count + 2 * BATCH);
    while events.len() < count {
        shape.churn(&mut |event| events.push(event));
    }
    events
}

/// Looks at the clock.
#[expect(
    clippy::disallowed_methods,
    reason = "the engine may not look at the clock; who measures it must"
)]
pub(crate) fn clock() -> Instant {
    Instant::now()
}

/// How events come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// Each after some time, whether or not those before it are done.
    Arriving,
    /// As soon as those before it are done.
    WhenAsked,
}

/// Tells events and times them, until there are no more or the time is over.
pub(crate) fn run(
    subject: &mut impl Subject,
    start: Duration,
    events: &[Event],
    pace: Pace,
    limit: Duration,
) -> Measured {
    let begun = clock();
    let (mut now, mut told) = (Duration::ZERO, 0);
    let (mut spent, mut longest) = (Duration::ZERO, Duration::ZERO);
    let mut batches: Vec<f64> = Vec::with_capacity(events.len());
    // Where each takes long they are timed one by one.
    let mut size = if pace == Pace::Arriving { BATCH } else { 1 };
    while told < events.len() && begun.elapsed() < limit {
        if pace == Pace::Arriving {
            let arrived = (now.as_nanos() / ARRIVAL.as_nanos()) as usize;
            size = arrived.saturating_sub(told).max(BATCH);
            // If fewer have come, the next ones are waited for.
            now = now.max(ARRIVAL * (told + size) as u32);
        }
        let batch = &events[told..events.len().min(told + size)];
        let before = clock();
        for events in batch.chunks(AT_HAND) {
            subject.look_ahead(events);
            for event in events {
                subject.apply(start + now, event);
            }
        }
        let took = before.elapsed();
        now += took;
        spent += took;
        longest = longest.max(took);
        told += batch.len();
        batches.push(took.as_nanos() as f64 / batch.len() as f64);
        if pace == Pace::WhenAsked && size < BATCH_WHEN_ASKED && took < Duration::from_micros(50) {
            size *= 2;
        }
    }
    batches.sort_by(f64::total_cmp);
    Measured {
        median: batches.get(batches.len() / 2).copied().unwrap_or(f64::NAN),
        mean: spent.as_nanos() as f64 / told.max(1) as f64,
        longest,
        events: told,
    }
}

/// Tells events and times nothing: for those who count instructions, who know this function by its name.
#[inline(never)]
pub(crate) fn counted_events(subject: &mut impl Subject, mut now: Duration, events: &[Event]) {
    for events in events.chunks(AT_HAND) {
        subject.look_ahead(events);
        for event in events {
            now += STEP;
            subject.apply(now, event);
        }
    }
}
