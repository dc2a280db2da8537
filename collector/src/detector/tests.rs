//! The detector with simulated instances around it, under a simulated clock.

mod endings;
mod losses;
mod putting_off;
mod storms;
mod unasked;

use std::collections::{BTreeMap, BTreeSet};

use standoff_protocol::api::{AlertState, Confirmation, Severity};
use standoff_protocol::stream::{
    Acceptance, AcceptanceState, Ended, Finished, Outcome, Probe, ProbeAnswer, Role, Started, from_collector,
};

use super::*;
use crate::alerts::Filter;

/// An instance as its library would behave: it keeps its open spans and the parents of handlers that have ended.
struct Simulated {
    connection: ConnectionId,
    key: InstanceKey,
    open: BTreeMap<u64, Started>,
    ended_parents: BTreeSet<u64>,
    batches: u64,
    answers: bool,
    /// It takes part with telemetry of its own.
    cannot_be_asked: bool,
    /// Probes that came while it did not answer.
    unanswered: Vec<Probe>,
}

struct Rig {
    detector: Detector,
    now: Duration,
    instances: BTreeMap<&'static str, Simulated>,
    connections: u64,
    published: Vec<Alert>,
    refused: Vec<String>,
    resyncs: u64,
}

const START: Duration = Duration::from_secs(1_000_000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn call(id: u64, parent: u64, target: &str) -> Started {
    Started {
        span_id: id,
        parent_span_id: parent,
        role: Role::Call.into(),
        name: format!("call {target}"),
        target: target.into(),
        timeout_ms: 5000,
        ..Started::default()
    }
}

fn handle(id: u64, caller: u64, resource: &str) -> Started {
    Started {
        span_id: id,
        parent_span_id: caller,
        parent_is_remote: caller != 0,
        role: Role::Handle.into(),
        name: "handle".into(),
        resources: vec![resource.into()],
        ..Started::default()
    }
}

fn member(id: u64, resource: &str) -> Started {
    Started {
        span_id: id,
        role: Role::Member.into(),
        resources: vec![resource.into()],
        ..Started::default()
    }
}

impl Rig {
    fn new() -> Self {
        Self::after_restart([])
    }

    fn after_restart<const N: usize>(awaited: [&str; N]) -> Self {
        let awaited = awaited.map(|name| (Self::key(name), Self::process()));
        Self {
            detector: Detector::new(START, Times::default(), awaited.into()),
            now: START,
            instances: BTreeMap::new(),
            connections: 0,
            published: Vec::new(),
            refused: Vec::new(),
            resyncs: 0,
        }
    }

    fn key(name: &str) -> InstanceKey {
        InstanceKey {
            instance_id: name.into(),
            incarnation: 1,
        }
    }

    fn process() -> Process {
        Process {
            host: "here".into(),
            pid: 1,
            start_ticks: 1,
        }
    }

    /// One that takes part with telemetry of its own connects.
    fn connect_unasked(&mut self, name: &'static str) {
        self.connect_as(name, true);
    }

    /// Connects, for the first time or again, and sends the open set.
    fn connect(&mut self, name: &'static str) {
        self.connect_as(name, false);
    }

    fn connect_as(&mut self, name: &'static str, cannot_be_asked: bool) {
        self.connections += 1;
        let connection = ConnectionId(self.connections);
        let instance = self.instances.entry(name).or_insert_with(|| Simulated {
            connection,
            key: Self::key(name),
            open: BTreeMap::new(),
            ended_parents: BTreeSet::new(),
            batches: 0,
            answers: true,
            cannot_be_asked,
            unanswered: Vec::new(),
        });
        instance.connection = connection;
        instance.batches = 0;
        let spans = instance.open.values().cloned().collect();
        let identity = Identity {
            key: instance.key.clone(),
            service: name.into(),
            namespace: String::new(),
            process: Self::process(),
            lease: None,
            cannot_be_asked: instance.cannot_be_asked,
        };
        self.step(Input::Connected { connection, identity });
        self.step(Input::OpenSet {
            connection,
            spans,
            complete: true,
        });
    }

    fn batch(&mut self, name: &'static str, started: Vec<Started>, finished: Vec<Finished>) {
        let instance = self.instances.get_mut(name).unwrap();
        instance.batches += 1;
        let (connection, sequence) = (instance.connection, instance.batches);
        self.step(Input::Batch {
            connection,
            batch: Batch {
                sequence,
                started,
                finished,
                ended: vec![],
            },
        });
    }

    /// Spans of an instance have ended of whose start it has said nothing.
    fn ended<const N: usize>(&mut self, name: &'static str, ended: [Ended; N]) {
        let instance = self.instances.get_mut(name).unwrap();
        instance.batches += 1;
        let (connection, sequence) = (instance.connection, instance.batches);
        self.step(Input::Batch {
            connection,
            batch: Batch {
                sequence,
                ended: ended.into(),
                ..Batch::default()
            },
        });
    }

    fn start(&mut self, name: &'static str, span: Started) {
        self.instances
            .get_mut(name)
            .unwrap()
            .open
            .insert(span.span_id, span.clone());
        self.batch(name, vec![span], vec![]);
    }

    fn end(&mut self, name: &'static str, span_id: u64, outcome: Outcome) {
        self.instances.get_mut(name).unwrap().open.remove(&span_id);
        self.batch(
            name,
            vec![],
            vec![Finished {
                span_id,
                outcome: outcome.into(),
            }],
        );
    }

    /// It answers the last probe that it has not.
    fn answer_late(&mut self, name: &'static str) {
        let instance = self.instances.get_mut(name).unwrap();
        let probe = instance.unanswered.pop().unwrap();
        let (connection, answer) = (instance.connection, instance.answer(&probe));
        self.step(Input::ProbeAnswer { connection, answer });
    }

    /// A handler that was too short to be reported.
    fn serve_quickly(&mut self, name: &'static str, caller: u64) {
        self.instances.get_mut(name).unwrap().ended_parents.insert(caller);
    }

    fn step(&mut self, input: Input) {
        let mut effects = self.detector.step(self.now, input);
        while !effects.is_empty() {
            let mut next = Vec::new();
            for effect in effects {
                next.extend(self.carry_out(effect));
            }
            effects = next;
        }
    }

    fn carry_out(&mut self, effect: Effect) -> Vec<Effect> {
        match effect {
            Effect::Send(
                connection,
                FromCollector {
                    message: Some(from_collector::Message::Probe(probe)),
                },
            ) => {
                let Some(instance) = self.instances.values_mut().find(|it| it.connection == connection) else {
                    return vec![];
                };
                assert!(!instance.cannot_be_asked, "asked nevertheless: {probe:?}");
                if !instance.answers {
                    instance.unanswered.push(probe);
                    return vec![];
                }
                let answer = instance.answer(&probe);
                self.detector.step(self.now, Input::ProbeAnswer { connection, answer })
            }
            Effect::Send(
                _,
                FromCollector {
                    message: Some(from_collector::Message::ResyncRequest(_)),
                },
            ) => {
                self.resyncs += 1;
                vec![]
            }
            Effect::Refuse(_, refusal) => {
                self.refused.push(refusal.to_string());
                vec![]
            }
            Effect::Publish(Published::Alert(alert)) => {
                self.published.push(*alert);
                vec![]
            }
            Effect::Send(..)
            | Effect::Look(..)
            | Effect::LookFor(..)
            | Effect::Remember(_)
            | Effect::Publish(Published::Stats(_)) => vec![],
        }
    }

    /// Lets time pass as the owner would, with heartbeats of all instances that answer.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        // Four in a second, each at its time.
        let every = 250;
        let after = |now: Duration| START + ms(((now - START).as_millis() as u64 / every + 1) * every);
        let mut heartbeat = after(self.now);
        while self.now < end {
            self.now = self
                .detector
                .wake_at(self.now)
                .min(heartbeat)
                .min(end)
                .max(self.now + Duration::from_nanos(1));
            self.step(Input::Tick);
            if self.now >= heartbeat {
                heartbeat = after(self.now);
                let connections: Vec<_> = self
                    .instances
                    .values()
                    .filter(|it| it.answers)
                    .map(|it| it.connection)
                    .collect();
                for connection in connections {
                    self.step(Input::Heartbeat {
                        connection,
                        heartbeat: Heartbeat::default(),
                    });
                }
            }
        }
    }

    fn alerts(&self, filter: Filter) -> Vec<Alert> {
        self.detector.alerts().list(filter, 100, None).alerts
    }

    /// States of the published alerts, in order.
    fn history(&self) -> Vec<AlertState> {
        self.published.iter().map(|it| it.state).collect()
    }
}

impl Simulated {
    fn answer(&self, probe: &Probe) -> ProbeAnswer {
        let not_open = probe
            .still_open
            .iter()
            .copied()
            .filter(|id| !self.open.contains_key(id))
            .collect();
        let acceptances = probe.accepted.iter().map(|question| {
            let open = self
                .open
                .values()
                .any(|it| it.role() == Role::Handle && question.span_ids.contains(&it.parent_span_id));
            let ended = question.span_ids.iter().any(|id| self.ended_parents.contains(id));
            let state = match (ended, open) {
                (true, _) => AcceptanceState::Ended,
                (false, true) => AcceptanceState::Open,
                (false, false) => AcceptanceState::Never,
            };
            Acceptance {
                call_span_id: question.call_span_id,
                state: state.into(),
            }
        });
        ProbeAnswer {
            probe_id: probe.probe_id,
            not_open,
            acceptances: acceptances.collect(),
        }
    }
}

/// A's turn calls B, whose turn calls A.
///
/// ```text
/// a1 holds A ──c1──▶ b1 holds B
///     ▲                 │
///     └──────c2─────────┘
/// ```
fn two_servers(rig: &mut Rig) {
    rig.connect("a");
    rig.connect("b");
    rig.start("a", handle(0xa1, 0, "A"));
    rig.start("a", call(0xc1, 0xa1, "B"));
    rig.start("b", handle(0xb1, 0xc1, "B"));
    rig.start("b", call(0xc2, 0xb1, "A"));
}

#[test]
fn a_cycle_fires_and_its_timeout_resolves_it() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert")
    };
    assert_eq!(alert.summary, "A → B → A");
    assert_eq!(
        (alert.confirmation, alert.severity),
        (Some(Confirmation::Probed), Severity::Critical)
    );
    assert_eq!(
        alert.core.iter().map(|it| &*it.instance).collect::<Vec<_>>(),
        ["a", "b"]
    );
    assert_eq!(alert.first_timeout_at, Some(crate::clock::timestamp(START + ms(5000))));
    rig.pass(ms(4900));
    rig.end("a", 0xc1, Outcome::Timeout);
    let resolutions: Vec<_> = rig.published.iter().map(|it| it.resolution).collect();
    assert_eq!(resolutions, [None, Some(Resolution::Timeout)]);
}

#[test]
fn a_call_that_was_answered_unseen_is_no_deadlock_however_long_the_caller_stalls() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.connect("b");
    rig.start("a", handle(0xa1, 0, "A"));
    rig.start("a", call(0xc1, 0xa1, "B"));
    rig.serve_quickly("b", 0xc1);
    rig.start("b", handle(0xb2, 0, "B"));
    rig.start("b", call(0xc2, 0xb2, "A"));
    rig.pass(ms(60_000));
    assert_eq!(rig.published, []);
    assert_eq!(rig.alerts(Filter::All), []);
    assert_eq!(rig.detector.stats().refuted_total, 1, "asked once, and remembered");
}

#[test]
fn an_instance_that_does_not_answer_keeps_the_suspect_a_suspect() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.connect("b");
    rig.instances.get_mut("a").unwrap().answers = false;
    two_servers(&mut rig);
    rig.instances.get_mut("a").unwrap().answers = false;
    rig.pass(ms(2000));
    assert_eq!(rig.alerts(Filter::Suspected).len(), 1);
    rig.instances.get_mut("a").unwrap().answers = true;
    rig.pass(ms(600));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

/// The only consumer of a queue waits for somebody who needs the queue.
fn exhausted_pool(rig: &mut Rig) {
    rig.connect("a");
    rig.connect("b");
    rig.start("a", member(0xa0, "queue"));
    rig.start("a", handle(0xa1, 0x99, "queue"));
    rig.start("a", call(0xc1, 0xa1, "B"));
    rig.start("b", handle(0xb1, 0xc1, "B"));
    rig.start("b", call(0xc2, 0xb1, "queue"));
}

#[test]
fn an_exhausted_pool_fires_once_it_has_settled() {
    let mut rig = Rig::new();
    rig.pass(ms(5000));
    exhausted_pool(&mut rig);
    rig.pass(ms(249));
    assert_eq!(rig.published, []);
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing]);
    assert_eq!(rig.published[0].summary, "B → queue → B");
}

#[test]
fn a_member_that_joins_in_time_refutes() {
    let mut rig = Rig::new();
    rig.pass(ms(5000));
    exhausted_pool(&mut rig);
    rig.pass(ms(200));
    rig.connect("late");
    rig.start("late", member(0xd0, "queue"));
    rig.pass(ms(60_000));
    assert_eq!(rig.published, []);
}

/// The other consumer is lost long after the call was queued, and the one that takes its place has joined by then.
#[test]
fn a_pool_settles_from_when_it_seems_exhausted() {
    let mut rig = Rig::new();
    rig.connect("other");
    rig.start("other", member(0xb0, "queue"));
    exhausted_pool(&mut rig);
    rig.pass(ms(5000));
    rig.end("other", 0xb0, Outcome::Finished);
    rig.pass(ms(200));
    rig.connect("late");
    rig.start("late", member(0xd0, "queue"));
    rig.pass(ms(60_000));
    assert_eq!(rig.published, []);
}

#[test]
fn a_pool_is_not_believed_exhausted_before_everyone_known_is_heard_of() {
    let mut rig = Rig::after_restart(["a", "b", "idle"]);
    exhausted_pool(&mut rig);
    assert!(!rig.detector.is_ready(rig.now));
    rig.pass(ms(20_000));
    assert_eq!(rig.published, [], "the idle consumer may be there");
    rig.connect("idle");
    rig.pass(ms(1));
    assert_eq!(
        rig.history(),
        [AlertState::Firing],
        "it is, and has no member of this queue"
    );
}

#[test]
fn whoever_has_died_meanwhile_is_not_waited_for() {
    let mut rig = Rig::after_restart(["a", "b", "idle"]);
    exhausted_pool(&mut rig);
    rig.pass(ms(1000));
    for sight in [Sight::Alive, Sight::Dead] {
        assert_eq!(rig.published, [], "the idle consumer may be there");
        rig.now += LOOK_EVERY;
        let looked_for = rig.detector.step(rig.now, Input::Tick).into_iter().find_map(|effect| {
            let Effect::LookFor(key, _) = effect else { return None };
            Some(key)
        });
        let key = looked_for.unwrap();
        assert_eq!(key, Rig::key("idle"));
        rig.step(Input::SeenAwaited { key, sight });
    }
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing], "its process is no more");
}

#[test]
fn a_collector_that_remembers_nothing_gives_everyone_time_to_connect() {
    let mut rig = Rig::new();
    exhausted_pool(&mut rig);
    rig.pass(ms(749));
    assert_eq!(rig.published, []);
    rig.pass(ms(1));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn a_cycle_without_a_pool_fires_at_once_after_a_restart() {
    let mut rig = Rig::after_restart(["a", "b"]);
    two_servers(&mut rig);
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn a_killed_instance_leaves_no_alert_behind() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    let connection = rig.instances["b"].connection;
    rig.step(Input::Disconnected { connection });
    assert_eq!(
        rig.history(),
        [AlertState::Firing],
        "a broken connection alone says nothing"
    );
    let id = rig
        .detector
        .instances
        .iter()
        .find(|(_, it)| it.identity.key.instance_id == "b")
        .unwrap()
        .0;
    rig.step(Input::Seen {
        instance: id,
        sight: Sight::Dead,
    });
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
    rig.pass(ms(60_000));
    assert_eq!(rig.history(), [AlertState::Firing, AlertState::Resolved]);
}

#[test]
fn what_fails_because_an_instance_was_lost_is_not_the_cause() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    let connection = rig.instances["b"].connection;
    rig.step(Input::Disconnected { connection });
    rig.end("a", 0xc1, Outcome::Error);
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
}

#[test]
fn a_silent_instance_makes_what_it_had_open_unknown_until_it_is_back() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    rig.instances.get_mut("b").unwrap().answers = false;
    rig.pass(ms(3500));
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::InstanceLost));
    assert_eq!(rig.detector.stats().instances_silent, 1);
    rig.instances.get_mut("b").unwrap().answers = true;
    rig.pass(ms(2000));
    assert_eq!(
        rig.history(),
        [AlertState::Firing, AlertState::Resolved, AlertState::Firing]
    );
    assert_eq!(rig.published[2].occurrences, 2);
}

#[test]
fn what_the_collector_could_not_hear_while_it_did_not_run_is_no_silence() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    rig.pass(ms(10_000));
    rig.now += ms(60_000);
    // Its own clock comes first, then what has waited in the sockets.
    rig.step(Input::Tick);
    rig.pass(ms(60_000));
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn a_lost_batch_is_mended_by_the_open_set() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    // The end of the call is lost on the way.
    let a = rig.instances.get_mut("a").unwrap();
    a.open.remove(&0xc1);
    a.batches += 1;
    rig.batch("a", vec![], vec![]);
    assert_eq!(rig.resyncs, 1);
    rig.connect("a");
    assert_eq!(rig.published.last().unwrap().resolution, Some(Resolution::Finished));
}

#[test]
fn what_breaks_the_protocol_is_refused_by_name() {
    let mut rig = Rig::new();
    rig.connect("a");
    rig.start(
        "a",
        Started {
            role: 99,
            ..call(7, 0, "B")
        },
    );
    let refusal = "the message does not keep to the protocol: span 0000000000000007: role 99 is not one of this \
                   protocol version";
    assert_eq!(rig.refused, [refusal]);
}

#[test]
fn the_end_of_a_wait_is_judged_before_what_comes_after_it() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    // B gives up and calls again in the same moment: another wait, hence another episode.
    let b = rig.instances.get_mut("b").unwrap();
    b.open.remove(&0xc2);
    b.open.insert(0xc3, call(0xc3, 0xb1, "A"));
    rig.batch(
        "b",
        vec![],
        vec![Finished {
            span_id: 0xc2,
            outcome: Outcome::Cancelled.into(),
        }],
    );
    rig.batch("b", vec![call(0xc3, 0xb1, "A")], vec![]);
    assert_eq!(
        rig.history(),
        [AlertState::Firing, AlertState::Resolved, AlertState::Firing]
    );
    assert_eq!(rig.published[1].resolution, Some(Resolution::Cancelled));
    assert_eq!(rig.published[0].fingerprint, rig.published[2].fingerprint);
    assert_ne!(rig.published[0].id, rig.published[2].id);
}

/// Hellos of two connections overtake each other, after a collector that was stopped for a while: the late one is of a
/// connection that the instance has given up.
#[test]
fn a_connection_that_does_not_count_any_more_is_ended_and_not_left_to_talk_to_nobody() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    let live = rig.instances["a"].connection;
    rig.connect("a");
    assert_eq!(rig.refused.len(), 1);
    assert!(rig.refused[0].contains("connected anew"), "{:?}", rig.refused);
    // What still comes on the older one changes nothing.
    rig.step(Input::Batch {
        connection: live,
        batch: Batch {
            sequence: 99,
            started: vec![],
            finished: vec![Finished {
                span_id: 0xc1,
                outcome: Outcome::Error.into(),
            }],
            ended: vec![],
        },
    });
    rig.step(Input::Disconnected { connection: live });
    assert_eq!((rig.resyncs, rig.history()), (0, vec![AlertState::Firing]));
}

#[test]
fn nothing_counts_that_comes_on_a_refused_connection() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    rig.start(
        "a",
        Started {
            role: 99,
            ..call(7, 0, "B")
        },
    );
    assert_eq!(rig.refused.len(), 1);
    rig.end("a", 0xc1, Outcome::Error);
    assert_eq!(rig.history(), [AlertState::Firing]);
}

#[test]
fn an_instance_that_was_forgotten_and_speaks_again_has_to_introduce_itself_anew() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    rig.instances.get_mut("b").unwrap().answers = false;
    rig.pass(Times::default().forget_after + ms(5000));
    assert_eq!(rig.refused.len(), 1);
    assert!(rig.refused[0].contains("taken to be gone"), "{:?}", rig.refused);
    let b = rig.instances.get_mut("b").unwrap();
    b.answers = true;
    rig.connect("b");
    assert_eq!(
        rig.history(),
        [AlertState::Firing, AlertState::Resolved, AlertState::Firing]
    );
}

/// C's turn suffers from [`two_servers`]. Then B's turn calls C too, and C's turn seems to be a part of the cause.
fn a_cycle_that_seems_to_grow(rig: &mut Rig) {
    two_servers(rig);
    rig.connect("c");
    rig.start("c", handle(0xe1, 0, "C"));
    rig.start("c", call(0xc5, 0xe1, "A"));
    rig.start("b", call(0xc3, 0xb1, "C"));
}

#[test]
fn what_an_alert_has_grown_by_is_told_once_it_is_confirmed() {
    let mut rig = Rig::new();
    a_cycle_that_seems_to_grow(&mut rig);
    let [alert] = &rig.alerts(Filter::Firing)[..] else {
        panic!("one alert")
    };
    assert_eq!(alert.core.len(), 3);
}

#[test]
fn what_an_alert_has_only_seemed_to_grow_by_is_never_told() {
    let mut rig = Rig::new();
    rig.connect("c");
    rig.serve_quickly("c", 0xc3);
    a_cycle_that_seems_to_grow(&mut rig);
    rig.pass(ms(1000));
    let cores: BTreeSet<usize> = rig.published.iter().map(|alert| alert.core.len()).collect();
    assert_eq!(cores, BTreeSet::from([2]));
    assert_eq!(rig.alerts(Filter::Firing).len(), 1);
}

/// What people were told of is over when none of its waits is left, whatever it had seemed to grow by meanwhile.
#[test]
fn what_is_left_of_a_deadlock_that_was_told_is_a_suspect_of_its_own() {
    let mut rig = Rig::new();
    two_servers(&mut rig);
    rig.connect("c");
    rig.instances.get_mut("c").unwrap().answers = false;
    rig.start("c", handle(0xe1, 0, "C"));
    rig.start("c", call(0xc5, 0xe1, "B"));
    rig.start("b", call(0xc3, 0xb1, "C"));
    rig.end("b", 0xc2, Outcome::Error);
    rig.end("a", 0xc1, Outcome::Error);
    assert_eq!(rig.history().last(), Some(&AlertState::Resolved));
    let [suspected] = &rig.alerts(Filter::Suspected)[..] else {
        panic!("one suspect")
    };
    assert_eq!(suspected.summary, "B → C → B");
}

/// ```text
/// a1 holds A ──c1──▶ X   answered in no time by an instance that says goodbye; A has not read the reply
///     ▲              │
///     └─────c2───────┘   X has moved, and its next turn there calls A
/// ```
#[test]
fn whom_nobody_can_ask_may_have_answered() {
    let mut rig = Rig::new();
    for name in ["a", "x", "y"] {
        rig.connect(name);
    }
    rig.start("x", handle(0xe1, 0, "X"));
    rig.end("x", 0xe1, Outcome::Finished);
    rig.start("a", handle(0xa1, 0, "A"));
    rig.start("a", call(0xc1, 0xa1, "X"));
    let connection = rig.instances["x"].connection;
    rig.step(Input::Goodbye { connection });
    rig.start("y", handle(0xb1, 0, "X"));
    rig.start("y", call(0xc2, 0xb1, "A"));
    rig.pass(ms(3000));
    assert_eq!(rig.alerts(Filter::All), []);
    assert_eq!(rig.detector.stats().refuted_total, 1);

    // The same waits anew, from long after it has left.
    rig.end("a", 0xc1, Outcome::Timeout);
    rig.start("a", call(0xc3, 0xa1, "X"));
    assert_eq!(rig.history(), [AlertState::Firing]);
}
