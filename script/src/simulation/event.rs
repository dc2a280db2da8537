//! What a run tells: spans that open and end, as the services of the script would report them.
//!
//! These are nobody's wire format and no engine's input. They say what the attributes of spans say
//! (`docs/attributes.md`), so each consumer maps them in a few lines.

use std::sync::Arc;
use std::time::Duration;

use crate::script::Name;

/// The identity of a span. No two spans of a run have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub u64);

/// The identity of an instance: each server is one, and each client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub u64);

/// Something that has just happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A span has opened.
    Started(Span),
    /// It has ended.
    Finished(SpanId),
    /// A server has crashed. Its spans end without being finished.
    Gone(InstanceId),
}

/// A span that opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its identity.
    pub id: SpanId,
    /// The same for everything that one client causes.
    pub trace: u64,
    /// Where it runs.
    pub instance: InstanceId,
    /// The span above it; `None` for a client's.
    pub parent: Option<Parent>,
    /// What people call it.
    pub name: Name,
    /// What it means.
    pub role: Role,
}

/// The span above another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its identity.
    pub id: SpanId,
    /// Whether it came with a message, rather than from within the same instance.
    pub is_remote: bool,
}

/// What a span means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// A client, from its start to its end. Only keeps its calls together: as their topmost ancestor it is the client's
    /// task.
    Client,
    /// A request that a server runs: it is the request's task. It answers the call that is its parent.
    Handle {
        /// The server. The handle occupies one unit of it.
        resource: Name,
        /// How many requests the server runs at a time.
        capacity: u32,
    },
    /// A client or request waits: for a server's reply, or for a unit of a pool.
    Call {
        /// The server or pool. It asks for one unit.
        target: Name,
        /// Of which other calls it is an alternative or a part; `None` if it is needed for itself.
        group: Option<Group>,
        /// After how long it gives up; `None` for never.
        timeout: Option<Duration>,
    },
    /// A client or request has a unit of a pool.
    Hold {
        /// The pool.
        resource: Name,
        /// How many units the pool has.
        capacity: u32,
    },
}

/// Calls made at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Unique among the groups of its client or request.
    pub name: Arc<str>,
    /// How many of its calls must end.
    pub needed: u32,
    /// How many there are.
    pub size: u32,
}
