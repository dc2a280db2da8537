//! What is kept of one span: 88 bytes for what most spans have, and a side entry for what few have.

use std::time::Duration;

use crate::slab::Slot;
use crate::span::{Quorum, SpanId, TraceId};
use crate::symbols::Symbol;

use super::instances::InstanceIx;

/// Nothing of the picture.
pub(crate) const NO_NODE: u32 = u32::MAX;

/// A span that is open or remembered, or the place of one that others name and that was never reported.
///
/// What is derived from other spans is kept up to date by `derive.rs` and by nobody else.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) id: SpanId,
    /// In halves, since the whole would be aligned to 16 bytes.
    pub(crate) trace: [u64; 2],
    pub(crate) started_ns: u64,
    /// As reported, whether known or not, and even if it leads back here.
    pub(crate) parent: Slot,
    /// Everything whose `parent` this is, through `next` and `previous` of each.
    pub(crate) first_child: Slot,
    pub(crate) next: Slot,
    pub(crate) previous: Slot,
    pub(crate) instance: InstanceIx,
    /// Open: where it is among the open spans of its instance. Ended: how many spans need it.
    pub(crate) place_or_needs: u32,
    /// Ended: the stamp of its entry among the ended.
    pub(crate) stamp: u32,
    pub(crate) name: Symbol,
    /// The target of a call; what a handle, hold or member names, if that is one resource.
    pub(crate) resource: Symbol,
    /// Derived. Of a call: the wait that it is part of. Of an open handle: the outermost of those directly inside one
    /// another. Of others: the nearest call or handle above in the instance.
    pub(crate) anchor: Slot,
    /// Derived. The handle or detached call that it runs under, or with [`Flag::Topmost`] its topmost ancestor.
    pub(crate) home: Slot,
    /// With [`Flag::Waits`] its wait in the picture. Otherwise a task: with [`Flag::Occupies`] its own, without the one
    /// that it stands for.
    pub(crate) node: u32,
    /// Of a call: its timeout in milliseconds. Of a handle: the wait that it answers. Of others: units.
    pub(crate) extra: u32,
    pub(super) flags: u32,
}

/// The most timeout that `extra` has room for.
pub(crate) const NO_TIMEOUT: u32 = u32::MAX;

/// What of a span few spans have.
#[derive(Debug)]
pub(crate) struct Rare {
    /// The handle that it says it runs under.
    pub(crate) hint: Slot,
    pub(crate) conversation: Option<Symbol>,
    pub(crate) group: Option<(Symbol, Option<Quorum>)>,
    /// What it names, if not one resource: as reported, and each once.
    pub(crate) resources: Option<Names>,
    pub(crate) capacity: Option<u32>,
    /// Of a call.
    pub(crate) units: u32,
    /// Of a call, if `extra` has no room for it.
    pub(crate) timeout: Option<Duration>,
}

/// Several names.
#[derive(Debug)]
pub(crate) struct Names {
    pub(crate) reported: Box<[Symbol]>,
    pub(crate) distinct: Box<[Symbol]>,
}

impl Default for Rare {
    fn default() -> Self {
        Self {
            hint: Slot::NONE,
            conversation: None,
            group: None,
            resources: None,
            capacity: None,
            units: 1,
            timeout: None,
        }
    }
}

impl Rare {
    pub(crate) fn is_needed(&self) -> bool {
        self.hint.is_some()
            || self.conversation.is_some()
            || self.group.is_some()
            || self.resources.is_some()
            || self.capacity.is_some()
            || self.units != 1
            || self.timeout.is_some()
    }
}

/// What has become of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Never reported, or forgotten.
    Unseen,
    Open,
    Finished,
    /// Its instance went, and the span with it.
    Lost,
}

/// What a span is for the graph, without the particulars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Structural,
    Call,
    Handle,
    Hold,
    Member,
}

/// One bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Flag {
    /// Its parent is known to be in another process.
    Remote = 1 << 5,
    Detached = 1 << 6,
    /// It has a [`Rare`].
    Rare = 1 << 7,
    /// Its parents lead back to it.
    Loop = 1 << 8,
    /// Others name it as the handle that they run under.
    Hinted = 1 << 9,
    /// Somebody has said that it was answered.
    Answered = 1 << 10,
    /// What is remembered of a handler that is forgotten: the call was lost with it, or was answered.
    KeptOrphaned = 1 << 11,
    KeptAnswered = 1 << 12,
    /// `node` is its wait.
    Waits = 1 << 13,
    /// `node` is its task.
    Occupies = 1 << 14,
    /// `home` is its topmost ancestor.
    Topmost = 1 << 15,
    /// An open handle that the picture knows as a handler of the wait in `extra`.
    Handles = 1 << 16,
    /// An ended handle that counts for the fate of the wait in `extra`.
    Counts = 1 << 17,
    /// A handle that answers calls of its conversation, for want of a parent.
    Converses = 1 << 18,
    /// It has an entry in what was said of calls.
    Said = 1 << 19,
    /// Ended, and among those that wait until nobody needs them.
    Parked = 1 << 20,
    /// Its place is to be given up if nobody names it any more.
    Orphan = 1 << 21,
    /// Of a call: one says that it was answered, nobody says anything else, and no more is kept of that.
    OneAnswer = 1 << 22,
    /// Of a call: it is kept how many say what of it.
    Counted = 1 << 23,
    /// In its [`Rare`] it says which handle it runs under.
    Hints = 1 << 24,
    /// In its [`Rare`] it has a conversation.
    Talks = 1 << 25,
    /// What it names is in its [`Rare`], since it is not one resource.
    Several = 1 << 26,
    /// In its [`Rare`] it declares a capacity.
    Declares = 1 << 27,
    /// A call for another number of units than one, which is in its [`Rare`].
    Wide = 1 << 28,
}

/// What stays when a span is forgotten: what others say of it.
const BY_OTHERS: u32 = Flag::Hinted as u32 | Flag::Orphan as u32 | Flag::OneAnswer as u32 | Flag::Counted as u32;

const STATE: u32 = 0b11;
const KIND_SHIFT: u32 = 2;
const KIND: u32 = 0b111 << KIND_SHIFT;

impl Record {
    /// The place of a span of which only the id is known.
    pub(crate) fn unseen(id: SpanId) -> Self {
        Self {
            id,
            trace: [0; 2],
            started_ns: 0,
            parent: Slot::NONE,
            first_child: Slot::NONE,
            next: Slot::NONE,
            previous: Slot::NONE,
            instance: InstanceIx::NONE,
            place_or_needs: 0,
            stamp: 0,
            name: Symbol::NONE,
            resource: Symbol::NONE,
            anchor: Slot::NONE,
            home: Slot::NONE,
            node: NO_NODE,
            extra: 0,
            flags: 0,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.flags & STATE {
            0 => State::Unseen,
            1 => State::Open,
            2 => State::Finished,
            _ => State::Lost,
        }
    }

    pub(crate) fn set_state(&mut self, state: State) {
        self.flags = self.flags & !STATE | state as u32;
    }

    pub(crate) fn kind(&self) -> Kind {
        match (self.flags & KIND) >> KIND_SHIFT {
            0 => Kind::Structural,
            1 => Kind::Call,
            2 => Kind::Handle,
            3 => Kind::Hold,
            _ => Kind::Member,
        }
    }

    pub(crate) fn set_kind(&mut self, kind: Kind) {
        self.flags = self.flags & !KIND | (kind as u32) << KIND_SHIFT;
    }

    pub(crate) fn is(&self, flag: Flag) -> bool {
        self.flags & flag as u32 != 0
    }

    /// Whether it is any of these.
    pub(crate) fn is_any(&self, flags: &[Flag]) -> bool {
        self.flags & flags.iter().fold(0, |all, flag| all | *flag as u32) != 0
    }

    /// Everything that was reported of it is forgotten, but not what others say.
    pub(crate) fn forget(&mut self) {
        *self = Self {
            first_child: self.first_child,
            flags: self.flags & BY_OTHERS,
            ..Self::unseen(self.id)
        };
    }

    pub(crate) fn set(&mut self, flag: Flag, value: bool) {
        if value {
            self.flags |= flag as u32;
        } else {
            self.flags &= !(flag as u32);
        }
    }

    /// It has this beside what most spans have, and says of what there is to look up.
    pub(crate) fn set_rare(&mut self, rare: &Rare) {
        self.set(Flag::Rare, true);
        self.set(Flag::Hints, rare.hint.is_some());
        self.set(Flag::Talks, rare.conversation.is_some());
        self.set(Flag::Several, rare.resources.is_some());
        self.set(Flag::Declares, rare.capacity.is_some());
        self.set(Flag::Wide, rare.units != 1);
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state() == State::Open
    }

    pub(crate) fn is_known(&self) -> bool {
        self.state() != State::Unseen
    }

    pub(crate) fn is_ended(&self) -> bool {
        matches!(self.state(), State::Finished | State::Lost)
    }

    pub(crate) fn is_call(&self) -> bool {
        self.kind() == Kind::Call
    }

    pub(crate) fn is_handle(&self) -> bool {
        self.kind() == Kind::Handle
    }

    /// Structural spans, holds and members neither run nor wait for anything: chains go through them.
    pub(crate) fn is_link(&self) -> bool {
        !self.is_call() && !self.is_handle()
    }

    /// Whether what is beneath it runs in it.
    pub(crate) fn is_root(&self) -> bool {
        self.is_handle() || self.is(Flag::Detached)
    }

    /// The parent, unless it leads back here: such a span counts as having none.
    pub(crate) fn above(&self) -> Slot {
        if self.is(Flag::Loop) { Slot::NONE } else { self.parent }
    }

    /// Whether others have it as their parent and it is not known itself.
    pub(crate) fn is_unknown_parent(&self) -> bool {
        !self.is_known() && self.first_child.is_some()
    }

    /// Of an ended span: whether open ones need it.
    pub(crate) fn is_needed(&self) -> bool {
        self.is_ended() && self.place_or_needs > 0
    }

    pub(crate) fn trace(&self) -> TraceId {
        TraceId(u128::from(self.trace[0]) << 64 | u128::from(self.trace[1]))
    }

    pub(crate) fn started_at(&self) -> Duration {
        Duration::from_nanos(self.started_ns)
    }
}

/// Nanoseconds, of which 64 bits have room for 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_small() {
        assert_eq!(size_of::<Record>(), 88);
    }

    #[test]
    fn flags_do_not_disturb_one_another() {
        let mut record = Record::unseen(SpanId(1));
        record.set_kind(Kind::Member);
        record.set_state(State::Lost);
        record.set(Flag::Orphan, true);
        record.set(Flag::Remote, true);
        record.set_state(State::Open);
        assert_eq!((record.state(), record.kind()), (State::Open, Kind::Member));
        record.set(Flag::Remote, false);
        assert!(record.is(Flag::Orphan) && !record.is(Flag::Remote));
    }
}
