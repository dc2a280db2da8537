//! Nothing grows: what has been told and is over leaves nothing behind, whatever it was.

use std::alloc::System;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{Event, InstanceId, Limits, Parent, Role, Span, SpanId, WaitGraph};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

mod bytes;
#[expect(dead_code, reason = "histories are neither printed nor read here")]
mod history;
mod notation;

use history::Input;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Rounds before what is kept has reached its size, and after.
const WARM_UP: u64 = 100;
const ROUNDS: u64 = 400;
/// Bytes of one history.
const BYTES: usize = 1500;
/// More than every hash table that happens to double its size now, far less than a round leaves if it leaves anything.
const SLACK: f64 = 1.5;

fn allocated() -> usize {
    let stats = ALLOCATOR.stats();
    stats.bytes_allocated.saturating_sub(stats.bytes_deallocated)
}

/// Small ones, so that all of them are reached.
fn limits() -> Limits {
    Limits {
        open_spans: 200,
        ended_spans: 200,
        early_finishes: 50,
        answered: 50,
        served: 100,
        pools: 20,
        instances: 20,
        refused: 50,
        conversation_pairs: 4,
    }
}

#[test]
fn whatever_happens_leaves_nothing_behind() {
    let mut graph = WaitGraph::new(limits());
    let mut now = Duration::ZERO;
    let mut after_warm_up = 0;
    let mut seed = 1;
    for round in 0..WARM_UP + ROUNDS {
        play(&mut graph, &mut now, round, &random_bytes(&mut seed));
        assert!(graph.open_span_count() <= limits().open_spans);
        if round == WARM_UP {
            after_warm_up = allocated();
        }
    }
    let in_the_end = allocated();
    assert!(
        (in_the_end as f64) < after_warm_up as f64 * SLACK,
        "{after_warm_up} bytes after {WARM_UP} rounds, {in_the_end} bytes after {ROUNDS} more"
    );
}

/// A history with ids, names and instances that no other round has; its instances go in the end, but not what they said
/// before that was refused, ended or never heard of.
fn play(graph: &mut WaitGraph, now: &mut Duration, round: u64, bytes: &[u8]) {
    let mut instances = Vec::new();
    for step in bytes::history(bytes).steps {
        // Time never reaches its end here: what is remembered must be forgotten because of its age, too.
        *now += step.after.min(Duration::from_secs(1));
        match step.input {
            Input::Event(event) => {
                let event = of_round(event, round);
                if let Event::Started(span) = &event {
                    instances.push(span.instance);
                }
                graph.apply(*now, &event);
            }
            Input::Describe(id, service) => graph.describe_instance(instance(id, round), name(&service, round)),
            Input::Expire => graph.expire(*now),
        }
    }
    let _ = graph.deadlocks();
    for id in instances {
        graph.apply(*now, &Event::InstanceGone(id));
    }
}

fn id(id: SpanId, round: u64) -> SpanId {
    SpanId(id.0.wrapping_add(round << 16))
}

fn instance(id: InstanceId, round: u64) -> InstanceId {
    InstanceId(id.0.wrapping_add(round << 16))
}

fn name(name: &str, round: u64) -> Arc<str> {
    format!("{name} of round {round}").into()
}

fn of_round(event: Event, round: u64) -> Event {
    match event {
        Event::Started(span) => Event::Started(span_of_round(span, round)),
        Event::Finished(ended) => Event::Finished(id(ended, round)),
        Event::Answered(call) => Event::Answered(id(call, round)),
        Event::InstanceSilent(silent) => Event::InstanceSilent(instance(silent, round)),
        Event::InstanceBack(back) => Event::InstanceBack(instance(back, round)),
        Event::InstanceGone(gone) => Event::InstanceGone(instance(gone, round)),
    }
}

fn span_of_round(mut span: Span, round: u64) -> Span {
    span.id = id(span.id, round);
    span.instance = instance(span.instance, round);
    span.parent = span.parent.map(|parent| Parent {
        id: id(parent.id, round),
        ..parent
    });
    span.task = span.task.map(|task| id(task, round));
    span.name = name(&span.name, round);
    span.conversation = span.conversation.map(|it| name(&it, round));
    let names = match &mut span.role {
        Role::Call(call) => {
            call.target = call.target.as_ref().map(|target| name(target, round));
            if let Some(group) = &mut call.group {
                group.name = name(&group.name, round);
            }
            return span;
        }
        Role::Handle(handle) => &mut handle.resources,
        Role::Hold(hold) => &mut hold.resources,
        Role::Member(member) => &mut member.resources,
        Role::Structural => return span,
    };
    for resource in names {
        *resource = name(resource, round);
    }
    span
}

/// The same in every run.
fn random_bytes(seed: &mut u64) -> Vec<u8> {
    let next = || {
        // Marsaglia, *Xorshift RNGs* (2003).
        *seed ^= *seed << 13;
        *seed ^= *seed >> 7;
        *seed ^= *seed << 17;
        (*seed >> 24) as u8
    };
    std::iter::repeat_with(next).take(BYTES).collect()
}
