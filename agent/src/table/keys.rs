//! Hashing of 64-bit ids.
//!
//! Ids of this process are random already, but those of parents come from elsewhere, so the hash has a key that nobody
//! outside knows: ids that all fall to one place cannot be made up.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A map whose keys are ids.
pub(crate) type IdMap<V> = std::collections::HashMap<u64, V, IdHashes>;

/// 2⁶⁴ divided by the golden ratio: about half of its bits are set, without a pattern.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

#[derive(Clone, Debug)]
pub(crate) struct IdHashes {
    key: u64,
}

impl Default for IdHashes {
    fn default() -> Self {
        IdHashes {
            key: RandomState::new().hash_one(SPREAD),
        }
    }
}

impl BuildHasher for IdHashes {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher { state: self.key }
    }
}

#[derive(Debug)]
pub(crate) struct IdHasher {
    state: u64,
}

impl Hasher for IdHasher {
    fn write_u64(&mut self, id: u64) {
        // Both halves of the product depend on all bits of the id, each on others more than the other half.
        let product = u128::from(self.state ^ id) * u128::from(SPREAD);
        self.state = (product >> 64) as u64 ^ product as u64;
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    fn finish(&self) -> u64 {
        self.state
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn ids_that_differ_in_few_bits_are_spread() {
        let hashes = IdHashes::default();
        for shift in [0, 8, 16, 32, 48, 56] {
            let ids = (0..=255_u64).map(|id| id << shift);
            // The map looks at the upper seven bits and at the lower ones.
            let low: HashSet<u64> = ids.clone().map(|id| hashes.hash_one(id) & 1023).collect();
            let high: HashSet<u64> = ids.map(|id| hashes.hash_one(id) >> 54).collect();
            assert!(
                low.len() > 150 && high.len() > 150,
                "{shift}: {} {}",
                low.len(),
                high.len()
            );
        }
    }

    #[test]
    fn two_tables_hash_differently() {
        assert_ne!(IdHashes::default().hash_one(7_u64), IdHashes::default().hash_one(7_u64));
    }
}
