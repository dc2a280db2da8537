//! Sessions against a model of the collector, under a clock of their own.

mod chains;
mod histories;

use standoff_protocol::stream::{
    AcceptanceQuestion, AcceptanceState, LossCause, Outcome as WireOutcome, Role, SPANS_PER_MESSAGE_MAX, Started,
    WaitGroup,
};

use super::*;
use crate::Outcome;
use crate::mirror::Mirror;
use crate::record::Record;
use crate::table::{FINISHED_PER_SHARD_MAX, LINKS_PER_CALL_MAX, SPANS_PER_SHARD_MAX, shard_of};

const MS: Duration = Duration::from_millis(1);
const REPORT_AFTER: Duration = Duration::from_millis(20);
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A table with one session and a model of the collector at its other end.
struct Bench {
    table: OpenTable,
    session: Session,
    mirror: Mirror,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        // Long after the origin, so that nothing is true only because time is about zero.
        let now = Duration::from_secs(1000);
        Bench {
            table: OpenTable::new(REPORT_AFTER),
            session: session(now),
            mirror: Mirror::default(),
            now,
        }
    }

    /// One whose collector has the open set.
    fn connected() -> Self {
        let mut bench = Bench::new();
        bench.flush();
        bench
    }

    fn start(&self, role: Role, span_id: u64, parent: u64) {
        self.start_with(role, span_id, |span| span.parent_span_id = parent);
    }

    fn start_with(&self, role: Role, span_id: u64, with: impl FnOnce(&mut Started)) {
        let mut span = Started {
            span_id,
            role: role.into(),
            name: format!("span {span_id}"),
            ..Started::default()
        };
        with(&mut span);
        self.table.start(Record::reported_as(span), self.now);
    }

    fn end(&self, span_id: u64) {
        self.table.end(span_id, Outcome::Finished, self.now);
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Sends up to so many messages; returns whether there is more.
    fn send(&mut self, messages: usize) -> bool {
        for _ in 0..messages {
            match self.session.next(&self.table, self.now) {
                Some(message) => self.mirror.apply(message),
                None => return false,
            }
        }
        true
    }

    fn flush(&mut self) {
        self.session.tick();
        while self.send(100) {}
    }

    fn reconnect(&mut self) {
        self.table.end_session();
        self.session = session(self.now);
        self.mirror = Mirror::default();
    }

    fn probe(&mut self, still_open: &[u64], calls: &[u64]) {
        let accepted = calls.iter().map(|call| AcceptanceQuestion {
            call_span_id: *call,
            span_ids: vec![*call],
            conversation_id: String::new(),
            age_ns: 1_000_000_000,
        });
        let probe = Probe {
            probe_id: 1,
            still_open: still_open.to_vec(),
            accepted: accepted.collect(),
        };
        assert!(self.session.probe(&probe, &self.table, self.now));
    }

    fn answer(&self) -> (Vec<u64>, Vec<AcceptanceState>) {
        let answer = self.mirror.answers.last().unwrap();
        (
            answer.not_open.clone(),
            answer.acceptances.iter().map(|acceptance| acceptance.state()).collect(),
        )
    }

    /// The parents of open spans as reported, and whether they are remote.
    fn parent(&self, span_id: u64) -> (u64, bool) {
        let span = &self.mirror.open[&span_id];
        (span.parent_span_id, span.parent_is_remote)
    }
}

fn session(now: Duration) -> Session {
    Session::new(
        Hello {
            protocol_version: 1,
            instance: None,
            lease_ms: 3000,
            cannot_be_asked: false,
        },
        HEARTBEAT,
        now,
    )
}

#[test]
fn a_session_begins_with_hello_and_the_open_set() {
    let mut bench = Bench::new();
    bench.start(Role::Call, 1, 0);
    bench.pass(REPORT_AFTER);
    bench.start(Role::Call, 2, 0);
    bench.start(Role::Member, 3, 0);
    bench.flush();
    assert_eq!(bench.mirror.log, ["hello", "set complete"]);
    assert_eq!(bench.mirror.open_ids(), [1, 3], "the young call is not part of it");
    assert_eq!(bench.mirror.open[&1].age_ns, 20_000_000);
}

#[test]
fn an_empty_open_set_is_said_too() {
    assert_eq!(Bench::connected().mirror.log, ["hello", "set complete"]);
}

#[test]
fn short_calls_are_never_sent() {
    let mut bench = Bench::connected();
    for span_id in 1..1000 {
        bench.start(Role::Call, span_id, 0);
        bench.pass(MS / 2);
        bench.end(span_id);
        bench.flush();
    }
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!((bench.mirror.started.len(), bench.mirror.finished.len()), (0, 0));
    assert_eq!(bench.mirror.batches, 0);
}

#[test]
fn report_after_is_honoured_to_the_moment() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    bench.start(Role::Handle, 2, 0);
    bench.start(Role::Hold, 3, 0);
    bench.pass(REPORT_AFTER - Duration::from_nanos(1));
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [0; 0]);
    bench.pass(Duration::from_nanos(1));
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [1, 2, 3]);
}

#[test]
fn members_are_reported_at_once() {
    let mut bench = Bench::connected();
    bench.start(Role::Member, 1, 0);
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [1]);
    bench.end(1);
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [0; 0]);
}

#[test]
fn a_large_open_set_comes_in_parts() {
    let mut bench = Bench::new();
    let spans = 5 * SPANS_PER_MESSAGE_MAX as u64;
    (1..=spans).for_each(|span_id| bench.start(Role::Call, span_id, 0));
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!(bench.mirror.open.len() as u64, spans);
    assert_eq!(bench.mirror.log[..5], ["hello", "set", "set", "set", "set"]);
    assert_eq!(bench.mirror.sets_complete, 1);
}

#[test]
fn messages_are_bounded_in_bytes_too() {
    use standoff_protocol::stream::{MESSAGE_BYTES_MAX, RESOURCES_PER_SPAN_MAX, TEXT_BYTES_MAX};
    let mut bench = Bench::new();
    let text = "x".repeat(TEXT_BYTES_MAX);
    for span_id in 1..=500 {
        bench.start_with(Role::Handle, span_id, |span| {
            span.name = text.clone();
            span.conversation_id = text.clone();
            span.resources = vec![text.clone(); RESOURCES_PER_SPAN_MAX];
            span.wait_group = Some(WaitGroup {
                name: text.clone(),
                needed: 1,
                size: 2,
            });
        });
    }
    bench.pass(REPORT_AFTER);
    let mut longest = 0;
    while let Some(message) = bench.session.next(&bench.table, bench.now) {
        let mut encoded = Vec::new();
        message.encode(&mut encoded);
        longest = longest.max(encoded.len());
        bench.mirror.apply(message);
    }
    assert_eq!(bench.mirror.open.len(), 500);
    assert!(longest < MESSAGE_BYTES_MAX, "{longest}");
}

#[test]
fn what_ends_while_the_set_is_sent_follows_it() {
    let mut bench = Bench::new();
    let spans = 3 * SPANS_PER_MESSAGE_MAX as u64;
    (1..=spans).for_each(|span_id| bench.start(Role::Call, span_id, 0));
    bench.pass(REPORT_AFTER);
    assert!(bench.send(2), "there are more parts");
    (1..=spans).for_each(|span_id| bench.end(span_id));
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [0; 0]);
    assert_eq!(
        bench.mirror.started.len(),
        bench.mirror.finished.len(),
        "the unsent ones were never mentioned"
    );
}

#[test]
fn a_resync_during_a_set_is_another_set() {
    let mut bench = Bench::new();
    (1..=2000).for_each(|span_id| bench.start(Role::Call, span_id, 0));
    bench.pass(REPORT_AFTER);
    bench.send(2);
    bench.session.resync();
    bench.flush();
    assert_eq!((bench.mirror.sets_complete, bench.mirror.open.len()), (2, 2000));
}

#[test]
fn a_new_session_knows_everything_anew() {
    let mut bench = Bench::connected();
    bench.start(Role::Handle, 1, 0);
    bench.start(Role::Call, 2, 1);
    bench.pass(REPORT_AFTER);
    bench.flush();
    bench.reconnect();
    bench.start(Role::Member, 3, 0);
    bench.end(1);
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [2, 3]);
    bench.start(Role::Call, 4, 0);
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [2, 3, 4]);
    assert_eq!(bench.mirror.log.last(), Some(&"batch"));
}

#[test]
fn what_was_reported_young_stays_reported_over_a_resync() {
    let mut bench = Bench::connected();
    bench.start_with(Role::Handle, 1, |span| {
        (span.parent_span_id, span.parent_is_remote) = (99, true)
    });
    bench.probe(&[], &[99]);
    bench.flush();
    bench.session.resync();
    bench.flush();
    assert_eq!((bench.mirror.sets_complete, bench.mirror.open_ids()), (2, vec![1]));
}

#[test]
fn an_answer_follows_all_that_was_to_be_reported_before_the_question() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    bench.start(Role::Call, 2, 0);
    bench.pass(REPORT_AFTER);
    bench.flush();
    bench.start(Role::Call, 3, 0);
    bench.pass(REPORT_AFTER);
    bench.end(1);
    bench.probe(&[1, 2], &[]);
    // No tick: a question does not wait for the next one.
    while bench.send(1) {
        if bench.mirror.answers.is_empty() {
            continue;
        }
        assert_eq!(bench.mirror.open_ids(), [2, 3], "reported before the answer");
        break;
    }
    assert_eq!(bench.answer(), (vec![1], vec![]));
}

#[test]
fn an_answer_waits_for_a_round_of_its_own() {
    let mut bench = Bench::connected();
    let spans = 4 * SPANS_PER_MESSAGE_MAX as u64;
    (1..=spans).for_each(|span_id| bench.start(Role::Call, span_id, 0));
    bench.pass(REPORT_AFTER);
    bench.session.tick();
    assert!(bench.send(1), "a round is under way");
    // This one may fall into a part of the table that the round has passed already.
    (1..=spans).for_each(|span_id| bench.end(span_id));
    bench.probe(&[], &[]);
    while bench.mirror.answers.is_empty() {
        assert!(bench.send(1));
    }
    assert_eq!(bench.mirror.open_ids(), [0; 0]);
}

#[test]
fn a_handler_that_was_never_reported_has_accepted() {
    let mut bench = Bench::connected();
    bench.start_with(Role::Handle, 1, |span| {
        (span.parent_span_id, span.parent_is_remote) = (99, true)
    });
    bench.pass(MS);
    bench.end(1);
    bench.probe(&[], &[99, 98]);
    bench.flush();
    assert_eq!(bench.mirror.started.len(), 0);
    assert_eq!(bench.answer().1, [AcceptanceState::Ended, AcceptanceState::Never]);
}

#[test]
fn a_young_handler_is_reported_before_the_answer() {
    let mut bench = Bench::connected();
    bench.start_with(Role::Handle, 1, |span| {
        (span.parent_span_id, span.parent_is_remote) = (99, true)
    });
    bench.start(Role::Call, 2, 1);
    bench.probe(&[], &[99]);
    bench.flush();
    assert_eq!(bench.mirror.log[2..], ["batch", "answer"]);
    assert_eq!(
        bench.mirror.open_ids(),
        [1],
        "the call within it has not been asked about"
    );
    assert_eq!(bench.answer().1, [AcceptanceState::Open]);
}

#[test]
fn a_local_handler_behind_structural_spans_has_accepted() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    bench.start(Role::Structural, 2, 1);
    bench.start(Role::Structural, 3, 2);
    bench.start(Role::Handle, 4, 3);
    bench.probe(&[], &[1]);
    bench.flush();
    assert_eq!(bench.answer().1, [AcceptanceState::Open]);
}

#[test]
fn more_probes_than_fit_are_dropped_whole() {
    let mut bench = Bench::connected();
    let probe = Probe {
        probe_id: 7,
        still_open: vec![],
        accepted: vec![],
    };
    for _ in 0..ANSWERS_MAX {
        assert!(bench.session.probe(&probe, &bench.table, bench.now));
    }
    assert!(!bench.session.probe(&probe, &bench.table, bench.now));
    bench.flush();
    assert_eq!(bench.mirror.answers.len(), ANSWERS_MAX);
}

#[test]
fn heartbeats_come_as_often_as_the_collector_wants() {
    let mut bench = Bench::connected();
    bench.pass(HEARTBEAT);
    bench.flush();
    assert_eq!(bench.mirror.heartbeats, 1);
    bench.session.welcome(&Welcome {
        protocol_version: 1,
        heartbeat_ms: 100,
    });
    bench.pass(100 * MS);
    bench.flush();
    bench.pass(99 * MS);
    bench.flush();
    assert_eq!(bench.mirror.heartbeats, 2);
    bench.session.welcome(&Welcome {
        protocol_version: 1,
        heartbeat_ms: 60_000,
    });
    bench.pass(MS);
    bench.flush();
    assert_eq!(
        bench.mirror.heartbeats, 3,
        "more seldom than it would by itself is not what is asked for"
    );
}

#[test]
fn leaving_tells_what_is_left_to_tell() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    bench.pass(REPORT_AFTER);
    bench.flush();
    bench.table.end(1, Outcome::Timeout, bench.now);
    bench.session.leave();
    bench.flush();
    bench.flush();
    assert_eq!(bench.mirror.outcome(1), Some(WireOutcome::Timeout));
    assert_eq!(bench.mirror.log.last(), Some(&"goodbye"));
    assert!(bench.session.has_left());
}

#[test]
fn leaving_before_the_set_is_a_goodbye_all_the_same() {
    let mut bench = Bench::new();
    bench.start(Role::Member, 1, 0);
    bench.session.leave();
    bench.flush();
    assert_eq!(bench.mirror.log, ["hello", "goodbye"]);
}

#[test]
fn outcomes_are_told_and_late_errors_are_timeouts() {
    let mut bench = Bench::connected();
    let cases = [
        (Outcome::Finished, WireOutcome::Finished),
        (Outcome::Error, WireOutcome::Error),
        (Outcome::Timeout, WireOutcome::Timeout),
        (Outcome::Cancelled, WireOutcome::Cancelled),
    ];
    for (span_id, (_, _)) in (1..).zip(cases) {
        bench.start_with(Role::Call, span_id, |span| span.timeout_ms = 5000);
    }
    bench.start_with(Role::Call, 5, |span| span.timeout_ms = 21);
    bench.pass(REPORT_AFTER + MS);
    bench.flush();
    for (span_id, (outcome, _)) in (1..).zip(cases) {
        bench.table.end(span_id, outcome, bench.now);
    }
    bench.table.end(5, Outcome::Error, bench.now);
    bench.flush();
    for (span_id, (_, expected)) in (1..).zip(cases) {
        assert_eq!(bench.mirror.outcome(span_id), Some(expected));
    }
    assert_eq!(
        bench.mirror.outcome(5),
        Some(WireOutcome::Timeout),
        "it failed once its time was over"
    );
}

#[test]
fn a_full_table_counts_and_stays_sound() {
    let mut bench = Bench::connected();
    let mut span_id = 1;
    while bench.table.dropped().spans == 0 {
        bench.start_with(Role::Handle, span_id, |span| {
            (span.parent_span_id, span.parent_is_remote) = (span_id, true)
        });
        span_id += 1;
    }
    let dropped = span_id - 1;
    bench.probe(&[dropped], &[dropped]);
    bench.flush();
    assert_eq!(
        bench.answer(),
        (vec![dropped], vec![AcceptanceState::Ended]),
        "its call may be in good hands"
    );

    let member = (span_id..).find(|id| shard_of(*id) == shard_of(dropped)).unwrap();
    bench.start(Role::Member, member, 0);
    bench.flush();
    assert!(
        bench.mirror.open.contains_key(&member),
        "a pool must not seem smaller than it is"
    );
}

#[test]
fn any_number_of_open_calls_is_bounded_and_the_rest_is_counted() {
    const STARTED: u64 = 1_000_000;
    let bench = Bench::connected();
    (1..=STARTED).for_each(|span_id| bench.start(Role::Call, span_id, 0));
    let (kept, dropped) = (bench.table.open_count(), bench.table.dropped().spans);
    assert_eq!((kept + dropped, bench.table.captured()), (STARTED, STARTED));
    assert!((200_000..=262_144).contains(&kept), "{kept}");
    (1..=STARTED).for_each(|span_id| bench.end(span_id));
    assert_eq!(bench.table.open_count(), 0);
    bench.start(Role::Call, STARTED + 1, 0);
    assert_eq!(
        (bench.table.open_count(), bench.table.dropped().spans),
        (1, dropped),
        "there is room again"
    );
}

#[test]
fn heartbeats_say_what_was_lost() {
    let mut bench = Bench::connected();
    let one_shard = (1..).filter(|span_id| shard_of(*span_id) == 3);
    one_shard
        .take(SPANS_PER_SHARD_MAX + 7)
        .for_each(|span_id| bench.start(Role::Call, span_id, 0));
    bench.pass(HEARTBEAT);
    bench.flush();
    assert_eq!(bench.mirror.lost, Some((7, vec![(LossCause::LibrarySpans, 7)])));
}

#[test]
fn more_finishes_than_fit_lead_to_a_new_set() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, u64::MAX, 0);
    // Calls of one shard with as many links as there may be: each end is as many finishes.
    let calls = FINISHED_PER_SHARD_MAX / LINKS_PER_CALL_MAX + 1;
    let calls: Vec<u64> = (1..).filter(|call| shard_of(*call) == 0).take(calls).collect();
    for call in &calls {
        bench.start(Role::Call, *call, 0);
        for link in 1..=LINKS_PER_CALL_MAX as u64 {
            bench.start(Role::Structural, call << 32 | link, *call);
            bench.end(call << 32 | link);
        }
    }
    bench.pass(REPORT_AFTER);
    bench.flush();
    calls.iter().for_each(|call| bench.end(*call));
    assert!(bench.table.dropped().finishes > 0);
    bench.flush();
    assert_eq!(
        (bench.mirror.sets_complete, bench.mirror.open_ids()),
        (2, vec![u64::MAX])
    );
    assert_eq!(bench.mirror.open.len(), 1);
}
