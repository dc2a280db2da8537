//! Ids that are never used twice.

use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers for the spans of one request after the other.
#[derive(Debug)]
pub(super) struct Numbers {
    next: AtomicU64,
    each: u64,
}

impl Numbers {
    /// Each request takes so many. They begin somewhere, so that a server that is measured again sees new ones.
    pub(super) fn new(each: u64) -> Self {
        let random = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), each);
        Numbers {
            next: AtomicU64::new(random >> 8),
            each,
        }
    }

    /// The first of the numbers of one more request.
    pub(super) fn take(&self) -> u64 {
        self.next.fetch_add(self.each, Ordering::Relaxed)
    }
}

/// A span, by its place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    /// In the same request.
    This(u32),
    /// In the sender's request before.
    Previous(u32),
}

impl Number {
    fn value(self, this: u64, previous: u64) -> u64 {
        match self {
            Number::This(index) => this.wrapping_add(index.into()),
            Number::Previous(index) => previous.wrapping_add(index.into()),
        }
    }
}

/// An id that a request has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Id {
    /// Of the span.
    Span(Number),
    /// Of its trace.
    Trace(Number),
    /// Of a span above it that is never sent.
    Caller(Number),
}

impl Id {
    /// What stands for this id if the request and the one before have these numbers.
    pub(super) fn value(self, this: u64, previous: u64) -> u64 {
        // Four ids for each number, so that no two are alike.
        match self {
            Id::Span(number) => scatter(number.value(this, previous).wrapping_mul(4)),
            Id::Trace(number) => scatter(number.value(this, previous).wrapping_mul(4).wrapping_add(1)),
            Id::Caller(number) => scatter(number.value(this, previous).wrapping_mul(4).wrapping_add(2)),
        }
    }

    /// How many bytes it has, which are twice as many digits as text.
    pub(super) fn len(self, is_text: bool) -> usize {
        let bytes = match self {
            Id::Trace(_) => 16,
            Id::Span(_) | Id::Caller(_) => 8,
        };
        if is_text { bytes * 2 } else { bytes }
    }

    /// Writes an id over as many bytes.
    pub(super) fn write(self, value: u64, is_text: bool, place: &mut [u8]) {
        let value = value.to_be_bytes();
        if is_text {
            for (pair, byte) in place.chunks_exact_mut(2).zip(value.iter().cycle()) {
                pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
            }
        } else {
            for (place, value) in place.chunks_exact_mut(value.len()).zip([value, value]) {
                place.copy_from_slice(&value);
            }
        }
    }
}

fn digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Spreads numbers like random ids, no two to the same (the finalizer of SplitMix64, Steele, Lea and Flood, 2014).
pub(super) fn scatter(number: u64) -> u64 {
    let mut value = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_bytes_and_as_text() {
        let id = Id::Trace(Number::This(0));
        let mut bytes = [0; 16];
        id.write(0x0123_4567_89ab_cdef, false, &mut bytes);
        assert_eq!(bytes[..8], bytes[8..]);
        let mut text = [0; 32];
        id.write(0x0123_4567_89ab_cdef, true, &mut text);
        assert_eq!(&text, b"0123456789abcdef0123456789abcdef");
    }

    #[test]
    fn no_id_is_taken_twice() {
        let numbers = Numbers::new(2);
        let mut ids: Vec<u64> = (0..100)
            .flat_map(|_| {
                let (this, previous) = (numbers.take(), 0);
                [0, 1].map(|index| {
                    [Id::Span, Id::Trace, Id::Caller].map(|it| it(Number::This(index)).value(this, previous))
                })
            })
            .flatten()
            .collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 600);
    }
}
