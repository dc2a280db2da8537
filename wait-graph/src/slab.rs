//! Dense storage under small integer ids that are given again once they are free.

use std::ops::{Index, IndexMut};

/// Where a record is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Slot(pub(crate) u32);

impl Slot {
    /// No record. Half the size of an `Option`, of which a record would have ten.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn is_some(self) -> bool {
        self != Self::NONE
    }

    pub(crate) fn some(self) -> Option<Self> {
        self.is_some().then_some(self)
    }
}

/// Records of one kind, in one piece: to find one is an addition.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    records: Vec<T>,
    free: Vec<Slot>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Keeps a record. Limits on what is kept stay far below the number of ids.
    pub(crate) fn insert(&mut self, record: T) -> Slot {
        if let Some(slot) = self.free.pop() {
            self[slot] = record;
            return slot;
        }
        reserve_some(&mut self.records);
        self.records.push(record);
        Slot(u32::try_from(self.records.len() - 1).unwrap_or(u32::MAX))
    }

    /// Gives the id of a record to the next. The record itself stays until then.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.free.push(slot);
    }
}

/// Makes room for one more, and if there was none for a sixteenth more: a vector by itself would double, and half of what
/// it has could be vacant. What is as large as to matter is then not copied by the usual allocators, but mapped
/// to another place.
pub(crate) fn reserve_some<T>(records: &mut Vec<T>) {
    if records.len() == records.capacity() {
        records.reserve_exact(records.len() / 16 + LEAST);
    }
}

/// The record at a place, beyond which there may be none yet.
pub(crate) fn at_place<T: Default>(records: &mut Vec<T>, place: usize) -> &mut T {
    while records.len() <= place {
        reserve_some(records);
        records.push(T::default());
    }
    &mut records[place]
}

/// What room is made for at least.
const LEAST: usize = 64;

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        &self.records[slot.0 as usize]
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.records[slot.0 as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_records_and_gives_ids_again() {
        let mut slab = Slab::default();
        let slots: Vec<Slot> = (0..1000).map(|record| slab.insert(record)).collect();
        assert!(slots.iter().enumerate().all(|(record, slot)| slab[*slot] == record));
        assert!(slab.records.capacity() < 1000 + 1000 / 16 + LEAST);
        slab.remove(slots[500]);
        assert_eq!(slab.insert(7), slots[500]);
        assert_eq!(slab[slots[500]], 7);
    }
}
