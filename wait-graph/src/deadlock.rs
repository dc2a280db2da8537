//! What comes out: deadlocks, with everything a reader or a confirmation needs to know of them.

mod same;

use std::sync::Arc;
use std::time::Duration;

use crate::span::{InstanceId, Quorum, SpanId, TraceId};

/// A set of tasks none of which can ever proceed: one core, and the victims that reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadlock {
    /// The tasks that cause it, along their waits, from the one with the smallest name.
    pub core: Vec<DeadTask>,
    /// The other tasks that can never proceed because of it, by name: the first [`VICTIMS_MAX`] of them.
    pub victims: Vec<DeadTask>,
    /// How many of these there are in all. In a storm, where a crowd waits behind very many cores, counting ends at a
    /// fixed effort; then there are at least so many.
    pub victims_total: u64,
    /// All of these by canonical name, with their numbers: the most frequent first, then by name. The first [`BLAST_MAX`]
    /// names.
    pub blast: Vec<(Arc<str>, u64)>,
    /// What the core occupies or waits for, by name.
    pub resources: Vec<Resource>,
}

/// The most victims that [`Deadlock::victims`] lists: as many as an alert does.
pub const VICTIMS_MAX: usize = 100;

/// The most names that [`Deadlock::blast`] lists. Nobody reads more.
pub const BLAST_MAX: usize = 100;

/// The most waits that a victim lists. A batch may wait for a hundred thousand calls, and be a victim of as many cores.
pub const WAITS_OF_VICTIM_MAX: usize = 100;

/// A task that can never proceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadTask {
    /// The span that stands for it: its outermost handle, or its topmost ancestor.
    pub id: SpanId,
    /// For display.
    pub trace: TraceId,
    /// Where it runs.
    pub instance: InstanceId,
    /// The name of the service there; empty if nobody has said.
    pub service: Arc<str>,
    /// The name of its span; of its first call, if its own span was never reported.
    pub name: Arc<str>,
    /// What it occupies, by name.
    pub resources: Vec<Arc<str>>,
    /// The open handles and holds by which it does.
    pub occupied_by: Vec<SpanId>,
    /// Its calls that cannot finish and without which it cannot proceed, oldest first; of a victim the first
    /// [`WAITS_OF_VICTIM_MAX`].
    pub waits: Vec<DeadWait>,
}

/// The most tasks that [`DeadWait::blocked_by`] lists. A pool may have thousands of holders, and thousands may wait for
/// each: nobody reads that.
pub const BLOCKED_BY_MAX: usize = 100;

/// A call that cannot finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadWait {
    /// The call.
    pub call: SpanId,
    /// For display.
    pub trace: TraceId,
    /// The name of its span.
    pub name: Arc<str>,
    /// What it needs.
    pub target: Option<Arc<str>>,
    /// How far it has come: queued or accepted.
    pub state: CallState,
    /// The tasks that must proceed first: its handlers if accepted, the dead holders of its target if queued. By id;
    /// of more than [`BLOCKED_BY_MAX`] only so many, those of the core before others. Shared by those who are queued for
    /// the same.
    pub blocked_by: Arc<[SpanId]>,
    /// Whether one of them belongs to the core. A core's waits are those for which this holds.
    pub in_core: bool,
    /// The open handles and holds by which the core blocks it: those that answer it if accepted, those that occupy its
    /// target if queued. All of them, by id; shared by those who are queued for the same.
    pub rests_on: Arc<[SpanId]>,
    /// The group it belongs to.
    pub group: Option<(Arc<str>, Quorum)>,
    /// When it started.
    pub started_at: Duration,
    /// When its caller gives up.
    pub timeout_at: Option<Duration>,
}

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Needs units of its target.
    Queued,
    /// A handler that answers it is open.
    Accepted,
    /// A handler that answered it has ended; the reply is on its way.
    Answered,
    /// Its handler was lost with its instance.
    Orphaned,
}

/// Something that tasks occupy and wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    /// Its name.
    pub name: Arc<str>,
    /// What is known of its capacity.
    pub capacity: Capacity,
    /// Units that are occupied.
    pub held: u64,
    /// Calls that wait for it.
    pub queued: u64,
}

/// What is known of a resource's capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Nothing, or nothing certain: whoever waits for it is live.
    Unknown,
    /// Handles or holds have declared it.
    Declared(u64),
    /// The sum of the units of its members.
    Counted(u64),
}
