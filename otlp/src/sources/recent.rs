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
        } else if self.ended < self.buckets.len() * TOGETHER / SHRINK_AT && self.buckets.len() > BUCKETS_MIN {
            self.halve();
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
            self.double();
            return;
        }
        (self.ended, self.since) = (0, now);
    }

    fn double(&mut self) {
        let buckets = vec![Bucket::default(); self.buckets.len() * 2];
        let old = std::mem::replace(&mut self.buckets, buckets);
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

    /// Puts each bucket of the second half together with the one of the first half that takes its place.
    fn halve(&mut self) {
        let (first, second) = self.buckets.split_at(self.buckets.len() / 2);
        let halves = first.iter().zip(second).map(|(one, other)| {
            let mut both = Bucket::default();
            // In turns, since nobody knows which of them are older: the latest of each are kept.
            let in_turns = one.0.iter().zip(&other.0).flat_map(|(one, other)| [*one, *other]);
            for (place, id) in both.0.iter_mut().zip(in_turns.filter(|id| *id != 0)) {
                *place = id;
            }
            both
        });
        self.buckets = halves.collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recent() -> Recent {
        Recent::new(IdHashes::new(7))
    }

    /// Remembers so many ids, spread over a time, and answers when that is over.
    fn remember(recent: &mut Recent, ids: std::ops::Range<u64>, from: Duration, over: Duration) -> Duration {
        let count = u32::try_from(ids.end - ids.start).unwrap();
        for (place, id) in (0..count).zip(ids) {
            recent.remember(from + over * place / count, id);
        }
        from + over
    }

    /// How many of them are not known.
    fn unknown(recent: &Recent, ids: std::ops::Range<u64>) -> usize {
        ids.filter(|id| !recent.contains(*id)).count()
    }

    #[test]
    fn what_has_ended_within_a_minute_is_known() {
        let mut recent = recent();
        assert!(!recent.contains(1));
        let mut now = Duration::from_secs(1000);
        for minute in 0..4 {
            let first = 1 + minute * 50_000;
            now = remember(
                &mut recent,
                first..first + 50_000,
                now,
                REMEMBERED - Duration::from_nanos(1),
            );
            recent.forget_old(now);
            assert!(
                unknown(&recent, first..first + 50_000) <= 50,
                "a bucket in thousands runs over"
            );
        }
        assert_eq!(unknown(&recent, 1_000_000..1_001_000), 1000, "and nothing else");
    }

    #[test]
    fn the_latest_are_known_however_many_end() {
        let mut recent = recent();
        remember(&mut recent, 1..2_000_001, Duration::ZERO, REMEMBERED);
        assert_eq!(recent.buckets.len(), BUCKETS_MAX);
        assert!(unknown(&recent, 1_900_001..2_000_001) <= 20);
        let long_ago = unknown(&recent, 1..100_001);
        assert!(long_ago > 90_000, "{long_ago}");
    }

    #[test]
    fn room_that_is_not_needed_is_given_back() {
        let mut recent = recent();
        let mut now = remember(&mut recent, 1..100_001, Duration::ZERO, REMEMBERED);
        assert!(recent.buckets.len() > 10_000);
        let mut last = 0..0;
        for minute in 0..20 {
            last = 200_000 + 10 * minute..200_010 + 10 * minute;
            now = remember(&mut recent, last.clone(), now, REMEMBERED);
            recent.forget_old(now);
            assert_eq!(
                unknown(&recent, last.clone()),
                0,
                "what is younger than a minute moves along"
            );
        }
        assert_eq!(recent.buckets.len(), BUCKETS_MIN);
        recent.forget_old(now + REMEMBERED - Duration::from_nanos(1));
        assert_eq!(unknown(&recent, last), 0);
        recent.forget_old(now + REMEMBERED);
        assert_eq!((recent.buckets.capacity(), recent.next_due()), (0, None));
    }
}
