//! What is kept of each task, wait, group, resource, and of the edges between them.
//!
//! A task and a wait fill one cache line each: in ordinary traffic a call with its handle is one of each, and nothing
//! else is touched. The first handler of a wait is kept in the wait, the first occupation of a task in the task; what is
//! beyond that, and groups, have rows of their own.

use std::collections::BTreeMap;

use crate::deadlock::{CallState, Capacity};
use crate::span::Quorum;

use super::ids::{Fate, ResourceIx, Slot, Symbol, TaskId, TaskIx};
use super::rows::{Links, NONE};

/// Marks the index of a row of the overflow where a chain runs through two kinds of rows. There are never as many rows.
pub(super) const SPILLED: u32 = 1 << 31;

/// Somebody who may have to wait.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Task {
    pub(super) id: TaskId,
    /// `NONE` in a vacant row.
    pub(super) slot: Slot,
    /// Its waits outside any group.
    pub(super) first_wait: u32,
    /// Its row in `extras`, if it has groups or more than one occupation.
    pub(super) extra: u32,
    /// How many of its groups cannot be satisfied, a wait outside any group counting as one.
    ///
    /// Invariant, whenever nothing is pending: it is dead if and only if this is not 0 and it is not silent.
    pub(super) unmet: u32,
    /// Where it is: in the list of the dead, or in that of what a search has visited.
    pub(super) mark: u32,
    /// What it handles: waits whose first handler it is, and rows of `edges`, which are `SPILLED`.
    pub(super) first_handled: u32,
    pub(super) is_dead: bool,
    pub(super) is_silent: bool,
    pub(super) occupies_by_handle: bool,
    /// Its first occupation, if it is by one span only: `NONE` if it has none.
    pub(super) resource: u32,
    pub(super) occupier: Slot,
    pub(super) units: u32,
    pub(super) co_occupants: Links,
}

/// What only some tasks have.
#[derive(Clone, Debug)]
pub(super) struct Extra {
    pub(super) first_group: u32,
    pub(super) first_occupation: u32,
}

/// A call for whose reply its task waits.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Wait {
    pub(super) call: Slot,
    /// `NONE` in a vacant row.
    pub(super) task: u32,
    /// The others outside any group, or those of its group.
    pub(super) siblings: Links,
    pub(super) group: u32,
    pub(super) target: u32,
    pub(super) units: u32,
    /// While it is queued for one unit: the others that are. While it has handlers: what else the first one's task
    /// handles.
    pub(super) neighbours: Links,
    /// The first handler; `NONE` if there is none.
    pub(super) handler: u32,
    pub(super) handler_span: Slot,
    /// The others, in `edges`.
    pub(super) more_handlers: u32,
    /// How many handlers belong to live tasks.
    pub(super) live_handlers: u32,
    /// What its call says of its group.
    pub(super) quorum: Quorum,
    pub(super) has_quorum: bool,
    pub(super) is_uncertain: bool,
    /// Whether it cannot finish, by who is dead.
    pub(super) is_stuck: bool,
    pub(super) fate: Option<Fate>,
}

/// Waits of one task of which some must finish.
#[derive(Clone, Debug)]
pub(super) struct GroupRow {
    /// `NONE` in a vacant row.
    pub(super) task: u32,
    pub(super) name: Symbol,
    pub(super) first_wait: u32,
    pub(super) siblings: Links,
    pub(super) waits: u32,
    /// How many of them cannot finish.
    pub(super) stuck: u32,
    pub(super) quorum: Option<Quorum>,
    pub(super) is_unmet: bool,
    /// How often its calls say what, if they contradict one another.
    pub(super) sayings: Option<BTreeMap<Saying, u32>>,
}

/// A part of what a call says of its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Saying {
    Nothing,
    Needed(u32),
    Size(u32),
}

/// A handler of a wait that has others.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) wait: u32,
    pub(super) task: u32,
    pub(super) span: Slot,
    pub(super) of_wait: Links,
    pub(super) of_task: Links,
}

/// What a task occupies of a resource, where that is not its only occupation, or not by one span only.
#[derive(Clone, Debug)]
pub(super) struct Occupation {
    pub(super) task: u32,
    pub(super) resource: u32,
    /// Units that holds occupy.
    pub(super) held: u64,
    pub(super) handles: u32,
    /// The occupiers are these: one here, the others in `Picture::occupiers`.
    pub(super) occupier: Slot,
    pub(super) units: u32,
    pub(super) by_handle: bool,
    pub(super) of_task: Links,
    pub(super) co_occupants: Links,
}

/// What tasks occupy and wait for.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(crate) struct Resource {
    pub(super) name: Symbol,
    pub(super) declared: Capacity,
    pub(super) held: u64,
    /// Of that, what dead tasks hold.
    pub(super) held_by_dead: u64,
    /// Waits that are queued for one unit, of which there may be very many.
    pub(super) first_narrow: u32,
    pub(super) narrow: u32,
    /// How many are queued for another number of units; they are in `Picture::wide`.
    pub(super) wide: u32,
    /// Tasks whose first occupation it is, and rows of `occupations`, which are `SPILLED`.
    pub(super) first_occupant: u32,
    /// Where it is among what a search has visited.
    pub(super) mark: u32,
    /// Those who are queued for one unit are not refused for now, although they should be: they are too many.
    pub(super) defers_narrow: bool,
    /// The same of those who are queued for any other number.
    pub(super) defers_wide: bool,
}

/// What decides who is granted units of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gauge {
    pub(super) capacity: u64,
    /// Units that are free or held by live tasks.
    pub(super) available: u64,
    pub(super) free: u64,
}

impl Gauge {
    /// Nobody is refused.
    const UNKNOWN: Self = Self {
        capacity: u64::MAX,
        available: u64::MAX,
        free: u64::MAX,
    };

    pub(super) fn is_known(self) -> bool {
        self != Self::UNKNOWN
    }

    /// Whether so many units can never be granted. Asking for more than there are is an anomaly, not a deadlock.
    pub(super) fn refuses(self, units: u64) -> bool {
        self.available < units && !self.is_exceeded_by(units)
    }

    pub(super) fn is_exceeded_by(self, units: u64) -> bool {
        self.capacity < units
    }
}

impl Task {
    pub(super) const VACANT: Slot = Slot(NONE);

    pub(crate) fn id(&self) -> TaskId {
        self.id
    }

    /// The record of the span that stands for it.
    pub(crate) fn slot(&self) -> Slot {
        self.slot
    }
}

impl Wait {
    pub(crate) fn call(&self) -> Slot {
        self.call
    }

    pub(crate) fn task(&self) -> TaskIx {
        TaskIx(self.task)
    }

    pub(crate) fn target(&self) -> Option<ResourceIx> {
        (self.target != NONE).then_some(ResourceIx(self.target))
    }

    pub(crate) fn units(&self) -> u64 {
        u64::from(self.units)
    }

    pub(crate) fn state(&self) -> CallState {
        match self.fate {
            Some(Fate::Answered) => CallState::Answered,
            Some(Fate::Orphaned) | None if self.handler != NONE => CallState::Accepted,
            Some(Fate::Orphaned) => CallState::Orphaned,
            None => CallState::Queued,
        }
    }

    pub(super) fn said(&self) -> Option<Quorum> {
        self.has_quorum.then_some(self.quorum)
    }
}

impl GroupRow {
    /// How many of its waits may be stuck; `None` if any number.
    ///
    /// It needs k answers of n, from live calls or from calls that are not open: finished, or still to come. If it is
    /// said to need more than there are, it needs all.
    pub(super) fn slack(&self) -> Option<u32> {
        let quorum = self.quorum?;
        let size = self.waits.max(quorum.size);
        Some(size - size.min(quorum.needed))
    }

    /// How many of its waits have to finish.
    pub(super) fn needed(&self) -> u32 {
        self.slack().map_or(0, |slack| self.waits.saturating_sub(slack))
    }
}

impl Occupation {
    pub(super) fn units(&self) -> u64 {
        self.held + u64::from(self.handles.min(1))
    }
}

impl Resource {
    pub(super) fn new(name: Symbol) -> Self {
        Self {
            name,
            declared: Capacity::Unknown,
            held: 0,
            held_by_dead: 0,
            first_narrow: NONE,
            narrow: 0,
            wide: 0,
            first_occupant: NONE,
            mark: NONE,
            defers_narrow: false,
            defers_wide: false,
        }
    }

    pub(crate) fn name(&self) -> Symbol {
        self.name
    }

    /// Never less than what is in use, whatever was declared.
    pub(crate) fn capacity(&self) -> Capacity {
        match self.declared {
            Capacity::Unknown => Capacity::Unknown,
            Capacity::Declared(units) => Capacity::Declared(units.max(self.held)),
            Capacity::Counted(units) => Capacity::Counted(units.max(self.held)),
        }
    }

    /// Units that are occupied.
    pub(crate) fn held(&self) -> u64 {
        self.held
    }

    /// How many waits are queued for it.
    pub(crate) fn queued(&self) -> u64 {
        u64::from(self.narrow) + u64::from(self.wide)
    }

    /// Whether more is in use than was declared.
    pub(crate) fn is_overfull(&self) -> bool {
        match self.declared {
            Capacity::Unknown => false,
            Capacity::Declared(units) | Capacity::Counted(units) => self.held > units,
        }
    }

    pub(super) fn gauge(&self) -> Gauge {
        match self.capacity() {
            Capacity::Unknown => Gauge::UNKNOWN,
            Capacity::Declared(capacity) | Capacity::Counted(capacity) => Gauge {
                capacity,
                available: capacity - self.held_by_dead,
                free: capacity - self.held,
            },
        }
    }

    /// How many of those queued for it count as undecided.
    pub(super) fn undecided(&self) -> u64 {
        match self.declared {
            Capacity::Unknown => self.queued(),
            Capacity::Declared(_) | Capacity::Counted(_) => 0,
        }
    }
}

// One cache line each.
const _: () = assert!(size_of::<Task>() == 64 && size_of::<Wait>() == 64 && size_of::<Resource>() == 64);
