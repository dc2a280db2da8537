//! The names by which the wait-for graph knows things, and what it is told of them.

use crate::span::{InstanceId, Quorum, SpanId};

pub(crate) use crate::slab::Slot;
pub(crate) use crate::symbols::Symbol;

/// A task of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskIx(pub(crate) u32);

/// A wait of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaitIx(pub(crate) u32);

/// A resource of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ResourceIx(pub(crate) u32);

/// The identity of a task: the span that stands for it. Together with its instance, since that span may be unseen, and
/// two instances that claim the same unseen span do not share a thread of control.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TaskId {
    pub(crate) span: SpanId,
    pub(crate) instance: InstanceId,
}

/// What handlers that have ended mean for the call that they answered. Later ones are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    /// Its handler was lost with its instance.
    Orphaned,
    /// A handler has ended; the reply is on its way.
    Answered,
}

/// An open span by which a task occupies units of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Occupier {
    pub(crate) span: Slot,
    /// At least 1.
    pub(crate) units: u32,
    /// It is a handle: all handles of one task on one resource occupy one unit together, whatever `units` says.
    pub(crate) by_handle: bool,
}

/// A wait as it begins: nobody handles it, and nothing is known of its fate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewWait {
    pub(crate) call: Slot,
    /// `None` if unknown: live while queued.
    pub(crate) target: Option<ResourceIx>,
    /// At least 1.
    pub(crate) units: u32,
    /// `None` if it is needed for itself alone.
    pub(crate) group: Option<GroupOf>,
}

/// The group that a wait belongs to, as its call has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupOf {
    /// Unique within the task.
    pub(crate) name: Symbol,
    /// `None` if the call does not say how many must finish: such a group is live.
    pub(crate) quorum: Option<Quorum>,
}
