//! What makes a run the same each time: a random number generator with a seed, and an agenda that keeps the order in
//! which things were entered.

use std::collections::BTreeMap;
use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014): small, and good enough to choose faults with.
#[derive(Clone, Debug)]
pub(in crate::detector) struct Random(u64);

impl Random {
    pub(in crate::detector) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another generator, so that what is drawn from it does not shift what is drawn from this one.
    pub(in crate::detector) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(in crate::detector) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Below `bound`, which is not 0.
    pub(in crate::detector) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From `from` up to and including `to`.
    pub(in crate::detector) fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    pub(in crate::detector) fn percent(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// Up to `max` milliseconds, by microseconds.
    pub(in crate::detector) fn ms(&mut self, max: usize) -> Duration {
        Duration::from_micros(self.below(max * 1000 + 1) as u64)
    }

    pub(in crate::detector) fn ms_within(&mut self, from: usize, to: usize) -> Duration {
        Duration::from_millis(from as u64) + self.ms(to - from)
    }

    pub(in crate::detector) fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        (!from.is_empty()).then(|| from[self.below(from.len())])
    }
}

/// What is going to happen. What is due at the same time happens in the order in which it was entered.
#[derive(Debug)]
pub(in crate::detector) struct Agenda<T> {
    entries: BTreeMap<(Duration, u64), T>,
    entered: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            entries: BTreeMap::new(),
            entered: 0,
        }
    }
}

impl<T> Agenda<T> {
    pub(in crate::detector) fn add(&mut self, at: Duration, entry: T) {
        self.entered += 1;
        self.entries.insert((at, self.entered), entry);
    }

    pub(in crate::detector) fn next_at(&self) -> Option<Duration> {
        self.entries.first_key_value().map(|((at, _), _)| *at)
    }

    pub(in crate::detector) fn pop(&mut self) -> Option<(Duration, T)> {
        self.entries.pop_first().map(|((at, _), entry)| (at, entry))
    }
}
