//! Spans that make no sense, alone or in a random world: loops of parents, hints that lead nowhere, whatever may be.

use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use standoff_wait_graph::{
    Call, Event, Handle, Hold, InstanceId, Member, Parent, Quorum, Role, Span, SpanId, TraceId, WaitGroup,
};

use crate::world;

/// Above all ids that occur.
pub(crate) const SPANS: u64 = 424;

/// Ids of noise are few, so that they meet.
const NOISE: std::ops::Range<u64> = 400..SPANS;

/// Noise alone, or in a world, to whose spans it refers.
pub(crate) fn noise() -> impl Strategy<Value = Vec<Event>> {
    let alone = events(24, (NOISE.start..NOISE.end + 4).prop_map(SpanId).boxed());
    let in_world = world::worlds().prop_flat_map(|world| {
        let world = world.events();
        let ids: Vec<SpanId> = world
            .iter()
            .filter_map(started)
            .chain(NOISE.take(6).map(SpanId))
            .collect();
        (Just(world), events(6, prop::sample::select(ids).boxed()))
    });
    prop_oneof![
        alone,
        in_world.prop_map(|(world, noise)| world.into_iter().chain(noise).collect())
    ]
}

/// The span that an event starts.
pub(crate) fn started(event: &Event) -> Option<SpanId> {
    match event {
        Event::Started(span) => Some(span.id),
        Event::Finished(_)
        | Event::Answered(_)
        | Event::InstanceSilent(_)
        | Event::InstanceBack(_)
        | Event::InstanceGone(_) => None,
    }
}

fn events(spans: usize, ids: BoxedStrategy<SpanId>) -> impl Strategy<Value = Vec<Event>> {
    let spans = vec(span(ids.clone()), spans / 4..=spans).prop_map(|mut spans| {
        for (span, id) in spans.iter_mut().zip(NOISE) {
            span.id = SpanId(id);
            span.name = format!("span {id}").into();
        }
        spans.into_iter().map(Event::Started)
    });
    let other = prop_oneof![
        6 => ids.clone().prop_map(Event::Finished),
        2 => ids.prop_map(Event::Answered),
        1 => (0..12u64).prop_map(|id| Event::InstanceSilent(InstanceId(id))),
        1 => (0..12u64).prop_map(|id| Event::InstanceGone(InstanceId(id))),
    ];
    (spans, vec(other, 0..4)).prop_map(|(spans, others)| spans.chain(others).collect())
}

fn span(ids: BoxedStrategy<SpanId>) -> impl Strategy<Value = Span> {
    let parent = (ids.clone(), any::<bool>()).prop_map(|(id, remote)| Parent { id, remote });
    let conversation = prop_oneof![Just("one"), Just("two")];
    let links = (
        (0..3u64).prop_map(InstanceId),
        prop::option::weighted(0.8, parent),
        prop::option::weighted(0.2, ids),
        prop::option::weighted(0.2, conversation),
    );
    (links, role()).prop_map(|((instance, parent, task, conversation), role)| Span {
        id: SpanId(0),
        trace: TraceId::default(),
        instance,
        parent,
        task,
        name: "".into(),
        conversation: conversation.map(Into::into),
        role,
        started_at: Duration::ZERO,
    })
}

fn role() -> impl Strategy<Value = Role> {
    let name = || (0..6u8).prop_map(|name| format!("resource {name}").into());
    let capacity = || prop::option::weighted(0.2, 1..3u32);
    let units = || prop_oneof![6 => Just(1u32), 1 => Just(2)];

    let quorum = (0..3u32, 1..3u32).prop_map(|(needed, size)| Quorum { needed, size });
    let group = prop::option::weighted(0.9, quorum).prop_map(|quorum| WaitGroup {
        name: "group".into(),
        quorum,
    });
    let call = (
        prop::option::weighted(0.9, name()),
        units(),
        prop::option::weighted(0.2, group),
        0..8u8,
    );
    let call = call.prop_map(|(target, units, group, chance)| {
        let detached = chance == 7;
        Role::Call(Call {
            target,
            units,
            group,
            detached,
            timeout: None,
        })
    });
    let handle = (vec(name(), 1..3), capacity());
    let handle = handle.prop_map(|(resources, capacity)| Role::Handle(Handle { resources, capacity }));
    let hold = (vec(name(), 1..3), capacity(), units());
    let hold = hold.prop_map(|(resources, capacity, units)| {
        Role::Hold(Hold {
            resources,
            capacity,
            units,
        })
    });
    let member = (vec(name(), 1..2), units());
    let member = member.prop_map(|(resources, units)| Role::Member(Member { resources, units }));
    prop_oneof![24 => call, 8 => handle, 6 => hold, 1 => member, 3 => Just(Role::Structural)]
}
