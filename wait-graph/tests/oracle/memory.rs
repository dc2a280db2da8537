//! What is remembered for a while: bounded in age and in number.
//!
//! Owns no policy beyond "the oldest goes first". What forgetting something means is up to whoever remembers it: the
//! methods that forget hand back what is forgotten.

use std::collections::BTreeMap;
use std::time::Duration;

/// Entries with the time at which each was last remembered.
#[derive(Debug)]
pub(crate) struct Memory<K, V> {
    entries: BTreeMap<K, (Duration, V)>,
}

impl<K, V> Default for Memory<K, V> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
        }
    }
}

impl<K: Ord + Clone, V> Memory<K, V> {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn contains(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    pub(crate) fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }

    pub(crate) fn remember(&mut self, now: Duration, key: K, value: V) {
        self.entries.insert(key, (now, value));
    }

    pub(crate) fn forget(&mut self, key: &K) -> Option<V> {
        self.entries.remove(key).map(|(_, value)| value)
    }

    /// Whether anything was remembered at `cutoff` or before.
    pub(crate) fn reaches_back_to(&self, cutoff: Duration) -> bool {
        self.entries.values().any(|(at, _)| *at <= cutoff)
    }

    /// Forgets what was remembered at `cutoff` or before, unless it is still needed.
    pub(crate) fn forget_before(&mut self, cutoff: Duration, needed: impl Fn(&K) -> bool) -> Vec<(K, V)> {
        let old = self
            .entries
            .iter()
            .filter(|(key, (at, _))| *at <= cutoff && !needed(key));
        let keys: Vec<K> = old.map(|(key, _)| key.clone()).collect();
        self.forget_all(keys)
    }

    /// Forgets the oldest that are not needed until at most seven eighths of `limit` are left, so that making room is
    /// rare.
    pub(crate) fn make_room(&mut self, limit: usize, needed: impl Fn(&K) -> bool) -> Vec<(K, V)> {
        let excess = self.entries.len().saturating_sub(limit - limit / 8);
        let mut by_age: Vec<(Duration, K)> = self
            .entries
            .iter()
            .filter(|(key, _)| !needed(key))
            .map(|(key, (at, _))| (*at, key.clone()))
            .collect();
        by_age.sort();
        by_age.truncate(excess);
        self.forget_all(by_age.into_iter().map(|(_, key)| key).collect())
    }

    fn forget_all(&mut self, keys: Vec<K>) -> Vec<(K, V)> {
        keys.into_iter()
            .filter_map(|key| self.forget(&key).map(|value| (key, value)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn filled() -> Memory<u32, &'static str> {
        let mut memory = Memory::default();
        memory.remember(SECOND, 1, "one");
        memory.remember(3 * SECOND, 2, "two");
        memory.remember(2 * SECOND, 3, "three");
        memory
    }

    #[test]
    fn forgets_by_age_what_is_not_needed() {
        let mut memory = filled();
        assert_eq!(memory.forget_before(2 * SECOND, |key| *key == 1), [(3, "three")]);
        assert!(memory.contains(&1) && memory.contains(&2));
        assert!(memory.reaches_back_to(SECOND));
        assert_eq!(memory.forget(&1), Some("one"));
        assert!(!memory.reaches_back_to(2 * SECOND));
    }

    #[test]
    fn makes_room_with_the_oldest_first() {
        let mut memory = filled();
        assert_eq!(memory.make_room(2, |_| false), [(1, "one")]);
        assert_eq!(memory.make_room(2, |_| false), []);
        assert_eq!(memory.make_room(0, |key| *key == 3), [(2, "two")]);
    }

    #[test]
    fn remembering_again_makes_it_young() {
        let mut memory = filled();
        memory.remember(5 * SECOND, 1, "one");
        assert_eq!(memory.forget_before(4 * SECOND, |_| false), [(2, "two"), (3, "three")]);
    }
}
