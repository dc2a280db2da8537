//! What is lost is counted by cause, and held against alerts.

use standoff_protocol::api::{Evidence, LossCause};
use standoff_protocol::stream::{Loss, RelayHeartbeat};
use standoff_wait_graph::SpanId;

use super::*;

impl Rig {
    fn evidence(&self) -> Evidence {
        self.detector.evidence()
    }

    fn lost(&self, cause: LossCause) -> u64 {
        let evidence = self.evidence();
        let of_cause = evidence.losses.iter().find(|it| it.cause == cause);
        of_cause.map_or(0, |it| it.count)
    }

    fn says_lost(&mut self, name: &'static str, losses: &[(standoff_protocol::stream::LossCause, u64)]) {
        let losses: Vec<Loss> = losses
            .iter()
            .map(|(cause, events)| Loss {
                cause: (*cause).into(),
                events: *events,
            })
            .collect();
        let heartbeat = Heartbeat {
            events_lost: losses.iter().map(|it| it.events).sum(),
            losses,
        };
        let connection = self.instances[name].connection;
        self.step(Input::Heartbeat { connection, heartbeat });
    }
}

#[test]
fn what_libraries_and_relays_lose_is_told_by_cause_also_once_they_are_gone() {
    use standoff_protocol::stream::LossCause as Wire;
    let mut rig = Rig::new();
    rig.connect("a");
    rig.connect("b");
    rig.says_lost(
        "a",
        &[
            (Wire::LibrarySpans, 4),
            (Wire::LibraryParents, 3),
            (Wire::LibraryFinishes, 2),
        ],
    );
    rig.says_lost("b", &[(Wire::RelaySpans, 10), (Wire::LibrarySpans, 5)]);
    let connection = rig.instances["b"].connection;
    rig.step(Input::Goodbye { connection });
    let told: Vec<_> = rig
        .evidence()
        .losses
        .into_iter()
        .map(|it| (it.cause, it.count))
        .collect();
    assert_eq!(
        told,
        [
            (LossCause::LibrarySpans, 9),
            (LossCause::LibraryParents, 3),
            (LossCause::LibraryFinishes, 2),
            (LossCause::RelaySpans, 10)
        ]
    );
    assert_eq!(rig.evidence().events_lost, 24);
    rig.pass(ms(1000));
    let spans = &rig.evidence().losses[0];
    assert_eq!(
        spans.instances,
        ["a"],
        "nobody can do anything about those that are gone"
    );
}

#[test]
fn those_who_lose_most_are_named() {
    let mut rig = Rig::new();
    let cause = standoff_protocol::stream::LossCause::LibrarySpans;
    for (name, lost) in [("a", 1), ("b", 3), ("c", 2), ("d", 3), ("e", 0)] {
        rig.connect(name);
        rig.says_lost(name, &[(cause, lost)]);
    }
    rig.pass(ms(1000));
    assert_eq!(rig.evidence().losses[0].instances, ["b", "d", "c"]);
}

#[test]
fn lost_batches_and_what_was_asked_for_because_of_them_are_counted() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.instances.get_mut("a").unwrap().batches = 3;
    rig.start("a", handle(1, 0, "A"));
    assert_eq!(
        (rig.lost(LossCause::Batches), rig.lost(LossCause::Resyncs), rig.resyncs),
        (3, 1, 1)
    );
    // Only the first gap is one; what follows it is made up for by the same open set.
    rig.start("a", handle(2, 0, "B"));
    assert_eq!((rig.lost(LossCause::Batches), rig.lost(LossCause::Resyncs)), (3, 1));
    assert_eq!(
        rig.evidence().events_lost,
        0,
        "nobody knows what was in them, and it is made up for"
    );
}

#[test]
fn all_of_a_message_that_breaks_the_protocol_is_lost() {
    let mut rig = Rig::new();
    rig.connect("a");
    let malformed = Started {
        role: 99,
        ..call(2, 0, "A")
    };
    rig.batch("a", vec![handle(1, 0, "A"), malformed], vec![]);
    assert_eq!(rig.lost(LossCause::Malformed), 2);
    assert_eq!(rig.evidence().events_lost, 2);
    // Of one that cannot even be read nobody knows what was in it.
    rig.connect("b");
    let connection = rig.instances["b"].connection;
    rig.step(Input::Unreadable { connection });
    assert_eq!(rig.lost(LossCause::Malformed), 3);
}

#[test]
fn an_open_set_that_is_too_large_is_lost() {
    let mut rig = Rig::new();
    rig.connect("a");
    let connection = rig.instances["a"].connection;
    let id = rig.detector.instances.of(connection).unwrap();
    let instance = rig.detector.instances.get_mut(id).unwrap();
    let named = (1..=OPEN_SET_SPANS_MAX as u64).map(SpanId);
    instance.open_set(named, false).unwrap();
    rig.step(Input::OpenSet {
        connection,
        spans: vec![handle(u64::MAX, 0, "A")],
        complete: true,
    });
    assert_eq!(rig.lost(LossCause::OpenSets), OPEN_SET_SPANS_MAX as u64 + 1);
}

#[test]
fn what_the_graph_has_no_room_for_is_counted() {
    let mut rig = Rig::new();
    rig.detector.graph = WaitGraph::new(Limits {
        open_spans: 1,
        ended_spans: 1,
        ..Limits::default()
    });
    rig.connect("a");
    for id in 1..=4 {
        rig.start("a", handle(id, 0, "A"));
        rig.end("a", id, Outcome::Finished);
    }
    rig.start("a", handle(5, 0, "A"));
    rig.start("a", handle(6, 0, "A"));
    assert_eq!(rig.lost(LossCause::GraphSpans), 1);
    assert!(rig.lost(LossCause::GraphMemory) > 0);
    assert_eq!(rig.evidence().events_lost, 1, "memories are no events");
}

#[test]
fn probes_that_nobody_answers_are_counted() {
    let mut rig = Rig::new();
    rig.connect("b");
    rig.instances.get_mut("b").unwrap().answers = false;
    two_servers(&mut rig);
    rig.pass(ms(1200));
    let unanswered = rig.lost(LossCause::Probes);
    assert!(unanswered >= 2, "{unanswered}");
    // Another one is on its way, and is lost with the connection.
    let connection = rig.instances["b"].connection;
    rig.step(Input::Disconnected { connection });
    assert_eq!(rig.lost(LossCause::Probes), unanswered + 1);
}

#[test]
fn whoever_is_refused_is_counted() {
    let mut rig = Rig::new();
    rig.step(Input::Refused);
    let relay = ConnectionId(1_000_000);
    rig.step(Input::RelayConnected {
        relay,
        name: "host-1".into(),
    });
    rig.step(Input::RelayHeartbeat {
        relay,
        heartbeat: RelayHeartbeat {
            instances_refused: 4,
            losses: vec![],
        },
    });
    rig.step(Input::RelayHeartbeat {
        relay,
        heartbeat: RelayHeartbeat {
            instances_refused: 5,
            losses: vec![],
        },
    });
    assert_eq!(
        (rig.lost(LossCause::Instances), rig.lost(LossCause::RelayInstances)),
        (1, 5)
    );
    for number in 0..=INSTANCES_MAX as u64 {
        let identity = Identity {
            key: InstanceKey {
                instance_id: format!("instance {number}"),
                incarnation: 1,
            },
            service: String::new(),
            namespace: String::new(),
            process: Process::default(),
            lease: None,
            cannot_be_asked: false,
        };
        rig.detector.step(
            rig.now,
            Input::Connected {
                connection: ConnectionId(number),
                identity,
            },
        );
    }
    assert_eq!(rig.lost(LossCause::Instances), 2);
}

#[test]
fn a_relay_that_ends_takes_all_its_instances_along_in_one_step() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.connect("b");
    let connections = rig.instances.values().map(|it| it.connection).collect();
    rig.step(Input::RelayEnded {
        relay: ConnectionId(9),
        connections,
        is_unreadable: true,
    });
    assert_eq!(rig.lost(LossCause::Malformed), 1);
    assert!(rig.detector.instances.iter().all(|(_, it)| it.connection.is_none()));
}

#[test]
fn what_an_instance_s_relay_has_seen_to_be_dead_is_gone() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.connect("b");
    let connection = rig.instances["a"].connection;
    rig.step(Input::Died { connection });
    assert_eq!(rig.detector.instances.iter().count(), 1);
    rig.step(Input::Died { connection });
    assert_eq!(
        rig.detector.instances.iter().count(),
        1,
        "what came before counts no more"
    );
}

#[test]
fn an_alert_that_fires_is_told_of_what_is_lost_afterwards_once_a_second() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    let told = |rig: &Rig| {
        rig.published
            .iter()
            .map(|it| it.evidence.events_lost)
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&rig), [0]);
    for lost in 1..=5 {
        rig.says_lost("a", &[(standoff_protocol::stream::LossCause::LibrarySpans, lost)]);
    }
    assert_eq!(told(&rig), [0]);
    rig.pass(ms(1000));
    assert_eq!(told(&rig), [0, 5]);
    rig.pass(ms(3000));
    assert_eq!(told(&rig), [0, 5], "nothing more was lost");
    let told = &rig.published[1];
    assert_eq!(
        (told.state, &*told.evidence.losses[0].instances),
        (AlertState::Firing, &["a".to_owned()][..])
    );
}
