//! Instances that take part with telemetry of their own: nobody can ask them, so what concerns them settles.

use super::*;

/// Long enough after the collector's start for everybody to have connected.
fn late() -> Rig {
    let mut rig = Rig::new();
    rig.pass(ms(2000));
    rig
}

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
    let mut rig = late();
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
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(999));
    rig.end("b", 0xc2, Outcome::Finished);
    rig.pass(ms(60_000));
    assert_eq!(rig.published, []);
}

#[test]
fn whoever_can_be_asked_is_asked_once_the_rest_has_settled() {
    let mut rig = late();
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
    let mut rig = late();
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
    let mut rig = late();
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
    let mut rig = late();
    rig.connect_unasked("x");
    rig.start("x", handle(0xe1, 0, "X"));
    rig.start("x", call(0xc9, 0xe1, "A"));
    two_servers(&mut rig);
    assert_eq!(confirmation(&rig), PROBED, "x is a victim");
}

#[test]
fn of_two_times_to_wait_the_longer_counts() {
    for (times, wait) in [
        (Times::default(), 1000),
        (
            Times {
                pool_settle: ms(1750),
                ..Times::default()
            },
            1750,
        ),
    ] {
        let mut rig = late();
        rig.detector.times = times;
        rig.connect_unasked("a");
        exhausted_pool(&mut rig);
        rig.pass(ms(wait - 1));
        assert_eq!(rig.published, [], "{wait} ms");
        rig.pass(ms(1));
        assert_eq!(rig.history(), [AlertState::Firing], "{wait} ms");
    }
}

#[test]
fn it_settles_anew_whenever_it_rests_on_something_else() {
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(750));
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
    let mut rig = late();
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
    let mut rig = late();
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
    let mut rig = late();
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
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(750));
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
    let mut rig = late();
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
    let mut rig = late();
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
    let mut rig = late();
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
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(1000));
    rig.end("b", 0xc2, Outcome::Expired);
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
}

#[test]
fn whom_nobody_can_ask_is_not_remembered_for_a_restart() {
    let mut rig = late();
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

#[test]
fn what_is_told_late_by_a_collector_that_did_not_run_still_counts() {
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(500));
    rig.now += ms(800);
    let connection = rig.instances["a"].connection;
    rig.step(Input::Heartbeat {
        connection,
        heartbeat: Heartbeat::default(),
    });
    rig.step(Input::Tick);
    assert_eq!(rig.published, [], "more may have waited");
    rig.pass(ms(1250));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn it_has_settled_once_everybody_has_given_a_sign_of_life_after_it() {
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.pass(ms(900));
    rig.instances.get_mut("b").unwrap().answers = false;
    rig.pass(ms(350));
    assert_eq!(rig.published, [], "what b has said may still be on its way");
    rig.instances.get_mut("b").unwrap().answers = true;
    rig.pass(ms(250));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn it_settles_anew_after_nothing_has_come_from_somebody_for_a_while() {
    let mut rig = late();
    rig.connect_unasked("a");
    one_of_two(&mut rig);
    rig.instances.get_mut("b").unwrap().answers = false;
    rig.pass(ms(1500));
    rig.instances.get_mut("b").unwrap().answers = true;
    rig.pass(ms(1000));
    assert_eq!(rig.published, [], "what has waited there comes now");
    rig.pass(ms(250));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn a_member_of_whom_nobody_has_spoken_for_long_still_counts() {
    let mut rig = late();
    exhausted_pool(&mut rig);
    rig.connect_unasked("c");
    rig.start("c", member(0xd0, "queue"));
    rig.end("c", 0xd0, Outcome::Expired);
    rig.pass(ms(5000));
    assert_eq!(rig.published, []);
    rig.end("c", 0xd0, Outcome::Finished);
    rig.pass(ms(5000));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn a_pool_settles_for_longer_while_somebody_may_join_it_of_whom_it_is_told_late() {
    let mut rig = late();
    rig.connect_unasked("late");
    exhausted_pool(&mut rig);
    rig.pass(ms(999));
    assert_eq!(rig.published, []);
    rig.pass(ms(1));
    assert_eq!(confirmation(&rig), PROBED);
}

/// As in [`whom_nobody_can_ask_may_have_answered`], but it was the collector that was not there.
#[test]
fn what_is_as_old_as_the_collector_may_have_been_answered_unheard() {
    for (after, state) in [(900, vec![]), (1100, vec![AlertState::Firing])] {
        let mut rig = Rig::after_restart(["a", "y"]);
        for name in ["a", "y"] {
            rig.connect(name);
        }
        rig.connect_unasked("x");
        rig.start("x", handle(0xe1, 0, "X"));
        rig.end("x", 0xe1, Outcome::Finished);
        rig.pass(ms(after));
        rig.start("a", handle(0xa1, 0, "A"));
        rig.start("a", call(0xc1, 0xa1, "X"));
        rig.pass(ms(500));
        rig.start("y", handle(0xb1, 0, "X"));
        rig.start("y", call(0xc2, 0xb1, "A"));
        rig.pass(ms(3000));
        assert_eq!(rig.history(), state, "after {after} ms");
    }
}

#[test]
fn whoever_can_be_asked_has_no_say_in_what_has_ended_unseen() {
    let mut rig = late();
    two_servers(&mut rig);
    rig.connect("c");
    rig.ended(
        "c",
        [Ended {
            span_id: 0xe1,
            parent_span_id: 0xc2,
            parent_is_remote: true,
            role: Role::Handle.into(),
            ..Ended::default()
        }],
    );
    assert_eq!(rig.alerts(Filter::Firing).len(), 1);
    rig.connect_unasked("d");
    let connection = rig.instances["d"].connection;
    rig.ended("d", [Ended::default()]);
    assert_eq!(rig.refused.len(), 1, "no span has the id 0");
    assert_eq!(rig.detector.instances.of(connection), None);
}

/// A process that takes part with its library, and besides with telemetry of its own.
fn twins(rig: &mut Rig) {
    rig.connect("a");
    rig.connect("b");
    let identity = Identity {
        key: InstanceKey {
            incarnation: 7,
            ..Rig::key("b")
        },
        service: "b".into(),
        namespace: String::new(),
        process: Process::default(),
        lease: None,
        cannot_be_asked: true,
    };
    let connection = TWIN;
    rig.step(Input::Connected { connection, identity });
    rig.step(Input::OpenSet {
        connection,
        spans: vec![],
        complete: true,
    });
}

const TWIN: ConnectionId = ConnectionId(1000);

fn twin_says(rig: &mut Rig, batch: Batch) {
    rig.step(Input::Batch {
        connection: TWIN,
        batch,
    });
}

fn told_twice(rig: &Rig) -> u64 {
    rig.detector.instances.iter().map(|(_, it)| it.told_twice).sum()
}

#[test]
fn what_a_library_tells_counts_and_what_its_process_starts_besides_does_not() {
    let mut rig = late();
    twins(&mut rig);
    two_servers(&mut rig);
    let started = vec![call(0xc9, 0xb1, "A"), handle(0xb1, 0xc1, "B")];
    twin_says(
        &mut rig,
        Batch {
            sequence: 1,
            started,
            ..Batch::default()
        },
    );
    assert_eq!(told_twice(&rig), 2);
    assert_eq!(rig.detector.graph.open_span_count(), 4);
    assert_eq!(confirmation(&rig), PROBED);
    let ended = vec![Ended {
        span_id: 0xb9,
        parent_span_id: 0xc1,
        parent_is_remote: true,
        role: Role::Handle.into(),
        ..Ended::default()
    }];
    twin_says(
        &mut rig,
        Batch {
            sequence: 2,
            ended,
            ..Batch::default()
        },
    );
    assert_eq!(
        rig.history(),
        [AlertState::Firing, AlertState::Resolved],
        "its ends count"
    );
    // Once the library is gone, it has to do.
    let connection = rig.instances["b"].connection;
    rig.step(Input::Goodbye { connection });
    let started = vec![call(0xca, 0, "A")];
    twin_says(
        &mut rig,
        Batch {
            sequence: 3,
            started,
            ..Batch::default()
        },
    );
    assert_eq!((told_twice(&rig), rig.detector.graph.open_span_count()), (2, 3));
}

#[test]
fn what_a_process_has_told_besides_is_dropped_when_its_library_connects() {
    let mut rig = late();
    twins(&mut rig);
    let connection = rig.instances["b"].connection;
    rig.step(Input::Goodbye { connection });
    rig.start("a", handle(0xa1, 0, "A"));
    rig.start("a", call(0xc1, 0xa1, "B"));
    let started = vec![
        handle(0xb1, 0xc1, "B"),
        call(0xc2, 0xb1, "A"),
        call(0xc3, 0xb1, "elsewhere"),
    ];
    twin_says(
        &mut rig,
        Batch {
            sequence: 1,
            started: started.clone(),
            ..Batch::default()
        },
    );
    assert_eq!(rig.detector.graph.open_span_count(), 5);
    // The last of them has ended long since.
    rig.instances.get_mut("b").unwrap().open = started[..2].iter().map(|it| (it.span_id, it.clone())).collect();
    rig.connect("b");
    assert_eq!(rig.detector.graph.open_span_count(), 4);
    assert_eq!(confirmation(&rig), PROBED);
    let names: Vec<u64> = rig.detector.instances.iter().map(|(id, _)| id.0).collect();
    rig.connect("b");
    assert_eq!(
        rig.detector.instances.iter().map(|(id, _)| id.0).collect::<Vec<_>>(),
        names,
        "nothing to drop"
    );
    assert_eq!(rig.alerts(Filter::Firing).len(), 1);
}
