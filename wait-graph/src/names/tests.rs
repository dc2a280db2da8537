use super::*;
use crate::span::InstanceId;
use crate::testing::{call, finished, graph, handle, hold, ring, started};

fn deadlock(events: Vec<crate::Event>) -> Deadlock {
    let mut deadlocks = graph(events).deadlocks();
    assert_eq!(deadlocks.len(), 1, "{deadlocks:#?}");
    deadlocks.remove(0)
}

#[test]
fn hashes_are_fixed_for_good() {
    let deadlock = deadlock(ring(&["{:server_a, 42}", "{:server_b, 42}"]));
    assert_eq!(format!("{:016x}", deadlock.id()), "b43b7e1724019826");
    assert_eq!(format!("{:016x}", deadlock.fingerprint()), "f3ef34b91133cfa2");
    assert_eq!(format!("{:016x}", deadlock.pattern()), "97b0011f3386133e");
}

#[test]
fn a_recurring_deadlock_has_the_same_fingerprint_and_another_id() {
    let mut events = ring(&["A", "B"]);
    let first = deadlock(events.clone());
    events.extend([finished(21), started(22, 2, 20, call("A"))]);
    let second = deadlock(events);
    assert_eq!(first.fingerprint(), second.fingerprint());
    assert_ne!(first.id(), second.id());
}

#[test]
fn where_a_ring_begins_does_not_matter() {
    let (one, other) = (deadlock(ring(&["A", "B", "C"])), deadlock(ring(&["C", "A", "B"])));
    assert_eq!(one.fingerprint(), other.fingerprint());
    assert_eq!(one.summary(), other.summary());
}

#[test]
fn like_deadlocks_have_one_pattern() {
    let (one, other) = (deadlock(ring(&["a 7", "b 7"])), deadlock(ring(&["a 1234", "b 99"])));
    assert_ne!(one.fingerprint(), other.fingerprint());
    assert_eq!(one.pattern(), other.pattern());
    assert_ne!(one.pattern(), deadlock(ring(&["a 7", "c 7"])).pattern());
    assert_eq!(mask_digits("10.0.0.1: worker 17"), "#.#.#.#: worker #");
}

#[test]
fn names_do_not_run_together() {
    assert_ne!(
        deadlock(ring(&["ab", "c"])).fingerprint(),
        deadlock(ring(&["a", "bc"])).fingerprint()
    );
}

#[test]
fn tasks_without_a_resource_are_known_by_service_and_span() {
    let events = vec![
        started(10, 1, 0, hold("L")),
        started(11, 1, 10, call("B")),
        started(20, 2, 11, handle(&[])),
        started(21, 2, 20, call("L")),
    ];
    let mut graph = graph(events);
    assert_eq!(graph.deadlocks()[0].summary(), "L → unknown_service/request 20 → L");
    let before = graph.deadlocks()[0].fingerprint();
    graph.describe_instance(InstanceId(2), "service-b".into());
    assert_eq!(graph.deadlocks()[0].summary(), "L → service-b/request 20 → L");
    assert_ne!(graph.deadlocks()[0].fingerprint(), before);
}

#[test]
fn summaries_stay_short() {
    let names: Vec<String> = (10..110).map(|number| format!("n{number}")).collect();
    let of_ring = |count: usize| {
        let names: Vec<&str> = names.iter().take(count).map(String::as_str).collect();
        deadlock(ring(&names)).summary()
    };
    let summary = of_ring(100);
    assert!(summary.starts_with("n10 → n11 → "), "{summary}");
    assert!(summary.ends_with(" → n25 → (84 more) → n10"), "{summary}");
    let summary = of_ring(SUMMARY_NAMES_MAX);
    assert!(summary.ends_with(" → n25 → n10"), "{summary}");

    let many = deadlock(vec![
        started(10, 1, 0, handle(&["a", "b", "c", "d", "e"])),
        started(11, 1, 10, call("e")),
    ]);
    assert_eq!(many.summary(), "a + b + c + 2 more → a + b + c + 2 more");

    // Each of thirty calls all of them, and each is needed.
    let mut knot = Vec::new();
    for task in 1..=30 {
        knot.push(started(100 * task, task, 0, hold(&format!("n{:02}", task))));
        knot.extend((1..=30).map(|other| {
            let mut event = started(100 * task + other, task, 0, call(&format!("n{other:02}")));
            if let crate::Event::Started(span) = &mut event {
                span.parent = Some(crate::Parent {
                    id: SpanId(100 * task),
                    remote: false,
                });
            }
            event
        }));
    }
    let summary = deadlock(knot).summary();
    assert!(summary.starts_with("n01 → n01 and n02 and n03"), "{summary}");
    assert!(summary.ends_with("n16; and 29 more"), "{summary}");
}
