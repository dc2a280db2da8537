//! What is passed on, and in which order.

use super::*;

#[test]
fn each_upstream_hears_everything_at_once() {
    let mut world = World::new(2);
    world.instance(1, "a", &[1, 2]);
    world.say(1, batch(1, vec![call(3)], &[1]));
    for upstream in 0..2 {
        assert_eq!(world.open(upstream, "a"), [2, 3]);
        assert_eq!(world.collectors[upstream].log("a"), ["SET +1 +2", "batch -1 +3"]);
    }
}

#[test]
fn a_set_is_passed_on_as_it_comes_and_complete_only_when_it_is() {
    let mut world = World::new(1);
    world.connect(1, "a");
    world.say(1, open_set([call(1)], false));
    assert!(!world.collectors[0].named("a").is_synced);
    world.say(1, open_set([call(2)], false));
    assert_eq!(world.open(0, "a"), [1, 2]);
    assert!(!world.collectors[0].named("a").is_synced);
    world.say(1, open_set([], true));
    assert!(world.collectors[0].named("a").is_synced);
    assert_eq!(world.collectors[0].log("a"), ["set +1", "set +2", "SET"]);
}

#[test]
fn what_is_over_before_there_is_room_is_never_sent() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.room(0, 0);
    world.say(1, batch(1, vec![call(2), call(3)], &[]));
    world.say(1, batch(2, vec![call(4)], &[1, 2]));
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "batch -1 +3 +4"]);
}

#[test]
fn a_span_that_comes_again_under_its_id_has_ended_first() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.room(0, 0);
    world.say(1, batch(1, vec![of_role(1, Role::Structural)], &[1]));
    world.say(1, batch(2, vec![of_role(1, Role::Structural)], &[1]));
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "batch -1 +1"]);
}

#[test]
fn ages_go_on_in_the_relay() {
    let mut world = World::new(1);
    world.room(0, 0);
    world.connect(1, "a");
    let old = Started {
        age_ns: 5_000_000_000,
        ..call(1)
    };
    world.say(1, open_set([old], true));
    world.now += Duration::from_millis(250);
    world.room(0, usize::MAX);
    let open = &world.collectors[0].named("a").open;
    assert_eq!(open[&1].age_ns, 5_250_000_000, "older than the relay itself");
}

#[test]
fn a_span_is_passed_on_as_it_is() {
    let mut world = World::new(1);
    let full = Started {
        span_id: 9,
        trace_id: vec![7; 16],
        parent_span_id: 3,
        parent_is_remote: true,
        role: Role::Hold.into(),
        name: "name".into(),
        resources: vec!["a".into(), "b".into()],
        capacity: 4,
        units: 2,
        target: "target".into(),
        timeout_ms: 5000,
        detached: true,
        task_span_id: 8,
        conversation_id: "c".into(),
        ..Started::default()
    };
    world.connect(1, "a");
    world.say(1, open_set([full.clone()], true));
    assert_eq!(world.collectors[0].named("a").open[&9], full);
}

#[test]
fn an_answer_follows_everything_said_before_the_question_was_answered() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.room(0, 0);
    world.probe(0, 1, 77);
    world.say(1, batch(1, vec![call(2)], &[1]));
    let number = world.probes(1)[0];
    world.say(1, answer(number, vec![1]));
    world.say(1, batch(2, vec![call(3)], &[]));
    world.room(0, usize::MAX);
    assert_eq!(
        world.collectors[0].log("a"),
        ["SET +1", "batch -1 +2", "answer 77", "batch +3"]
    );
    assert_eq!(world.collectors[0].named("a").answers[0].not_open, [1]);
}

#[test]
fn an_answer_waits_for_an_open_set_that_is_under_way() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.probe(0, 1, 77);
    world.room(0, 0);
    world.ask(0, 1, resync());
    world.say(1, batch(1, vec![call(2)], &[]));
    world.say(1, answer(world.probes(1)[0], vec![]));
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "SET +1 +2", "answer 77"]);
}

#[test]
fn probes_of_different_upstreams_are_told_apart() {
    let mut world = World::new(2);
    world.instance(1, "a", &[1]);
    world.probe(0, 1, 5);
    world.probe(1, 1, 5);
    let [first, second] = world.probes(1)[..] else {
        panic!("both are passed on")
    };
    assert_ne!(first, second);
    world.say(1, answer(second, vec![2]));
    world.say(1, answer(first, vec![1]));
    world.say(1, answer(first, vec![9]));
    let answers = |world: &World, upstream: usize| -> Vec<(u64, Vec<u64>)> {
        let heard = world.collectors[upstream].named("a").answers.iter();
        heard.map(|it| (it.probe_id, it.not_open.clone())).collect()
    };
    assert_eq!(answers(&world, 0), [(5, vec![1])]);
    assert_eq!(answers(&world, 1), [(5, vec![2])]);
}

#[test]
fn heartbeats_and_losses_are_passed_on_at_once() {
    let mut world = World::new(2);
    world.instance(1, "a", &[]);
    world.say(1, heartbeat(3));
    for collector in &world.collectors {
        let heard: Vec<u64> = collector
            .named("a")
            .heartbeats
            .iter()
            .map(|it| it.events_lost)
            .collect();
        assert_eq!(heard, [3]);
    }
}

#[test]
fn instances_are_asked_for_the_most_frequent_heartbeat_that_anyone_wants() {
    let mut world = World::new(2);
    world.connect(1, "a");
    let welcome = |heartbeat_ms| {
        to_relay::Message::Welcome(standoff_protocol::stream::RelayWelcome {
            protocol_version: 1,
            heartbeat_ms,
        })
    };
    for wanted in [5000, 300, 400] {
        world.tell(0, 0, welcome(wanted));
    }
    world.connect(2, "b");
    let asked = |world: &World, connection| -> Vec<u32> {
        let told = world.told[&ConnectionId(connection)].iter();
        told.filter_map(|it| match it {
            from_collector::Message::Welcome(welcome) => Some(welcome.heartbeat_ms),
            from_collector::Message::Probe(_) | from_collector::Message::ResyncRequest(_) => None,
        })
        .collect()
    };
    assert_eq!(asked(&world, 1), [1000, 300]);
    assert_eq!(asked(&world, 2), [300]);
}

#[test]
fn a_long_set_keeps_nobody_else_waiting() {
    let mut world = World::new(1);
    world.unlink(0);
    let many: Vec<u64> = (1..=5000).collect();
    world.connect(1, "a");
    for part in many.chunks(500) {
        world.say(1, open_set(part.iter().copied().map(call), false));
    }
    world.say(1, open_set([], true));
    world.instance(2, "b", &[7]);
    world.link(0);
    world.unlink(0);
    world.collectors[0].room = 0;
    world.collectors[0].is_linked = true;
    world.step(Input::UpstreamConnected {
        upstream: UpstreamId(0),
    });
    world.collectors[0].channels.clear();
    world.collectors[0].has_heard = false;
    // The relay's hello, the hellos of both, and a part of each.
    world.room(0, 5);
    assert_eq!(world.open(0, "b"), [7]);
    assert!(world.open(0, "a").len() < 5000);
}

#[test]
fn a_message_has_as_many_spans_as_is_allowed() {
    let mut world = World::new(1);
    let many: Vec<u64> = (1..=1500).collect();
    world.instance(1, "a", &many[..500]);
    world.room(0, 0);
    for (index, part) in many[500..].chunks(500).enumerate() {
        let ended = &many[index * 300..][..200];
        world.say(
            1,
            batch(index as u64 + 1, part.iter().copied().map(call).collect(), ended),
        );
    }
    world.room(0, usize::MAX);
    let parts = world.collectors[0].log("a");
    let sizes: Vec<usize> = parts.iter().map(|it| it.matches(['+', '-']).count()).collect();
    assert_eq!(sizes.iter().max(), Some(&512), "{sizes:?}");
    assert_eq!(world.open(0, "a").len(), 1100);
}

#[test]
fn the_relay_beats_itself() {
    let mut world = World::new(1);
    world.pass(Duration::from_millis(3500));
    assert_eq!(world.collectors[0].relay_heartbeats, 3);
}
