//! Walking up chains of parents, in linear time and through anything: loops, self-parents, parents nobody knows.

use std::collections::BTreeMap;

use crate::span::SpanId;

/// What came of a walk over all chains.
#[derive(Debug)]
pub(crate) struct Inherited<T> {
    /// The value of every span that has one.
    pub(crate) values: BTreeMap<SpanId, T>,
    /// How many chains led back to where they came from.
    pub(crate) loops: u64,
}

/// Gives every span a value that depends on the span itself and on the value of the span above it.
///
/// A chain that loops counts as ending where it would enter itself, seen from the smallest of `starts` on it. Without
/// recursion, since chains may be long.
pub(crate) fn inherit<T: Clone>(
    starts: impl Iterator<Item = SpanId>,
    above: impl Fn(SpanId) -> Option<SpanId>,
    value: impl Fn(SpanId, Option<T>) -> Option<T>,
) -> Inherited<T> {
    let mut values: BTreeMap<SpanId, Option<T>> = BTreeMap::new();
    let mut loops = 0;
    for start in starts {
        let mut path = Vec::new();
        let mut next = Some(start);
        while let Some(id) = next.filter(|id| !values.contains_key(id)) {
            values.insert(id, None);
            path.push(id);
            next = above(id);
        }
        loops += u64::from(next.is_some_and(|id| path.contains(&id)));
        let mut inherited = next.and_then(|id| values.get(&id).cloned().flatten());
        for id in path.into_iter().rev() {
            inherited = value(id, inherited);
            values.insert(id, inherited.clone());
        }
    }
    let values = values
        .into_iter()
        .filter_map(|(id, value)| Some((id, value?)))
        .collect();
    Inherited { values, loops }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The topmost of each chain.
    fn tops(parents: &[(u64, u64)]) -> (Vec<(u64, u64)>, u64) {
        let parents: BTreeMap<SpanId, SpanId> = parents
            .iter()
            .map(|(child, parent)| (SpanId(*child), SpanId(*parent)))
            .collect();
        let inherited = inherit(
            parents.keys().copied(),
            |id| parents.get(&id).copied(),
            |id, above| above.or(Some(id)),
        );
        (
            inherited.values.into_iter().map(|(id, top)| (id.0, top.0)).collect(),
            inherited.loops,
        )
    }

    #[test]
    fn values_come_from_above() {
        assert_eq!(
            tops(&[(1, 2), (2, 3), (4, 2)]),
            (vec![(1, 3), (2, 3), (3, 3), (4, 3)], 0)
        );
    }

    #[test]
    fn loops_end() {
        assert_eq!(tops(&[(1, 1)]), (vec![(1, 1)], 1));
        assert_eq!(tops(&[(1, 2), (2, 3), (3, 2)]), (vec![(1, 3), (2, 3), (3, 3)], 1));
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let chain: Vec<(u64, u64)> = (0..200_000).map(|id| (id, id + 1)).collect();
        assert_eq!(tops(&chain).0.last(), Some(&(200_000, 200_000)));
    }
}
