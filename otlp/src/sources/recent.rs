//! Spans that have ended lately, so that a start that comes after the end of its span opens nothing.

use std::time::Duration;

use super::hashing::IdHashes;

/// The most that the ends of the last minute take: a million spans. Where more end in a minute, those of the last seconds
/// are remembered, and batches that come out of order are seconds apart.
pub const REMEMBERED_BYTES_MAX: usize = 8 << 20;

/// For how long ends are remembered, as far as there is room.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Ids that have one place together: a line of the processor's cache, so that an end costs one access to memory.
const TOGETHER: usize = 8;

/// With fewer ends in a minute than this part of the room, there is half of it.
const SHRINK_AT: usize = 16;

/// 16 KiB.
const BUCKETS_MIN: usize = 256;
const BUCKETS_MAX: usize = REMEMBERED_BYTES_MAX / size_of::<Bucket>();

/// The latest first. 0, which is no id, where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
struct Bucket([u64; TOGETHER]);

impl Bucket {
    /// Adds an id. The oldest of a full bucket gives way.
    #[inline]
    fn push(&mut self, id: u64) {
        let [a, b, c, d, e, f, g, _] = self.0;
        self.0 = [id, a, b, c, d, e, f, g];
    }
}

/// Spans that have ended lately.
#[derive(Debug)]
pub(super) struct Recent {
    hashes: IdHashes,
    /// None, or a power of two. Each id is in the bucket that its hash names.
    buckets: Vec<Bucket>,
    /// How many have ended in this minute.
    ended: usize,
    /// When this minute began.
    since: Duration,
}

impl Recent {
    pub(super) fn new(hashes: IdHashes) -> Self {
        Recent {
            hashes,
            buckets: Vec::new(),
            ended: 0,
            since: Duration::ZERO,
        }
    }

    #[inline]
    pub(super) fn remember(&mut self, now: Duration, id: u64) {
        // A quarter full, one bucket in four thousand has run over; half full, it would be one in fifty.
        if self.ended >= self.buckets.len() * TOGETHER / 4 {
            self.grow(now);
        }
        self.ended += 1;
        let place = self.place(id);
        if let Some(bucket) = self.buckets.get_mut(place) {
            bucket.push(id);
        }
    }

    pub(super) fn contains(&self, id: u64) -> bool {
        let bucket = self.buckets.get(self.place(id));
        bucket.is_some_and(|bucket| bucket.0.contains(&id))
    }

    /// Forgets, a minute after the last time, what there was more room for than needed: everything, if nothing has ended
    /// since.
    pub(super) fn forget_old(&mut self, now: Duration) {
        if self.next_due().is_none_or(|due| due > now) {
            return;
        }
        if self.ended == 0 {
            self.buckets = Vec::new();
        } else if self.ended < self.buckets.len() * TOGETHER / SHRINK_AT {
            self.resize((self.buckets.len() / 2).max(BUCKETS_MIN));
        }
        (self.ended, self.since) = (0, now);
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        (!self.buckets.is_empty()).then(|| self.since.saturating_add(REMEMBERED))
    }

    #[inline]
    fn place(&self, id: u64) -> usize {
        self.hashes.hash(id) as usize & self.buckets.len().wrapping_sub(1)
    }

    /// Makes room for what ends in this minute, unless another one has begun.
    #[cold]
    fn grow(&mut self, now: Duration) {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); BUCKETS_MIN];
        } else if now < self.since.saturating_add(REMEMBERED) && self.buckets.len() < BUCKETS_MAX {
            self.resize(self.buckets.len() * 2);
            return;
        }
        (self.ended, self.since) = (0, now);
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        // The oldest first, so that the latest of each is first again.
        for id in old.into_iter().flat_map(|bucket| bucket.0.into_iter().rev()) {
            let place = self.place(id);
            if id != 0
                && let Some(bucket) = self.buckets.get_mut(place)
            {
                bucket.push(id);
            }
        }
    }
}
