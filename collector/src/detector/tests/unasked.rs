//! Instances that take part with telemetry of their own: nobody can ask them, so what concerns them settles.

use super::*;

/// Says how the only alert that fires was confirmed.
fn confirmation(rig: &Rig) -> (Option<Confirmation>, Severity) {
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert, not {:?}", rig.alerts(Filter::All))
    };
    (alert.confirmation, alert.severity)
}

const SETTLED: (Option<Confirmation>, Severity) = (Some(Confirmation::Settled), Severity::Warning);
const PROBED: (Option<Confirmation>, Severity) = (Some(Confirmation::Probed), Severity::Critical);

/// How many tasks the core of the only alert that fires has.
fn shown(rig: &Rig) -> usize {
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert, not {:?}", rig.alerts(Filter::All))
    };
    alert.core.len()
}

/// [`two_servers`], of whom the second cannot be asked.
fn one_of_two(rig: &mut Rig) {
    rig.connect_unasked("b");
    two_servers(rig);
}

#[test]
fn what_nobody_can_be_asked_about_fires_once_it_has_settled() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    let [suspected] = &rig.alerts(Filter::Suspected)[..] else {
        panic!("one suspect")
    };
    assert_eq!((suspected.confirmation, suspected.severity), (None, Severity::Warning));
    rig.pass(ms(999));
    assert_eq!(rig.published, []);
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing]);
    assert_eq!(confirmation(&rig), SETTLED);
    rig.end("a", 0xc1, Outcome::Timeout);
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::Timeout));
}

#[test]
fn what_comes_while_it_settles_counts() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(999));
    rig.end("b", 0xc2, Outcome::Finished);
    rig.pass(ms(60_000));
    assert_eq!(rig.published, []);
}

#[test]
fn whoever_can_be_asked_is_asked_once_the_rest_has_settled() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.instances.get_mut("a").unwrap().answers = false;
    one_of_two(&mut rig);
    rig.pass(ms(999));
    assert_eq!(rig.instances["a"].unanswered, [], "too early");
    rig.pass(ms(1));
    assert_eq!(rig.instances["a"].unanswered.len(), 1);
    assert_eq!(rig.published, [], "it has not answered");
    rig.answer_late("a");
    assert_eq!(rig.history(), [AlertState::Firing]);
    assert_eq!(confirmation(&rig), SETTLED);
}

#[test]
fn whoever_can_be_asked_may_still_refute() {
    let mut rig = Rig::new();
    one_of_two(&mut rig);
    // The end of the call is not reported yet.
    rig.instances.get_mut("a").unwrap().open.remove(&0xc1);
    rig.pass(ms(60_000));
    assert_eq!(rig.published, []);
    assert_eq!(rig.detector.stats().refuted_total, 1);
}

/// The holder of what is waited for can be asked; somebody else who has served it before cannot.
///
/// ```text
/// a1 holds A ──c1──▶ X   served by x once, which cannot be asked; now a turn of y holds it
///     ▲              │
///     └─────c2───────┘
/// ```
#[test]
fn a_queued_call_settles_if_somebody_may_have_accepted_it_who_cannot_be_asked() {
    let mut rig = Rig::new();
    for name in ["a", "y"] {
        rig.connect(name);
    }
    rig.connect_unasked("x");
    rig.start("x", handle(0xe1, 0, "X"));
    rig.end("x", 0xe1, Outcome::Finished);
    rig.start("a", handle(0xa1, 0, "A"));
    rig.start("a", call(0xc1, 0xa1, "X"));
    rig.start("y", handle(0xb1, 0, "X"));
    rig.start("y", call(0xc2, 0xb1, "A"));
    rig.pass(ms(999));
    assert_eq!(rig.published, []);
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing]);
    assert_eq!(confirmation(&rig), SETTLED);
}

#[test]
fn what_somebody_has_accepted_who_is_not_of_the_core_needs_nobody_s_answer() {
    let mut rig = Rig::new();
    rig.connect_unasked("x");
    rig.start("x", handle(0xe1, 0, "X"));
    rig.start("x", call(0xc9, 0xe1, "A"));
    two_servers(&mut rig);
    assert_eq!(confirmation(&rig), PROBED, "x is a victim");
}

#[test]
fn of_two_times_to_wait_the_longer_counts() {
    for (name, wait) in [("a", 1000), ("other", 250)] {
        let mut rig = Rig::new();
        rig.pass(ms(5000));
        rig.connect_unasked(name);
        exhausted_pool(&mut rig);
        rig.pass(ms(wait - 1));
        assert_eq!(rig.published, [], "{name}");
        rig.pass(ms(1));
        assert_eq!(rig.history(), [AlertState::Firing], "{name}");
    }
}

#[test]
fn it_settles_anew_whenever_it_rests_on_something_else() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(900));
    // The same cycle by another wait, in the same moment.
    rig.start("b", call(0xc3, 0xb1, "A"));
    rig.pass(ms(999));
    assert_eq!(rig.published, []);
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

/// C's turn, which nobody can be asked about, suffers from [`two_servers`], and then is a part of the cause.
#[test]
fn what_has_been_probed_and_grows_is_settled_and_what_shrinks_stays_so() {
    let mut rig = Rig::new();
    rig.connect_unasked("c");
    a_cycle_that_seems_to_grow(&mut rig);
    assert_eq!(confirmation(&rig), PROBED);
    rig.pass(ms(999));
    assert_eq!(shown(&rig), 2, "nothing is told of what it has grown by");
    rig.pass(ms(1));
    assert_eq!(shown(&rig), 3);
    assert_eq!(rig.published.last().unwrap().severity, Severity::Warning, "and told");
    assert_eq!(confirmation(&rig), SETTLED);
    rig.end("b", 0xc2, Outcome::Error);
    assert_eq!(confirmation(&rig), SETTLED);
}

#[test]
fn what_has_settled_and_grows_by_somebody_who_can_be_asked_asks_him() {
    let mut rig = Rig::new();
    rig.connect("c");
    rig.instances.get_mut("c").unwrap().answers = false;
    rig.connect_unasked("a");
    rig.connect_unasked("b");
    two_servers(&mut rig);
    rig.pass(ms(1000));
    assert_eq!(rig.history(), [AlertState::Firing]);
    rig.start("c", handle(0xe1, 0, "C"));
    rig.start("c", call(0xc5, 0xe1, "A"));
    rig.start("b", call(0xc3, 0xb1, "C"));
    rig.pass(ms(1000));
    assert_eq!(shown(&rig), 2);
    rig.answer_late("c");
    assert_eq!(shown(&rig), 3);
    assert_eq!(confirmation(&rig), SETTLED);
}

#[test]
fn two_that_have_settled_and_become_one_settle_as_one() {
    let mut rig = Rig::new();
    for name in ["a", "b", "c", "d"] {
        rig.connect_unasked(name);
    }
    two_servers(&mut rig);
    rig.start("c", handle(0xe1, 0, "C"));
    rig.start("c", call(0xc5, 0xe1, "D"));
    rig.start("d", handle(0xf1, 0xc5, "D"));
    rig.start("d", call(0xc6, 0xf1, "C"));
    rig.pass(ms(1000));
    assert_eq!(rig.alerts(Filter::Firing).len(), 2);
    rig.start("d", call(0xc7, 0xf1, "A"));
    rig.start("b", call(0xc8, 0xb1, "C"));
    assert_eq!(rig.alerts(Filter::Firing).len(), 1);
    rig.pass(ms(999));
    assert_eq!(shown(&rig), 2);
    rig.pass(ms(1));
    assert_eq!(shown(&rig), 4);
    assert_eq!(confirmation(&rig), SETTLED);
}

#[test]
fn nothing_settles_while_what_somebody_says_cannot_arrive() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(900));
    let connection = rig.instances["b"].connection;
    rig.step(Input::Disconnected { connection });
    rig.pass(ms(1500));
    assert_eq!(rig.published, [], "it has no connection");
    rig.connect_unasked("b");
    rig.pass(ms(999));
    assert_eq!(rig.published, [], "what has waited there may still come");
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn nothing_settles_while_a_batch_is_missing() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    let a = rig.instances.get_mut("a").unwrap();
    a.batches += 1;
    rig.batch("a", vec![], vec![]);
    assert_eq!(rig.resyncs, 1);
    rig.pass(ms(2000));
    assert_eq!(rig.published, []);
    let (connection, spans) = (
        rig.instances["a"].connection,
        rig.instances["a"].open.values().cloned().collect(),
    );
    rig.step(Input::OpenSet {
        connection,
        spans,
        complete: true,
    });
    rig.pass(ms(1000));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn heartbeats_keep_it_alive_and_its_lease_runs_out_without() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(60_000));
    assert_eq!(rig.history(), [AlertState::Firing]);
    rig.instances.get_mut("b").unwrap().answers = false;
    rig.pass(ms(3000));
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
}

#[test]
fn its_goodbye_ends_everything_of_it() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(1000));
    let connection = rig.instances["b"].connection;
    rig.step(Input::Goodbye { connection });
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
    assert_eq!(rig.detector.graph.open_span_count(), 2);
}

#[test]
fn what_has_expired_is_lost_and_not_answered_by_anybody() {
    let mut rig = Rig::new();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(1000));
    rig.end("b", 0xc2, Outcome::Expired);
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
}

#[test]
fn whom_nobody_can_ask_is_not_remembered_for_a_restart() {
    let mut rig = Rig::new();
    let mut remembered = Vec::new();
    for (connection, cannot_be_asked) in [(1, true), (2, false)] {
        let identity = Identity {
            key: Rig::key(if cannot_be_asked { "told" } else { "asked" }),
            service: String::new(),
            namespace: String::new(),
            process: Process::default(),
            lease: None,
            cannot_be_asked,
        };
        let connection = ConnectionId(connection);
        for input in [Input::Connected { connection, identity }, Input::Goodbye { connection }] {
            let effects = rig.detector.step(rig.now, input);
            remembered.extend(effects.into_iter().filter_map(|effect| match effect {
                Effect::Remember(change) => Some(change),
                Effect::Send(..) | Effect::Refuse(..) | Effect::Look(..) | Effect::LookFor(..) | Effect::Publish(_) => {
                    None
                }
            }));
        }
    }
    assert_eq!(
        remembered,
        [
            known::Change::Joined(Rig::key("asked"), Process::default()),
            known::Change::Gone(Rig::key("asked"))
        ]
    );
}
