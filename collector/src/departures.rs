//! Who has left: when somebody last went who had served a name, and can no longer be asked what it accepted.
//!
//! A call for that name from before then may have been accepted unseen, and answered or lost. Only times are kept, not
//! who it was.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::DeadWait;

/// The most names that are kept: four instances that each served 16,384 ids, all gone while calls of theirs are open.
const NAMES_MAX: usize = 1 << 16;

/// A call starts when its age says so, counted from the arrival of its report, so it seems to start later than it did by as
/// long as the report took. One that took longer than this came from a connection that was stalled.
pub(crate) const LATE_REPORT: Duration = Duration::from_secs(1);

/// Names, and when somebody last left who had served them.
#[derive(Debug, Default)]
pub(crate) struct Departures {
    by_name: BTreeMap<Arc<str>, Duration>,
    /// Somebody may have left then who had served any name: those that had to be forgotten.
    any: Option<Duration>,
}

impl Departures {
    /// Somebody leaves who has served these names.
    pub(crate) fn leave(&mut self, now: Duration, served: impl IntoIterator<Item = Arc<str>>) {
        self.by_name.extend(served.into_iter().map(|name| (name, now)));
        if self.by_name.len() > NAMES_MAX {
            self.make_room();
        }
    }

    /// Whether somebody may have accepted this call who cannot be asked any more.
    pub(crate) fn may_have_accepted(&self, wait: &DeadWait) -> bool {
        let until = wait.target.as_ref().and_then(|name| self.concern_until(name));
        until.is_some_and(|until| wait.started_at <= until)
    }

    /// Until when calls for a name had to start for somebody who has left to have accepted them.
    pub(crate) fn concern_until(&self, name: &str) -> Option<Duration> {
        let left = self.by_name.get(name).copied().max(self.any);
        left.map(|at| at.saturating_add(LATE_REPORT))
    }

    /// Forgets the older half.
    fn make_room(&mut self) {
        let mut times: Vec<Duration> = self.by_name.values().copied().collect();
        times.sort_unstable();
        let middle = times.get(times.len() / 2).copied();
        self.any = self.any.max(middle);
        self.by_name.retain(|_, at| Some(*at) > middle);
    }
}

#[cfg(test)]
mod tests {
    use standoff_wait_graph::{CallState, SpanId, TraceId};

    use super::*;

    fn call(target: &str, started_s: u64) -> DeadWait {
        DeadWait {
            call: SpanId(1),
            trace: TraceId(0),
            name: "call".into(),
            target: Some(target.into()),
            state: CallState::Queued,
            blocked_by: [].into(),
            in_core: true,
            rests_on: [].into(),
            group: None,
            started_at: Duration::from_secs(started_s),
            timeout_at: None,
        }
    }

    #[test]
    fn calls_from_before_count_for_that_name_only() {
        let mut departures = Departures::default();
        departures.leave(Duration::from_secs(5), ["A".into()]);
        assert!(departures.may_have_accepted(&call("A", 4)));
        assert!(
            departures.may_have_accepted(&call("A", 6)),
            "its report may have been late"
        );
        assert!(!departures.may_have_accepted(&call("A", 7)));
        assert!(!departures.may_have_accepted(&call("B", 4)));
    }

    #[test]
    fn what_is_forgotten_counts_for_every_name() {
        let mut departures = Departures::default();
        for id in 0..=NAMES_MAX as u64 {
            departures.leave(Duration::from_secs(id), [format!("name {id}").into()]);
        }
        let middle = NAMES_MAX as u64 / 2;
        assert!(departures.by_name.len() <= NAMES_MAX / 2);
        assert!(departures.may_have_accepted(&call("another", middle)));
        assert!(!departures.may_have_accepted(&call("another", middle + 2)));
    }
}
