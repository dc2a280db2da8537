//! Spans of which only the end was told: what stood above them, for about a minute.
//!
//! Such a span opens nothing. But a handler that has ended has answered the nearest call above it, and spans that have ended
//! may stand between the two. Almost none of them is ever asked for, so to remember one is to touch one line of the
//! processor's cache. Of each is kept what [`EndedSpan`] has, of a handler also where its conversation leads; and for a span
//! that is still to be heard of, that a handler has ended beneath it, which is a *mark*.
//!
//! Knows ids and nothing of what they mean for the graph.

// With their paths, since the benchmark includes this file from elsewhere.
#[path = "ended/bucket.rs"]
mod bucket;

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use standoff_protocol::stream::Role;
use standoff_wait_graph::{InstanceId, Parent, SpanId};

use self::bucket::{Bucket, Buckets, Entry, Kind, PASSED, REMOTE};

/// The most that is kept: three million spans. Where more end in a minute, those of the last seconds are remembered, and
/// what belongs together is told within seconds.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 64 << 20;

/// For how long spans are remembered, as far as there is room: as long as the graph remembers.
const REMEMBERED: Duration = Duration::from_secs(60);

/// So that hardly any of a few hundred has to give way.
const BUCKETS_MIN: usize = 1 << 12;
const BUCKETS_MAX: usize = REMEMBERED_BYTES_MAX / size_of::<Bucket>();

/// There is so much more room than for what has come in a minute, at most, a minute later.
const ROOM: usize = 4;

/// So many buckets are given up in one go: in about a millisecond.
const MERGED_TOGETHER: usize = 1 << 14;

/// A span that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedSpan {
    pub(crate) id: SpanId,
    pub(crate) parent: Option<Parent>,
    pub(crate) instance: InstanceId,
    pub(crate) role: Role,
}

/// What is known of a span that has just ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// It was told before.
    Nothing,
    /// Nothing but what was told.
    Ended,
    /// A handler has ended beneath it before.
    EndedAboveHandler,
}

/// Spans of which only the end was told.
#[derive(Debug)]
pub(crate) struct EndedSpans {
    seed: RandomState,
    mask: u64,
    factor: u64,
    /// Each entry is in the bucket that the hash of its key names.
    buckets: Buckets,
    /// With more than so many buckets, the last ones are given up.
    wanted: usize,
    /// How many entries have come in this minute.
    entered: usize,
    /// When this minute began.
    since: Duration,
    /// More comes in a minute than there may be room for.
    is_crowded: bool,
    forgotten: u64,
}

impl Default for EndedSpans {
    fn default() -> Self {
        let seed = RandomState::new();
        Self {
            mask: seed.hash_one("mask"),
            factor: seed.hash_one("factor") | 1,
            seed,
            buckets: Buckets::default(),
            wanted: usize::MAX,
            entered: 0,
            since: Duration::ZERO,
            is_crowded: false,
            forgotten: 0,
        }
    }
}

impl EndedSpans {
    /// Whether nothing is remembered, and nothing has been for a while.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.len() == 0
    }

    /// How many entries had to give way before their time, since more came than there may be room for.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Reads what the next of these will need, all at once: in a large table most of the time is spent waiting for memory.
    pub(crate) fn look_ahead(&self, ids: impl IntoIterator<Item = SpanId>) {
        let read = |sum: u8, id: SpanId| sum ^ self.bucket(id.0).map_or(0, |bucket| bucket.kinds[0]);
        std::hint::black_box(ids.into_iter().fold(0, read));
    }

    /// A span has ended.
    #[inline]
    pub(crate) fn remember(&mut self, now: Duration, span: EndedSpan) -> News {
        // Nobody has heard of four billion instances.
        let Ok(instance) = u32::try_from(span.instance.0) else {
            return News::Nothing;
        };
        let (bucket, is_crowded) = self.bucket_for(now, span.id.0);
        if bucket.span(span.id).is_some() {
            return News::Nothing;
        }
        let is_marked = bucket.take_marks(span.id, instance);
        let kind = Kind::Span(span.role).byte();
        let is_remote = span.parent.is_some_and(|parent| parent.remote);
        let is_full = bucket.push(Entry {
            key: span.id.0,
            parent: span.parent.map_or(0, |parent| parent.id.0),
            instance,
            kind: if is_remote { kind | REMOTE } else { kind },
        });
        self.entered += 1;
        self.forgotten += u64::from(is_full && is_crowded);
        if is_marked {
            News::EndedAboveHandler
        } else {
            News::Ended
        }
    }

    /// A span that has ended.
    pub(crate) fn get(&self, id: SpanId) -> Option<EndedSpan> {
        let entry = self.bucket(id.0)?.span(id)?;
        let Kind::Span(role) = Kind::of(entry.kind) else {
            return None;
        };
        let parent = (entry.parent != 0).then_some(Parent {
            id: SpanId(entry.parent),
            remote: entry.kind & REMOTE != 0,
        });
        Some(EndedSpan {
            id,
            parent,
            instance: InstanceId(entry.instance.into()),
            role,
        })
    }

    /// A handler has ended beneath a span of which nothing is known; if an instance is given, only if the span is of that.
    pub(crate) fn mark(&mut self, now: Duration, id: SpanId, within: Option<InstanceId>) {
        let Ok(instance) = within.map_or(Ok(0), |instance| u32::try_from(instance.0)) else {
            return;
        };
        let (bucket, is_crowded) = self.bucket_for(now, id.0);
        if bucket.any(id.0, Kind::Mark, |it| it.instance == 0 || it.instance == instance) {
            return;
        }
        let is_full = bucket.push(Entry {
            key: id.0,
            parent: 0,
            instance,
            kind: Kind::Mark.byte(),
        });
        self.entered += 1;
        self.forgotten += u64::from(is_full && is_crowded);
    }

    /// Whether a handler has ended beneath a span of this instance. Says so once.
    pub(crate) fn take_marks(&mut self, id: SpanId, instance: InstanceId) -> bool {
        let place = self.place(id.0);
        let instance = u32::try_from(instance.0).unwrap_or(0);
        let bucket = self.buckets.get_mut(place);
        bucket.is_some_and(|bucket| bucket.take_marks(id, instance))
    }

    /// A handler of a conversation has ended.
    pub(crate) fn converse(&mut self, now: Duration, conversation: &str, handle: EndedSpan) {
        let Ok(instance) = u32::try_from(handle.instance.0) else {
            return;
        };
        let key = self.key_of(conversation);
        let (bucket, is_crowded) = self.bucket_for(now, key);
        if bucket.any(key, Kind::Conversation, |it| it.parent == handle.id.0) {
            return;
        }
        let is_full = bucket.push(Entry {
            key,
            parent: handle.id.0,
            instance,
            kind: Kind::Conversation.byte(),
        });
        self.entered += 1;
        self.forgotten += u64::from(is_full && is_crowded);
    }

    /// Somebody makes use of a handler as of a span that is above others.
    pub(crate) fn pass(&mut self, id: SpanId) {
        let place = self.place(id.0);
        let bucket = self.buckets.get_mut(place);
        for (key, kind) in bucket.into_iter().flat_map(|it| it.keys.iter().zip(&mut it.kinds)) {
            if *key == id.0 && Kind::of(*kind) == Kind::Span(Role::Handle) {
                *kind |= PASSED;
            }
        }
    }

    /// The handlers of a conversation that have ended, and whether each of them is remembered and was not passed.
    pub(crate) fn handlers(&self, conversation: &str) -> Vec<(EndedSpan, bool)> {
        let key = self.key_of(conversation);
        let entries = self.bucket(key).into_iter().flat_map(|bucket| bucket.of_key(key));
        let handlers = entries.filter(|it| Kind::of(it.kind) == Kind::Conversation);
        let forgotten = |it: &Entry| EndedSpan {
            id: SpanId(it.parent),
            parent: None,
            instance: InstanceId(it.instance.into()),
            role: Role::Handle,
        };
        handlers
            .map(|it| {
                let known = self.bucket(it.parent).and_then(|bucket| bucket.span(SpanId(it.parent)));
                let is_certain = known.is_some_and(|it| it.kind & PASSED == 0);
                let span = self.get(SpanId(it.parent)).unwrap_or_else(|| forgotten(&it));
                (span, is_certain)
            })
            .collect()
    }

    /// Gives back, a minute after the last time, the room that was not needed: all of it, if nothing has ended since, and
    /// otherwise a part of it each time.
    pub(crate) fn forget_old(&mut self, now: Duration) {
        if !self.is_empty() && now >= self.since + REMEMBERED {
            if self.entered == 0 {
                self.buckets = Buckets::default();
            }
            self.wanted = self.entered.saturating_mul(ROOM).max(BUCKETS_MIN);
            (self.entered, self.since) = (0, now);
            self.is_crowded = false;
        }
        for _ in 0..MERGED_TOGETHER {
            if self.buckets.len() <= self.wanted {
                return;
            }
            self.merge();
        }
    }

    fn key_of(&self, conversation: &str) -> u64 {
        self.seed.hash_one(conversation)
    }

    /// With what nobody outside can know, so that nobody can send ids that push others out. Twice, since a factor drawn at
    /// random may be a poor one for ids that have most bits in common.
    ///
    /// Of a number of buckets that is no power of two those that have not been split take the entries of those that are not there
    /// yet (Litwin, *Linear hashing*, 1980).
    #[inline]
    fn place(&self, key: u64) -> usize {
        let once = (key ^ self.mask).wrapping_mul(self.factor);
        let twice = (once ^ once >> 32).wrapping_mul(self.factor);
        let hash = (twice >> 32) as usize;
        let buckets = self.buckets.len();
        let split = buckets.checked_ilog2().map_or(1, |bits| 1_usize << bits);
        let place = hash & (2 * split - 1);
        if place < buckets { place } else { place & (split - 1) }
    }

    #[inline]
    fn bucket(&self, key: u64) -> Option<&Bucket> {
        self.buckets.get(self.place(key))
    }

    /// Where there is room for one more entry, and whether there is less than there should be.
    #[inline]
    fn bucket_for(&mut self, now: Duration, key: u64) -> (&mut Bucket, bool) {
        if self.entered >= self.buckets.len() {
            self.grow(now);
        }
        let place = self.place(key);
        (self.buckets.at(place), self.is_crowded)
    }

    /// Makes room for one more that comes in this minute, unless another one has begun.
    #[cold]
    fn grow(&mut self, now: Duration) {
        let is_early = now < self.since + REMEMBERED;
        if self.buckets.len() == 0 {
            (0..BUCKETS_MIN).for_each(|_| self.buckets.push());
        } else if is_early && self.buckets.len() < BUCKETS_MAX {
            return self.split();
        } else {
            self.is_crowded = is_early;
        }
        (self.entered, self.since) = (0, now);
    }

    /// Adds a bucket, and gives it its part of the entries of the one that has had them. So it never takes long to grow.
    fn split(&mut self) {
        self.wanted = usize::MAX;
        let buckets = self.buckets.len();
        let of = buckets.checked_ilog2().map_or(0, |bits| buckets - (1 << bits));
        self.buckets.push();
        let before = std::mem::take(self.buckets.at(of));
        self.put(&before);
    }

    /// Gives up the last bucket.
    fn merge(&mut self) {
        if let Some(last) = self.buckets.pop() {
            self.put(&last);
        }
    }

    fn put(&mut self, entries: &Bucket) {
        for entry in entries.entries().rev() {
            let place = self.place(entry.key);
            self.buckets.at(place).push(entry);
        }
    }
}

#[cfg(test)]
#[path = "ended/tests.rs"]
mod tests;
