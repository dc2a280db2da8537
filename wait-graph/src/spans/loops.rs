//! Spans whose parents lead back to them. Such a span counts as having no parent at all.
//!
//! Loops close only when a span becomes known that others have named as their parent before. The others stay without a
//! parent if one of them is forgotten: nothing changes for open spans because something old is forgotten.

use crate::slab::Slot;

use super::Spans;
use super::derive::Reason;
use super::record::Flag;

impl Spans {
    /// A span has just become known. Takes note if that closes a loop.
    pub(super) fn look_for_loop(&mut self, slot: Slot) {
        if self.is_above(slot, self.store[slot].parent) {
            for member in self.around(slot) {
                if self.needs_above(member) {
                    self.shift_need_above(member, false);
                }
                let record = &mut self.store[member];
                record.set(Flag::Loop, true);
                self.looping += u64::from(record.is_open());
                self.pending.push(member, Reason::BOTH);
                self.chains_changed(member);
            }
        }
    }

    /// The spans on the loop of one of them.
    fn around(&self, slot: Slot) -> Vec<Slot> {
        let mut members = vec![slot];
        let mut next = self.store[slot].parent;
        while next != slot && next.is_some() {
            members.push(next);
            next = self.store[next].parent;
        }
        members
    }

    /// Whether the first span is at or above the second.
    ///
    /// Looks upwards from the second and downwards from the first in turn, and stops with whichever ends first: pieces
    /// of a chain that come in any order are joined in O(n log n) altogether, since each look is limited by the smaller
    /// piece.
    fn is_above(&self, first: Slot, second: Slot) -> bool {
        // Beneath most that start there is nothing, not even themselves.
        if !self.store[first].first_child.is_some() {
            return false;
        }
        let mut up = second;
        let mut down = vec![first];
        while up.is_some() && !self.store[up].is(Flag::Loop) {
            if up == first {
                return true;
            }
            up = self.store[up].parent;
            let Some(next) = down.pop() else { return false };
            if next == second {
                return true;
            }
            let record = &self.store[next];
            // A list is walked one span at a time, so that wide trees cost no more than deep ones.
            if next != first {
                down.extend(record.next.some());
            }
            down.extend(record.first_child.some());
        }
        false
    }
}
