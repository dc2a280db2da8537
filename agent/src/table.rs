//! The open spans of this instance: the truth that the collector mirrors.
//!
//! Application threads tell of starts and ends; the reporter takes what is due. Both only ever hold the lock of one
//! shard, for a bounded and short time, so that neither waits for the other. What the table cannot keep is counted.
//! It knows nothing of connections, and reads no clock. In a forked child, which nobody reports for, it may keep nothing.

mod acceptances;
mod keys;
mod parents;
mod shard;
mod slots;

use std::time::Duration;

use opentelemetry::StringValue;
use standoff_protocol::stream::{
    Acceptance, Finished, MESSAGE_BYTES_MAX, Probe, ProbeAnswer, Role, SPANS_PER_MESSAGE_MAX, Started,
};

use self::acceptances::{Acceptances, Serves};
use self::parents::Above;
#[cfg(test)]
pub(crate) use self::shard::{FINISHED_PER_SHARD_MAX, LINKS_PER_CALL_MAX, SPANS_PER_SHARD_MAX};
use self::shard::{Kept, Link, Shard};
use crate::owner::Owner;
use crate::primitives::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering::Relaxed};
use crate::record::{self, Record};
use crate::{Dropped, Outcome};

/// How many locks the table is spread over: several times the threads that start spans at the same instant, even on
/// large machines.
const SHARDS: usize = 16;

/// How many reports are made of a shard at a time, with copies of their texts: an application thread waits for some
/// microseconds of that at most.
const REPORTS_PER_LOCK: usize = 16;

/// A message is full at this length, a quarter of what the collector accepts. The [`REPORTS_PER_LOCK`] spans that may
/// come on top have at most 36 KiB of text each.
const MESSAGE_BYTES_FULL: usize = MESSAGE_BYTES_MAX / 4;

#[derive(Debug)]
pub(crate) struct OpenTable {
    owner: Owner,
    report_after: Duration,
    shards: [Mutex<Shard>; SHARDS],
    acceptances: Acceptances,
    /// The number of the latest session. Only the reporter begins sessions.
    epoch: AtomicU64,
    /// Something was lost that only the full open set can make up for.
    resync_needed: AtomicBool,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    spans_dropped: AtomicU64,
    structural_dropped: AtomicU64,
    finishes_dropped: AtomicU64,
}

/// One pass over all shards, in which everything is taken that was due when the pass began.
#[derive(Debug)]
pub(crate) struct Round {
    takes: Takes,
    shard: usize,
    /// What of the backlog that [`Round::shard`] had on arrival is left; `None` before arrival. What comes later is left
    /// to the next round, so that a busy shard cannot hold up the others.
    left: Option<(usize, usize)>,
}

/// What a round takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Takes {
    /// Starts only: the full open set.
    OpenSet,
    /// Starts and finishes.
    Changes,
}

/// What fits one message.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    pub(crate) started: Vec<Started>,
    pub(crate) finished: Vec<Finished>,
    pub(crate) round: RoundState,
}

/// Whether a round has come to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum RoundState {
    /// The message is full.
    #[default]
    GoesOn,
    /// Everything that was due when the round began has been taken.
    Done,
}

impl Round {
    pub(crate) fn new(takes: Takes) -> Self {
        Round {
            takes,
            shard: 0,
            left: None,
        }
    }
}

impl OpenTable {
    pub(crate) fn new(report_after: Duration) -> Self {
        OpenTable {
            owner: Owner::this(),
            report_after,
            shards: Default::default(),
            acceptances: Acceptances::default(),
            epoch: AtomicU64::new(0),
            resync_needed: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    /// A span starts. Its parent is still the one that the span itself names.
    #[inline]
    pub(crate) fn start(&self, mut record: Record, now: Duration) {
        let role = record.facts.role;
        let above = self.above(record.parent_span_id, record.parent_is_remote);
        if role == Role::Structural {
            self.pass_beneath(above, record.span_id, || record.facts.name);
            return;
        }
        (record.parent_span_id, record.parent_is_remote) = above.parent_of(role);
        let serves = (role == Role::Handle).then(|| Serves::of(&record));
        if let Some(serves) = serves {
            self.acceptances.begin(self.owner, serves);
        }
        let Some(mut shard) = self.shard(record.span_id) else {
            return;
        };
        let kept = shard.start(record, above, now);
        drop(shard);
        if kept == Kept::Yes {
            return;
        }
        self.counts.spans_dropped.fetch_add(1, Relaxed);
        if let Some(serves) = serves {
            // It will never be reported, so its call must not be taken for one that nobody has accepted.
            self.acceptances.end(self.owner, serves, now);
        }
        self.doubt(above);
    }

    /// A structural span starts. Its name is asked for only if it may have to be reported.
    pub(crate) fn pass(&self, span_id: u64, parent: u64, parent_is_remote: bool, name: impl FnOnce() -> StringValue) {
        let above = self.above(parent, parent_is_remote);
        self.pass_beneath(above, span_id, || record::cut(name()));
    }

    /// A span ends.
    pub(crate) fn end(&self, span_id: u64, outcome: Outcome, now: Duration) {
        self.end_by(span_id, outcome, || now);
    }

    /// A span ends. The clock is read only if the time matters, which it does not for a short call.
    pub(crate) fn end_by(&self, span_id: u64, outcome: Outcome, clock: impl Fn() -> Duration) {
        let ended = self
            .shard(span_id)
            .and_then(|mut shard| shard.end(span_id, outcome, &clock));
        let Some(ended) = ended else { return };
        if let Some(serves) = ended.serves {
            self.acceptances.end(self.owner, serves, clock());
        }
        if ended.finishes_lost > 0 {
            self.counts.finishes_dropped.fetch_add(ended.finishes_lost, Relaxed);
            self.resync_needed.store(true, Relaxed);
        }
        if let Some(inherits) = ended.inherits {
            let itself = Link {
                span_id,
                name: inherits.name,
                reported: inherits.reported,
            };
            self.link(inherits.call, inherits.links.into_iter().chain([itself]));
        }
    }

    /// A span was recorded as something that it is not. It goes as if there had been no room for it.
    pub(crate) fn disown(&self, span_id: u64, now: Duration) {
        let above = self.shard(span_id).and_then(|shard| shard.above_of(span_id));
        if let Some(above) = above {
            self.end(span_id, Outcome::Finished, now);
            self.counts.spans_dropped.fetch_add(1, Relaxed);
            self.doubt(above);
        }
    }

    /// Begins a session that knows nothing yet: everything is to be reported anew.
    pub(crate) fn begin_session(&self, now: Duration) {
        // Before the shards are visited, so that what is lost meanwhile asks for another set.
        self.resync_needed.store(false, Relaxed);
        let epoch = self.epoch.fetch_add(1, Relaxed) + 1;
        for mut shard in self.all_shards() {
            shard.begin_epoch(epoch, self.report_after, now);
        }
    }

    /// Nobody listens: nothing is queued until the next session begins.
    pub(crate) fn end_session(&self) {
        for mut shard in self.all_shards() {
            shard.end_epoch();
        }
    }

    /// Whether only the full open set can make up for what was lost in this session.
    pub(crate) fn resync_needed(&self) -> bool {
        self.resync_needed.load(Relaxed)
    }

    /// Takes of a round what fits one message.
    pub(crate) fn take(&self, round: &mut Round, now: Duration) -> Taken {
        let mut taken = Taken::default();
        let mut bytes = 0;
        while let Some(shard) = self.shards.get(round.shard) {
            let room = SPANS_PER_MESSAGE_MAX - taken.started.len() - taken.finished.len();
            if room == 0 || bytes >= MESSAGE_BYTES_FULL {
                return taken;
            }
            let Some(mut shard) = self.owner.lock(shard) else { break };
            let (spans, finishes) = round.left.get_or_insert_with(|| {
                shard.mature(self.report_after, now);
                shard.backlog()
            });
            let first = taken.started.len();
            shard.take_reports(spans, room.min(REPORTS_PER_LOCK), now, &mut taken.started);
            if *spans == 0 && round.takes == Takes::Changes {
                let limit = SPANS_PER_MESSAGE_MAX - taken.started.len();
                shard.take_finished(finishes, limit, &mut taken.finished);
            } else if *spans == 0 {
                *finishes = 0;
            }
            if *spans == 0 && *finishes == 0 {
                round.left = None;
                round.shard += 1;
            }
            drop(shard);
            bytes += taken.started[first..].iter().map(encoded_len).sum::<usize>();
        }
        taken.round = RoundState::Done;
        taken
    }

    /// Answers a probe, as of now. Open handles that accepted one of the calls asked about become due, so that the
    /// collector knows them by the time it has the answer; it must not be sent before a round that begins after this. One
    /// that is about to start at this very moment counts as open, and becomes due by its age.
    pub(crate) fn answer(&self, probe: &Probe, now: Duration) -> ProbeAnswer {
        let mut acceptances = Vec::with_capacity(probe.accepted.len());
        for question in &probe.accepted {
            let answer = self.acceptances.answer(self.owner, question, now);
            for handle in answer.open {
                if let Some(mut shard) = self.shard(handle) {
                    shard.report_now(handle);
                }
            }
            acceptances.push(Acceptance {
                call_span_id: question.call_span_id,
                state: answer.state.into(),
            });
        }
        let is_open = |span_id: &u64| self.shard(*span_id).is_some_and(|shard| shard.is_surely_open(*span_id));
        let not_open = probe
            .still_open
            .iter()
            .copied()
            .filter(|span_id| !is_open(span_id))
            .collect();
        ProbeAnswer {
            probe_id: probe.probe_id,
            not_open,
            acceptances,
        }
    }

    pub(crate) fn captured(&self) -> u64 {
        self.all_shards().map(|shard| shard.captured()).sum()
    }

    pub(crate) fn open_count(&self) -> u64 {
        self.all_shards().map(|shard| shard.open_count() as u64).sum()
    }

    /// What could not be kept, as far as the table is concerned.
    pub(crate) fn dropped(&self) -> Dropped {
        Dropped {
            spans: self.counts.spans_dropped.load(Relaxed),
            structural: self.counts.structural_dropped.load(Relaxed),
            finishes: self.counts.finishes_dropped.load(Relaxed),
            probes: 0,
        }
    }

    fn above(&self, parent: u64, is_remote: bool) -> Above {
        match (parent, is_remote) {
            (0, _) => Above::Nothing,
            (remote, true) => Above::Remote(remote),
            (local, false) => {
                let known = self.shard(local).and_then(|shard| shard.above_children_of(local));
                known.unwrap_or(Above::Top {
                    span_id: local,
                    remote: 0,
                })
            }
        }
    }

    fn pass_beneath(&self, above: Above, span_id: u64, name: impl FnOnce() -> StringValue) {
        let kept = self.shard(span_id).map(|mut shard| shard.pass(span_id, above));
        if kept == Some(Kept::Full) {
            self.counts.structural_dropped.fetch_add(1, Relaxed);
            self.doubt(above);
        }
        if let Above::Call(call) = above {
            let link = Link {
                span_id,
                name: name(),
                reported: 0,
            };
            self.link(call, [link]);
        }
    }

    fn link(&self, call: u64, links: impl IntoIterator<Item = Link>) {
        let lost = self.shard(call).map_or(0, |mut shard| shard.link(call, links));
        if lost > 0 {
            self.counts.structural_dropped.fetch_add(lost, Relaxed);
            self.doubt(Above::Call(call));
        }
    }

    /// A span was not kept, so the chain of parents from a handler to the call above it may be broken, and with it to the
    /// calls directly around that one.
    fn doubt(&self, mut above: Above) {
        while let Above::Call(call) = above {
            let further = self.shard(call).and_then(|mut shard| shard.doubt(call));
            let Some(further) = further else { return };
            above = further;
        }
    }

    /// `None` only in a forked child.
    fn shard(&self, span_id: u64) -> Option<MutexGuard<'_, Shard>> {
        self.owner.lock(&self.shards[shard_of(span_id)])
    }

    /// One after the other.
    fn all_shards(&self) -> impl Iterator<Item = MutexGuard<'_, Shard>> {
        self.shards.iter().filter_map(|shard| self.owner.lock(shard))
    }
}

/// About how long the report of a span is as a message, in bytes.
fn encoded_len(span: &Started) -> usize {
    // Numbers, ids and tags of a span.
    const FIXED: usize = 96;
    let resources: usize = span.resources.iter().map(|name| name.len() + 4).sum();
    let group = span.wait_group.as_ref().map_or(0, |group| group.name.len() + 16);
    FIXED + span.name.len() + span.target.len() + span.conversation_id.len() + resources + group
}

/// Spreads ids over the shards. Span ids are random, yet not always in every bit.
pub(crate) fn shard_of(id: u64) -> usize {
    // Fibonacci hashing: the upper bits of the product depend on all bits of the id.
    (id.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - SHARDS.trailing_zeros())) as usize
}
