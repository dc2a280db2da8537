//! Nothing grows without a limit, and what is dropped is counted.

use super::*;
use crate::relay::core::ASK_AGAIN_EVERY;
use crate::relay::core::channel::PROBES_PER_CHANNEL_MAX;
use standoff_protocol::stream::LossCause;

fn small() -> Limits {
    Limits {
        instances: 2,
        spans_per_instance: 4,
        spans: 6,
        members_per_instance_more: 1,
        members_more: 1,
        ..Limits::default()
    }
}

fn lost(world: &World, name: &str) -> (u64, Vec<(i32, u64)>) {
    let heard = world.collectors[0].named(name).heartbeats.last().expect("a heartbeat");
    let losses = heard.losses.iter().map(|it| (it.cause, it.events));
    (heard.events_lost, losses.collect())
}

#[test]
fn starts_beyond_the_limits_are_dropped_and_counted() {
    let mut world = World::with_limits(1, small());
    world.instance(1, "a", &[1, 2, 3, 4, 5]);
    world.say(1, heartbeat(2));
    assert_eq!(world.open(0, "a"), [1, 2, 3, 4]);
    assert_eq!(lost(&world, "a"), (3, vec![(LossCause::RelaySpans.into(), 1)]));
    world.instance(2, "b", &[11, 12, 13]);
    assert_eq!(world.open(0, "b"), [11, 12], "six in all");
    assert_eq!(world.core.status(world.now).dropped_total, 2);
    world.say(1, goodbye());
    assert_eq!(world.core.status(world.now).dropped_total, 2, "of who is gone too");
}

#[test]
fn members_have_room_of_their_own() {
    let mut world = World::with_limits(1, small());
    world.instance(1, "a", &[1, 2, 3, 4]);
    let members = vec![of_role(5, Role::Member), of_role(6, Role::Member)];
    world.say(1, batch(1, members, &[]));
    assert_eq!(world.open(0, "a"), [1, 2, 3, 4, 5]);
}

#[test]
fn memory_is_limited_in_bytes_too() {
    let limits = Limits {
        bytes: 3000,
        ..Limits::default()
    };
    let mut world = World::with_limits(1, limits);
    world.connect(1, "a");
    let long = |id| Started {
        name: "x".repeat(1000),
        ..call(id)
    };
    world.say(1, open_set([long(1), long(2), long(3)], true));
    assert_eq!(world.open(0, "a"), [1, 2]);
    let status = world.core.status(world.now);
    assert!(status.open_bytes <= 3000);
    world.say(1, batch(1, vec![], &[1, 2]));
    assert_eq!(world.core.status(world.now).open_bytes, 0);
}

#[test]
fn an_instance_too_many_is_refused_and_counted() {
    let mut world = World::with_limits(1, small());
    for (connection, name) in [(1, "a"), (2, "b"), (3, "c")] {
        world.instance(connection, name, &[]);
    }
    assert_eq!(world.refused[&ConnectionId(3)], Refusal::TooManyInstances(2));
    world.pass(HEARTBEAT);
    assert_eq!(world.collectors[0].instances_refused, 1);
    world.say(1, goodbye());
    world.connect(4, "c");
    assert!(!world.refused.contains_key(&ConnectionId(4)));
}

#[test]
fn what_was_dropped_is_asked_for_when_there_is_room() {
    let mut world = World::with_limits(1, small());
    world.instance(1, "a", &[1, 2, 3, 4, 5]);
    let beat = |world: &mut World| {
        world.pass(HEARTBEAT);
        world.say(1, heartbeat(0));
    };
    beat(&mut world);
    assert_eq!(world.resyncs(1), 0, "there is no room");
    world.say(1, batch(1, vec![], &[1, 2]));
    beat(&mut world);
    assert_eq!(world.resyncs(1), 1);
    for _ in 0..ASK_AGAIN_EVERY.as_secs() {
        beat(&mut world);
    }
    assert_eq!(world.resyncs(1), 2, "it has not answered");
    world.say(1, open_set([call(3), call(4), call(5)], true));
    assert_eq!(world.open(0, "a"), [3, 4, 5]);
    for _ in 0..10 {
        beat(&mut world);
    }
    assert_eq!(world.resyncs(1), 2);
}

#[test]
fn who_lacks_a_link_supports_no_suspicion() {
    let mut world = World::with_limits(1, small());
    world.instance(1, "a", &[1, 2, 3, 4]);
    world.say(1, batch(1, vec![of_role(5, Role::Structural)], &[]));
    world.probe(0, 1, 7);
    world.say(1, answer(world.probes(1)[0], vec![]));
    assert_eq!(world.collectors[0].named("a").answers, []);
    world.say(1, batch(2, vec![], &[2]));
    world.say(1, open_set([call(1), of_role(5, Role::Structural)], true));
    world.probe(0, 1, 8);
    world.say(1, answer(world.probes(1)[1], vec![]));
    assert_eq!(world.collectors[0].named("a").answers.len(), 1);
}

#[test]
fn ends_beyond_the_limit_become_an_open_set() {
    let mut world = World::new(1);
    let many: Vec<u64> = (1..=70_000).collect();
    world.connect(1, "a");
    for part in many.chunks(512) {
        world.say(1, open_set(part.iter().copied().map(call), false));
    }
    world.say(1, open_set([], true));
    assert_eq!(world.open(0, "a").len(), 70_000);
    world.room(0, 0);
    for (index, part) in many[..69_990].chunks(512).enumerate() {
        world.say(1, batch(index as u64 + 1, vec![], part));
    }
    world.room(0, usize::MAX);
    assert_eq!(world.open(0, "a").len(), 10);
    assert_eq!(world.core.status(world.now).upstreams[0].counts.overflows, 1);
    assert_eq!(
        world.collectors[0].named("a").log.last().unwrap().matches('+').count(),
        10
    );
}

#[test]
fn a_queue_of_starts_forgets_what_has_ended() {
    let mut world = World::new(1);
    world.instance(1, "a", &[]);
    world.room(0, 0);
    for sequence in 1..=10_000 {
        // The same id again and again, and another.
        world.say(1, batch(sequence, vec![call(1), call(sequence + 1)], &[1, sequence]));
    }
    let channel = world.core.upstreams[0]
        .channel(world.core.instances.iter().next().unwrap().0)
        .unwrap();
    assert!(channel.due_len() < 1100, "{}", channel.due_len());
    world.room(0, usize::MAX);
    assert_eq!(world.open(0, "a"), [1, 10_001]);
}

#[test]
fn a_question_too_many_is_dropped() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    for probe in 1..=PROBES_PER_CHANNEL_MAX as u64 + 1 {
        world.probe(0, 1, probe);
    }
    let passed_on = world.probes(1);
    assert_eq!(passed_on.len(), PROBES_PER_CHANNEL_MAX + 1);
    world.room(0, 0);
    for number in passed_on {
        world.say(1, answer(number, vec![]));
    }
    world.probe(0, 1, 99);
    world.room(0, usize::MAX);
    let answered: Vec<u64> = world.collectors[0]
        .named("a")
        .answers
        .iter()
        .map(|it| it.probe_id)
        .collect();
    assert_eq!(
        answered,
        [2, 3, 4, 5],
        "the oldest was given up, and the last found no room"
    );
}

#[test]
fn what_breaks_the_protocol_is_refused() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.say(1, batch(1, vec![call(0)], &[]));
    assert_eq!(
        world.refused[&ConnectionId(1)].to_string(),
        "the message does not keep to the protocol: span 0000000000000000: a span id must not be 0"
    );
    world.say(1, batch(1, vec![call(2)], &[]));
    assert_eq!(world.open(0, "a"), [1], "nothing that still comes counts");
    let nameless = Hello {
        instance: None,
        ..hello("")
    };
    world.introduce(2, nameless);
    assert_eq!(world.refused[&ConnectionId(2)], Refusal::Nameless);
    let later = Hello {
        protocol_version: 2,
        ..hello("b")
    };
    world.introduce(3, later);
    assert_eq!(world.refused[&ConnectionId(3)], Refusal::Version(2));
    let long = hello(&"x".repeat(2000));
    world.introduce(4, long);
    assert_eq!(world.refused[&ConnectionId(4)], Refusal::NameTooLong);
}
