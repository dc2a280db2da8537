//! What is odd about the spans that are known, where no conclusion is needed to tell.

use std::collections::{BTreeMap, BTreeSet};

use standoff_wait_graph::{Role, SpanId};

use super::facts::Facts;

/// How many spans are named as a parent and not known.
pub(crate) fn unknown_parents(facts: &Facts) -> usize {
    let named: BTreeSet<SpanId> = facts.spans().filter_map(|span| span.parent).map(|it| it.id).collect();
    named.into_iter().filter(|id| facts.span(*id).is_none()).count()
}

/// Of how many resources open spans declare different capacities.
pub(crate) fn contradicting_capacities(facts: &Facts) -> usize {
    let mut declared: BTreeMap<&str, BTreeSet<u32>> = BTreeMap::new();
    for span in facts.open.values() {
        let (resources, capacity) = match &span.role {
            Role::Handle(handle) => (&handle.resources, handle.capacity),
            Role::Hold(hold) => (&hold.resources, hold.capacity),
            Role::Call(_) | Role::Member(_) | Role::Structural => continue,
        };
        for name in resources {
            declared.entry(name).or_default().extend(capacity);
        }
    }
    declared.values().filter(|capacities| capacities.len() > 1).count()
}
