//! What goes in: open spans, and the events that open and end them.

use std::sync::Arc;
use std::time::Duration;

/// The identity of a span, and of the task that it stands for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

/// The trace that a span belongs to, for display. 0 if unknown.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub u128);

/// One running copy of a service, numbered by whoever feeds the graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// A span that is open.
///
/// Its identity is [`Span::id`] alone: the same caller calling the same callee again is a new span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Unique among all spans of all instances.
    pub id: SpanId,
    /// For display.
    pub trace: TraceId,
    /// The instance in which it runs.
    pub instance: InstanceId,
    /// The span above it; `None` for the topmost of a trace.
    pub parent: Option<Parent>,
    /// The enclosing handle, where the parent chain does not lead there.
    pub task: Option<SpanId>,
    /// Its name, for display and for the names of tasks without a resource.
    pub name: Arc<str>,
    /// Correlates a handle with a call where the parent chain is broken.
    pub conversation: Option<Arc<str>>,
    /// What it means for the graph.
    pub role: Role,
    /// When it started, on the clock of whoever feeds the graph.
    pub started_at: Duration,
}

/// The span above another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its id; it may be unknown to the graph.
    pub id: SpanId,
    /// Whether it is known to be in another process. Spans under the same unseen local parent are one task.
    pub remote: bool,
}

/// What a span means for the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Waits for a reply.
    Call(Call),
    /// Runs a request.
    Handle(Handle),
    /// Occupies units of resources.
    Hold(Hold),
    /// Contributes units to pools for as long as it is open.
    Member(Member),
    /// Only keeps the parent chain.
    Structural,
}

/// The part of a span that is a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The resource that it needs until a handler accepts it; `None` if unknown, hence live.
    pub target: Option<Arc<str>>,
    /// The units that it needs; at least 1.
    pub units: u32,
    /// Needed together with other calls of its task; `None` if for itself alone.
    pub group: Option<WaitGroup>,
    /// The enclosing handler does not wait for it: it is a task of its own.
    pub detached: bool,
    /// The caller gives up when the call is this old.
    pub timeout: Option<Duration>,
}

/// The wait group of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitGroup {
    /// Its name, unique within the task.
    pub name: Arc<str>,
    /// How many of its calls must finish, and how many it has in all. `None` if the span did not say both: such a
    /// group is live.
    pub quorum: Option<Quorum>,
}

/// `needed` of `size` calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// How many must finish.
    pub needed: u32,
    /// How many there are.
    pub size: u32,
}

/// The part of a span that is a handle: one execution that can wait.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handle {
    /// Resources of which it occupies one unit each.
    pub resources: Vec<Arc<str>>,
    /// What its instance offers of them. `None` declares them exclusive, unless members or others declare more.
    pub capacity: Option<u32>,
}

/// The part of a span that is a hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Resources of which it occupies [`Hold::units`] each.
    pub resources: Vec<Arc<str>>,
    /// The whole capacity of them. `None` declares them exclusive, unless members or others declare more.
    pub capacity: Option<u32>,
    /// At least 1.
    pub units: u32,
}

/// The part of a span that is a member of pools.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The pools.
    pub resources: Vec<Arc<str>>,
    /// What it contributes to each; at least 1.
    pub units: u32,
}

impl Role {
    /// The names in it.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &Arc<str>> {
        let (resources, more): (&[Arc<str>], _) = match self {
            Self::Call(call) => (call.target.as_slice(), call.group.as_ref().map(|group| &group.name)),
            Self::Handle(handle) => (&handle.resources, None),
            Self::Hold(hold) => (&hold.resources, None),
            Self::Member(member) => (&member.resources, None),
            Self::Structural => (&[], None),
        };
        resources.iter().chain(more)
    }
}

/// What can happen.
#[derive(Clone, Debug)]
pub enum Event {
    /// A span is open. Hearing of it again changes nothing.
    Started(Span),
    /// A span has ended. May come before its start, which it then cancels.
    Finished(SpanId),
    /// Somebody has said that a handler of this call has ended, although the handler itself was never reported.
    Answered(SpanId),
    /// Nothing has been heard of the instance for its lease. What it has open is unknown from now on, hence live.
    InstanceSilent(InstanceId),
    /// The instance is heard of again, and what it had open is believed again.
    InstanceBack(InstanceId),
    /// The instance has said goodbye or is known to be dead. Nothing of it is open any more.
    InstanceGone(InstanceId),
}

impl std::fmt::Display for SpanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl std::fmt::Debug for SpanId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::fmt::Debug for TraceId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}
