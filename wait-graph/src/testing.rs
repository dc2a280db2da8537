//! Short ways to say what happens, for unit tests.

use std::time::Duration;

use crate::graph::WaitGraph;
use crate::limits::Limits;
use crate::span::{Call, Event, Handle, Hold, InstanceId, Member, Parent, Role, Span, SpanId, TraceId};

pub(crate) fn id(id: u64) -> SpanId {
    SpanId(id)
}

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A start in the instance of that number. A parent with the same tens is local, any other remote.
pub(crate) fn started(id: u64, instance: u64, parent: u64, role: Role) -> Event {
    let parent = (parent > 0).then_some(Parent {
        id: SpanId(parent),
        remote: parent / 10 != id / 10,
    });
    Event::Started(Span {
        id: SpanId(id),
        trace: TraceId::default(),
        instance: InstanceId(instance),
        parent,
        task: None,
        name: format!("request {id}").into(),
        conversation: None,
        role,
        started_at: Duration::ZERO,
    })
}

pub(crate) fn finished(id: u64) -> Event {
    Event::Finished(SpanId(id))
}

pub(crate) fn call(target: &str) -> Role {
    Role::Call(Call {
        target: Some(target.into()),
        units: 1,
        group: None,
        detached: false,
        timeout: None,
    })
}

pub(crate) fn handle(resources: &[&str]) -> Role {
    Role::Handle(Handle {
        resources: resources.iter().map(|name| (*name).into()).collect(),
        capacity: None,
    })
}

pub(crate) fn hold(resource: &str) -> Role {
    Role::Hold(Hold {
        resources: vec![resource.into()],
        capacity: None,
        units: 1,
    })
}

pub(crate) fn member(resource: &str) -> Role {
    Role::Member(Member {
        resources: vec![resource.into()],
        units: 1,
    })
}

/// Servers of these names, each in an instance of its own and with one request, that call one another in a ring:
/// server n (from 1) handles span 10 n and calls by span 10 n + 1.
pub(crate) fn ring(names: &[&str]) -> Vec<Event> {
    let mut events = Vec::new();
    for (place, name) in names.iter().enumerate() {
        let number = place as u64 + 1;
        let parent = if place == 0 { 0 } else { 10 * place as u64 + 1 };
        let next = names[(place + 1) % names.len()];
        events.push(started(10 * number, number, parent, handle(&[name])));
        events.push(started(10 * number + 1, number, 10 * number, call(next)));
    }
    events
}

pub(crate) fn graph(events: impl IntoIterator<Item = Event>) -> WaitGraph {
    limited(Limits::default(), events)
}

pub(crate) fn limited(limits: Limits, events: impl IntoIterator<Item = Event>) -> WaitGraph {
    let mut graph = WaitGraph::new(limits);
    for event in events {
        graph.apply(Duration::ZERO, &event);
    }
    graph
}
