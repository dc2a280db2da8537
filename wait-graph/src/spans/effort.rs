//! How much is derived again at once, and what is put off.
//!
//! What an event changes may concern everything beneath a span, and somebody may send events each of which concerns the
//! same million of spans. So every event, and every change of a span, earns a number of visits, and what follows from changes spends them.
//! When they are used up, nothing more is derived, no deadlock is told, and everything is derived in one pass that is
//! paced like that over the picture.

use super::Spans;

/// In ordinary traffic a change is followed by one visit, to the span itself, and by at most a few for each span that was
/// beneath it. Chains that arrive bottom up derive all that they have so far, which pays up to twice this depth.
const VISITS_PER_CHANGE: u64 = 64;

/// What is saved. To spend it takes some tens of milliseconds.
const VISITS_MAX: u64 = 1 << 17;

/// The visits that may be made.
#[derive(Debug, Default)]
pub(super) struct Effort {
    visits: u64,
    is_used_up: bool,
}

impl Effort {
    /// Something has happened, or a span has changed.
    pub(super) fn earn(&mut self) {
        self.visits = (self.visits + VISITS_PER_CHANGE).min(VISITS_MAX);
    }

    /// Returns whether so many visits may be made.
    pub(super) fn spend(&mut self, visits: u64) -> bool {
        match self.visits.checked_sub(visits) {
            Some(left) if !self.is_used_up => self.visits = left,
            Some(_) | None => self.is_used_up = true,
        }
        !self.is_used_up
    }
}

impl Spans {
    /// Whether what follows from some events has been put off.
    pub(crate) fn is_behind(&self) -> bool {
        self.effort.is_used_up
    }

    /// Does what has been put off.
    pub(crate) fn catch_up(&mut self) {
        if !self.is_behind() {
            return;
        }
        self.revision += 1;
        self.effort = Effort {
            visits: u64::MAX / 2,
            is_used_up: false,
        };
        self.conversations.change_all();
        self.derive_all();
        self.effort.visits = VISITS_MAX;
        self.clear_up();
    }

    /// Gives up places that nobody names any more. What is put off may still refer to them.
    pub(super) fn clear_up(&mut self) {
        if self.is_behind() {
            self.revision += 1;
        } else {
            self.store.give_up_orphans();
        }
    }
}
