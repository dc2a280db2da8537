//! What one instance has open, kept small: a relay keeps it for every service of its host.
//!
//! Each span is its message, encoded, without its age; that is put in when the span is sent on. Beside it stands which
//! upstreams have been told of it, so that nothing has to be kept for each upstream and span.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;
use standoff_protocol::stream::{
    ENDED_PER_MESSAGE_MAX, Ended, MESSAGE_BYTES_MAX, Role, SPANS_PER_MESSAGE_MAX, Started,
};

/// What a span takes beyond its message: its record, its place in a tree that is two thirds full, and what the allocator
/// adds.
const BYTES_PER_SPAN: usize = 80;

/// A message is full at this length, so that a long open set keeps nobody else's news waiting for more than a moment. The
/// span that may come on top has at most 36 KiB of text.
const MESSAGE_BYTES_FULL: usize = MESSAGE_BYTES_MAX / 16;

/// What an ended span takes in a message, beside its text.
const ENDED_BYTES: usize = 28;

/// How much a relay keeps at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Instances.
    pub instances: usize,
    /// Open spans of one instance, members aside.
    pub spans_per_instance: usize,
    /// Open spans of all instances, members aside.
    pub spans: usize,
    /// Memory for open spans, members aside.
    pub bytes: usize,
    /// Room for members of one instance beyond [`Limits::spans_per_instance`]. All else that is dropped can only hide a
    /// deadlock; a pool that seems smaller than it is would invent one.
    pub members_per_instance_more: usize,
    /// Room for members beyond [`Limits::spans`].
    pub members_more: usize,
    /// Memory for members beyond [`Limits::bytes`].
    pub members_bytes_more: usize,
    /// Spans of one instance that have ended, if it cannot be asked. 48 bytes each.
    pub ended_per_instance: usize,
    /// Spans of all such instances that have ended.
    pub ended: usize,
    /// The texts of those: the conversations of handlers. Few have any.
    pub ended_text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // Far more services than a host has that make long calls.
            instances: 1024,
            // The 262,144 that the library keeps, and as many spans beneath calls.
            spans_per_instance: 1 << 19,
            // As many as the graph of a collector keeps.
            spans: 1 << 21,
            // Three times the million calls of which it is promised that they fit into 1 GiB, with what is in flight.
            bytes: 640 << 20,
            // As in the library.
            members_per_instance_more: 1 << 14,
            members_more: 1 << 17,
            members_bytes_more: 64 << 20,
            // A minute of 2,000 spans a second, which is a busy service, and 6 MiB.
            ended_per_instance: 1 << 17,
            // Eight of those: 48 MiB.
            ended: 1 << 20,
            // Ids of 36 bytes for a third of them.
            ended_text_bytes: 12 << 20,
        }
    }
}

/// What is kept of all instances together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) spans: usize,
    pub(super) bytes: usize,
    pub(super) ended: usize,
    pub(super) ended_text_bytes: usize,
}

/// A set of upstreams: a bit for each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Upstreams(u8);

/// The most upstreams. Collectors that run beside each other are two or three.
pub const UPSTREAMS_MAX: usize = 8;

impl Upstreams {
    /// The set of the one upstream with this number.
    pub(super) fn only(number: usize) -> Self {
        Self(1u8.checked_shl(u32::try_from(number).unwrap_or(u32::MAX)).unwrap_or(0))
    }

    /// The number of the one upstream of this set.
    pub(super) fn number(self) -> usize {
        self.0.trailing_zeros() as usize
    }

    fn has(self, one: Self) -> bool {
        self.0 & one.0 != 0
    }

    fn add(&mut self, one: Self) {
        self.0 |= one.0;
    }

    fn remove(&mut self, one: Self) {
        self.0 &= !one.0;
    }
}

#[derive(Debug, Default)]
pub(super) struct Mirror {
    spans: BTreeMap<u64, Span>,
    bytes: usize,
    /// The open set of the instance that is coming in, or came in last.
    set: u32,
}

#[derive(Debug)]
struct Span {
    /// A [`Started`] whose age is 0.
    encoded: Box<[u8]>,
    /// When the span started, by the relay's clock: before the relay itself, possibly.
    born_ns: i64,
    /// The last open set that named it.
    named: u32,
    /// Who has been told that it is open.
    told: Upstreams,
    /// For whom it is in the queue of what is to be told.
    queued: Upstreams,
}

/// What became of a span that the instance has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    New,
    /// It says nothing new.
    Known,
    NoRoom,
}

/// A message that is being filled with spans.
#[derive(Debug, Default)]
pub(super) struct Filling {
    pub(super) spans: Vec<Started>,
    pub(super) ended: Vec<Ended>,
    bytes: usize,
    /// Other things in the message.
    beside: usize,
}

impl Filling {
    /// A message in which there are so many other things.
    pub(super) fn beside(beside: usize) -> Self {
        Self {
            beside,
            ..Self::default()
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.spans.len() + self.beside >= SPANS_PER_MESSAGE_MAX || self.bytes >= MESSAGE_BYTES_FULL
    }

    /// Whether there is nothing in it that takes room.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty() && self.ended.is_empty() && self.beside == 0
    }

    /// Puts a span that has ended into the message, if there is room.
    pub(super) fn take_ended(&mut self, span: &Ended) -> bool {
        let has_room = self.ended.len() < ENDED_PER_MESSAGE_MAX && self.bytes < MESSAGE_BYTES_FULL;
        if has_room {
            self.bytes += ENDED_BYTES + span.conversation_id.len();
            self.ended.push(span.clone());
        }
        has_room
    }
}

impl Span {
    fn weight(&self) -> usize {
        self.encoded.len() + BYTES_PER_SPAN
    }

    fn put_into(&self, filling: &mut Filling, now_ns: i64) {
        // What we encoded ourselves can be decoded.
        if let Ok(mut started) = Started::decode(&*self.encoded) {
            started.age_ns = u64::try_from(now_ns.saturating_sub(self.born_ns)).unwrap_or(0);
            filling.bytes += self.encoded.len();
            filling.spans.push(started);
        }
    }
}

impl Mirror {
    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    /// The instance names a span that is open, in its open set or as one that has just started.
    pub(super) fn take_in(
        &mut self,
        kept: &mut Kept,
        limits: &Limits,
        now: Duration,
        in_set: bool,
        mut started: Started,
    ) -> Taken {
        let named = if in_set { self.set } else { self.set.wrapping_sub(1) };
        if let Some(span) = self.spans.get_mut(&started.span_id) {
            if in_set {
                span.named = named;
            }
            return Taken::Known;
        }
        let is_member = started.role() == Role::Member;
        let id = started.span_id;
        let age_ns = i64::try_from(std::mem::take(&mut started.age_ns)).unwrap_or(i64::MAX);
        let span = Span {
            encoded: started.encode_to_vec().into_boxed_slice(),
            born_ns: nanoseconds(now).saturating_sub(age_ns),
            named,
            told: Upstreams::default(),
            queued: Upstreams::default(),
        };
        let more = |room: usize| if is_member { room } else { 0 };
        let weight = span.weight();
        if self.spans.len() >= limits.spans_per_instance + more(limits.members_per_instance_more)
            || kept.spans >= limits.spans + more(limits.members_more)
            || kept.bytes + weight > limits.bytes + more(limits.members_bytes_more)
        {
            return Taken::NoRoom;
        }
        kept.spans += 1;
        kept.bytes += weight;
        self.bytes += weight;
        self.spans.insert(id, span);
        Taken::New
    }

    /// Whether an open span contributes to a pool.
    pub(super) fn is_member(&self, span_id: u64) -> bool {
        let span = self.spans.get(&span_id);
        let started = span.and_then(|span| Started::decode(&*span.encoded).ok());
        started.is_some_and(|it| it.role() == Role::Member)
    }

    /// A span has ended. `None` if it is not known.
    pub(super) fn end(&mut self, kept: &mut Kept, span_id: u64) -> Option<Gone> {
        let span = self.spans.remove(&span_id)?;
        let weight = span.weight();
        self.bytes -= weight;
        kept.spans -= 1;
        kept.bytes -= weight;
        Some(Gone(span))
    }

    /// Everything has ended.
    pub(super) fn clear(&mut self, kept: &mut Kept) {
        kept.spans -= self.spans.len();
        kept.bytes -= self.bytes;
        self.bytes = 0;
        self.spans.clear();
    }

    /// An open set of the instance begins.
    pub(super) fn begin_set(&mut self) {
        self.set = self.set.wrapping_add(1);
    }

    /// The spans that the open set, which is complete now, has not named.
    pub(super) fn unnamed(&self) -> Vec<u64> {
        let unnamed = self.spans.iter().filter(|(_, span)| span.named != self.set);
        unnamed.map(|(id, _)| *id).collect()
    }

    /// An upstream is to be told everything anew.
    pub(super) fn forget_told(&mut self, upstream: Upstreams) {
        for span in self.spans.values_mut() {
            span.told.remove(upstream);
            span.queued.remove(upstream);
        }
    }

    /// Puts what is open into a message, beginning with the id `from`, and leaving out what is queued. Returns where to go
    /// on, unless that was all.
    pub(super) fn sweep(
        &mut self,
        from: u64,
        upstream: Upstreams,
        now: Duration,
        filling: &mut Filling,
    ) -> Option<u64> {
        let now_ns = nanoseconds(now);
        for (id, span) in self.spans.range_mut(from..) {
            if span.queued.has(upstream) {
                continue;
            }
            if filling.is_full() {
                return Some(*id);
            }
            span.told.add(upstream);
            span.put_into(filling, now_ns);
        }
        None
    }

    /// Marks a span as queued. Returns whether it was not.
    pub(super) fn queue(&mut self, span_id: u64, upstream: Upstreams) -> bool {
        let Some(span) = self.spans.get_mut(&span_id).filter(|span| !span.queued.has(upstream)) else {
            return false;
        };
        span.queued.add(upstream);
        true
    }

    /// Marks a span as no longer queued. Returns whether it was.
    pub(super) fn unqueue(&mut self, span_id: u64, upstream: Upstreams) -> bool {
        let Some(span) = self.spans.get_mut(&span_id).filter(|span| span.queued.has(upstream)) else {
            return false;
        };
        span.queued.remove(upstream);
        true
    }

    /// Puts a span that was queued into a message, if it is still open.
    pub(super) fn tell(&mut self, span_id: u64, upstream: Upstreams, now: Duration, filling: &mut Filling) {
        if self.unqueue(span_id, upstream)
            && let Some(span) = self.spans.get_mut(&span_id)
        {
            span.told.add(upstream);
            span.put_into(filling, nanoseconds(now));
        }
    }
}

/// A span that was open.
#[derive(Debug)]
pub(super) struct Gone(Span);

impl Gone {
    /// Whether an upstream had been told of it.
    pub(super) fn was_told(&self, upstream: Upstreams) -> bool {
        self.0.told.has(upstream)
    }

    /// What is worth knowing of it now.
    pub(super) fn ended(&self) -> Option<Ended> {
        // What we encoded ourselves can be decoded.
        let started = Started::decode(&*self.0.encoded).ok()?;
        let role = started.role();
        Some(Ended {
            span_id: started.span_id,
            parent_span_id: started.parent_span_id,
            parent_is_remote: started.parent_is_remote,
            role: role.into(),
            conversation_id: if role == Role::Handle {
                started.conversation_id
            } else {
                String::new()
            },
        })
    }
}

fn nanoseconds(at: Duration) -> i64 {
    i64::try_from(at.as_nanos()).unwrap_or(i64::MAX)
}
