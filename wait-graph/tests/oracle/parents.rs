//! Who is above whom.
//!
//! A span whose parents lead back to itself counts as having no parent at all, whatever the instances and whether the
//! spans between are open or remembered. So whatever follows parents ends, and no span of such a loop is another's
//! ancestor by accident of where one began to look. What hangs below a loop hangs there as anywhere else.

use std::collections::{BTreeMap, BTreeSet};

use standoff_wait_graph::{Parent, Span, SpanId};

use super::facts::Facts;

/// The parents of all known spans.
#[derive(Debug)]
pub(crate) struct Parents {
    parents: BTreeMap<SpanId, SpanId>,
    on_loops: BTreeSet<SpanId>,
}

impl Parents {
    pub(crate) fn of(facts: &Facts) -> Self {
        let parents = facts
            .spans()
            .filter(|span| !facts.cut.contains(&span.id))
            .filter_map(|span| Some((span.id, facts.span(span.parent?.id)?.id)))
            .collect();
        let mut on_loops = on_loops(&parents);
        on_loops.extend(&facts.cut);
        Self { parents, on_loops }
    }

    /// All spans of the loops that some are on.
    pub(crate) fn loops_of(&self, some: &BTreeSet<SpanId>) -> BTreeSet<SpanId> {
        let mut members = BTreeSet::new();
        for id in some.iter().filter(|id| self.is_on_loop(**id)) {
            let mut next = Some(*id);
            while let Some(id) = next.filter(|id| members.insert(*id)) {
                next = self.parents.get(&id).copied();
            }
        }
        members
    }

    /// Whether its parents lead back to it.
    pub(crate) fn is_on_loop(&self, id: SpanId) -> bool {
        self.on_loops.contains(&id)
    }

    /// The parent that counts. It may be unknown.
    pub(crate) fn parent(&self, span: &Span) -> Option<Parent> {
        span.parent.filter(|_| !self.is_on_loop(span.id))
    }

    /// The known span above, in whatever instance.
    pub(crate) fn above<'a>(&self, facts: &'a Facts, span: &Span) -> Option<&'a Span> {
        facts.span(self.parent(span)?.id)
    }

    /// The span above within the same instance. A parent that came with a message is not, even if the sender was the
    /// instance itself.
    pub(crate) fn local<'a>(&self, facts: &'a Facts, span: &Span) -> Option<&'a Span> {
        let parent = self.parent(span).filter(|parent| !parent.remote)?;
        facts.span(parent.id).filter(|above| above.instance == span.instance)
    }
}

/// Those that come back to themselves. From each the walk goes up until it meets the end, or a span met before: only if
/// that was on this very walk, the part since then is a loop.
fn on_loops(parents: &BTreeMap<SpanId, SpanId>) -> BTreeSet<SpanId> {
    let mut on_loops = BTreeSet::new();
    let mut walks: BTreeMap<SpanId, usize> = BTreeMap::new();
    for (walk, start) in parents.keys().enumerate() {
        let mut path = Vec::new();
        let mut next = Some(*start);
        while let Some(id) = next.filter(|id| !walks.contains_key(id)) {
            walks.insert(id, walk);
            path.push(id);
            next = parents.get(&id).copied();
        }
        if next.and_then(|id| walks.get(&id)) == Some(&walk) {
            on_loops.extend(path.into_iter().skip_while(|id| Some(*id) != next));
        }
    }
    on_loops
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loops(parents: &[(u64, u64)]) -> Vec<u64> {
        let parents = parents
            .iter()
            .map(|(child, parent)| (SpanId(*child), SpanId(*parent)))
            .collect();
        on_loops(&parents).into_iter().map(|id| id.0).collect()
    }

    #[test]
    fn chains_are_no_loops() {
        assert_eq!(loops(&[]), []);
        assert_eq!(loops(&[(1, 2), (2, 3), (4, 2)]), []);
    }

    #[test]
    fn all_spans_of_a_loop_are_on_it_and_none_below() {
        assert_eq!(loops(&[(1, 1)]), [1]);
        assert_eq!(loops(&[(1, 2), (2, 3), (3, 2)]), [2, 3]);
        assert_eq!(
            loops(&[(9, 8), (8, 7), (7, 9), (1, 2), (2, 7), (3, 3), (4, 3)]),
            [3, 7, 8, 9]
        );
    }

    #[test]
    fn a_long_loop_is_no_deep_recursion() {
        let ring: Vec<(u64, u64)> = (0..200_000).map(|id| (id, (id + 1) % 200_000)).collect();
        assert_eq!(loops(&ring).len(), 200_000);
    }
}
