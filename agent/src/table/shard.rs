//! One shard of the open table: the open spans whose ids fall to it, and what is to be told of them.
//!
//! Everything here is plain data under the shard's lock. Time comes in as an argument.

use std::collections::VecDeque;
use std::time::Duration;

use opentelemetry::StringValue;
use standoff_protocol::stream::{self, Finished, Role, Started};

use super::acceptances::Serves;
use super::keys::IdMap;
use super::parents::Above;
use super::slots::Slots;
use crate::Outcome;
use crate::record::{self, Record};

/// The most calls, handles, holds and members that are kept open, for each shard: 262,144 in all, at about 300 bytes and
/// their texts, so less than 100 MB. It is for one process, which has a task and a caller for each of them; well above the
/// 100,000 open waits of all instances that a rebuild is measured with. A million open calls come from several instances.
pub(crate) const SPANS_PER_SHARD_MAX: usize = 16_384;

/// Room for members beyond [`SPANS_PER_SHARD_MAX`]: 16,384 in all, far more consumers than a process has. All else that is
/// dropped can only hide a deadlock; a pool that seems smaller than it is would invent one.
const MEMBERS_PER_SHARD_MORE: usize = 1024;

/// The most finishes that wait for a slow connection, for each shard: 262,144 in all, at 16 bytes. Past that, the full
/// open set is sent instead.
pub(crate) const FINISHED_PER_SHARD_MAX: usize = 16_384;

/// The most spans that only keep the parent chain, open or ended, for each shard: 65,536 of either in all.
pub(crate) const PASSED_PER_SHARD_MAX: usize = 4096;

/// How long an ended span keeps the parent chain: what is spawned within it may start later than it ends.
pub(crate) const PASSED_FOR: Duration = Duration::from_secs(60);

/// The most links of one call: attempts and messages of one call are few, a streaming call that has more is odd.
pub(crate) const LINKS_PER_CALL_MAX: usize = 256;

/// Most calls have no links, and those that have them a few. Room for as many, of as many calls at once, is kept; that is
/// 10 KiB for each shard at most.
const SPARE_LINKS_MAX: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Shard {
    /// The session that is being told of this shard; 0 if there is none. Without one nothing is queued: the next
    /// session starts from the open spans.
    epoch: u64,
    open: Slots<Open>,
    /// How many calls, handles, holds and members have started.
    captured: u64,
    /// Spans too young to be reported, in the order of their starts. Some of them have ended since.
    young: VecDeque<(Duration, u64)>,
    /// Spans about which something is to be reported. Some of them have ended since. Each at most once: see
    /// [`Open::queued`].
    due: VecDeque<u64>,
    /// Ends of spans that the session has been told of.
    finished: VecDeque<Finished>,
    /// Spans that keep the parent chain without being an end of it.
    passed: IdMap<Above>,
    /// Room for links that calls which have ended have left.
    spare_links: Vec<Vec<Link>>,
    /// Those of [`Shard::passed`] that have ended, oldest first.
    passed_ended: VecDeque<(Duration, u64)>,
}

#[derive(Debug)]
struct Open {
    record: Record,
    started: Duration,
    above: Above,
    /// The last session that has been told of this span; 0 if none ever was.
    reported: u64,
    /// Whether the span is in [`Shard::due`].
    queued: bool,
    /// Spans beneath this call that a handler elsewhere may have as its parent.
    links: Vec<Link>,
    /// The first link that the session may not know of yet.
    links_next: usize,
    /// A span beneath this call was not kept. A handler may have it as its parent, and nobody could tell.
    is_doubtful: bool,
}

// What the limits above reckon with.
const _: () = assert!(size_of::<Option<Open>>() <= 304);

/// A span beneath a call that a handler elsewhere may have as its parent, and that is not otherwise reported.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) span_id: u64,
    pub(crate) name: StringValue,
    /// The last session that has been told of this span, in whatever role; 0 if none ever was.
    pub(crate) reported: u64,
}

/// A span that has just ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// What it has served, if it was a handle.
    pub(crate) serves: Option<Serves>,
    /// A call has ended within another one, whose handler may have it, or what was beneath it, as its parent.
    pub(crate) inherits: Option<Inherits>,
    /// Finishes that there was no room for.
    pub(crate) finishes_lost: u64,
}

/// What becomes of the links of a call that has ended.
#[derive(Debug)]
pub(crate) struct Inherits {
    /// The call around it, to which they go, as does a link to the ended call itself.
    pub(crate) call: u64,
    /// The name of the ended call.
    pub(crate) name: StringValue,
    /// As [`Link::reported`], of the ended call.
    pub(crate) reported: u64,
    pub(crate) links: Vec<Link>,
}

/// Whether there was room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    Full,
}

impl Shard {
    pub(crate) fn open_count(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn captured(&self) -> u64 {
        self.captured
    }

    /// Whether the span is open, and all is known that might say that it is answered.
    pub(crate) fn is_surely_open(&self, span_id: u64) -> bool {
        self.open.get(span_id).is_some_and(|open| !open.is_doubtful)
    }

    /// What is above this span, if it is open.
    pub(crate) fn above_of(&self, span_id: u64) -> Option<Above> {
        self.open.get(span_id).map(|open| open.above)
    }

    /// What children of this span find above themselves. `None` if the span is unknown here.
    pub(crate) fn above_children_of(&self, span_id: u64) -> Option<Above> {
        if let Some(open) = self.open.get(span_id) {
            return Some(match open.role() {
                Role::Call => Above::Call(span_id),
                Role::Handle => Above::Handle(span_id),
                Role::Structural | Role::Hold | Role::Member => open.above.through(span_id),
            });
        }
        self.passed.get(&span_id).map(|above| above.through(span_id))
    }

    /// A call, handle, hold or member starts.
    #[inline]
    pub(crate) fn start(&mut self, record: Record, above: Above, now: Duration) -> Kept {
        self.captured += 1;
        let role = record.facts.role;
        let limit = match role {
            Role::Member => SPANS_PER_SHARD_MAX + MEMBERS_PER_SHARD_MORE,
            Role::Structural | Role::Call | Role::Handle | Role::Hold => SPANS_PER_SHARD_MAX,
        };
        if self.open.len() >= limit {
            return Kept::Full;
        }
        let span_id = record.span_id;
        let open = Open {
            record,
            started: now,
            above,
            reported: 0,
            queued: false,
            links: Vec::new(),
            links_next: 0,
            is_doubtful: false,
        };
        self.open.insert(span_id, open);
        if self.epoch != 0 {
            if role == Role::Member {
                self.queue(span_id);
            } else {
                // As many again as can be open may have ended: dropping those halves the queue at least.
                if self.young.len() >= 2 * SPANS_PER_SHARD_MAX {
                    self.young.retain(|(_, young)| self.open.contains(*young));
                }
                self.young.push_back((now, span_id));
            }
        }
        Kept::Yes
    }

    /// A structural span starts.
    pub(crate) fn pass(&mut self, span_id: u64, above: Above) -> Kept {
        let open = self.passed.len().saturating_sub(self.passed_ended.len());
        if open >= PASSED_PER_SHARD_MAX {
            return Kept::Full;
        }
        self.passed.insert(span_id, above);
        Kept::Yes
    }

    /// A span ends. `None` if it was none of a call, handle, hold and member.
    #[inline]
    pub(crate) fn end(&mut self, span_id: u64, outcome: Outcome, clock: impl Fn() -> Duration) -> Option<Ended> {
        let Some(open) = self.open.remove(span_id) else {
            if self.passed.contains_key(&span_id) {
                self.remember_passed(span_id, clock());
            }
            return None;
        };
        if matches!(open.role(), Role::Hold | Role::Member) {
            self.passed.insert(span_id, open.above);
            self.remember_passed(span_id, clock());
        }
        let was_reported = self.epoch != 0 && open.reported == self.epoch;
        let mut finishes_lost = 0;
        if was_reported {
            let age = clock().saturating_sub(open.started);
            finishes_lost += self.finish(span_id, wire_outcome(outcome, age, open.record.facts.timeout_ms));
            let epoch = self.epoch;
            for link in open.links.iter().filter(|link| link.reported == epoch) {
                finishes_lost += self.finish(link.span_id, stream::Outcome::Finished);
            }
        }
        let serves = (open.role() == Role::Handle).then(|| Serves::of(&open.record));
        let mut links = open.links;
        let inherits = match (open.above, open.record.facts.role) {
            (Above::Call(call), Role::Call) if !open.record.facts.detached => Some(Inherits {
                call,
                name: open.record.facts.name,
                reported: open.reported,
                links,
            }),
            _ => {
                links.clear();
                self.keep_links(links);
                None
            }
        };
        Some(Ended {
            serves,
            inherits,
            finishes_lost,
        })
    }

    /// Adds links to a call, if it is still open. Returns how many there was no room for.
    pub(crate) fn link(&mut self, call: u64, links: impl IntoIterator<Item = Link>) -> u64 {
        let Some(open) = self.open.get_mut(call) else { return 0 };
        if open.links.capacity() == 0 {
            open.links = self.spare_links.pop().unwrap_or_default();
        }
        let mut lost = 0;
        for link in links {
            if open.links.len() < LINKS_PER_CALL_MAX {
                open.links.push(link);
            } else {
                lost += 1;
            }
        }
        if self.epoch != 0 && open.reported == self.epoch {
            self.queue(call);
        }
        lost
    }

    /// Keeps the room that links have taken for those of another call.
    fn keep_links(&mut self, links: Vec<Link>) {
        if (1..=SPARE_LINKS_MAX).contains(&links.capacity()) && self.spare_links.len() < SPARE_LINKS_MAX {
            self.spare_links.push(links);
        }
    }

    /// A span beneath this call was not kept. Returns what is above the call, if that is as doubtful now.
    pub(crate) fn doubt(&mut self, call: u64) -> Option<Above> {
        let open = self.open.get_mut(call).filter(|open| !open.is_doubtful)?;
        open.is_doubtful = true;
        (!open.record.facts.detached).then_some(open.above)
    }

    /// A session begins that knows nothing. What has ever been reported is reported again, however young, and so is what
    /// was about to be.
    pub(crate) fn begin_epoch(&mut self, epoch: u64, report_after: Duration, now: Duration) {
        self.epoch = epoch;
        self.due.clear();
        self.young.clear();
        self.finished.clear();
        for open in self.open.iter_mut() {
            let was_due = open.reported != 0 || open.queued || open.role() == Role::Member;
            open.queued = was_due || open.started.saturating_add(report_after) <= now;
            if open.queued {
                self.due.push_back(open.record.span_id);
            } else {
                self.young.push_back((open.started, open.record.span_id));
            }
        }
        self.young.make_contiguous().sort_unstable();
    }

    /// Nobody listens any more.
    pub(crate) fn end_epoch(&mut self) {
        self.epoch = 0;
        for span_id in self.due.drain(..) {
            if let Some(open) = self.open.get_mut(span_id) {
                open.queued = false;
            }
        }
        self.young.clear();
        self.finished.clear();
    }

    /// Moves what has become old enough to what is due.
    pub(crate) fn mature(&mut self, report_after: Duration, now: Duration) {
        while let Some((started, span_id)) = self.young.front().copied() {
            if started.saturating_add(report_after) > now {
                break;
            }
            self.young.pop_front();
            self.report_now(span_id);
        }
    }

    /// Makes a span due, whatever its age, unless the session knows it.
    pub(crate) fn report_now(&mut self, span_id: u64) {
        if self.open.get(span_id).is_some_and(|open| open.reported != self.epoch) {
            self.queue(span_id);
        }
    }

    /// How much is due: spans, and finishes.
    pub(crate) fn backlog(&self) -> (usize, usize) {
        (self.due.len(), self.finished.len())
    }

    /// Takes up to `limit` reports, of at most `spans_left` spans.
    pub(crate) fn take_reports(
        &mut self,
        spans_left: &mut usize,
        limit: usize,
        now: Duration,
        reports: &mut Vec<Started>,
    ) {
        let limit = reports.len() + limit;
        while *spans_left > 0 && reports.len() < limit {
            let Some(span_id) = self.due.front().copied() else {
                *spans_left = 0;
                return;
            };
            let open = self.open.get_mut(span_id);
            match open.and_then(|open| open.next_report(self.epoch, now)) {
                Some(report) => reports.push(report),
                None => {
                    self.due.pop_front();
                    *spans_left -= 1;
                }
            }
        }
    }

    /// Takes up to `limit` finishes, and at most `finishes_left`.
    pub(crate) fn take_finished(&mut self, finishes_left: &mut usize, limit: usize, finished: &mut Vec<Finished>) {
        let count = limit
            .saturating_sub(finished.len())
            .min(*finishes_left)
            .min(self.finished.len());
        finished.extend(self.finished.drain(..count));
        *finishes_left = if self.finished.is_empty() {
            0
        } else {
            *finishes_left - count
        };
    }

    fn queue(&mut self, span_id: u64) {
        if self.epoch == 0 {
            return;
        }
        let Some(open) = self.open.get_mut(span_id) else {
            return;
        };
        if open.queued {
            return;
        }
        open.queued = true;
        // As with the young: no span is here twice, so at least half of them have ended.
        if self.due.len() >= 2 * SPANS_PER_SHARD_MAX {
            self.due.retain(|due| self.open.contains(*due));
        }
        self.due.push_back(span_id);
    }

    /// Returns how many finishes were lost: 0 or 1.
    fn finish(&mut self, span_id: u64, outcome: stream::Outcome) -> u64 {
        if self.finished.len() >= FINISHED_PER_SHARD_MAX {
            return 1;
        }
        self.finished.push_back(Finished {
            span_id,
            outcome: outcome.into(),
        });
        0
    }

    fn remember_passed(&mut self, span_id: u64, now: Duration) {
        self.passed_ended.push_back((now, span_id));
        while let Some((ended, oldest)) = self.passed_ended.front().copied() {
            if self.passed_ended.len() <= PASSED_PER_SHARD_MAX && ended + PASSED_FOR > now {
                break;
            }
            self.passed_ended.pop_front();
            self.passed.remove(&oldest);
        }
    }
}

impl Open {
    fn role(&self) -> Role {
        self.record.facts.role
    }

    /// The next thing that the session does not know of this span.
    fn next_report(&mut self, epoch: u64, now: Duration) -> Option<Started> {
        let age = now.saturating_sub(self.started);
        let age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        if self.reported != epoch {
            self.reported = epoch;
            self.links_next = 0;
            return Some(self.record.to_started(age_ns));
        }
        while let Some(link) = self.links.get_mut(self.links_next) {
            self.links_next += 1;
            if link.reported != epoch {
                link.reported = epoch;
                return Some(Started {
                    span_id: link.span_id,
                    trace_id: record::trace_id(self.record.trace_id),
                    parent_span_id: self.record.span_id,
                    role: Role::Structural.into(),
                    name: link.name.as_str().to_owned(),
                    age_ns,
                    ..Started::default()
                });
            }
        }
        self.queued = false;
        None
    }
}

/// A call that failed once its time was over has timed out, whatever it calls that.
fn wire_outcome(outcome: Outcome, age: Duration, timeout_ms: u64) -> stream::Outcome {
    match outcome {
        Outcome::Finished => stream::Outcome::Finished,
        Outcome::Error if timeout_ms != 0 && age >= Duration::from_millis(timeout_ms) => stream::Outcome::Timeout,
        Outcome::Error => stream::Outcome::Error,
        Outcome::Timeout => stream::Outcome::Timeout,
        Outcome::Cancelled => stream::Outcome::Cancelled,
    }
}
