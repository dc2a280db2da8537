//! Hashing of ids and small integers: they are random or dense already, so one multiplication does.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map under ids. Never gone through in its own order, which nothing may depend on.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<Mix>>;

/// Odd, and without a pattern in its bits: 2⁶⁴ divided by the golden ratio (Knuth, *Sorting and Searching*, 6.4).
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// Mixes the integers of which a key is made.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mix(u64);

/// Folds both halves of the product together, so that every bit of an id reaches every bit of its hash.
pub(crate) fn mix(id: u64) -> u64 {
    let product = u128::from(id ^ FACTOR) * u128::from(FACTOR);
    (product >> 64) as u64 ^ product as u64
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
