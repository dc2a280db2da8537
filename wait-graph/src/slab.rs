//! Dense storage under small integer ids that are given again once they are free.
//!
//! In chunks, so that growing neither moves what is there nor keeps twice the room that is needed.

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

/// A chunk is about as large as what an allocator hands out whole: growth is smooth, and chunks are few.
const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: u32 = 12;

/// Records of one kind.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    /// All full but the last.
    chunks: Vec<Vec<T>>,
    free: Vec<Slot>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
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
        if self.chunks.last().is_none_or(|chunk| chunk.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let full = self.chunks.len().saturating_sub(1) * CHUNK;
        let chunk = self.chunks.last_mut();
        let place = chunk.map_or(0, |chunk| {
            chunk.push(record);
            chunk.len() - 1
        });
        Slot(u32::try_from(full + place).unwrap_or(u32::MAX))
    }

    /// Gives the id of a record to the next. The record itself stays until then.
    pub(crate) fn remove(&mut self, slot: Slot) {
        self.free.push(slot);
    }
}

impl<T> Index<Slot> for Slab<T> {
    type Output = T;

    fn index(&self, slot: Slot) -> &T {
        &self.chunks[(slot.0 >> CHUNK_BITS) as usize][slot.0 as usize % CHUNK]
    }
}

impl<T> IndexMut<Slot> for Slab<T> {
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.chunks[(slot.0 >> CHUNK_BITS) as usize][slot.0 as usize % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_records_over_many_chunks_and_gives_ids_again() {
        let mut slab = Slab::default();
        let slots: Vec<Slot> = (0..3 * CHUNK).map(|record| slab.insert(record)).collect();
        assert!(slots.iter().enumerate().all(|(record, slot)| slab[*slot] == record));
        slab.remove(slots[CHUNK]);
        assert_eq!(slab.insert(7), slots[CHUNK]);
        assert_eq!(slab[slots[CHUNK]], 7);
    }
}
