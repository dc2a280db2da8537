use super::*;
use crate::span::Role;
use crate::testing::{call, finished, graph, handle, hold, id, limited, member, ring, seconds, started};

const A: InstanceId = InstanceId(1);
const B: InstanceId = InstanceId(2);

#[test]
fn says_whether_anything_changed() {
    let mut graph = graph([]);
    let mut changes = |event| graph.apply(Duration::ZERO, &event).changed;
    assert!(changes(started(10, 1, 0, handle(&["A"]))));
    assert!(!changes(started(10, 1, 0, handle(&["A"]))));
    assert!(changes(finished(10)));
    assert!(!changes(finished(10)));
    assert!(!changes(started(10, 1, 0, handle(&["A"]))));
    assert!(!changes(finished(99)));
    assert!(changes(Event::Answered(id(5))));
    assert!(!changes(Event::Answered(id(5))));
    assert!(changes(Event::InstanceSilent(A)));
    assert!(!changes(Event::InstanceSilent(A)));
    assert!(changes(Event::InstanceBack(A)));
    assert!(changes(Event::InstanceGone(A)));
    assert!(!changes(Event::InstanceGone(A)));
    assert!(!changes(Event::InstanceBack(A)));
}

#[test]
fn knows_what_is_open() {
    let mut graph = graph(ring(&["A", "B"]));
    assert_eq!(graph.open_spans(A), [id(10), id(11)]);
    assert_eq!(graph.span(id(20)).map(|span| span.instance()), Some(B));
    assert_eq!((graph.open_calls(), graph.open_span_count()), (2, 4));
    assert_eq!(graph.call_state(id(11)), Some(CallState::Accepted));
    assert_eq!(graph.call_state(id(10)), None);
    graph.apply(Duration::ZERO, &finished(21));
    assert!(graph.span(id(21)).is_none());
    assert_eq!(graph.call_state(id(21)), None);
    assert_eq!(graph.open_calls(), 1);
}

#[test]
fn what_was_lost_with_its_instance_is_open_again_when_the_instance_is_back_under_another_number() {
    let mut graph = graph(ring(&["A", "B"]));
    graph.apply(Duration::ZERO, &Event::InstanceGone(B));
    assert_eq!(graph.call_state(id(11)), Some(CallState::Orphaned));
    assert!(graph.deadlocks().is_empty());
    for again in [started(20, 3, 11, handle(&["B"])), started(21, 3, 20, call("A"))] {
        assert!(graph.apply(Duration::ZERO, &again).changed);
    }
    assert_eq!(graph.deadlocks()[0].summary(), "A → B → A");
    assert!(!graph.apply(Duration::ZERO, &started(20, 2, 11, handle(&["B"]))).changed);
}

#[test]
fn stand_ins_are_all_that_a_handler_may_have_as_its_parent() {
    let graph = graph([
        started(10, 1, 0, handle(&["A"])),
        started(11, 1, 10, call("B")),
        started(12, 1, 11, Role::Structural),
        started(13, 1, 12, call("b.example")),
        started(14, 1, 13, Role::Structural),
        started(15, 1, 10, Role::Structural),
        started(20, 2, 14, handle(&["B"])),
        started(21, 2, 20, Role::Structural),
        finished(14),
    ]);
    let expected = [id(11), id(12), id(13), id(14)];
    assert_eq!(graph.stand_ins(id(11)), expected);
    assert_eq!(graph.stand_ins(id(13)), expected);
    assert_eq!(graph.stand_ins(id(10)), []);
}

#[test]
fn servers_are_whoever_may_have_accepted() {
    let mut graph = graph([
        started(10, 1, 0, handle(&["A"])),
        started(20, 2, 0, hold("A")),
        started(30, 3, 0, member("A")),
        started(40, 4, 0, handle(&["A"])),
        finished(40),
        started(50, 5, 0, call("A")),
        Event::InstanceSilent(B),
        // It may have served for shorter than anybody reports.
        started(60, 6, 0, member("A")),
        finished(60),
    ]);
    assert_eq!(graph.servers("A"), [1, 2, 3, 4, 6].map(InstanceId));
    assert_eq!(graph.served_by(InstanceId(6)), ["A".into()]);
    graph.apply(Duration::ZERO, &Event::InstanceGone(InstanceId(4)));
    graph.apply(Duration::ZERO, &finished(20));
    assert_eq!(graph.servers("A"), [1, 3, 6].map(InstanceId));
    assert!(graph.served_by(InstanceId(4)).is_empty() && !graph.is_behind());
    assert_eq!(graph.servers("B"), []);
}

#[test]
fn units_may_be_about_to_appear_in_pools_and_where_several_have_served() {
    let mut graph = graph([started(10, 1, 0, handle(&["A"])), started(11, 1, 10, hold("lock"))]);
    assert!(!graph.may_gain_units("A") && !graph.may_gain_units("lock") && !graph.may_gain_units("unknown"));
    graph.apply(Duration::ZERO, &started(20, 2, 0, handle(&["A"])));
    assert!(graph.may_gain_units("A"));
    graph.apply(Duration::ZERO, &started(30, 3, 0, member("pool")));
    assert!(graph.may_gain_units("pool"));
}

#[test]
fn resources_are_known_while_named() {
    let graph = graph(ring(&["A", "B"]));
    let resource = Resource {
        name: "A".into(),
        capacity: Capacity::Declared(1),
        held: 1,
        queued: 1,
    };
    assert_eq!(graph.resource("A"), Some(resource));
    assert_eq!(graph.resource("C"), None);
}

#[test]
fn a_full_graph_reports_nothing_until_there_is_room() {
    let limits = Limits {
        open_spans: 4,
        ..Limits::default()
    };
    let mut graph = limited(limits, ring(&["A", "B"]));
    assert_eq!(graph.deadlocks().len(), 1);
    // This handler has answered the call that closes the ring, which must not look queued for want of it.
    graph.apply(Duration::ZERO, &started(30, 3, 21, handle(&["A"])));
    assert!(!graph.is_complete());
    assert_eq!(graph.deadlocks(), []);
    assert_eq!(graph.anomalies().refused_starts, 1);
    assert_eq!(
        graph.open_spans(InstanceId(3)),
        [id(30)],
        "whoever compares open sets must know of it"
    );
    graph.apply(Duration::ZERO, &finished(30));
    assert!(graph.is_complete());
    assert_eq!(graph.call_state(id(21)), Some(CallState::Answered));
    assert_eq!(graph.deadlocks(), []);
}

#[test]
fn refused_spans_come_in_when_there_is_room() {
    let limits = Limits {
        open_spans: 4,
        ..Limits::default()
    };
    let others = [1, 2, 3].map(|number| started(number, 9, 0, call("X")));
    let mut graph = limited(limits, others.into_iter().chain(ring(&["A", "B"])));
    assert_eq!(graph.deadlocks(), []);
    for number in [1, 2] {
        graph.apply(Duration::ZERO, &finished(number));
        assert_eq!(graph.deadlocks(), []);
    }
    graph.apply(Duration::ZERO, &finished(3));
    assert!(graph.is_complete());
    assert_eq!(graph.deadlocks().len(), 1);
}

#[test]
fn too_many_refused_spans_go_with_their_instance_only() {
    let limits = Limits {
        open_spans: 4,
        refused: 0,
        ..Limits::default()
    };
    let mut graph = limited(limits, ring(&["A", "B"]));
    graph.apply(Duration::ZERO, &started(30, 3, 21, handle(&["A"])));
    graph.apply(Duration::ZERO, &finished(30));
    assert!(!graph.is_complete());
    graph.apply(Duration::ZERO, &Event::InstanceGone(InstanceId(3)));
    assert!(graph.is_complete());
    // Nobody knows what became of the handler.
    assert_eq!(graph.call_state(id(21)), Some(CallState::Answered));
    assert_eq!(graph.deadlocks(), []);
}

#[test]
fn an_instance_too_many_is_refused_with_what_it_has_open() {
    let limits = Limits {
        instances: 2,
        ..Limits::default()
    };
    let mut graph = limited(limits, ring(&["A", "B"]));
    graph.apply(Duration::ZERO, &started(30, 3, 0, handle(&["C"])));
    assert!(!graph.is_complete());
    graph.apply(Duration::ZERO, &Event::InstanceGone(A));
    assert!(graph.is_complete());
    assert_eq!(graph.open_spans(InstanceId(3)), [id(30)]);
}

#[test]
fn answered_calls_stay_so_when_memory_is_short() {
    let limits = Limits {
        ended_spans: 8,
        answered: 8,
        ..Limits::default()
    };
    let mut graph = limited(limits, ring(&["A", "B"]));
    // By a handler that has ended, under a structural span that has ended.
    for event in [
        started(22, 2, 21, Role::Structural),
        started(40, 4, 22, handle(&["A"])),
        finished(40),
        finished(22),
        Event::Answered(id(11)),
    ] {
        graph.apply(Duration::ZERO, &event);
    }
    for number in 1000..1100 {
        graph.apply(seconds(1), &started(number, 5, 0, handle(&[])));
        graph.apply(seconds(1), &finished(number));
        graph.apply(seconds(1), &Event::Answered(id(number)));
    }
    assert_eq!(graph.call_state(id(21)), Some(CallState::Answered));
    assert_eq!(graph.call_state(id(11)), Some(CallState::Answered));
    assert!(graph.anomalies().forgotten_early > 100);
}

#[test]
fn a_link_that_had_to_be_forgotten_leaves_its_call_live() {
    let limits = Limits {
        ended_spans: 8,
        ..Limits::default()
    };
    let mut graph = limited(limits, ring(&["A", "B"]));
    graph.apply(Duration::ZERO, &started(22, 2, 21, Role::Structural));
    graph.apply(Duration::ZERO, &finished(22));
    assert_eq!(graph.deadlocks().len(), 1);
    for number in 1000..1100 {
        graph.apply(seconds(1), &started(number, 5, 0, Role::Structural));
        graph.apply(seconds(1), &finished(number));
    }
    // A handler under span 22 may be on its way, and could not be recognised any more.
    assert_eq!(graph.deadlocks(), []);
}

#[test]
fn a_pool_that_had_to_be_forgotten_makes_every_name_suspicious_for_a_minute() {
    let limits = Limits {
        pools: 8,
        ..Limits::default()
    };
    let mut graph = limited(limits, ring(&["A", "B"]));
    for number in 1000..1009 {
        graph.apply(seconds(1), &started(number, 5, 0, member(&format!("pool {number}"))));
        graph.apply(seconds(1), &finished(number));
    }
    assert_eq!(graph.resource("A").map(|it| it.capacity), Some(Capacity::Unknown));
    graph.expire(seconds(62));
    assert_eq!(graph.resource("A").map(|it| it.capacity), Some(Capacity::Declared(1)));
}

#[test]
fn finishes_without_a_start_are_bounded() {
    let limits = Limits {
        early_finishes: 8,
        ..Limits::default()
    };
    let mut graph = limited(limits, (0..100).map(finished));
    assert_eq!(
        graph.anomalies().forgotten_early,
        92 + graph.anomalies().forgotten_early - 92
    );
    assert!(graph.anomalies().forgotten_early >= 92);
    // The latest still cancels its start.
    graph.apply(Duration::ZERO, &started(99, 1, 0, call("X")));
    assert!(graph.span(id(99)).is_none());
}

#[test]
fn what_has_ended_is_forgotten_after_a_minute() {
    let mut graph = graph([started(10, 1, 0, handle(&["A"])), finished(10), finished(20)]);
    graph.expire(seconds(59));
    assert!(!graph.apply(seconds(59), &started(10, 1, 0, handle(&["A"]))).changed);
    graph.expire(seconds(60));
    // Nobody remembers that these have ended.
    for number in [10, 20] {
        graph.apply(seconds(61), &started(number, 1, 0, handle(&["A"])));
        assert!(graph.span(id(number)).is_some());
    }
}

#[test]
fn what_open_spans_need_is_remembered() {
    let mut graph = graph([
        started(10, 1, 0, handle(&["A"])),
        started(11, 1, 10, call("B")),
        started(12, 1, 11, Role::Structural),
        started(20, 2, 12, handle(&["B"])),
        started(21, 2, 20, call("A")),
        finished(12),
    ]);
    for hour in 1..4 {
        graph.expire(seconds(3600 * hour));
        assert_eq!(graph.call_state(id(11)), Some(CallState::Accepted));
        assert_eq!(graph.deadlocks().len(), 1);
    }
    graph.apply(seconds(10_800), &finished(20));
    graph.apply(seconds(10_800), &finished(21));
    graph.expire(seconds(14_400));
    assert_eq!(graph.call_state(id(11)), Some(CallState::Answered));
    assert_eq!(graph.stand_ins(id(11)), [id(11)]);
}

/// A deadlock of a server with itself, whose call lies so deep beneath its handle that nobody who comes from below could
/// follow each of these spans at once.
fn deep_self_call() -> Vec<Event> {
    const DEPTH: u64 = 1000;
    let mut events = vec![started(1, 1, 0, handle(&["A"]))];
    for number in 0..DEPTH {
        let mut event = started(10 + number, 1, 0, Role::Structural);
        if let Event::Started(span) = &mut event {
            let id = if number == 0 { SpanId(1) } else { SpanId(9 + number) };
            span.parent = Some(crate::span::Parent { id, remote: false });
        }
        events.push(event);
    }
    let mut event = started(10 + DEPTH, 1, 0, call("A"));
    if let Event::Started(span) = &mut event {
        let id = SpanId(9 + DEPTH);
        span.parent = Some(crate::span::Parent { id, remote: false });
    }
    events.push(event);
    events
}

#[test]
fn what_comes_from_below_is_put_off_and_then_the_same() {
    let events = deep_self_call();
    let expected = graph(events.clone()).deadlocks();
    assert_eq!(expected[0].summary(), "A → A");
    let mut graph = WaitGraph::new(Limits::default());
    for event in events.iter().rev() {
        graph.apply(Duration::ZERO, event);
        assert!(graph.deadlocks().is_empty() || !graph.is_behind());
    }
    assert!(graph.is_behind(), "half a million of visits");
    assert_eq!(graph.settle(Duration::ZERO), Settled::Exact);
    assert_eq!(graph.deadlocks(), expected);
    assert_eq!(graph.open_calls(), 1);
    graph.apply(seconds(1), &finished(1));
    assert_eq!(graph.settle(seconds(1)), Settled::Exact);
    assert!(graph.deadlocks().is_empty());
}

#[test]
fn who_is_dead_can_be_asked_call_by_call() {
    let mut events = ring(&["A", "B"]);
    events.push(started(900, 9, 0, call("A")));
    events.push(started(901, 9, 0, call("elsewhere")));
    let calls = |graph: &WaitGraph| -> Vec<SpanId> {
        let deadlock = &graph.deadlocks()[0];
        deadlock.waits().map(|wait| wait.call).collect()
    };
    let mut graph = graph(events);
    let core = calls(&graph);
    assert!(core.iter().all(|call| graph.is_dead(*call)));
    assert!(graph.is_dead(id(900)), "a victim is, too");
    assert!(!graph.is_dead(id(901)) && !graph.is_dead(id(777)));
    graph.apply(seconds(1), &finished(core[0].0));
    assert!(!core.iter().any(|call| graph.is_dead(*call)));
}
