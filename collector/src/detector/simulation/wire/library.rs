//! What a library keeps: its open spans, what of them is still to be said, and whom its handlers have answered.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use standoff_protocol::stream::{
    Acceptance, AcceptanceQuestion, AcceptanceState, Batch, Finished, Outcome, Probe, ProbeAnswer, Role, Started,
};

/// How much older than the collector says a call may be.
const AGE_SLACK: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Library {
    report_after: Duration,
    open: BTreeMap<u64, Open>,
    finished: Vec<Finished>,
    /// The number of the last batch.
    sequence: u64,
    memory: Memory,
}

#[derive(Debug)]
struct Open {
    span: Started,
    since: Duration,
    is_reported: bool,
    /// It is due however young it is.
    is_urgent: bool,
}

/// What a handler can be found by: its parent, or its conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Parent(u64),
    Conversation(String),
}

#[derive(Debug)]
struct Memory {
    max: usize,
    /// Oldest first.
    ended: VecDeque<(Key, Duration)>,
    /// When the latest of those ended that had to be forgotten.
    forgotten: Option<Duration>,
}

impl Library {
    pub(super) fn new(report_after: Duration, remembered: usize) -> Self {
        Self {
            report_after,
            open: BTreeMap::new(),
            finished: Vec::new(),
            sequence: 0,
            memory: Memory {
                max: remembered,
                ended: VecDeque::new(),
                forgotten: None,
            },
        }
    }

    /// Returns when it is due.
    pub(super) fn start(&mut self, now: Duration, span: Started) -> Duration {
        let is_urgent = span.role() == Role::Member;
        let due = if is_urgent { now } else { now + self.report_after };
        self.open.insert(
            span.span_id,
            Open {
                span,
                since: now,
                is_reported: false,
                is_urgent,
            },
        );
        due
    }

    /// Returns whether there is something to report.
    pub(super) fn end(&mut self, now: Duration, id: u64, outcome: Outcome) -> bool {
        let Some(open) = self.open.remove(&id) else {
            return false;
        };
        if open.span.role() == Role::Handle {
            for key in keys(&open.span) {
                self.memory.remember(key, now);
            }
        }
        if open.is_reported {
            self.finished.push(Finished {
                span_id: id,
                outcome: outcome.into(),
            });
        }
        open.is_reported
    }

    pub(super) fn end_session(&mut self) {
        self.finished.clear();
        for open in self.open.values_mut() {
            open.is_reported = false;
        }
    }

    /// Everything that is due, from scratch.
    pub(super) fn open_set(&mut self, now: Duration) -> Vec<Started> {
        self.end_session();
        self.sequence = 0;
        self.due(now)
    }

    /// What is due and has not been reported; `None` if there is nothing.
    pub(super) fn batch(&mut self, now: Duration) -> Option<Batch> {
        let started = self.due(now);
        let finished = std::mem::take(&mut self.finished);
        if started.is_empty() && finished.is_empty() {
            return None;
        }
        self.sequence += 1;
        Some(Batch {
            sequence: self.sequence,
            started,
            finished,
            ended: vec![],
        })
    }

    /// One that only shows whether those before it have arrived.
    pub(super) fn empty_batch(&mut self) -> Batch {
        self.sequence += 1;
        Batch {
            sequence: self.sequence,
            ..Batch::default()
        }
    }

    /// Something that has been reported before.
    pub(super) fn repeated(&self, now: Duration) -> Option<Started> {
        self.open.values().find(|it| it.is_reported).map(|it| it.message(now))
    }

    /// Open handlers of calls that are asked about become due.
    pub(super) fn answer(&mut self, now: Duration, probe: &Probe) -> ProbeAnswer {
        let acceptances = probe.accepted.iter().map(|question| Acceptance {
            call_span_id: question.call_span_id,
            state: self.accepted(now, question).into(),
        });
        let acceptances = acceptances.collect();
        ProbeAnswer {
            probe_id: probe.probe_id,
            not_open: probe
                .still_open
                .iter()
                .copied()
                .filter(|id| !self.open.contains_key(id))
                .collect(),
            acceptances,
        }
    }

    fn accepted(&mut self, now: Duration, question: &AcceptanceQuestion) -> AcceptanceState {
        let parents = question
            .span_ids
            .iter()
            .chain([&question.call_span_id])
            .copied()
            .map(Key::Parent);
        let conversation = Some(question.conversation_id.clone()).filter(|it| !it.is_empty());
        let asked: Vec<Key> = parents.chain(conversation.map(Key::Conversation)).collect();
        let mut is_open = false;
        for open in self.open.values_mut().filter(|it| it.span.role() == Role::Handle) {
            if keys(&open.span).iter().any(|key| asked.contains(key)) {
                open.is_urgent = true;
                is_open = true;
            }
        }
        let began = now
            .saturating_sub(Duration::from_nanos(question.age_ns))
            .saturating_sub(AGE_SLACK);
        if self.memory.ended.iter().any(|(key, _)| asked.contains(key)) {
            AcceptanceState::Ended
        } else if is_open {
            AcceptanceState::Open
        } else if self.memory.forgotten.is_some_and(|latest| latest >= began) {
            AcceptanceState::Forgotten
        } else {
            AcceptanceState::Never
        }
    }

    fn due(&mut self, now: Duration) -> Vec<Started> {
        let is_due = |open: &Open| !open.is_reported && (open.is_urgent || now >= open.since + self.report_after);
        let is_structural = |open: &Open| open.span.role() == Role::Structural;
        let mut due: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, it)| is_due(it) && !is_structural(it))
            .map(|(id, _)| *id)
            .collect();
        // Structural spans go with the calls above them.
        let above = |open: &Open| open.span.parent_span_id;
        let with_calls = self.open.iter().filter(|(_, it)| is_structural(it) && !it.is_reported);
        let with_calls: Vec<u64> = with_calls
            .filter(|(_, it)| due.contains(&above(it)) || self.open.get(&above(it)).is_some_and(|it| it.is_reported))
            .map(|(id, _)| *id)
            .collect();
        due.extend(with_calls);
        let mut messages = Vec::new();
        for id in due {
            if let Some(open) = self.open.get_mut(&id) {
                open.is_reported = true;
                messages.push(open.message(now));
            }
        }
        messages
    }
}

impl Open {
    fn message(&self, now: Duration) -> Started {
        Started {
            age_ns: (now - self.since).as_nanos() as u64,
            ..self.span.clone()
        }
    }
}

impl Memory {
    fn remember(&mut self, key: Key, now: Duration) {
        self.ended.push_back((key, now));
        if self.ended.len() > self.max
            && let Some((_, at)) = self.ended.pop_front()
        {
            self.forgotten = self.forgotten.max(Some(at));
        }
    }
}

fn keys(handle: &Started) -> Vec<Key> {
    let parent = Some(handle.parent_span_id).filter(|it| *it != 0).map(Key::Parent);
    let conversation = Some(handle.conversation_id.clone()).filter(|it| !it.is_empty());
    parent.into_iter().chain(conversation.map(Key::Conversation)).collect()
}
