//! What is remembered for a while: bounded in age and in number.
//!
//! Owns no policy beyond "the oldest goes first, and of equals the smallest". What forgetting something means is up to
//! whoever remembers it: what is forgotten is handed back.

use std::collections::VecDeque;
use std::hash::Hash;

use crate::hashing::IdMap;

/// Entries by age. They come in almost in order, and are put in order only when somebody asks for the oldest, so that
/// each is sorted once.
#[derive(Debug)]
pub(crate) struct Ages<K> {
    sorted: VecDeque<(u64, K)>,
    young: Vec<(u64, K)>,
}

impl<K> Default for Ages<K> {
    fn default() -> Self {
        Self {
            sorted: VecDeque::new(),
            young: Vec::new(),
        }
    }
}

impl<K: Ord> Ages<K> {
    pub(crate) fn len(&self) -> usize {
        self.sorted.len() + self.young.len()
    }

    pub(crate) fn push(&mut self, at: u64, key: K) {
        self.young.push((at, key));
    }

    /// The oldest.
    pub(crate) fn first(&mut self) -> Option<&(u64, K)> {
        self.sort();
        self.sorted.front()
    }

    pub(crate) fn pop(&mut self) -> Option<(u64, K)> {
        self.sort();
        self.sorted.pop_front()
    }

    pub(crate) fn retain(&mut self, is_valid: impl Fn(&(u64, K)) -> bool) {
        self.sort();
        self.sorted.retain(is_valid);
    }

    fn sort(&mut self) {
        if self.young.is_empty() {
            return;
        }
        self.young.sort_unstable();
        // Only those that are not older than the oldest of the young have to be put in order with them.
        let first = self.sorted.partition_point(|it| *it <= self.young[0]);
        if first < self.sorted.len() {
            self.young.extend(self.sorted.drain(first..));
            self.young.sort();
        }
        self.sorted.extend(self.young.drain(..));
    }
}

/// Keys with the time at which each was last remembered.
#[derive(Debug)]
pub(crate) struct Memory<K> {
    entries: IdMap<K, u64>,
    /// May hold entries that have been remembered again since.
    ages: Ages<K>,
}

impl<K> Default for Memory<K> {
    fn default() -> Self {
        Self {
            entries: IdMap::default(),
            ages: Ages::default(),
        }
    }
}

impl<K: Ord + Hash + Clone> Memory<K> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        !self.entries.is_empty() && self.entries.contains_key(key)
    }

    /// Returns whether it is new.
    pub(crate) fn remember(&mut self, now: u64, key: K) -> bool {
        let before = self.entries.insert(key.clone(), now);
        if before != Some(now) {
            self.ages.push(now, key);
        }
        if self.ages.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.ages.retain(|(at, key)| entries.get(key) == Some(at));
        }
        before.is_none()
    }

    pub(crate) fn forget(&mut self, key: &K) -> bool {
        !self.entries.is_empty() && self.entries.remove(key).is_some()
    }

    /// Whether anything was remembered at `cutoff` or before.
    pub(crate) fn reaches_back_to(&mut self, cutoff: u64) -> bool {
        self.drop_invalid();
        self.ages.first().is_some_and(|(at, _)| *at <= cutoff)
    }

    /// Forgets what was remembered at `cutoff` or before.
    pub(crate) fn forget_before(&mut self, cutoff: u64) -> Vec<K> {
        let mut forgotten = Vec::new();
        while self.reaches_back_to(cutoff) {
            forgotten.extend(self.pop());
        }
        forgotten
    }

    /// Forgets the oldest until at most seven eighths of `limit` are left, so that making room is rare.
    pub(crate) fn make_room(&mut self, limit: usize) -> Vec<K> {
        let mut forgotten = Vec::new();
        for _ in 0..self.len().saturating_sub(limit - limit / 8) {
            self.drop_invalid();
            forgotten.extend(self.pop());
        }
        forgotten
    }

    fn pop(&mut self) -> Option<K> {
        let (_, key) = self.ages.pop()?;
        self.entries.remove(&key);
        Some(key)
    }

    fn drop_invalid(&mut self) {
        while let Some((at, key)) = self.ages.first()
            && self.entries.get(key) != Some(at)
        {
            self.ages.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Memory<u32> {
        let mut memory = Memory::default();
        memory.remember(1, 1);
        memory.remember(3, 2);
        memory.remember(2, 3);
        memory
    }

    #[test]
    fn forgets_by_age() {
        let mut memory = filled();
        assert!(memory.reaches_back_to(1));
        assert!(memory.forget(&1));
        assert!(!memory.reaches_back_to(1));
        assert_eq!(memory.forget_before(2), [3]);
        assert!(memory.contains(&2));
    }

    #[test]
    fn makes_room_with_the_oldest_first_and_of_equals_the_smallest() {
        let mut memory = filled();
        assert_eq!(memory.make_room(2), [1]);
        for key in [9, 8, 7] {
            memory.remember(2, key);
        }
        assert_eq!(memory.make_room(2), [3, 7, 8]);
    }

    #[test]
    fn remembering_again_makes_it_young_and_costs_nothing() {
        let mut memory = filled();
        for now in 5..1000 {
            assert!(!memory.remember(now, 1));
        }
        assert!(memory.ages.len() < 100);
        assert_eq!(memory.forget_before(998), [3, 2]);
        assert!(memory.contains(&1));
    }
}
