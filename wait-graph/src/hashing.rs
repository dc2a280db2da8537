//! Hashing of ids and small integers: they are random or dense already, so one multiplication does. What strangers choose
//! is hashed with a seed.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A map under ids. Never gone through in its own order, which nothing may depend on.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// Odd, and without a pattern in its bits: 2⁶⁴ divided by the golden ratio (Knuth, *Sorting and Searching*, 6.4).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the integers of which a key is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix(u64);

/// Folds both halves of the product together, so that every bit of an id reaches every bit of its hash.
fn mix(id: u64) -> u64 {
    let product = u128::from(id ^ FACTOR) * u128::from(FACTOR);
    (product >> 64) as u64 ^ product as u64
}

/// What nobody outside can know of the hashes of a table, so that nobody can send ids or names that all share one. It
/// differs from run to run; nothing depends on it but where in its table something is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seed {
    mask: u64,
    factor: u64,
}

impl Default for Seed {
    fn default() -> Self {
        let random = RandomState::new();
        Self {
            mask: random.hash_one("mask"),
            factor: random.hash_one("factor") | 1,
        }
    }
}

impl Seed {
    /// Twice, since a factor drawn at random may be a poor one for ids that have most bits in common.
    pub(crate) fn hash(self, id: u64) -> u64 {
        let once = (id ^ self.mask).wrapping_mul(self.factor);
        let twice = (once ^ once >> 32).wrapping_mul(FACTOR);
        twice ^ twice >> 32
    }

    pub(crate) fn hash_text(self, text: &str) -> u64 {
        xxh3_64_with_seed(text.as_bytes(), self.mask)
    }
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = mix(self.0.rotate_left(5) ^ value);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Ids in sequence, and ids that differ in their highest bits only, as nobody should choose them.
    #[test]
    fn ids_are_spread_whatever_they_have_in_common() {
        let seed = Seed::default();
        for shift in [0, 24, 52] {
            let places: BTreeSet<u64> = (0..1 << 12).map(|id| seed.hash(id << shift) % (1 << 12)).collect();
            assert!(places.len() > 1 << 10, "{} places for {shift}", places.len());
        }
    }

    #[test]
    fn the_next_graph_has_other_places() {
        let [one, other] = [Seed::default(), Seed::default()];
        assert_ne!(one.hash(7), other.hash(7));
        assert_ne!(one.hash_text("name"), other.hash_text("name"));
        assert_eq!(one.hash_text("name"), one.hash_text("name"));
    }
}
