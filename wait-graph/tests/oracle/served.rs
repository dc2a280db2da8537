//! Which instances have served which names: whom to ask about a queued call, and where idle units may hide.
//!
//! Remembered for as long as the instance is not gone, however long ago it served; only when there are too many is the
//! one forgotten that was served longest ago.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use standoff_wait_graph::InstanceId;

/// Pairs of a name and an instance that has served it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    by_name: BTreeMap<Arc<str>, BTreeMap<InstanceId, Serving>>,
    pairs: usize,
    /// Counts what is recorded, to know what was served longest ago.
    turn: u64,
    /// Instances of which a pair with a capacity had to be forgotten: they count as offering every name.
    offer_anything: BTreeSet<InstanceId>,
}

#[derive(Debug, Default)]
struct Serving {
    last: u64,
    /// A handle of that instance declared a capacity for the name.
    offers: bool,
}

impl Served {
    /// Returns how many pairs were forgotten to make room.
    pub(crate) fn record(&mut self, name: &Arc<str>, instance: InstanceId, offers: bool, limit: usize) -> u64 {
        self.turn += 1;
        let by_instance = self.by_name.entry(Arc::clone(name)).or_default();
        let before = by_instance.len();
        let serving = by_instance.entry(instance).or_default();
        serving.last = self.turn;
        serving.offers |= offers;
        self.pairs += by_instance.len() - before;
        if self.pairs > limit { self.make_room(limit) } else { 0 }
    }

    pub(crate) fn forget(&mut self, instance: InstanceId) {
        for by_instance in self.by_name.values_mut() {
            self.pairs -= usize::from(by_instance.remove(&instance).is_some());
        }
        self.by_name.retain(|_, by_instance| !by_instance.is_empty());
        self.offer_anything.remove(&instance);
    }

    /// The instances that have served the name.
    pub(crate) fn instances(&self, name: &str) -> impl Iterator<Item = InstanceId> {
        let recorded = self.by_name.get(name).into_iter().flat_map(BTreeMap::keys);
        recorded.chain(&self.offer_anything).copied()
    }

    /// Whether more than one instance has served the name.
    pub(crate) fn by_several(&self, name: &str) -> bool {
        self.instances(name).collect::<BTreeSet<_>>().len() > 1
    }

    /// Whether an instance has declared on a handle what it offers of the name.
    pub(crate) fn has_offers(&self, name: &str) -> bool {
        let mut recorded = self.by_name.get(name).into_iter().flat_map(BTreeMap::values);
        recorded.any(|serving| serving.offers)
    }

    /// Pairs without a capacity go first: no verdict rests on them.
    fn make_room(&mut self, limit: usize) -> u64 {
        let mut all = Vec::with_capacity(self.pairs);
        for (name, by_instance) in &self.by_name {
            all.extend(
                by_instance
                    .iter()
                    .map(|(id, serving)| (serving.offers, serving.last, Arc::clone(name), *id)),
            );
        }
        all.sort();
        all.truncate(self.pairs.saturating_sub(limit - limit / 8));
        let forgotten = all.len();
        for (offers, _, name, instance) in all {
            if let Some(by_instance) = self.by_name.get_mut(&name) {
                by_instance.remove(&instance);
                if by_instance.is_empty() {
                    self.by_name.remove(&name);
                }
            }
            if offers {
                self.offer_anything.insert(instance);
            }
        }
        self.pairs -= forgotten;
        forgotten as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);

    #[test]
    fn knows_who_has_served_until_they_are_gone() {
        let mut served = Served::default();
        let name: Arc<str> = "worker".into();
        served.record(&name, B, false, 10);
        served.record(&name, A, true, 10);
        served.record(&name, A, false, 10);
        assert_eq!(served.instances("worker").collect::<Vec<_>>(), [A, B]);
        assert!(served.by_several("worker") && served.has_offers("worker"));
        served.forget(A);
        assert!(!served.by_several("worker") && !served.has_offers("worker"));
        served.forget(B);
        assert_eq!((served.pairs, served.by_name.len()), (0, 0));
    }

    #[test]
    fn forgets_what_no_verdict_rests_on_first() {
        let mut served = Served::default();
        let pool: Arc<str> = "pool".into();
        served.record(&pool, A, true, 8);
        for id in 0..8 {
            served.record(&format!("process {id}").into(), A, false, 8);
        }
        assert!(served.has_offers("pool"));
        assert_eq!(served.instances("process 0").count(), 0);
        assert_eq!(served.instances("process 7").count(), 1);
    }

    #[test]
    fn an_instance_whose_offers_are_forgotten_may_offer_anything() {
        let mut served = Served::default();
        for id in 0..9 {
            served.record(&format!("pool {id}").into(), A, true, 8);
        }
        served.record(&"other".into(), B, true, 8);
        assert!(served.by_several("other"));
        served.forget(A);
        assert!(!served.by_several("other"));
    }
}
