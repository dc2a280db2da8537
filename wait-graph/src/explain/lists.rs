//! Many short lists in two allocations.

/// A list for each of the numbers from 0.
#[derive(Debug)]
pub(super) struct Lists<T> {
    /// Where each list ends; the first begins at 0.
    ends: Vec<usize>,
    items: Vec<T>,
}

impl<T> Lists<T> {
    pub(super) fn with_capacity(lists: usize) -> Self {
        Self {
            ends: Vec::with_capacity(lists),
            items: Vec::with_capacity(lists),
        }
    }

    /// Adds to the list that is being written.
    pub(super) fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// The list that is being written is complete.
    pub(super) fn end_list(&mut self) {
        self.ends.push(self.items.len());
    }

    /// The places of a list's items among those of all lists.
    pub(super) fn range(&self, list: usize) -> std::ops::Range<usize> {
        let start = list.checked_sub(1).map_or(0, |before| self.ends[before]);
        start..self.ends[list]
    }

    pub(super) fn item(&self, place: usize) -> &T {
        &self.items[place]
    }
}

impl<T> std::ops::Index<usize> for Lists<T> {
    type Output = [T];

    fn index(&self, list: usize) -> &[T] {
        &self.items[self.range(list)]
    }
}

impl<T: Copy + Ord> Lists<T> {
    /// From pairs of a list's number and an item, in any order. Each list comes out sorted.
    pub(super) fn of_pairs(lists: usize, mut pairs: Vec<(usize, T)>) -> Self {
        pairs.sort_unstable();
        let mut all = Self {
            ends: Vec::with_capacity(lists),
            items: Vec::with_capacity(pairs.len()),
        };
        for (list, item) in pairs {
            while all.ends.len() < list {
                all.end_list();
            }
            all.push(item);
        }
        while all.ends.len() < lists {
            all.end_list();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_told_apart() {
        let lists = Lists::of_pairs(4, vec![(2, 'c'), (0, 'b'), (0, 'a')]);
        assert_eq!(
            (&lists[0], &lists[1], &lists[2], &lists[3]),
            (&['a', 'b'][..], &[][..], &['c'][..], &[][..])
        );
        assert_eq!((*lists.item(2), lists.range(2)), ('c', 2..3));
        assert_eq!(lists.ends.len(), 4);
    }
}
