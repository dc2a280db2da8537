//! When spans open and end.

use super::*;

#[test]
fn a_source_comes_before_what_it_says() {
    let mut world = World::new();
    let start = world.started(3, seconds(2));
    assert_eq!(world.take(starts(start)), ["1 is a/a-1", "1: +3 2s"]);
    assert_eq!(world.take(ends(3)), ["1: -3 error"]);
    assert_eq!(world.sources.sources().collect::<Vec<_>>(), [SourceNo(1)]);
}

#[test]
fn the_end_of_a_span_that_nobody_knew_is_passed_on_with_its_place() {
    let mut world = world();
    let mut handle = finished(4, 5, Role::Handle);
    handle.parent_is_remote = true;
    handle.conversation_id = Some("c".into());
    let structural = finished(6, 7, Role::Structural);
    assert_eq!(
        world.take(batch(vec![handle, structural], vec![])),
        ["1: .4 handle under remote 5 of c, .6 structural under 7"]
    );
    let stopped = finished(8, 0, Role::Structural);
    assert!(world.take(batch(vec![stopped], vec![])).is_empty(), "it tells nothing");
    assert_eq!(
        world.take(starts(world.started(8, seconds(0)))),
        [""; 0],
        "but it has ended"
    );
}

#[test]
fn ends_come_before_starts() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(1))));
    let next = world.started(4, seconds(0));
    assert_eq!(
        world.take(batch(vec![finished(3, 0, Role::Call)], vec![next])),
        ["1: -3 error, +4 0s"]
    );
}

#[test]
fn an_age_that_makes_no_sense_counts_as_none() {
    let mut world = world();
    let mut of_the_future = world.started(1, seconds(0));
    of_the_future.start_time_unix_nano += 1;
    let mut unsaid = world.started(2, seconds(0));
    unsaid.start_time_unix_nano = 0;
    let too_old = world.started(3, TIMES.max_open + Duration::from_nanos(1));
    let old = world.started(4, TIMES.max_open - seconds(1));
    let said = world.take(batch(vec![], vec![of_the_future, unsaid, too_old, old]));
    assert_eq!(said, ["1: +1 0s, +2 0s, +3 0s, +4 599s"]);
}

#[test]
fn a_start_again_changes_nothing() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(1))));
    assert!(world.take(starts(world.started(3, seconds(2)))).is_empty());
    assert_eq!(world.sources.counts().open, 1);
    assert!(world.wait(TIMES.max_open - seconds(2)).is_empty());
    assert_eq!(
        world.wait(seconds(1)),
        ["1: -3 expired", "1 left"],
        "as old as the first start said"
    );
}

#[test]
fn a_span_ends_at_its_timeout() {
    let mut world = world();
    world.take(starts(world.with_timeout(3, seconds(2), 5000)));
    assert_eq!(world.sources.next_expiry(), Some(world.now + seconds(3)));
    assert!(world.wait(Duration::from_millis(2999)).is_empty());
    assert_eq!(world.wait(Duration::from_millis(1)), ["1: -3 timeout"]);
    assert!(world.take(starts(world.with_timeout(3, seconds(6), 5000))).is_empty());
    assert_eq!(world.take(ends(3)), ["1: .3 call under 99"], "its real end");
    let counts = world.sources.counts();
    assert_eq!((counts.open, counts.ended_by_timeout, counts.late_starts), (0, 1, 1));
}

#[test]
fn a_span_that_is_past_its_timeout_when_it_is_heard_of_is_not_open() {
    let mut world = world();
    let mut start = world.with_timeout(3, seconds(5), 5000);
    start.span.parent_span_id = 2;
    assert_eq!(world.take(starts(start)), ["1: .3 call under 2"]);
    assert!(world.take(starts(world.started(3, seconds(5)))).is_empty());
    assert_eq!(world.sources.counts().ended_by_timeout, 1);
}

#[test]
fn a_span_may_be_older_than_the_receiver() {
    let mut world = World::new();
    world.now = seconds(2);
    let (gives_up, has_given_up) = (
        world.with_timeout(3, seconds(5), 6000),
        world.with_timeout(4, seconds(5), 4000),
    );
    let old = world.started(5, seconds(590));
    let said = world.take(batch(vec![], vec![gives_up, has_given_up, old]));
    assert_eq!(said, ["1 is a/a-1", "1: .4 call under 0, +3 5s, +5 590s"]);
    assert_eq!(world.wait(seconds(1)), ["1: -3 timeout"]);
    assert_eq!(world.wait(seconds(9)), ["1: -5 expired"]);
}

#[test]
fn a_span_is_believed_for_so_long() {
    let mut world = world();
    // A timeout beyond that changes nothing.
    world.take(starts(world.with_timeout(3, seconds(0), 3_600_000)));
    assert!(world.wait(TIMES.max_open - Duration::from_nanos(1)).is_empty());
    assert_eq!(world.wait(Duration::from_nanos(1)), ["1: -3 expired", "1 left"]);
    let counts = world.sources.counts();
    assert_eq!((counts.ended_by_max_open, counts.ended_by_timeout), (1, 0));
    assert_eq!(
        world.take(starts(world.started(3, seconds(0)))),
        ["2 is a/a-1"],
        "as far as anybody knows it has ended"
    );
}

#[test]
fn a_member_is_believed_while_its_source_is_heard_of() {
    let mut world = world();
    let mut member = world.started(3, seconds(1));
    member.span.role = Role::Member.into();
    world.take(starts(member));
    for id in 10..20 {
        assert!(world.wait(TIMES.max_open - seconds(2)).is_empty());
        world.take(ends(id));
    }
    assert!(world.wait(TIMES.max_open - seconds(1)).is_empty());
    assert_eq!(world.wait(seconds(1)), ["1: -3 expired", "1 left"]);
    assert_eq!(world.sources.counts().ended_by_max_open, 1);
}

#[test]
fn heartbeats_keep_a_span_open_until_three_are_missed() {
    let mut world = world();
    world.take(starts(world.heartbeat(3, seconds(5))));
    // For longer than any other span is believed.
    for beat in 2..200 {
        assert!(world.wait(seconds(5)).is_empty());
        assert!(world.take(starts(world.heartbeat(3, seconds(5 * beat)))).is_empty());
    }
    assert!(world.wait(Duration::from_millis(14_999)).is_empty());
    assert_eq!(world.wait(Duration::from_millis(1)), ["1: -3 expired"]);
    assert_eq!(world.sources.counts().ended_by_missed_heartbeats, 1);
}

#[test]
fn a_span_of_which_a_heartbeat_comes_after_all_is_open_again() {
    let mut world = world();
    world.take(starts(world.heartbeat(3, seconds(0))));
    assert_eq!(world.wait(seconds(15)), ["1: -3 expired"]);
    assert_eq!(world.take(starts(world.heartbeat(3, seconds(15)))), ["1: +3 15s"]);
    world.wait(seconds(5));
    // Whoever heard that it has ended may not have believed that.
    assert_eq!(world.take(starts(world.heartbeat(3, seconds(20)))), ["1: +3 20s"]);
    assert_eq!(world.take(ends(3)), ["1: -3 error"]);
    assert!(
        world.take(starts(world.heartbeat(3, seconds(20)))).is_empty(),
        "a real end"
    );
}

#[test]
fn heartbeats_do_not_outlast_the_timeout() {
    let mut world = world();
    let mut start = world.heartbeat(3, seconds(0));
    start.span.timeout_ms = 12_000;
    world.take(starts(start.clone()));
    world.wait(seconds(10));
    assert!(world.take(starts(start)).is_empty());
    assert_eq!(world.wait(seconds(2)), ["1: -3 timeout"]);
}

#[test]
fn a_start_after_its_end_opens_nothing() {
    let mut world = world();
    assert_eq!(world.take(ends(3)), ["1: .3 call under 99"]);
    assert!(world.take(starts(world.started(3, seconds(1)))).is_empty());
    world.take(starts(world.started(4, seconds(1))));
    assert_eq!(world.take(ends(4)), ["1: -4 error"]);
    assert!(world.take(starts(world.started(4, seconds(1)))).is_empty());
    let counts = world.sources.counts();
    assert_eq!((counts.open, counts.late_starts), (0, 2));
}

#[test]
fn whoever_says_that_a_span_has_ended_is_believed() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(1))));
    let mut of_other = ends(3);
    of_other.instances = vec![instance("b", "b-1")];
    assert_eq!(world.take(of_other), ["2 is b/b-1", "1: -3 error"]);
}
