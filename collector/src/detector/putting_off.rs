//! What becomes of episodes while the graph has put conclusions off.
//!
//! Who counts as live then may be dead, and keep a core from being told that is as dead as before. To end its alert would
//! be a false all-clear, and another alert of the same would follow. So, until the graph is exact again, an episode ends
//! or shrinks only if a wait or a task of its core has ended; otherwise it is *held* as it was. What the graph tells is
//! true even then: episodes open and grow.
//!
//! Whoever is held may also be live by now. So a suspect that is held is not confirmed by anything.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use standoff_protocol::api::Resolution;
use standoff_wait_graph::{Deadlock, SpanId};

use crate::alerts::EpisodeId;

/// All open episodes, and which of them are held.
#[derive(Debug, Default)]
pub(super) struct PuttingOff {
    current: BTreeMap<EpisodeId, Arc<Deadlock>>,
    held: BTreeSet<EpisodeId>,
    /// Those of which something has ended that is not judged yet, and how it did.
    ended: BTreeMap<EpisodeId, Resolution>,
}

impl PuttingOff {
    /// An episode is like this now.
    pub(super) fn goes_on(&mut self, id: EpisodeId, current: Arc<Deadlock>) {
        self.current.insert(id, current);
    }

    /// An episode is over. Returns what it was last.
    pub(super) fn is_over(&mut self, id: EpisodeId) -> Option<Arc<Deadlock>> {
        self.held.remove(&id);
        self.ended.remove(&id);
        self.current.remove(&id)
    }

    pub(super) fn holds(&self, id: EpisodeId) -> bool {
        self.held.contains(&id)
    }

    pub(super) fn holds_any(&self) -> bool {
        !self.held.is_empty()
    }

    /// Takes note of the episodes of which something has ended. Returns whether there are any that were not known.
    pub(super) fn note_ends(&mut self, ends_as: Resolution, has_ended: impl Fn(&Deadlock) -> bool) -> bool {
        let before = self.ended.len();
        for (id, deadlock) in &self.current {
            if !self.ended.contains_key(id) && has_ended(deadlock) {
                self.ended.insert(*id, ends_as);
            }
        }
        self.ended.len() > before
    }

    /// How an episode ends, if it does: as what was noted first, or as what ends it now.
    pub(super) fn resolution(&self, id: EpisodeId, ends_as: Resolution) -> Resolution {
        self.ended.get(&id).copied().unwrap_or(ends_as)
    }

    /// The graph is exact: what it tells is all there is.
    pub(super) fn release(&mut self) {
        self.held.clear();
    }

    /// The graph is not exact, and tells this: what is to be believed. Whatever shares a wait with an episode that is held
    /// is left out for the time being, so that no wait is in two cores.
    pub(super) fn hold(&mut self, told: Vec<Deadlock>) -> Vec<Deadlock> {
        let places =
            |(place, it): (usize, &Deadlock)| it.waits().map(move |wait| (wait.call, place)).collect::<Vec<_>>();
        let place_of: HashMap<SpanId, usize> = told.iter().enumerate().flat_map(places).collect();
        let mut met: BTreeMap<EpisodeId, BTreeSet<Option<usize>>> = BTreeMap::new();
        let mut episodes_at: Vec<Vec<EpisodeId>> = vec![Vec::new(); told.len()];
        let mut unsure = Vec::new();
        for (id, deadlock) in &self.current {
            let at: BTreeSet<_> = deadlock.waits().map(|wait| place_of.get(&wait.call).copied()).collect();
            at.iter().flatten().for_each(|place| episodes_at[*place].push(*id));
            let is_whole = at.len() == 1 && !at.contains(&None);
            if !is_whole && !self.ended.contains_key(id) {
                unsure.push(*id);
            }
            met.insert(*id, at);
        }
        self.held.clear();
        let mut is_left_out = vec![false; told.len()];
        while let Some(id) = unsure.pop() {
            if self.held.insert(id) {
                for place in met.remove(&id).into_iter().flatten().flatten() {
                    if !std::mem::replace(&mut is_left_out[place], true) {
                        unsure.append(&mut episodes_at[place]);
                    }
                }
            }
        }
        let believed = told
            .into_iter()
            .zip(is_left_out)
            .filter(|(_, is_left_out)| !is_left_out);
        let held = self.held.iter().filter_map(|id| self.current.get(id));
        let held = held.map(|it| Deadlock::clone(it));
        believed.map(|(deadlock, _)| deadlock).chain(held).collect()
    }

    /// What has ended is judged, but for what is held.
    pub(super) fn forget_ends(&mut self) {
        let held = &self.held;
        self.ended.retain(|id, _| held.contains(id));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use standoff_wait_graph::{CallState, DeadTask, DeadWait, InstanceId, TraceId};

    use super::*;

    /// A core of one task with these waits.
    fn core(waits: &[u64]) -> Deadlock {
        let wait = |call: &u64| DeadWait {
            call: SpanId(*call),
            trace: TraceId::default(),
            name: "call".into(),
            target: None,
            state: CallState::Queued,
            blocked_by: [].into(),
            in_core: true,
            rests_on: [].into(),
            group: None,
            started_at: Duration::ZERO,
            timeout_at: None,
        };
        let task = DeadTask {
            id: SpanId(waits[0]),
            trace: TraceId::default(),
            instance: InstanceId(1),
            service: "".into(),
            name: "task".into(),
            resources: vec![],
            occupied_by: vec![],
            waits: waits.iter().map(wait).collect(),
        };
        Deadlock {
            core: vec![task],
            victims: vec![],
            victims_total: 0,
            blast: vec![],
            resources: vec![],
        }
    }

    fn going_on(cores: &[&[u64]]) -> PuttingOff {
        let mut putting_off = PuttingOff::default();
        for (id, waits) in (1..).zip(cores) {
            putting_off.goes_on(id, Arc::new(core(waits)));
        }
        putting_off
    }

    fn waits(deadlocks: &[Deadlock]) -> Vec<Vec<u64>> {
        let waits = |it: &Deadlock| it.waits().map(|wait| wait.call.0).collect();
        deadlocks.iter().map(waits).collect()
    }

    #[test]
    fn what_has_grown_or_is_new_is_believed() {
        let mut putting_off = going_on(&[&[1, 2], &[3, 4]]);
        let told = vec![core(&[1, 2, 3, 4, 5]), core(&[6])];
        assert_eq!(putting_off.hold(told.clone()), told);
        assert!(!putting_off.holds_any());
    }

    #[test]
    fn what_is_gone_or_has_shrunk_is_held_with_all_it_shares_a_wait_with() {
        let mut putting_off = going_on(&[&[1, 2], &[3, 4], &[5, 6], &[7]]);
        let told = vec![core(&[1, 3, 4]), core(&[7, 8])];
        let believed = putting_off.hold(told);
        assert_eq!(waits(&believed), [vec![7, 8], vec![1, 2], vec![3, 4], vec![5, 6]]);
        assert_eq!([1, 2, 3, 4].map(|id| putting_off.holds(id)), [true, true, true, false]);
    }

    #[test]
    fn what_has_ended_is_judged_unless_something_else_of_it_is_held() {
        let is_of = |wait: u64| move |it: &Deadlock| it.waits().any(|it| it.call.0 == wait);
        let mut putting_off = going_on(&[&[1, 2, 3], &[4, 5]]);
        assert!(putting_off.note_ends(Resolution::Timeout, is_of(1)));
        assert!(!putting_off.note_ends(Resolution::Finished, is_of(1)));
        assert_eq!(
            waits(&putting_off.hold(vec![core(&[2, 3]), core(&[4, 5])])),
            [[2, 3], [4, 5]]
        );
        assert_eq!(
            waits(&putting_off.hold(vec![core(&[2, 4])])),
            [vec![1, 2, 3], vec![4, 5]]
        );
        putting_off.forget_ends();
        assert_eq!(
            [1, 2].map(|id| putting_off.resolution(id, Resolution::Error)),
            [Resolution::Timeout, Resolution::Error],
            "it has ended as was noted first"
        );
    }
}
