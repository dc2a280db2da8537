//! Which ended spans open ones need: all above them, up to the first handle that has ended, and those that they say
//! they run under. These are not forgotten, however old.
//!
//! An ended handle is the last that is needed of a chain: whoever is below it asks for nothing above it.

use crate::slab::Slot;

use super::Spans;
use super::record::Flag;

impl Spans {
    /// Whether a span needs the one above it.
    pub(super) fn needs_above(&self, slot: Slot) -> bool {
        let record = &self.store[slot];
        record.is_open() || record.is_needed() && !record.is_handle()
    }

    /// A span needs, or does not need any more, what is above it.
    pub(super) fn shift_need_above(&mut self, slot: Slot, is_more: bool) {
        self.shift_need(self.store[slot].above(), is_more);
    }

    /// One more or less needs this span, if it is one that has ended; and so on upwards.
    pub(super) fn shift_need(&mut self, slot: Slot, is_more: bool) {
        let mut next = slot;
        while next.is_some() && self.store[next].is_ended() {
            let record = &mut self.store[next];
            let before = record.place_or_needs;
            let after = if is_more { before + 1 } else { before - 1 };
            record.place_or_needs = after;
            if before.min(after) > 0 {
                return;
            }
            if is_more {
                self.needed += 1;
            } else {
                self.needed -= 1;
                if record.is(Flag::Parked) {
                    self.ended.release(next, record);
                }
            }
            let record = &self.store[next];
            next = if record.is_handle() { Slot::NONE } else { record.above() };
        }
    }

    /// Counts who needs a span that has just ended.
    pub(super) fn count_needs(&mut self, slot: Slot) {
        let mut needs = 0;
        let mut child = self.store[slot].first_child;
        while child.is_some() {
            let record = &self.store[child];
            needs += u32::from(!record.is(Flag::Loop) && self.needs_above(child));
            child = record.next;
        }
        for hinting in self.store.hinting(slot) {
            needs += u32::from(self.store[hinting].is_open());
        }
        self.store[slot].place_or_needs = needs;
        self.needed += usize::from(needs > 0);
    }
}
