//! Every rule by itself, under simulated time.

use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::stream::{ENDED_PER_MESSAGE_MAX, Outcome, Role, SPANS_PER_MESSAGE_MAX, check_spans};

use super::*;
use crate::signal::{self, InstanceIx};

mod limits;
mod model;

/// When the tests begin, since 1970.
const BEGIN: Duration = Duration::from_secs(1_795_247_863);

const TIMES: Times = Times {
    max_open: Duration::from_secs(600),
    forget_after: Duration::from_secs(300),
};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Sources, and what they have said since somebody looked.
struct World {
    sources: Sources,
    now: Duration,
    said: Vec<Said>,
}

impl World {
    fn new() -> Self {
        World {
            sources: Sources::new(TIMES, 7),
            now: seconds(1000),
            said: Vec::new(),
        }
    }

    fn unix_now(&self) -> Duration {
        BEGIN + self.now
    }

    fn take(&mut self, batch: signal::Batch) -> Vec<String> {
        self.sources.take(self.now, self.unix_now(), batch, &mut self.said);
        self.heard()
    }

    fn wait(&mut self, time: Duration) -> Vec<String> {
        self.now += time;
        self.sources.expire(self.now, &mut self.said);
        self.heard()
    }

    /// What was said since the last time, in short.
    fn heard(&mut self) -> Vec<String> {
        std::mem::take(&mut self.said).into_iter().map(short).collect()
    }

    /// A span that started so long ago by its host's clock.
    fn started(&self, span_id: u64, ago: Duration) -> signal::Started {
        signal::Started {
            instance: InstanceIx(0),
            span: stream::Started {
                span_id,
                role: Role::Call.into(),
                ..stream::Started::default()
            },
            start_time_unix_nano: (self.unix_now() - ago).as_nanos() as u64,
            source: signal::Source::OpenSpan,
            code: None,
        }
    }

    fn heartbeat(&self, span_id: u64, ago: Duration) -> signal::Started {
        signal::Started {
            source: signal::Source::PartialLog { heartbeat: seconds(5) },
            ..self.started(span_id, ago)
        }
    }

    fn with_timeout(&self, span_id: u64, ago: Duration, timeout_ms: u64) -> signal::Started {
        let mut started = self.started(span_id, ago);
        started.span.timeout_ms = timeout_ms;
        started
    }
}

fn finished(span_id: u64, parent_span_id: u64, role: Role) -> signal::Finished {
    signal::Finished {
        span_id,
        trace_id: 1,
        parent_span_id,
        parent_is_remote: false,
        instance: InstanceIx(0),
        role,
        outcome: Outcome::Error,
        conversation_id: None,
    }
}

fn instance(service: &str, id: &str) -> Arc<Instance> {
    Arc::new(Instance {
        service_name: service.to_owned(),
        instance_id: id.to_owned(),
        ..Instance::default()
    })
}

fn batch(finished: Vec<signal::Finished>, started: Vec<signal::Started>) -> signal::Batch {
    signal::Batch {
        instances: vec![instance("a", "a-1")],
        finished,
        started: started.into_iter().map(Box::new).collect(),
        held: None,
    }
}

fn starts(started: signal::Started) -> signal::Batch {
    batch(vec![], vec![started])
}

fn ends(span_id: u64) -> signal::Batch {
    batch(vec![finished(span_id, 99, Role::Call)], vec![])
}

/// `1: -3 error, .4 handle under 5, +6 2s`: of source 1 span 3, which was open, has ended; span 4, which was not, too;
/// and span 6, two seconds old, is open.
fn short(said: Said) -> String {
    match said {
        Said::Came { source, hello } => {
            let instance = hello.instance.expect("a hello names an instance");
            format!("{} is {}/{}", source.0, instance.service_name, instance.instance_id)
        }
        Said::Left { source } => format!("{} left", source.0),
        Said::Batch { source, batch } => {
            assert_eq!(batch.sequence, 0);
            let outcome = |it: &stream::Finished| it.outcome().as_str_name()["OUTCOME_".len()..].to_lowercase();
            let role = |it: &Ended| it.role().as_str_name()["ROLE_".len()..].to_lowercase();
            let finished = batch
                .finished
                .iter()
                .map(|it| format!("-{} {}", it.span_id, outcome(it)));
            let ended = batch.ended.iter().map(|it| {
                let remote = if it.parent_is_remote { " remote" } else { "" };
                let conversation = if it.conversation_id.is_empty() { "" } else { " of " };
                let conversation = format!("{conversation}{}", it.conversation_id);
                format!(
                    ".{} {} under{remote} {}{conversation}",
                    it.span_id,
                    role(it),
                    it.parent_span_id
                )
            });
            let started = batch
                .started
                .iter()
                .map(|it| format!("+{} {}s", it.span_id, it.age_ns / 1_000_000_000));
            let all: Vec<String> = finished.chain(ended).chain(started).collect();
            format!("{}: {}", source.0, all.join(", "))
        }
    }
}

/// A world in which source 1 has come already.
fn world() -> World {
    let mut world = World::new();
    assert_eq!(world.take(batch(vec![], vec![])), ["1 is a/a-1"]);
    world
}

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

#[test]
fn a_source_is_forgotten_that_is_silent_and_has_nothing_open() {
    let mut world = world();
    world.wait(TIMES.forget_after - seconds(1));
    world.take(ends(1));
    assert!(
        world.wait(TIMES.forget_after - seconds(1)).is_empty(),
        "it has spoken since"
    );
    assert_eq!(world.wait(seconds(1)), ["1 left"]);
    assert_eq!(world.sources.sources().count(), 0);
    assert_eq!(
        world.take(ends(2)),
        ["2 is a/a-1", "2: .2 call under 99"],
        "under another number"
    );
}

#[test]
fn a_source_is_not_forgotten_while_it_has_something_open() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(0))));
    assert!(world.wait(TIMES.forget_after).is_empty());
    assert_eq!(
        world.wait(TIMES.max_open - TIMES.forget_after),
        ["1: -3 expired", "1 left"]
    );
    let counts = world.sources.counts();
    assert_eq!((counts.open, counts.sources), (0, 0));
}

#[test]
fn what_is_to_be_done_next_is_known() {
    let mut world = World::new();
    assert_eq!(world.sources.next_expiry(), None);
    let next = world.started(4, seconds(0));
    world.take(batch(
        vec![finished(1, 2, Role::Call)],
        vec![world.heartbeat(3, seconds(0)), next],
    ));
    let mut said = Vec::new();
    while let Some(next) = world.sources.next_expiry() {
        assert!(next > world.now, "or it would be asked for ever");
        said.extend(world.wait(next - world.now));
    }
    assert_eq!(said, ["1: -3 expired", "1: -4 expired", "1 left"]);
}

#[test]
fn a_source_that_is_not_wanted_comes_again() {
    let mut world = world();
    world.take(starts(world.started(3, seconds(1))));
    world.sources.drop_source(SourceNo(1));
    assert_eq!((world.sources.counts().open, world.sources.counts().sources), (0, 0));
    world.sources.drop_source(SourceNo(1));
    assert_eq!(
        world.take(starts(world.started(3, seconds(2)))),
        ["2 is a/a-1", "2: +3 2s"]
    );
    assert_eq!(world.wait(TIMES.max_open), ["2: -3 expired", "2 left"]);
}

#[test]
fn an_instance_says_who_it_is() {
    let hello = |instance: Instance, seed: u64| {
        let mut said = Vec::new();
        let batch = signal::Batch {
            instances: vec![Arc::new(instance)],
            ..signal::Batch::default()
        };
        Sources::new(TIMES, seed).take(seconds(0), BEGIN, batch, &mut said);
        match said.remove(0) {
            Said::Came { hello, .. } => hello,
            other @ (Said::Batch { .. } | Said::Left { .. }) => panic!("{other:?}"),
        }
    };
    let names = |service: &str, namespace: &str, id: &str| Instance {
        service_name: service.into(),
        service_namespace: namespace.into(),
        instance_id: id.into(),
        display: Vec::new(),
    };
    let said = hello(names("a", "shop", "a-1"), 1);
    assert!(said.cannot_be_asked);
    assert_eq!((said.protocol_version, said.lease_ms), (stream::PROTOCOL_VERSION, 0));
    let instance = said.instance.clone().unwrap();
    assert_eq!(instance.process, None);
    let texts = [
        &instance.service_name,
        &instance.service_namespace,
        &instance.instance_id,
    ];
    assert_eq!(texts, ["a", "shop", "a-1"]);

    let incarnation = |instance, seed| hello(instance, seed).instance.unwrap().incarnation;
    let same = Instance {
        display: vec![("k8s.pod.name".into(), "p".into())],
        ..names("a", "shop", "a-1")
    };
    assert_eq!(incarnation(same, 1), instance.incarnation);
    for other in [
        names("b", "shop", "a-1"),
        names("a", "", "a-1"),
        names("a", "shop", "a-2"),
        names("as", "hop", "a-1"),
    ] {
        assert_ne!(incarnation(other, 1), instance.incarnation);
    }
    assert_ne!(
        incarnation(names("a", "shop", "a-1"), 2),
        instance.incarnation,
        "seen by another receiver"
    );

    let id = |instance| hello(instance, 1).instance.unwrap().instance_id;
    assert_eq!(id(names("a", "shop", "")), "a");
    assert_eq!(id(names("", "", "")), "unknown_service");
    assert_eq!(id(names("a", "", &"x".repeat(3000))).len(), stream::TEXT_BYTES_MAX);
}

#[test]
fn signals_of_an_instance_that_is_not_there_do_no_harm() {
    let mut world = world();
    let mut end = finished(3, 4, Role::Call);
    end.instance = InstanceIx(9);
    let mut start = world.started(5, seconds(0));
    start.instance = InstanceIx(9);
    assert!(world.take(batch(vec![end], vec![start])).is_empty());
    let counts = world.sources.counts();
    assert_eq!((counts.refused_ends, counts.refused_spans), (1, 1));
}
