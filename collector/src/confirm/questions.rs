//! What has to hold for a suspect, by the instance that knows, and how it is put in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{CallState, Deadlock, InstanceId, SpanId, WaitGraph};

/// About the most bytes of one probe: far below the limit on messages, and answered in a few milliseconds. What does not
/// fit is asked in the next probe, so however large a core is, all of it is asked about.
pub(super) const PROBE_BYTES_MAX: usize = 256 << 10;

/// What an id takes in a probe, and what else a question does, at most.
const ID_BYTES: usize = 10;
/// See [`ID_BYTES`].
const ACCEPTANCE_QUESTION_BYTES: usize = 48;

/// What has to hold for a suspect to be a deadlock, by the instance that knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Questions {
    pub(super) by_instance: BTreeMap<InstanceId, InstanceQuestions>,
    /// Who would know, too, and cannot be asked.
    unasked: BTreeSet<InstanceId>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct InstanceQuestions {
    /// Are these still open? By id.
    pub(super) still_open: Vec<SpanId>,
    /// Did you ever accept these calls?
    pub(super) accepted: Vec<(SpanId, Arc<Accepted>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Accepted {
    pub(super) stand_ins: Vec<SpanId>,
    pub(super) conversation: Option<Arc<str>>,
    pub(super) started_at: Duration,
}

/// Some of the questions to an instance.
pub(super) struct Part<'a> {
    pub(super) still_open: &'a [SpanId],
    pub(super) accepted: &'a [(SpanId, Arc<Accepted>)],
}

impl Questions {
    /// What to ask about a deadlock. `answers` says of an instance whether it can be asked at all.
    /// Of who cannot be asked it is told up to `settle` late what he has begun.
    pub(crate) fn about(
        deadlock: &Deadlock,
        graph: &WaitGraph,
        settle: Duration,
        answers: impl Fn(InstanceId) -> bool,
    ) -> Self {
        let mut questions = Self::default();
        for id in deadlock.spans() {
            if let Some(span) = graph.span(id)
                && let Some(questions) = questions.to(span.instance(), &answers)
            {
                questions.still_open.push(id);
            }
        }
        // A pool has many who wait for it, and to know who serves it is to look at everything.
        let mut servers: BTreeMap<&str, Vec<InstanceId>> = BTreeMap::new();
        let waits = deadlock.core.iter().flat_map(|task| &task.waits);
        for wait in waits.filter(|wait| wait.in_core && wait.state == CallState::Queued) {
            let Some(target) = &wait.target else { continue };
            let caller = graph.span(wait.call).map(|span| span.instance());
            let late = if caller.is_none_or(&answers) {
                Duration::ZERO
            } else {
                settle
            };
            let accepted = Arc::new(Accepted {
                stand_ins: graph.stand_ins(wait.call),
                conversation: graph.span(wait.call).and_then(|span| span.conversation().cloned()),
                started_at: wait.started_at.saturating_sub(late),
            });
            for server in servers.entry(target).or_insert_with(|| graph.servers(target)) {
                if let Some(questions) = questions.to(*server, &answers) {
                    questions.accepted.push((wait.call, Arc::clone(&accepted)));
                }
            }
        }
        questions
    }

    /// Where to put a question to an instance, unless that cannot be asked.
    fn to(&mut self, instance: InstanceId, answers: impl Fn(InstanceId) -> bool) -> Option<&mut InstanceQuestions> {
        if answers(instance) {
            return Some(self.by_instance.entry(instance).or_default());
        }
        self.unasked.insert(instance);
        None
    }

    /// Who would know, too, and cannot be asked.
    pub(crate) fn unasked(&self) -> impl Iterator<Item = InstanceId> {
        self.unasked.iter().copied()
    }

    pub(super) fn rests_on_time(&self) -> bool {
        !self.unasked.is_empty()
    }

    /// Everybody who is to be asked, from the first question on.
    pub(super) fn all(&self) -> BTreeMap<InstanceId, usize> {
        self.by_instance.keys().map(|id| (*id, 0)).collect()
    }
}

impl InstanceQuestions {
    pub(super) fn len(&self) -> usize {
        self.still_open.len() + self.accepted.len()
    }

    /// From one question on as many as there is room for in a probe, which is used up; one at least if the probe is empty.
    pub(super) fn next(&self, from: usize, room: &mut usize) -> Range<usize> {
        let mut end = from;
        while end < self.len() {
            let bytes = match end.checked_sub(self.still_open.len()) {
                None => ID_BYTES,
                Some(place) => self.accepted[place].1.bytes(),
            };
            if bytes > *room && (end > from || *room < PROBE_BYTES_MAX) {
                break;
            }
            *room = room.saturating_sub(bytes);
            end += 1;
        }
        from..end
    }

    pub(super) fn part(&self, range: &Range<usize>) -> Part<'_> {
        let first = self.still_open.len();
        let (start, end) = (range.start.min(first), range.end.min(first));
        Part {
            still_open: &self.still_open[start..end],
            accepted: &self.accepted[range.start - start..range.end - end],
        }
    }
}

impl Accepted {
    fn bytes(&self) -> usize {
        let conversation = self.conversation.as_ref().map_or(0, |it| it.len());
        ACCEPTANCE_QUESTION_BYTES + conversation + ID_BYTES * self.stand_ins.len()
    }
}
