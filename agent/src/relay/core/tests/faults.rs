//! Instances, upstreams and the relay itself fail.

use super::*;
use crate::relay::core::{DEPARTED_FOR, STUCK_AFTER, WELCOME_WITHIN};
use standoff_protocol::stream::{ChannelRefused, Sight};

fn seen(world: &mut World, connection: u64, name: &str, sight: Sight) {
    let no = world
        .core
        .instances
        .find(&super::super::instances::Key::of(&hello(name)));
    world.disconnect(connection);
    world.step(Input::Seen {
        instance: no.expect("it is known"),
        sight,
    });
}

#[test]
fn a_missing_batch_is_noticed_and_what_comes_meanwhile_counts() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1, 2]);
    world.say(1, batch(2, vec![call(3)], &[1]));
    world.say(1, batch(3, vec![call(4)], &[]));
    assert_eq!(world.resyncs(1), 1);
    assert_eq!(world.open(0, "a"), [2, 3, 4]);
    world.say(1, open_set([call(4)], false));
    world.say(1, open_set([call(5)], true));
    world.say(1, batch(1, vec![call(6)], &[4]));
    assert_eq!(world.resyncs(1), 1);
    assert_eq!(world.open(0, "a"), [5, 6]);
}

#[test]
fn an_instance_that_comes_back_within_its_lease_keeps_its_channel() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1, 2]);
    world.disconnect(1);
    world.pass(LEASE / 2);
    world.connect(2, "a");
    world.say(2, open_set([call(2), call(3)], true));
    assert_eq!(
        world.collectors[0].log("a"),
        ["SET +1 +2", "batch -1 +3"],
        "only what is new is told"
    );
}

#[test]
fn an_instance_that_does_not_is_closed_when_its_lease_is_over() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.disconnect(1);
    world.pass(LEASE - Duration::from_millis(1));
    assert_eq!(world.collectors[0].log("a"), ["SET +1"]);
    world.pass(Duration::from_millis(101));
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "closed"]);
    assert_eq!(world.core.status(world.now).open_spans, 0);
    world.instance(2, "a", &[2]);
    assert_eq!(world.open(0, "a"), [2], "it begins anew");
}

#[test]
fn a_dead_process_is_told_at_once_and_a_living_one_is_looked_for_again() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    seen(&mut world, 1, "a", Sight::Alive);
    let looked = world.looked;
    world.pass(Duration::from_secs(1));
    assert!((5..=20).contains(&(world.looked - looked)), "{}", world.looked);
    seen(&mut world, 1, "a", Sight::Dead);
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "died"]);
}

#[test]
fn a_dead_process_of_an_instance_that_speaks_is_a_mistake() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.connect(2, "a");
    seen(&mut world, 1, "a", Sight::Dead);
    assert_eq!(world.open(0, "a"), [1]);
}

#[test]
fn who_cannot_be_seen_is_not_looked_for_again() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    seen(&mut world, 1, "a", Sight::Unknown);
    let looked = world.looked;
    world.pass(Duration::from_secs(1));
    assert_eq!(world.looked, looked);
}

#[test]
fn a_goodbye_comes_after_how_the_spans_have_ended() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.room(0, 0);
    world.say(1, batch(1, vec![call(2)], &[1]));
    world.say(1, goodbye());
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "batch -1", "goodbye"]);
}

#[test]
fn a_newer_connection_supersedes_the_older() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.instance(2, "a", &[2]);
    assert_eq!(world.refused[&ConnectionId(1)], Refusal::Superseded);
    world.say(1, batch(1, vec![call(9)], &[]));
    world.disconnect(1);
    assert_eq!(world.open(0, "a"), [2]);
    world.pass(LEASE / 2);
    world.say(2, batch(1, vec![call(3)], &[]));
    assert_eq!(world.open(0, "a"), [2, 3]);
}

#[test]
fn a_later_incarnation_is_another_instance() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    let mut later = hello("a");
    if let Some(instance) = &mut later.instance {
        instance.incarnation = 2;
    }
    world.introduce(2, later);
    world.say(2, open_set([call(2)], true));
    let open: Vec<Vec<u64>> = world.collectors[0]
        .channels
        .values()
        .map(|it| it.open.keys().copied().collect())
        .collect();
    assert_eq!(open, [vec![1], vec![2]]);
}

#[test]
fn a_probe_that_the_instance_cannot_be_asked_is_not_answered() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.probe(0, 1, 5);
    let number = world.probes(1)[0];
    world.disconnect(1);
    world.probe(0, 1, 6);
    world.connect(2, "a");
    world.say(2, open_set([call(1)], true));
    world.say(2, answer(number, vec![]));
    assert_eq!(
        world.collectors[0].named("a").answers,
        [],
        "that was another connection"
    );
    world.probe(0, 1, 7);
    world.say(2, answer(world.probes(2)[0], vec![]));
    assert_eq!(world.collectors[0].named("a").answers.len(), 1);
}

#[test]
fn an_upstream_that_is_back_is_told_what_is_open_and_not_what_was() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.unlink(0);
    world.say(1, batch(1, vec![call(2), call(3)], &[1]));
    world.say(1, batch(2, vec![], &[2]));
    world.link(0);
    assert_eq!(world.collectors[0].log("a"), ["SET +3"]);
}

#[test]
fn an_upstream_that_was_away_hears_who_has_ended_for_good() {
    let mut world = World::new(1);
    for (connection, name) in [(1, "left"), (2, "died"), (3, "lost"), (4, "back")] {
        world.instance(connection, name, &[connection]);
    }
    world.unlink(0);
    world.say(1, goodbye());
    seen(&mut world, 2, "died", Sight::Dead);
    world.disconnect(3);
    world.say(4, goodbye());
    for _ in 0..4 {
        world.pass(LEASE / 2);
        world.say(4, heartbeat(0));
    }
    world.instance(5, "back", &[5]);
    world.link(0);
    assert_eq!(world.collectors[0].log("left"), ["goodbye"]);
    assert_eq!(world.collectors[0].log("died"), ["died"]);
    assert_eq!(world.collectors[0].log("lost"), Vec::<&str>::new());
    assert_eq!(world.collectors[0].log("back"), ["SET +5"]);
    world.unlink(0);
    world.pass(DEPARTED_FOR);
    world.link(0);
    assert_eq!(world.collectors[0].log("left"), Vec::<&str>::new());
}

#[test]
fn of_who_is_silent_an_upstream_that_is_back_hears_nothing() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.pass(LEASE + Duration::from_millis(100));
    assert_eq!(
        world.collectors[0].log("a"),
        ["SET +1"],
        "it is connected: nothing is over"
    );
    world.unlink(0);
    world.link(0);
    assert_eq!(world.collectors[0].log("a"), Vec::<&str>::new());
    world.say(1, heartbeat(0));
    assert_eq!(world.collectors[0].log("a"), ["SET +1"]);
}

#[test]
fn a_silent_instance_is_never_said_to_live() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.say(1, heartbeat(0));
    let heard = world.collectors[0].named("a").last_heard;
    world.pass(Duration::from_secs(2));
    assert_eq!(world.collectors[0].named("a").last_heard, heard);
    world.room(0, 0);
    world.say(1, heartbeat(0));
    // The upstream takes what it was offered only when it is too late.
    world.now += LEASE;
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].named("a").last_heard, heard);
}

#[test]
fn who_speaks_without_heartbeats_is_said_to_live() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.pass(Duration::from_millis(500));
    // It changes nothing, but it was said.
    world.say(1, batch(1, vec![call(1)], &[]));
    world.pass(Duration::from_millis(700));
    assert_eq!(world.collectors[0].named("a").heartbeats.len(), 1);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.collectors[0].named("a").heartbeats.len(), 1);
}

#[test]
fn an_incomplete_mirror_is_not_called_complete() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.disconnect(1);
    world.unlink(0);
    world.link(0);
    assert_eq!(world.open(0, "a"), [1]);
    assert!(
        !world.collectors[0].named("a").is_synced,
        "what it has opened since is unknown"
    );
    world.connect(2, "a");
    world.say(2, open_set([call(2)], true));
    assert!(world.collectors[0].named("a").is_synced);
    assert_eq!(world.open(0, "a"), [2]);
}

#[test]
fn a_resync_is_answered_by_the_relay() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1, 2]);
    world.ask(0, 1, resync());
    assert_eq!(world.collectors[0].log("a"), ["SET +1 +2", "SET +1 +2"]);
    assert_eq!(world.resyncs(1), 0);
}

#[test]
fn a_refused_channel_is_begun_anew_when_the_instance_is_heard_of_but_not_at_once() {
    let mut world = World::new(2);
    world.instance(1, "a", &[1]);
    let refused = || {
        to_relay::Message::Refused(ChannelRefused {
            code: 10,
            message: "forgotten".into(),
        })
    };
    let old = world.collectors[0].number("a");
    world.tell(0, old, refused());
    world.collectors[0].channels.clear();
    world.say(1, heartbeat(0));
    assert!(world.collectors[0].channels.is_empty());
    world.pass(Duration::from_millis(500));
    assert!(world.collectors[0].channels.is_empty(), "nothing was heard of it");
    world.say(1, batch(1, vec![call(2)], &[]));
    assert_eq!(world.collectors[0].log("a"), ["SET +1 +2"]);
    assert_ne!(world.collectors[0].number("a"), old);
    assert_eq!(world.open(1, "a"), [1, 2], "the other is not concerned");
}

#[test]
fn a_relay_that_was_stopped_ends_no_lease() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.instance(2, "b", &[2]);
    world.disconnect(1);
    world.pass(Duration::from_secs(1));
    world.now += Duration::from_secs(60);
    world.step(Input::Tick);
    assert_eq!(world.collectors[0].log("a"), ["SET +1"]);
    assert_eq!(world.hung_up, []);
    world.connect(3, "a");
    world.say(3, open_set([call(1)], true));
    world.say(2, batch(1, vec![], &[2]));
    assert_eq!(world.open(0, "a"), [1]);
    assert_eq!(world.open(0, "b"), Vec::<u64>::new());
}

#[test]
fn an_upstream_that_takes_nothing_is_hung_up_on_and_holds_up_nobody() {
    let mut world = World::new(2);
    world.instance(1, "a", &[1]);
    world.room(0, 0);
    let mut sequence = 0;
    let mut passed = Duration::ZERO;
    while passed < STUCK_AFTER - Duration::from_millis(200) {
        sequence += 1;
        world.say(1, batch(sequence, vec![call(sequence + 1)], &[sequence]));
        assert_eq!(world.open(1, "a"), [sequence + 1]);
        world.pass(Duration::from_millis(100));
        passed += Duration::from_millis(100);
    }
    assert_eq!(world.hung_up, []);
    world.pass(Duration::from_millis(400));
    assert_eq!(world.hung_up, [UpstreamId(0)]);
    world.link(0);
    assert_eq!(world.open(0, "a"), [sequence + 1]);
}

#[test]
fn an_upstream_that_does_not_say_welcome_is_hung_up_on() {
    let mut world = World::new(1);
    world.collectors[0].has_heard = false;
    world.step(Input::UpstreamConnected {
        upstream: UpstreamId(0),
    });
    world.pass(WELCOME_WITHIN - Duration::from_millis(1));
    assert_eq!(world.hung_up, []);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.hung_up, [UpstreamId(0)]);
}

#[test]
fn a_relay_that_ends_says_what_it_knows_and_that_instances_live_on() {
    let mut world = World::new(2);
    world.instance(1, "a", &[1]);
    world.unlink(1);
    world.room(0, 0);
    world.say(1, batch(1, vec![call(2)], &[1]));
    world.step(Input::Leave);
    assert!(!world.core.has_left(UpstreamId(0)));
    assert!(world.core.has_left(UpstreamId(1)), "it is not there");
    assert_eq!(world.refused[&ConnectionId(1)], Refusal::ShuttingDown);
    world.room(0, usize::MAX);
    assert!(world.core.has_left(UpstreamId(0)));
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "batch -1 +2", "closed"]);
    world.connect(2, "b");
    assert_eq!(world.refused[&ConnectionId(2)], Refusal::ShuttingDown);
}
