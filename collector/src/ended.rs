//! Spans of which only the end was told: what stood above them, for about a minute.
//!
//! Such a span opens nothing. But a handler that has ended has answered the nearest call above it, and spans that have ended
//! may stand between the two. Almost none of them is ever asked for, so to remember one is to touch one line of the
//! processor's cache. Of each is kept what [`EndedSpan`] has, of a handler also where its conversation leads; and for a span
//! that is still to be heard of, that a handler has ended beneath it, which is a *mark*.
//!
//! Knows ids and nothing of what they mean for the graph.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use standoff_protocol::stream::Role;
use standoff_wait_graph::{InstanceId, Parent, SpanId};

/// The most that is kept: three million spans. Where more end in a minute, those of the last seconds are remembered, and
/// what belongs together is told within seconds.
pub(crate) const REMEMBERED_BYTES_MAX: usize = 64 << 20;

/// For how long spans are remembered, as far as there is room: as long as the graph remembers.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Entries that have one place together: what a line of the cache has room for.
const TOGETHER: usize = 3;

/// So that hardly any of a few hundred has to give way.
const BUCKETS_MIN: usize = 1 << 12;
const BUCKETS_MAX: usize = REMEMBERED_BYTES_MAX / size_of::<Bucket>();

/// With fewer entries in a minute than this part of the buckets, there are half of them.
const SHRINK_AT: usize = 8;

/// A span that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EndedSpan {
    pub(crate) id: SpanId,
    pub(crate) parent: Option<Parent>,
    pub(crate) instance: InstanceId,
    pub(crate) role: Role,
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nothing,
    Span(Role),
    /// A handler has ended beneath this span, of which nothing is known. If it names an instance, only if that is the span's.
    Mark,
    /// Under the hash of a conversation: its parent is a handler of that.
    Conversation,
}

/// Set beside a kind: the parent is in another process.
const REMOTE: u8 = 8;
/// Set beside that of a handle: whoever has asked for it has not heard of its conversation.
const PASSED: u8 = 16;

impl Kind {
    #[inline]
    fn byte(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Span(Role::Structural) => 1,
            Self::Span(Role::Call) => 2,
            Self::Span(Role::Handle) => 3,
            Self::Span(Role::Hold) => 4,
            Self::Span(Role::Member) => 5,
            Self::Mark => 6,
            Self::Conversation => 7,
        }
    }

    #[inline]
    fn of(byte: u8) -> Self {
        match byte & !(REMOTE | PASSED) {
            1 => Self::Span(Role::Structural),
            2 => Self::Span(Role::Call),
            3 => Self::Span(Role::Handle),
            4 => Self::Span(Role::Hold),
            5 => Self::Span(Role::Member),
            6 => Self::Mark,
            7 => Self::Conversation,
            _ => Self::Nothing,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u64,
    /// 0 if there is none.
    parent: u64,
    /// 0 if it may be any.
    instance: u32,
    kind: u8,
}

/// The latest first, and what is empty last.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Bucket {
    keys: [u64; TOGETHER],
    parents: [u64; TOGETHER],
    instances: [u32; TOGETHER],
    kinds: [u8; TOGETHER],
}

impl Bucket {
    fn entry(&self, place: usize) -> Entry {
        Entry {
            key: self.keys[place],
            parent: self.parents[place],
            instance: self.instances[place],
            kind: self.kinds[place],
        }
    }

    fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> {
        (0..TOGETHER).map(|place| self.entry(place)).filter(|it| it.kind != 0)
    }

    fn of_key(&self, key: u64) -> impl Iterator<Item = Entry> {
        self.entries().filter(move |it| it.key == key)
    }

    fn any(&self, key: u64, kind: Kind, is_it: impl Fn(Entry) -> bool) -> bool {
        self.of_key(key).any(|it| Kind::of(it.kind) == kind && is_it(it))
    }

    fn span(&self, id: SpanId) -> Option<Entry> {
        self.of_key(id.0).find(|it| matches!(Kind::of(it.kind), Kind::Span(_)))
    }

    /// Adds an entry. The oldest of a full bucket gives way.
    #[inline]
    fn push(&mut self, entry: Entry) {
        let Self {
            keys: [key, next_key, _],
            parents: [parent, next_parent, _],
            instances: [instance, next_instance, _],
            kinds: [kind, next_kind, _],
        } = *self;
        self.keys = [entry.key, key, next_key];
        self.parents = [entry.parent, parent, next_parent];
        self.instances = [entry.instance, instance, next_instance];
        self.kinds = [entry.kind, kind, next_kind];
    }

    /// Takes the marks of a span. Returns whether one of them is meant for that instance.
    #[inline]
    fn take_marks(&mut self, id: SpanId, instance: u32) -> bool {
        if !self.any(id.0, Kind::Mark, |_| true) {
            return false;
        }
        let before = std::mem::take(self);
        let mut is_meant = false;
        for entry in before.entries().rev() {
            if entry.key == id.0 && Kind::of(entry.kind) == Kind::Mark {
                is_meant |= entry.instance == 0 || entry.instance == instance;
            } else {
                self.push(entry);
            }
        }
        is_meant
    }
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
    /// None, or a power of two. Each entry is in the bucket that the hash of its key names.
    buckets: Vec<Bucket>,
    /// How many entries have come in this minute.
    entered: usize,
    /// When this minute began.
    since: Duration,
}

impl Default for EndedSpans {
    fn default() -> Self {
        let seed = RandomState::new();
        Self {
            mask: seed.hash_one("mask"),
            factor: seed.hash_one("factor") | 1,
            seed,
            buckets: Vec::new(),
            entered: 0,
            since: Duration::ZERO,
        }
    }
}

impl EndedSpans {
    /// Whether nothing is remembered, and nothing has been for a while.
    pub(crate) fn is_empty(&self) -> bool {
        self.buckets.is_empty()
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
        let bucket = self.bucket_for(now, span.id.0);
        if bucket.span(span.id).is_some() {
            return News::Nothing;
        }
        let is_marked = bucket.take_marks(span.id, instance);
        let kind = Kind::Span(span.role).byte();
        let is_remote = span.parent.is_some_and(|parent| parent.remote);
        bucket.push(Entry {
            key: span.id.0,
            parent: span.parent.map_or(0, |parent| parent.id.0),
            instance,
            kind: if is_remote { kind | REMOTE } else { kind },
        });
        self.entered += 1;
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
        let bucket = self.bucket_for(now, id.0);
        if bucket.any(id.0, Kind::Mark, |it| it.instance == 0 || it.instance == instance) {
            return;
        }
        bucket.push(Entry {
            key: id.0,
            parent: 0,
            instance,
            kind: Kind::Mark.byte(),
        });
        self.entered += 1;
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
        let bucket = self.bucket_for(now, key);
        if bucket.any(key, Kind::Conversation, |it| it.parent == handle.id.0) {
            return;
        }
        bucket.push(Entry {
            key,
            parent: handle.id.0,
            instance,
            kind: Kind::Conversation.byte(),
        });
        self.entered += 1;
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

    /// Gives back, a minute after the last time, the room that was not needed: all of it, if nothing has ended since.
    pub(crate) fn forget_old(&mut self, now: Duration) {
        if self.is_empty() || now < self.since + REMEMBERED {
            return;
        }
        if self.entered == 0 {
            self.buckets = Vec::new();
        } else if self.entered < self.buckets.len() / SHRINK_AT {
            self.resize((self.buckets.len() / 2).max(BUCKETS_MIN));
        }
        (self.entered, self.since) = (0, now);
    }

    fn key_of(&self, conversation: &str) -> u64 {
        self.seed.hash_one(conversation)
    }

    /// With what nobody outside can know, so that nobody can send ids that push others out. Twice, since a factor drawn at
    /// random may be a poor one for ids that have most bits in common.
    #[inline]
    fn place(&self, key: u64) -> usize {
        let once = (key ^ self.mask).wrapping_mul(self.factor);
        let twice = (once ^ once >> 32).wrapping_mul(self.factor);
        (twice >> 32) as usize & self.buckets.len().wrapping_sub(1)
    }

    #[inline]
    fn bucket(&self, key: u64) -> Option<&Bucket> {
        self.buckets.get(self.place(key))
    }

    /// Where there is room for one more entry.
    #[inline]
    fn bucket_for(&mut self, now: Duration, key: u64) -> &mut Bucket {
        if self.entered >= self.buckets.len() {
            self.grow(now);
        }
        let place = self.place(key);
        &mut self.buckets[place]
    }

    /// Makes room for what comes in this minute, unless another one has begun.
    #[cold]
    fn grow(&mut self, now: Duration) {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); BUCKETS_MIN];
        } else if now < self.since + REMEMBERED && self.buckets.len() < BUCKETS_MAX {
            return self.resize(self.buckets.len() * 2);
        }
        (self.entered, self.since) = (0, now);
    }

    fn resize(&mut self, buckets: usize) {
        let old = std::mem::replace(&mut self.buckets, vec![Bucket::default(); buckets]);
        for entry in old.iter().flat_map(|bucket| bucket.entries().rev()) {
            let place = self.place(entry.key);
            self.buckets[place].push(entry);
        }
    }
}

// With its path, since the benchmark includes this file from elsewhere.
#[cfg(test)]
#[path = "ended/tests.rs"]
mod tests;
