//! The order in which ended spans are forgotten: the oldest first, and none that open spans need.
//!
//! Those that are needed when their turn comes are parked, and are next in turn once nobody needs them.

use std::collections::{BTreeMap, BTreeSet};

use crate::slab::Slot;
use crate::span::SpanId;

use super::ages::Ages;
use super::record::{Flag, Record};
use super::store::Store;

/// Of equal age the one with the smaller id is the older. The last number tells whether the span is still the one that
/// was entered.
type Entry = (SpanId, Slot, u32);

/// All ended spans, by age.
#[derive(Debug, Default)]
pub(crate) struct EndedSpans {
    ages: Ages<Entry>,
    parked: BTreeMap<Slot, u64>,
    parked_ages: BTreeSet<(u64, SpanId)>,
    /// Parked before, and not needed any more.
    released: BTreeSet<(u64, Entry)>,
    len: usize,
    last_stamp: u32,
}

impl EndedSpans {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A span has ended.
    pub(crate) fn remember(&mut self, now: u64, slot: Slot, record: &mut Record) {
        self.last_stamp = self.last_stamp.wrapping_add(1);
        record.stamp = self.last_stamp;
        self.ages.push(now, (record.id, slot, self.last_stamp));
        self.len += 1;
    }

    /// An ended span is not remembered any more, whatever its age. To be said before it is cleared.
    pub(crate) fn remove(&mut self, slot: Slot, record: &mut Record) {
        if record.is(Flag::Parked) {
            self.unpark(slot, record);
        }
        self.len -= 1;
    }

    /// Nobody needs a parked span any more.
    pub(crate) fn release(&mut self, slot: Slot, record: &mut Record) {
        if let Some(at) = self.unpark(slot, record) {
            self.released.insert((at, (record.id, slot, record.stamp)));
        }
    }

    fn unpark(&mut self, slot: Slot, record: &mut Record) -> Option<u64> {
        record.set(Flag::Parked, false);
        let at = self.parked.remove(&slot)?;
        self.parked_ages.remove(&(at, record.id));
        Some(at)
    }

    /// Whether anything ended at `cutoff` or before, needed or not.
    pub(crate) fn reaches_back_to(&mut self, cutoff: u64, store: &Store) -> bool {
        self.drop_invalid(store);
        let oldest = [
            self.ages.first().map(|it| it.0),
            self.released.first().map(|it| it.0),
            self.parked_ages.first().map(|it| it.0),
        ];
        oldest.into_iter().flatten().any(|at| at <= cutoff)
    }

    /// The oldest that nobody needs, if it ended at `cutoff` or before. The caller forgets it.
    pub(crate) fn pop(&mut self, cutoff: u64, store: &mut Store) -> Option<Slot> {
        loop {
            self.drop_invalid(store);
            let next = self.ages.first().copied();
            let released = self.released.first().copied();
            let (at, entry) = next.into_iter().chain(released).min().filter(|it| it.0 <= cutoff)?;
            if released == Some((at, entry)) {
                self.released.pop_first();
            } else {
                self.ages.pop();
            }
            let slot = entry.1;
            if !store[slot].is_needed() {
                return Some(slot);
            }
            store[slot].set(Flag::Parked, true);
            self.parked.insert(slot, at);
            self.parked_ages.insert((at, entry.0));
        }
    }

    fn drop_invalid(&mut self, store: &Store) {
        let is_valid = |(_, slot, stamp): &Entry| store[*slot].is_ended() && store[*slot].stamp == *stamp;
        while self.ages.first().is_some_and(|(_, entry)| !is_valid(entry)) {
            self.ages.pop();
        }
        while self.released.first().is_some_and(|(_, entry)| !is_valid(entry)) {
            self.released.pop_first();
        }
    }
}
