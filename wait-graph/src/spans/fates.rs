//! What handlers that have ended, and words that were said, mean for calls.
//!
//! For each wait it is counted how many say what, so that each can be taken back.

use crate::hashing::IdMap;
use crate::slab::Slot;
use crate::wait_for::{Fate, WaitIx};

use super::Spans;
use super::record::{Flag, State};

/// What is said of waits.
#[derive(Debug, Default)]
pub(super) struct Fates {
    /// Of calls that are [`Flag::Counted`]. The usual case, one handler that has finished, is [`Flag::OneAnswer`].
    by_call: IdMap<Slot, Counts>,
    /// Spans that were said to be answered, and calls of which a fate is kept: the wait that it counts for.
    words: IdMap<Slot, (Slot, Fate)>,
}

/// Whether something is said of a span, or was.
const WORDS: &[Flag] = &[Flag::Answered, Flag::KeptAnswered, Flag::KeptOrphaned, Flag::Said];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    answered: u32,
    orphaned: u32,
    /// Open handles of which it is not certain that they answer it.
    uncertain: u32,
}

/// What a handler that has ended means for the call that it answered.
pub(super) fn fate_by(end: State) -> Fate {
    match end {
        State::Lost => Fate::Orphaned,
        State::Finished | State::Open | State::Unseen => Fate::Answered,
    }
}

impl Spans {
    /// One more or less says that a call has this fate.
    pub(super) fn count_fate(&mut self, call: Slot, fate: Fate, is_more: bool) {
        self.count(call, is_more, |counts| match fate {
            Fate::Answered => &mut counts.answered,
            Fate::Orphaned => &mut counts.orphaned,
        });
    }

    /// One open handle more or less may or may not answer a call.
    pub(super) fn count_uncertain(&mut self, call: Slot, is_more: bool) {
        self.count(call, is_more, |counts| &mut counts.uncertain);
    }

    fn count(&mut self, call: Slot, is_more: bool, which: impl Fn(&mut Counts) -> &mut u32) {
        let before = self.counts(call);
        let mut counts = before;
        let count = which(&mut counts);
        *count = if is_more { *count + 1 } else { *count - 1 };
        self.keep_counts(call, counts);
        if let Some(wait) = self.wait(call) {
            self.tell_counts(wait, before, counts);
        }
    }

    fn counts(&self, call: Slot) -> Counts {
        let record = &self.store[call];
        if record.is(Flag::Counted) {
            self.fates.by_call.get(&call).copied().unwrap_or_default()
        } else if record.is(Flag::OneAnswer) {
            Counts::ONE_ANSWER
        } else {
            Counts::NONE
        }
    }

    fn keep_counts(&mut self, call: Slot, counts: Counts) {
        let is_plain = counts == Counts::NONE || counts == Counts::ONE_ANSWER;
        let record = &mut self.store[call];
        record.set(Flag::OneAnswer, counts == Counts::ONE_ANSWER);
        if !is_plain {
            record.set(Flag::Counted, true);
            self.fates.by_call.insert(call, counts);
        } else if record.is(Flag::Counted) {
            record.set(Flag::Counted, false);
            self.fates.by_call.remove(&call);
        }
    }

    fn tell_counts(&mut self, wait: WaitIx, before: Counts, now: Counts) {
        if before.fate() != now.fate() {
            self.picture.set_fate(wait, now.fate());
        }
        if (before.uncertain > 0) != (now.uncertain > 0) {
            self.picture.set_uncertain(wait, now.uncertain > 0);
        }
    }

    /// Tells the picture what is said of a wait that it has not known so far.
    pub(super) fn look_at_fate(&mut self, call: Slot) {
        if let Some(wait) = self.wait(call) {
            self.tell_counts(wait, Counts::NONE, self.counts(call));
        }
    }

    /// What was said of a span counts for the wait that it is part of.
    #[inline]
    pub(super) fn place_word(&mut self, slot: Slot) {
        if self.store[slot].is_any(WORDS) {
            self.count_word(slot);
        }
    }

    fn count_word(&mut self, slot: Slot) {
        let record = &self.store[slot];
        let fate = if record.is(Flag::Answered) || record.is(Flag::KeptAnswered) {
            Some(Fate::Answered)
        } else {
            record.is(Flag::KeptOrphaned).then_some(Fate::Orphaned)
        };
        let wait = if record.is_known() {
            self.store.wait_at(slot)
        } else {
            Slot::NONE
        };
        let now = fate.filter(|_| wait.is_some()).map(|fate| (wait, fate));
        let before = self.fates.words.get(&slot).copied();
        if now == before {
            return;
        }
        if let Some((wait, fate)) = before {
            self.fates.words.remove(&slot);
            self.count_fate(wait, fate, false);
        }
        if let Some((wait, fate)) = now {
            self.fates.words.insert(slot, (wait, fate));
            self.count_fate(wait, fate, true);
        }
        self.store[slot].set(Flag::Said, now.is_some());
    }

    /// Remembers the fate of an open call after what said it is forgotten.
    pub(super) fn keep_fate(&mut self, call: Slot, fate: Fate) {
        let record = &mut self.store[call];
        if record.is_open() {
            let flag = match fate {
                Fate::Answered => Flag::KeptAnswered,
                Fate::Orphaned => Flag::KeptOrphaned,
            };
            record.set(flag, true);
            self.place_word(call);
        }
    }

    /// A span has ended, or is forgotten: no fate of it is kept.
    pub(super) fn drop_kept_fate(&mut self, slot: Slot) {
        let record = &mut self.store[slot];
        record.set(Flag::KeptAnswered, false);
        record.set(Flag::KeptOrphaned, false);
    }
}

impl Counts {
    const NONE: Self = Self {
        answered: 0,
        orphaned: 0,
        uncertain: 0,
    };
    const ONE_ANSWER: Self = Self {
        answered: 1,
        ..Self::NONE
    };

    /// The strongest that is said.
    fn fate(self) -> Option<Fate> {
        if self.answered > 0 {
            Some(Fate::Answered)
        } else {
            (self.orphaned > 0).then_some(Fate::Orphaned)
        }
    }
}
