//! Instances that cannot be asked, of which collectors know only what they are told.

use super::*;
use crate::relay::core::endings::ENDED_FOR;
use proptest::prelude::*;
use standoff_protocol::stream::{ENDED_PER_MESSAGE_MAX, Ended, Loss, LossCause};

fn source(name: &str) -> Hello {
    let mut hello = hello(name);
    hello.cannot_be_asked = true;
    if let Some(instance) = &mut hello.instance {
        instance.process = None;
    }
    hello
}

fn ended(span_id: u64) -> Ended {
    Ended {
        span_id,
        parent_span_id: span_id + 1000,
        parent_is_remote: true,
        role: Role::Handle.into(),
        conversation_id: String::new(),
    }
}

fn told(sequence: u64, started: Vec<Started>, finished_ids: &[u64], ended_ids: &[u64]) -> from_instance::Message {
    from_instance::Message::Batch(Batch {
        sequence,
        started,
        finished: finished_ids.iter().copied().map(finished).collect(),
        ended: ended_ids.iter().copied().map(ended).collect(),
    })
}

impl World {
    fn source(&mut self, connection: u64, name: &str) {
        self.introduce(connection, source(name));
        self.say(connection, open_set([], true));
    }

    fn ended(&self, upstream: usize, name: &str) -> Vec<u64> {
        let heard = self.collectors[upstream].named(name).ended.iter();
        heard.map(|it| it.span_id).collect()
    }

    /// What a collector was last told to be lost of an instance's ended spans.
    fn ended_lost(&self, upstream: usize, name: &str) -> u64 {
        let heard = self.collectors[upstream].named(name).heartbeats.last();
        let losses = heard.map(|it| it.losses.as_slice()).unwrap_or_default();
        let of_ended = losses.iter().filter(|it| it.cause() == LossCause::RelayEnded);
        of_ended.map(|it| it.events).sum()
    }
}

#[test]
fn its_hello_is_passed_on_as_it_is() {
    let mut world = World::new(1);
    world.source(1, "a");
    assert_eq!(world.collectors[0].named("a").hello, source("a"));
    assert!(world.core.status(world.now).instances[0].cannot_be_asked);
}

#[test]
fn what_has_ended_comes_after_finishes_and_before_what_starts_later() {
    let mut world = World::new(2);
    world.source(1, "a");
    world.say(1, told(1, vec![call(1)], &[], &[7]));
    world.room(0, 0);
    world.say(1, told(2, vec![call(2)], &[], &[8]));
    world.say(1, told(3, vec![call(3)], &[1], &[9]));
    world.room(0, usize::MAX);
    assert_eq!(
        world.collectors[0].log("a"),
        ["SET", "batch ~7 +1", "batch -1 ~8 ~9 ~1 +2 +3"]
    );
    assert_eq!(world.collectors[0].named("a").ended[0], ended(7), "all that was said");
    assert_eq!(world.ended(1, "a"), [7, 8, 9, 1]);
}

#[test]
fn no_start_overtakes_what_had_ended_before() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.room(0, 0);
    let many: Vec<u64> = (100..100 + 2 * ENDED_PER_MESSAGE_MAX as u64).collect();
    for (sequence, part) in many.chunks(5000).enumerate() {
        world.say(1, told(sequence as u64 + 1, vec![], &[], part));
    }
    world.say(1, told(9, vec![call(1)], &[], &[]));
    let mut messages = 0;
    while world.collectors[0].named("a").open.is_empty() {
        assert!(messages < 3, "what has ended takes two messages");
        world.room(0, 1);
        messages += 1;
    }
    assert_eq!(world.ended(0, "a"), many);
}

#[test]
fn a_flood_of_ends_keeps_no_start_waiting_for_ever() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.room(0, 0);
    world.say(1, told(1, vec![call(1)], &[], &[100]));
    let part: Vec<u64> = (1000..1000 + ENDED_PER_MESSAGE_MAX as u64).collect();
    for sequence in 2..6 {
        world.say(1, told(sequence, vec![], &[], &part));
        world.say(1, told(sequence, vec![], &[], &part));
        // Twice as much comes as goes.
        world.room(0, 1);
    }
    assert_eq!(world.open(0, "a"), [1]);
}

/// A collector could only learn from an answer that the handler has been there, and nobody answers.
#[test]
fn what_is_over_before_there_is_room_is_told_as_ended() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.room(0, 0);
    let handle = Started {
        parent_span_id: 5,
        parent_is_remote: true,
        conversation_id: "c".into(),
        ..of_role(1, Role::Handle)
    };
    world.say(1, told(1, vec![handle], &[], &[]));
    world.say(1, told(2, vec![], &[1], &[]));
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].log("a"), ["SET", "batch ~1"]);
    let expected = Ended {
        span_id: 1,
        parent_span_id: 5,
        parent_is_remote: true,
        role: Role::Handle.into(),
        conversation_id: "c".into(),
    };
    assert_eq!(world.collectors[0].named("a").ended, [expected]);
}

#[test]
fn what_has_expired_may_be_open_again_and_is_said_as_often_as_the_source_says_it() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.say(1, told(1, vec![call(1)], &[], &[]));
    let expired = Finished {
        span_id: 1,
        outcome: Outcome::Expired.into(),
    };
    let batch = Batch {
        sequence: 2,
        finished: vec![expired],
        ..Batch::default()
    };
    world.say(1, from_instance::Message::Batch(batch));
    world.say(1, told(3, vec![call(1)], &[], &[]));
    world.say(1, told(4, vec![call(1)], &[], &[]));
    assert_eq!(
        world.collectors[0].log("a"),
        ["SET", "batch +1", "batch -1", "batch +1", "batch +1"],
        "nothing is said of it that would be believed for longer"
    );
}

#[test]
fn an_upstream_that_is_back_is_told_what_has_ended_meanwhile_after_what_is_open() {
    let mut world = World::new(2);
    world.source(1, "a");
    world.say(1, told(1, vec![call(1), call(2)], &[], &[7]));
    world.unlink(0);
    world.say(1, told(2, vec![], &[2], &[8]));
    world.link(0);
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "batch ~7 ~8 ~2"]);
    assert_eq!(world.ended(1, "a"), [7, 8, 2], "the other is told nothing twice");
    assert_eq!(world.ended_lost(0, "a"), 0);
}

#[test]
fn an_upstream_that_has_lost_track_is_told_again() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.say(1, told(1, vec![call(1)], &[], &[7]));
    world.ask(0, 1, resync());
    assert_eq!(
        world.collectors[0].log("a"),
        ["SET", "batch ~7 +1", "SET +1", "batch ~7"]
    );
    assert_eq!(world.resyncs(1), 0);
}

#[test]
fn what_has_ended_long_ago_is_forgotten_and_not_lost() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.unlink(0);
    world.say(1, told(1, vec![], &[], &[7]));
    for _ in 0..ENDED_FOR.as_secs() - 1 {
        world.pass(HEARTBEAT);
        world.say(1, heartbeat(0));
    }
    world.say(1, told(2, vec![], &[], &[8]));
    for _ in 0..2 {
        world.pass(HEARTBEAT);
        world.say(1, heartbeat(0));
    }
    world.link(0);
    world.say(1, heartbeat(0));
    assert_eq!(world.ended(0, "a"), [8]);
    assert_eq!(world.ended_lost(0, "a"), 0);
    assert_eq!(world.core.status(world.now).ended_kept, 1);
}

#[test]
fn what_finds_no_room_is_counted_for_whom_it_was_not_told() {
    let limits = Limits {
        ended_per_instance: 3,
        ended: 5,
        ..Limits::default()
    };
    let mut world = World::with_limits(2, limits);
    world.source(1, "a");
    world.room(0, 0);
    world.say(1, told(1, vec![], &[], &[1, 2]));
    world.say(1, told(2, vec![], &[], &[3, 4, 5]));
    world.say(1, heartbeat(0));
    world.room(0, usize::MAX);
    assert_eq!(world.ended(0, "a"), [3, 4, 5], "the newest are kept");
    assert_eq!((world.ended_lost(0, "a"), world.ended_lost(1, "a")), (2, 0));
    assert_eq!(world.ended(1, "a"), [1, 2, 3, 4, 5]);
    let heard = world.collectors[0].named("a").heartbeats.last().unwrap();
    assert_eq!(heard.events_lost, 2);
    // There is room for five in all, and nobody has to make room for another: it is its own first that is forgotten, also
    // for those who would have been told at once.
    world.source(2, "b");
    world.unlink(0);
    world.say(2, told(1, vec![], &[], &[11, 12, 13]));
    world.link(0);
    assert_eq!(world.ended(0, "b"), [12, 13]);
    assert_eq!(world.ended(0, "a"), [3, 4, 5]);
    let status = world.core.status(world.now);
    assert_eq!(status.ended_kept, 5);
    assert_eq!(
        (
            status.upstreams[0].counts.ended_dropped,
            status.upstreams[1].counts.ended_dropped
        ),
        (3, 1)
    );
    world.say(1, goodbye());
    world.say(2, goodbye());
    assert_eq!(world.core.kept, super::super::mirror::Kept::default());
}

#[test]
fn texts_are_limited_too_and_messages_stay_small() {
    let limits = Limits {
        ended_text_bytes: 2_000_000,
        ..Limits::default()
    };
    let mut world = World::with_limits(1, limits);
    world.source(1, "a");
    world.room(0, 0);
    let long = |span_id| Ended {
        conversation_id: "x".repeat(1000),
        ..ended(span_id)
    };
    for part in 0..3 {
        let ended = (1..=1000).map(|number| long(part * 1000 + number)).collect();
        let batch = Batch {
            sequence: part + 1,
            ended,
            ..Batch::default()
        };
        world.say(1, from_instance::Message::Batch(batch));
    }
    world.room(0, usize::MAX);
    assert_eq!(world.ended(0, "a"), (1001..=3000).collect::<Vec<u64>>());
    let most = world.collectors[0]
        .log("a")
        .iter()
        .map(|it| it.matches('~').count())
        .max();
    assert!(most < Some(300), "256 KiB in a message, and one more: {most:?}");
}

#[test]
fn it_is_never_asked_for_anything() {
    let limits = Limits {
        spans_per_instance: 1,
        ..Limits::default()
    };
    let mut world = World::with_limits(1, limits);
    world.source(1, "a");
    world.say(1, told(1, vec![call(1), call(2)], &[], &[]));
    world.probe(0, 1, 5);
    // A batch is missing, and there is room again for what was dropped.
    world.say(1, told(3, vec![], &[1], &[]));
    for sequence in 4..14 {
        world.pass(HEARTBEAT);
        world.say(1, told(sequence, vec![], &[], &[]));
    }
    assert_eq!((world.probes(1).len(), world.resyncs(1)), (0, 0));
    let status = world.core.status(world.now);
    assert_eq!(status.upstreams[0].counts.probes_dropped, 1);
    assert_eq!(status.gaps_total, 1);
    world.unlink(0);
    world.link(0);
    assert!(
        world.collectors[0].named("a").is_synced,
        "what it has said is all there is"
    );
}

#[test]
fn its_lease_is_kept_by_heartbeats_and_no_process_is_looked_for() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.say(1, told(1, vec![call(1)], &[], &[]));
    for _ in 0..10 {
        world.pass(HEARTBEAT);
        world.say(1, heartbeat(0));
    }
    assert!(world.collectors[0].named("a").heartbeats.len() >= 10);
    world.disconnect(1);
    world.pass(LEASE + HEARTBEAT);
    assert_eq!(world.looked, 0);
    assert_eq!(world.collectors[0].log("a").last(), Some(&"closed"));
}

#[test]
fn a_sign_of_life_says_that_there_is_nothing_else_to_say() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.room(0, 0);
    let many: Vec<u64> = (100..100 + ENDED_PER_MESSAGE_MAX as u64).collect();
    world.say(1, told(1, vec![call(1)], &[], &many));
    world.say(1, heartbeat(0));
    world.say(1, told(2, vec![], &[1], &many));
    world.room(0, 2);
    assert_eq!(world.collectors[0].named("a").heartbeats.len(), 0);
    world.room(0, usize::MAX);
    assert_eq!(world.collectors[0].named("a").heartbeats.len(), 1);
    let heard = world.collectors[0].named("a");
    assert_eq!(heard.ended.len(), 2 * many.len() + 1);
}

/// A pool that seems smaller because nobody speaks of it would invent a deadlock.
#[test]
fn a_member_that_has_expired_is_a_member_until_its_end_is_heard_of() {
    let expired = |sequence, span_id| {
        let outcome = Outcome::Expired.into();
        from_instance::Message::Batch(Batch {
            sequence,
            finished: vec![Finished { span_id, outcome }],
            ..Batch::default()
        })
    };
    let members = || vec![of_role(1, Role::Member), of_role(2, Role::Member)];
    let mut world = World::new(1);
    world.source(1, "a");
    world.say(1, told(1, members(), &[], &[]));
    world.say(1, expired(2, 1));
    world.say(1, expired(3, 2));
    assert_eq!(world.open(0, "a"), [1, 2]);
    world.say(1, told(4, vec![], &[], &[1]));
    assert_eq!(world.open(0, "a"), [2]);
    world.unlink(0);
    world.link(0);
    assert_eq!(world.open(0, "a"), [2]);
    world.say(1, goodbye());
    assert_eq!(
        world.collectors[0].log("a").last(),
        Some(&"closed"),
        "nobody knows more"
    );
    world.source(2, "b");
    world.say(2, goodbye());
    assert_eq!(world.collectors[0].log("b").last(), Some(&"goodbye"));
}

#[test]
fn what_belongs_to_no_instance_is_in_the_relays_own_heartbeat() {
    let mut world = World::new(1);
    let losses = vec![Loss {
        cause: LossCause::OtlpRequests.into(),
        events: 3,
    }];
    world.step(Input::Lost { losses: losses.clone() });
    world.pass(HEARTBEAT);
    assert_eq!(world.collectors[0].relay_losses, losses);
}

#[test]
fn who_can_be_asked_has_no_say_in_what_else_has_ended() {
    let mut world = World::new(1);
    world.instance(1, "a", &[1]);
    world.say(1, told(1, vec![call(2)], &[1], &[7]));
    assert_eq!(world.collectors[0].log("a"), ["SET +1", "batch -1 +2"]);
    assert_eq!(world.core.status(world.now).ended_total, 0);
}

#[test]
fn ended_spans_that_break_the_protocol_end_the_connection() {
    let mut world = World::new(1);
    world.source(1, "a");
    world.say(1, told(1, vec![], &[], &[0]));
    assert!(matches!(world.refused[&ConnectionId(1)], Refusal::Malformed(_)));
}

#[derive(Clone, Debug)]
enum Act {
    /// A span starts, the span with this place among the open ends, and another starts and ends.
    Say(Option<usize>),
    Room(usize),
    Relink,
    Resync,
    Pass(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => prop::option::of(0..20usize).prop_map(Act::Say),
        4 => (0..3usize).prop_map(Act::Room),
        1 => Just(Act::Relink),
        1 => Just(Act::Resync),
        2 => (1..900u64).prop_map(Act::Pass),
    ]
}

proptest! {
    /// Whatever a collector takes to be open, it has been told before of all that had ended when that began.
    #[test]
    fn in_the_end_a_collector_knows_what_is_open_and_all_that_has_ended(acts in prop::collection::vec(act(), 1..100)) {
        let mut world = World::new(1);
        world.source(1, "a");
        let (mut last, mut sequence, mut open, mut over) = (0, 0, Vec::new(), BTreeMap::new());
        for act in acts {
            match act {
                Act::Say(end) => {
                    let gone = end.filter(|nth| *nth < open.len()).map(|nth| open.swap_remove(nth));
                    (last, sequence) = (last + 2, sequence + 1);
                    over.extend(gone.iter().chain([&last]).map(|id| (*id, last)));
                    open.push(last + 1);
                    world.say(1, told(sequence, vec![call(last + 1)], gone.as_slice(), &[last]));
                }
                Act::Room(messages) => world.room(0, messages),
                Act::Relink => {
                    world.unlink(0);
                    world.link(0);
                }
                Act::Resync => {
                    if let Some(channel) = world.collectors[0].channels.keys().next().copied() {
                        world.ask(0, channel, resync());
                    }
                }
                Act::Pass(ms) => {
                    world.pass(Duration::from_millis(ms));
                    world.say(1, heartbeat(0));
                }
            }
            if !world.collectors[0].is_linked {
                world.link(0);
            }
            if let Some(heard) = world.collectors[0].channels.values().find(|it| it.is_synced && it.set.is_none()) {
                let known: BTreeSet<u64> = heard.ended.iter().map(|it| it.span_id).collect();
                for started in heard.open_in_batches.iter().filter(|id| heard.open.contains_key(id)) {
                    for (gone, at) in over.iter().filter(|(_, at)| **at < *started) {
                        prop_assert!(known.contains(gone), "{gone} had ended at {at}, before {started} began");
                    }
                }
            }
        }
        world.room(0, usize::MAX);
        open.sort_unstable();
        prop_assert_eq!(world.open(0, "a"), open);
        let known: BTreeSet<u64> = world.ended(0, "a").into_iter().collect();
        prop_assert_eq!(known, over.into_keys().collect::<BTreeSet<u64>>());
        prop_assert_eq!(world.ended_lost(0, "a"), 0);
    }
}
