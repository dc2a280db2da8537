//! What handlers that have ended, and words that were said, mean for calls.
//!
//! For each wait it is counted how many say what, so that each can be taken back.

use crate::hashing::IdMap;
use crate::slab::Slot;
use crate::wait_for::Fate;

use super::Spans;
use super::record::{Flag, State};

/// What is said of waits.
#[derive(Debug, Default)]
pub(super) struct Fates {
    by_call: IdMap<Slot, Counts>,
    /// Spans that were said to be answered, and calls of which a fate is kept: the wait that it counts for.
    words: IdMap<Slot, (Slot, Fate)>,
}

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
        let counts = self.fates.by_call.entry(call).or_default();
        let count = which(counts);
        *count = if is_more { *count + 1 } else { *count - 1 };
        if *counts == Counts::default() {
            self.fates.by_call.remove(&call);
        }
        if let Some(wait) = self.wait(call) {
            let counts = self.fates.by_call.get(&call).copied().unwrap_or_default();
            self.picture.set_fate(wait, counts.fate());
            self.picture.set_uncertain(wait, counts.uncertain > 0);
        }
    }

    /// Tells the picture what is said of a wait that it has not known so far.
    pub(super) fn look_at_fate(&mut self, call: Slot) {
        if let Some(counts) = self.fates.by_call.get(&call).copied()
            && let Some(wait) = self.wait(call)
        {
            self.picture.set_fate(wait, counts.fate());
            self.picture.set_uncertain(wait, counts.uncertain > 0);
        }
    }

    /// What was said of a span counts for the wait that it is part of.
    pub(super) fn place_word(&mut self, slot: Slot) {
        let record = &self.store[slot];
        let fate = if record.is(Flag::Answered) || record.is(Flag::KeptAnswered) {
            Some(Fate::Answered)
        } else {
            record.is(Flag::KeptOrphaned).then_some(Fate::Orphaned)
        };
        if fate.is_none() && !record.is(Flag::Said) {
            return;
        }
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
    /// The strongest that is said.
    fn fate(self) -> Option<Fate> {
        if self.answered > 0 {
            Some(Fate::Answered)
        } else {
            (self.orphaned > 0).then_some(Fate::Orphaned)
        }
    }
}
