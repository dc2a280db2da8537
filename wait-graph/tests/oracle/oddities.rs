//! What is odd about the spans that are known, where no conclusion is needed to tell.

use std::collections::{BTreeMap, BTreeSet};

use standoff_wait_graph::{Role, Span, SpanId};

use super::facts::Facts;

/// More is not a name but data.
const NAME_BYTES_MAX: usize = 4096;

/// Whether some text of a span is longer than names are.
pub(crate) fn is_wordy(span: &Span) -> bool {
    let mut texts: Vec<&str> = vec![&span.name];
    texts.extend(span.conversation.as_deref());
    match &span.role {
        Role::Call(call) => {
            texts.extend(call.target.as_deref());
            texts.extend(call.group.as_ref().map(|group| &*group.name));
        }
        Role::Handle(handle) => texts.extend(handle.resources.iter().map(|it| &**it)),
        Role::Hold(hold) => texts.extend(hold.resources.iter().map(|it| &**it)),
        Role::Member(member) => texts.extend(member.resources.iter().map(|it| &**it)),
        Role::Structural => {}
    }
    texts.iter().any(|text| text.len() > NAME_BYTES_MAX)
}

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
