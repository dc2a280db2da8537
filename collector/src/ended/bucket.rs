//! Entries of the table, by three in a line of the processor's cache.

use standoff_protocol::stream::Role;
use standoff_wait_graph::SpanId;

/// Entries that have one place together: what a line of the cache has room for.
pub(super) const TOGETHER: usize = 3;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Nothing,
    Span(Role),
    /// A handler has ended beneath this span, of which nothing is known. If it names an instance, only if that is the span's.
    Mark,
    /// Under the hash of a conversation: its parent is a handler of that.
    Conversation,
}

/// Set beside a kind: the parent is in another process.
pub(super) const REMOTE: u8 = 8;
/// Set beside that of a handle: whoever has asked for it has not heard of its conversation.
pub(super) const PASSED: u8 = 16;

impl Kind {
    #[inline]
    pub(super) fn byte(self) -> u8 {
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
    pub(super) fn of(byte: u8) -> Self {
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
pub(super) struct Entry {
    pub(super) key: u64,
    /// 0 if there is none.
    pub(super) parent: u64,
    /// 0 if it may be any.
    pub(super) instance: u32,
    pub(super) kind: u8,
}

/// The latest first, and what is empty last.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
pub(super) struct Bucket {
    pub(super) keys: [u64; TOGETHER],
    parents: [u64; TOGETHER],
    instances: [u32; TOGETHER],
    pub(super) kinds: [u8; TOGETHER],
}

impl Bucket {
    pub(super) fn entry(&self, place: usize) -> Entry {
        Entry {
            key: self.keys[place],
            parent: self.parents[place],
            instance: self.instances[place],
            kind: self.kinds[place],
        }
    }

    pub(super) fn entries(&self) -> impl DoubleEndedIterator<Item = Entry> {
        (0..TOGETHER).map(|place| self.entry(place)).filter(|it| it.kind != 0)
    }

    pub(super) fn of_key(&self, key: u64) -> impl Iterator<Item = Entry> {
        self.entries().filter(move |it| it.key == key)
    }

    pub(super) fn any(&self, key: u64, kind: Kind, is_it: impl Fn(Entry) -> bool) -> bool {
        self.of_key(key).any(|it| Kind::of(it.kind) == kind && is_it(it))
    }

    pub(super) fn span(&self, id: SpanId) -> Option<Entry> {
        self.of_key(id.0).find(|it| matches!(Kind::of(it.kind), Kind::Span(_)))
    }

    /// Adds an entry. The oldest of a full bucket gives way. Returns whether one had to.
    #[inline]
    pub(super) fn push(&mut self, entry: Entry) -> bool {
        let is_full = self.kinds[TOGETHER - 1] != 0;
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
        is_full
    }

    /// Takes the marks of a span. Returns whether one of them is meant for that instance.
    #[inline]
    pub(super) fn take_marks(&mut self, id: SpanId, instance: u32) -> bool {
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

/// Buckets by their places, of which the last are made and given up one by one: in pieces, so that none is ever moved.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    pieces: Vec<Box<[Bucket]>>,
    len: usize,
}

/// A quarter of a megabyte: made in some tens of microseconds.
const PIECE: usize = 1 << 12;

impl Buckets {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&Bucket> {
        self.pieces.get(place / PIECE)?.get(place % PIECE)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Bucket> {
        self.pieces.get_mut(place / PIECE)?.get_mut(place % PIECE)
    }

    /// One of those that are there.
    #[inline]
    pub(super) fn at(&mut self, place: usize) -> &mut Bucket {
        &mut self.pieces[place / PIECE][place % PIECE]
    }

    pub(super) fn push(&mut self) {
        if self.len == self.pieces.len() * PIECE {
            self.pieces.push(vec![Bucket::default(); PIECE].into_boxed_slice());
        }
        self.len += 1;
    }

    pub(super) fn pop(&mut self) -> Option<Bucket> {
        self.len = self.len.checked_sub(1)?;
        let last = std::mem::take(self.at(self.len));
        if self.len.is_multiple_of(PIECE) {
            self.pieces.pop();
        }
        Some(last)
    }
}
