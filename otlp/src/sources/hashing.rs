//! Hashing of ids that strangers choose: with a key that nobody outside knows, so that ids that all fall to one place
//! cannot be made up.

use std::hash::{BuildHasher, DefaultHasher, Hasher};

/// 2⁶⁴ divided by the golden ratio: about half of its bits are set, without a pattern.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hashes ids. The same seed gives the same hashes, so that a simulation can be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct IdHashes {
    mask: u64,
    factor: u64,
}

impl IdHashes {
    pub(super) fn new(seed: u64) -> Self {
        let draw = |what: &str| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(seed);
            hasher.write(what.as_bytes());
            hasher.finish()
        };
        IdHashes {
            mask: draw("mask"),
            factor: draw("factor") | 1,
        }
    }

    /// Twice, since a factor drawn at random may be a poor one for ids that have most bits in common.
    #[inline]
    pub(super) fn hash(self, id: u64) -> u64 {
        let once = (id ^ self.mask).wrapping_mul(self.factor);
        let twice = (once ^ once >> 32).wrapping_mul(SPREAD);
        twice ^ twice >> 32
    }
}

impl BuildHasher for IdHashes {
    type Hasher = IdHasher;

    #[inline]
    fn build_hasher(&self) -> IdHasher {
        IdHasher { hashes: *self, hash: 0 }
    }
}

#[derive(Debug)]
pub(super) struct IdHasher {
    hashes: IdHashes,
    hash: u64,
}

impl Hasher for IdHasher {
    #[inline]
    fn write_u64(&mut self, id: u64) {
        self.hash = self.hashes.hash(self.hash ^ id);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Ids in sequence, and ids that differ in their highest bits only, as nobody should choose them.
    #[test]
    fn ids_are_spread_whatever_they_have_in_common() {
        for seed in 0..20 {
            let hashes = IdHashes::new(seed);
            for shift in [0, 24, 52] {
                let ids = (0..1_u64 << 12).map(|id| id << shift);
                let low: BTreeSet<u64> = ids.clone().map(|id| hashes.hash_one(id) % (1 << 12)).collect();
                let high: BTreeSet<u64> = ids.map(|id| hashes.hash_one(id) >> 52).collect();
                assert!(low.len() > 1 << 10, "{} low places for {shift}, {seed}", low.len());
                assert!(high.len() > 1 << 10, "{} high places for {shift}, {seed}", high.len());
            }
        }
    }

    #[test]
    fn another_seed_gives_other_places() {
        assert_ne!(IdHashes::new(1).hash(7), IdHashes::new(2).hash(7));
        assert_eq!(IdHashes::new(1).hash(7), IdHashes::new(1).hash(7));
    }
}
