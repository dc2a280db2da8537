//! What is told while the graph has put off to say who is dead.

use super::*;

/// More than the graph follows for one event.
const CHAIN: u64 = 1500;

/// Servers each of which is queued for the one before, and the first for somebody else.
fn chain(name: &str, first_id: u64, first_target: &str) -> Vec<Started> {
    let servers = (0..CHAIN).map(|number| {
        let (id, call_id) = (first_id + 2 * number, first_id + 2 * number + 1);
        let before = number.checked_sub(1).map(|before| format!("{name}-{before}"));
        let target = before.as_deref().unwrap_or(first_target);
        [handle(id, 0, &format!("{name}-{number}")), call(call_id, id, target)]
    });
    servers.flatten().collect()
}

/// Somebody for whom a long chain waits joins another one and leaves it again, until to follow them is put off.
fn put_off(rig: &mut Rig) {
    const JOINING: u64 = 0x30_0000;
    rig.connect("crowd");
    let mut spans = chain("ahead", 0x10_0000, "elsewhere");
    spans.extend(chain("behind", 0x20_0000, "joining"));
    spans.push(handle(JOINING, 0, "joining"));
    for some in spans.chunks(500) {
        rig.batch("crowd", some.to_vec(), vec![]);
    }
    for joins in JOINING + 1..JOINING + 100 {
        rig.start("crowd", call(joins, JOINING, &format!("ahead-{}", CHAIN - 1)));
        if rig.detector.settles_at.is_some() {
            return;
        }
        rig.end("crowd", joins, Outcome::Finished);
    }
    panic!("the graph puts nothing off");
}

/// Another handler of A's call, which calls A itself: as dead as A, but that is put off.
fn another_handler_that_seems_live(rig: &mut Rig) {
    rig.start("e", handle(0xe1, 0xc1, "E"));
    rig.start("e", call(0xe2, 0xe1, "A"));
}

/// C and D, as [`two_servers`].
fn two_more_servers(rig: &mut Rig) {
    rig.connect("c");
    rig.connect("d");
    rig.start("c", handle(0xa3, 0, "C"));
    rig.start("c", call(0xc3, 0xa3, "D"));
    rig.start("d", handle(0xb3, 0xc3, "D"));
    rig.start("d", call(0xc4, 0xb3, "C"));
}

#[test]
fn a_deadlock_that_seems_live_while_others_are_judged_is_not_over() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    two_more_servers(&mut rig);
    rig.connect("e");
    put_off(&mut rig);
    another_handler_that_seems_live(&mut rig);
    rig.end("d", 0xc4, Outcome::Timeout);
    assert_eq!(rig.detector.graph.dead_task_count(), 0);
    let resolved: Vec<_> = rig.published.iter().filter(|it| it.resolution.is_some()).collect();
    assert_eq!(resolved.len(), 1);
    assert_eq!(resolved[0].summary, "C → D → C");

    rig.pass(ms(1000));
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert")
    };
    assert_eq!((alert.id.as_str(), alert.core.len()), (rig.published[0].id.as_str(), 3));
    assert_eq!(rig.alerts(Filter::Resolved).len(), 1);
}

#[test]
fn what_has_ended_itself_is_over_at_once() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    rig.connect("e");
    put_off(&mut rig);
    another_handler_that_seems_live(&mut rig);
    rig.end("a", 0xc1, Outcome::Timeout);
    assert!(rig.detector.settles_at.is_some());
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::Timeout));
}

#[test]
fn what_is_held_ends_when_the_graph_is_exact() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    two_more_servers(&mut rig);
    rig.connect("e");
    put_off(&mut rig);
    // This one is live.
    rig.start("e", handle(0xe1, 0xc1, "E"));
    rig.end("d", 0xc4, Outcome::Timeout);
    assert_eq!(rig.alerts(Filter::Firing).len(), 1, "nobody can tell yet");
    let due_in = rig.detector.settles_at.unwrap() - rig.now;
    rig.pass(due_in);
    assert_eq!(rig.alerts(Filter::Firing), []);
}

/// Two servers that are suspected, about which `a` has been asked and has not answered, and the graph has put something
/// off.
fn suspected_and_put_off() -> Rig {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.instances.get_mut("a").unwrap().answers = false;
    two_servers(&mut rig);
    rig.connect("e");
    put_off(&mut rig);
    rig
}

/// It is not over, but it must not be told either.
#[test]
fn a_suspect_that_is_held_is_not_confirmed() {
    let mut rig = suspected_and_put_off();
    rig.start("e", handle(0xe1, 0xc1, "E"));
    rig.answer_late("a");
    assert_eq!(rig.alerts(Filter::Suspected).len(), 1);
    rig.instances.get_mut("a").unwrap().answers = true;
    rig.pass(ms(1000));
    assert_eq!((rig.history(), rig.alerts(Filter::All)), (vec![], vec![]));
}

/// The same, where it is as dead as it seemed.
#[test]
fn a_suspect_that_was_held_is_confirmed_when_the_graph_is_exact() {
    let mut rig = suspected_and_put_off();
    another_handler_that_seems_live(&mut rig);
    rig.answer_late("a");
    assert_eq!(rig.history(), []);
    rig.instances.get_mut("a").unwrap().answers = true;
    rig.pass(ms(1000));
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert")
    };
    assert_eq!(alert.core.len(), 3);
}

/// Nothing keeps the graph from being inexact for long. What is dead even so is told.
#[test]
fn what_is_dead_in_any_case_is_confirmed_while_the_graph_is_not_exact() {
    let mut rig = suspected_and_put_off();
    rig.answer_late("a");
    assert!(rig.detector.settles_at.is_some());
    assert_eq!(rig.history(), [AlertState::Firing]);
}
