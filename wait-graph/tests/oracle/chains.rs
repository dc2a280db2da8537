//! Walking up chains of parents, in linear time and without recursion, since chains may be long.

use std::collections::BTreeMap;

use standoff_wait_graph::SpanId;

/// Gives every span a value that depends on the span itself and on the value of the span above it.
///
/// `above` must not lead anybody back to itself: [`super::parents::Parents`] sees to that.
pub(crate) fn inherit<T: Clone>(
    starts: impl Iterator<Item = SpanId>,
    above: impl Fn(SpanId) -> Option<SpanId>,
    value: impl Fn(SpanId, Option<T>) -> Option<T>,
) -> BTreeMap<SpanId, T> {
    let mut values: BTreeMap<SpanId, Option<T>> = BTreeMap::new();
    for start in starts {
        let mut path = Vec::new();
        let mut next = Some(start);
        while let Some(id) = next.filter(|id| !values.contains_key(id)) {
            values.insert(id, None);
            path.push(id);
            next = above(id);
        }
        let mut inherited = next.and_then(|id| values.get(&id).cloned().flatten());
        for id in path.into_iter().rev() {
            inherited = value(id, inherited);
            values.insert(id, inherited.clone());
        }
    }
    values
        .into_iter()
        .filter_map(|(id, value)| Some((id, value?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The topmost of each chain.
    fn tops(parents: &[(u64, u64)]) -> Vec<(u64, u64)> {
        let parents: BTreeMap<SpanId, SpanId> = parents
            .iter()
            .map(|(child, parent)| (SpanId(*child), SpanId(*parent)))
            .collect();
        let tops = inherit(
            parents.keys().copied(),
            |id| parents.get(&id).copied(),
            |id, above| above.or(Some(id)),
        );
        tops.into_iter().map(|(id, top)| (id.0, top.0)).collect()
    }

    #[test]
    fn values_come_from_above() {
        assert_eq!(tops(&[(1, 2), (2, 3), (4, 2)]), [(1, 3), (2, 3), (3, 3), (4, 3)]);
    }

    #[test]
    fn a_long_chain_is_no_deep_recursion() {
        let chain: Vec<(u64, u64)> = (0..200_000).map(|id| (id, id + 1)).collect();
        assert_eq!(tops(&chain).last(), Some(&(200_000, 200_000)));
    }
}
