//! What must hold in every run.

use std::collections::BTreeSet;

use standoff_protocol::api::{Alert, AlertState, Confirmation, Severity};
use standoff_protocol::stream;
use standoff_wait_graph::{DeadTask, Role, SpanId};

use super::foreign::Foreign;
use super::{MAX_OPEN, START, Whole, times};
use crate::detector::{Detector, Published};

impl Whole {
    /// Nothing fires unconfirmed, and nothing that is not true.
    pub(super) fn check_what_is_published(&mut self, number: usize) {
        loop {
            let next = self.collectors[number].as_mut().and_then(|it| it.next_published());
            match next {
                Some(Published::Alert(alert)) => {
                    self.say("publishes", &(number, alert.state, &alert.summary, &alert.resolution));
                    if alert.state == AlertState::Firing {
                        self.check_how_it_was_confirmed(&alert);
                        if self.rests_on_the_dead(&alert) {
                            self.false_since_dead += 1;
                        } else if self.is_in_time() {
                            self.check_that_it_is_true(&alert);
                        } else if !self.is_true(&alert) {
                            self.false_since_late.insert((number, alert.id.clone()));
                        }
                        if alert.confirmation == Some(Confirmation::Settled) {
                            self.settled.insert((number, alert.id.clone()));
                        }
                        self.fired.insert((number, alert.id.clone()));
                    }
                }
                Some(Published::Stats(_)) => {}
                None => return,
            }
        }
    }

    /// Everybody was asked who can be, and whoever reads of it learns whether that was everybody.
    fn check_how_it_was_confirmed(&self, alert: &Alert) {
        let tasks = alert.core.iter().map(|task| id(&task.task));
        let is_foreign = |task| {
            let instance = self.world.instance_of(task);
            instance.is_some_and(|it| self.foreigners.contains_key(&it))
        };
        let is_settled = alert.confirmation == Some(Confirmation::Settled);
        let severity = if is_settled {
            Severity::Warning
        } else {
            assert_eq!(alert.confirmation, Some(Confirmation::Probed));
            Severity::Critical
        };
        assert_eq!(alert.severity, severity);
        let waits = alert.core.iter().flat_map(|task| &task.waits);
        let targets = waits.filter_map(|wait| wait.target.as_ref());
        let mut names = alert.resources.iter().map(|it| &it.name).chain(targets);
        if tasks.clone().any(is_foreign) {
            assert!(is_settled, "a task of it could not be asked: {alert:#?}");
        } else if !names.any(|name| self.foreign_names.contains(name)) {
            assert!(!is_settled, "everybody could be asked: {alert:#?}");
        }
    }

    /// Whether a task of it is of a foreign service that has died, which looks as if it waited.
    fn rests_on_the_dead(&self, alert: &Alert) -> bool {
        alert.core.iter().any(|task| {
            let instance = self.world.instance_of(id(&task.task));
            let foreign = instance.and_then(|it| self.foreigners.get(&it));
            foreign.is_some_and(|it| it.has_crashed)
        })
    }

    /// Whether of everything that is open a collector can know.
    pub(super) fn is_all_told(&self) -> bool {
        let counts = &self.mishaps.counts;
        let is_told = |it: &Foreign| it.dialect.tells_starts() && !it.has_crashed;
        self.foreigners.is_empty()
            || self.foreigners.values().all(is_told)
                && counts.collector_restarts == 0
                && counts.relay_restarts == 0
                && self.now < START + MAX_OPEN
    }

    /// Whether whatever is said by foreign services is heard within the settle time.
    pub(super) fn is_in_time(&self) -> bool {
        let abroad = self.plan.abroad.as_ref();
        abroad.is_none_or(|it| it.exporting.within < times().settle)
    }

    /// No false alarm.
    fn check_that_it_is_true(&self, alert: &Alert) {
        assert!(
            self.is_true(alert),
            "false alarm at {:?}; stuck are now {:x?}\n{alert:#?}",
            self.now - START,
            self.world.stuck(),
        );
    }

    /// Whether the tasks of the core were stuck together, with these calls open, after the deadlock was seen.
    fn is_true(&self, alert: &Alert) -> bool {
        let tasks: BTreeSet<u64> = alert.core.iter().map(|task| id(&task.task)).collect();
        let waits = alert.core.iter().flat_map(|task| &task.waits);
        let calls = waits.filter(|wait| wait.blocked_by.iter().any(|by| tasks.contains(&id(by))));
        let calls: BTreeSet<u64> = calls.map(|wait| id(&wait.span_id)).collect();
        let detected_at = std::time::Duration::try_from(alert.detected_at.as_duration()).unwrap();
        self.world.were_stuck(&tasks, &calls, detected_at)
    }

    /// Once everything has been quiet for long enough, every collector knows the truth, and has told it.
    pub(super) fn check_that_all_is_known(&mut self) {
        self.say("stuck are", &self.world.stuck().clone());
        let open = self.open_spans();
        for (number, collector) in self.collectors.iter().enumerate() {
            let detector = collector.as_ref().map(|it| it.detector()).unwrap();
            assert_eq!(
                detector.awaited.len(),
                0,
                "collector {number} waits for nobody any more"
            );
            self.check_what_is_known(number, &known(detector), &open);
            let stuck = self.world.stuck();
            let (dead, firing) = (dead(detector), firing(detector));
            if self.is_all_told() {
                assert_eq!(
                    &dead, stuck,
                    "tasks that collector {number} takes for dead, and that are stuck"
                );
                assert_eq!(
                    &firing, stuck,
                    "tasks of which collector {number} tells, and that are stuck"
                );
            } else if self.mishaps.counts.foreign_crashes == 0 {
                assert!(
                    dead.is_subset(stuck),
                    "tasks that collector {number} takes for dead, {dead:x?}, and that are stuck, {stuck:x?}"
                );
                assert!(
                    firing.is_subset(stuck),
                    "tasks of which collector {number} tells, {firing:x?}, and that are stuck, {stuck:x?}"
                );
            }
            assert_eq!(
                detector.suspects.len(),
                0,
                "suspicions that are left to collector {number}"
            );
        }
    }

    fn check_what_is_known(&self, number: usize, known: &BTreeSet<(usize, u64)>, open: &BTreeSet<(usize, u64)>) {
        let is_native = |it: &&(usize, u64)| !self.foreigners.contains_key(&it.0);
        let natives = |spans: &BTreeSet<(usize, u64)>| spans.iter().filter(is_native).copied().collect::<Vec<_>>();
        assert_eq!(
            natives(known),
            natives(open),
            "open spans that collector {number} knows, and that are open"
        );
        for (instance, foreign) in &self.foreigners {
            let of = |spans: &BTreeSet<(usize, u64)>| {
                let spans = spans.iter().filter(|it| it.0 == *instance);
                spans.map(|it| it.1).collect::<BTreeSet<u64>>()
            };
            let (known, open) = (of(known), of(open));
            // Of those whose heartbeats come late, some are taken for ended until the next one.
            if self.is_all_told() && self.is_in_time() {
                assert_eq!(
                    known, open,
                    "open spans of foreign instance {instance} that collector {number} knows"
                );
            } else if !foreign.has_crashed {
                assert!(
                    known.is_subset(&open),
                    "collector {number} knows of {known:x?} in foreign instance {instance}, of which are open {open:x?}"
                );
            }
        }
    }

    /// Once everybody has given up, nothing is open.
    pub(super) fn check_that_nothing_is_left(&mut self) {
        let open = self.open_spans();
        for (number, host) in self.hosts.iter().enumerate() {
            let members = open.iter().filter(|(instance, _)| *instance == number).count();
            if host.is_alive && !self.foreigners.contains_key(&number) {
                assert_eq!(host.open_count(), members as u64, "spans open in instance {number}");
            }
        }
        for (number, collector) in self.collectors.iter().enumerate() {
            let detector = collector.as_ref().map(|it| it.detector()).unwrap();
            self.check_what_is_known(number, &known(detector), &open);
            assert_eq!(detector.graph.open_calls(), 0);
            assert_eq!(detector.alerts().firing(), [], "all is over");
        }
    }

    /// Once everybody has left, nobody is there.
    pub(super) fn check_that_nobody_is_left(&self) {
        for (number, host) in self.hosts.iter().enumerate() {
            let is_alive = self.foreigners.get(&number).map_or(host.is_alive, |it| it.is_alive);
            assert!(!is_alive, "instance {number} has left");
        }
        for detector in self.collectors.iter().flatten().map(|it| it.detector()) {
            assert_eq!(detector.instances.iter().count(), 0);
            assert_eq!(detector.graph.open_span_count(), 0);
        }
    }

    /// The calls, handles, holds and members that are open in instances that live.
    fn open_spans(&self) -> BTreeSet<(usize, u64)> {
        let open = self.world.lifetimes().filter(|(_, it)| it.ended.is_none());
        open.filter(|(_, it)| it.role != stream::Role::Structural)
            .map(|(id, it)| (it.instance, id))
            .collect()
    }
}

/// The same as a collector knows it.
fn known(detector: &Detector) -> BTreeSet<(usize, u64)> {
    let mut known = BTreeSet::new();
    for (id, instance) in detector.instances.iter() {
        let number = instance
            .identity
            .key
            .instance_id
            .trim_start_matches("i-")
            .parse()
            .unwrap();
        let spans = detector.graph.open_spans(id).into_iter();
        let told = spans.filter(|span| {
            detector
                .graph
                .span(*span)
                .is_some_and(|it| it.role() != Role::Structural)
        });
        known.extend(told.map(|SpanId(span)| (number, span)));
    }
    known
}

fn dead(detector: &Detector) -> BTreeSet<u64> {
    let deadlocks = detector.graph.deadlocks();
    let ids = |tasks: &[DeadTask]| tasks.iter().map(|task| task.id.0).collect::<Vec<_>>();
    let tasks = deadlocks.iter().flat_map(|it| [ids(&it.core), ids(&it.victims)]);
    tasks.flatten().collect()
}

fn firing(detector: &Detector) -> BTreeSet<u64> {
    let firing = detector.alerts().firing();
    let tasks = firing.iter().flat_map(|it| it.core.iter().chain(&it.victims));
    tasks.map(|task| id(&task.task)).collect()
}

fn id(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap()
}
