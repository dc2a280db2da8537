//! What has ended of an instance that cannot be asked, for as long as that may matter.
//!
//! Who can be asked remembers which calls it has accepted, and says so when a collector asks. Of the others a collector
//! knows only what it was told, so it is told of each span that has ended: which may have answered a call, or stand
//! between a call and what answers it. That is kept once for all upstreams, also for those that are away. One that comes
//! back is told what is open, and of a call that was answered meanwhile it must not believe that it still waits.

use std::collections::VecDeque;
use std::time::Duration;

use standoff_protocol::stream::Ended;

use super::mirror::{Filling, Kept, Limits, UPSTREAMS_MAX, Upstreams};

/// For how long they are kept, room permitting: as long as a collector's graph remembers spans that have ended.
pub(super) const ENDED_FOR: Duration = Duration::from_secs(60);

/// How exactly their age is known.
const AGE_STEP: Duration = Duration::from_secs(1);

/// A number for each upstream.
pub(super) type ForEach = [u64; UPSTREAMS_MAX];

#[derive(Debug, Default)]
pub(super) struct Endings {
    /// Numbered from 0 in the order in which they came.
    spans: VecDeque<Ended>,
    /// The number of the first that is still kept.
    first: u64,
    /// The bytes of their texts.
    text_bytes: usize,
    /// Those before the number came at that time, give or take [`AGE_STEP`], or earlier.
    ages: VecDeque<(Duration, u64)>,
    /// The number that each upstream is to be told next.
    next: ForEach,
    /// How many each upstream will never be told of, since there was no room.
    lost: ForEach,
}

impl Endings {
    /// The number after the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.spans.len() as u64
    }

    pub(super) fn lost(&self, upstream: Upstreams) -> u64 {
        self.lost.get(upstream.number()).copied().unwrap_or(0)
    }

    /// How many an upstream is still to be told of.
    pub(super) fn waiting(&self, upstream: Upstreams) -> u64 {
        self.end() - self.next(upstream)
    }

    fn next(&self, upstream: Upstreams) -> u64 {
        let next = self.next.get(upstream.number()).copied().unwrap_or(0);
        next.clamp(self.first, self.end())
    }

    /// Spans have ended. Returns how many of all each upstream will not be told of because of that.
    pub(super) fn add(
        &mut self,
        kept: &mut Kept,
        limits: &Limits,
        now: Duration,
        ended: impl IntoIterator<Item = Ended>,
    ) -> ForEach {
        let before = self.lost;
        for span in ended {
            let text = span.conversation_id.len();
            let has_room = |spans: usize, kept: &Kept| {
                spans < limits.ended_per_instance
                    && kept.ended < limits.ended
                    && kept.ended_text_bytes + text <= limits.ended_text_bytes
            };
            // What came last is what the calls that are open are answered by.
            while !has_room(self.spans.len(), kept) && self.forget_first(kept) {
                self.count_lost(|next, first| next < first);
            }
            if !has_room(self.spans.len(), kept) {
                self.count_lost(|_, _| true);
                continue;
            }
            kept.ended += 1;
            kept.ended_text_bytes += text;
            self.text_bytes += text;
            self.spans.push_back(span);
        }
        let end = self.end();
        match self.ages.back_mut() {
            Some((at, before)) if now < *at + AGE_STEP => *before = end,
            Some(_) | None => self.ages.push_back((now, end)),
        }
        std::array::from_fn(|number| {
            let of = |counts: &ForEach| counts.get(number).copied().unwrap_or(0);
            of(&self.lost) - of(&before)
        })
    }

    fn count_lost(&mut self, is_lost: impl Fn(u64, u64) -> bool) {
        for (next, lost) in self.next.iter().zip(&mut self.lost) {
            *lost += u64::from(is_lost(*next, self.first));
        }
    }

    fn forget_first(&mut self, kept: &mut Kept) -> bool {
        let Some(span) = self.spans.pop_front() else {
            return false;
        };
        let text = span.conversation_id.len();
        self.first += 1;
        self.text_bytes -= text;
        kept.ended -= 1;
        kept.ended_text_bytes -= text;
        true
    }

    /// Time passes.
    pub(super) fn forget(&mut self, kept: &mut Kept, now: Duration) {
        while let Some((_, before)) = self.ages.front().copied().filter(|(at, _)| now >= *at + ENDED_FOR) {
            self.ages.pop_front();
            while self.first < before && self.forget_first(kept) {}
        }
        if self.spans.is_empty() {
            self.spans = VecDeque::new();
        }
    }

    /// The instance is no more.
    pub(super) fn clear(&mut self, kept: &mut Kept) {
        kept.ended -= self.spans.len();
        kept.ended_text_bytes -= self.text_bytes;
        *self = Self::default();
    }

    /// An upstream is to be told everything anew.
    pub(super) fn forget_told(&mut self, upstream: Upstreams) {
        if let Some(next) = self.next.get_mut(upstream.number()) {
            *next = self.first;
        }
    }

    /// Puts what an upstream is to be told next into a message, but nothing from the number `end` on. Returns whether
    /// that was all.
    pub(super) fn tell(&mut self, end: u64, upstream: Upstreams, filling: &mut Filling) -> bool {
        let end = end.min(self.end());
        let from = self.next(upstream);
        let mut next = from;
        let index = usize::try_from(from - self.first).unwrap_or(usize::MAX);
        for span in self.spans.range(index.min(self.spans.len())..) {
            if next >= end || !filling.take_ended(span) {
                break;
            }
            next += 1;
        }
        if let Some(place) = self.next.get_mut(upstream.number()) {
            *place = next;
        }
        next >= end
    }
}
