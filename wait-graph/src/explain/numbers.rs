//! Numbers for some indexes among very many.

use std::collections::HashMap;

/// A table is used for up to so many indexes for each that has a number: it is faster than a map, but has to be cleared.
const SPARSE: usize = 32;

/// A number for some of the indexes.
#[derive(Debug)]
pub(super) enum Numbers {
    /// By index: one more than the number; 0 without one.
    Table(Vec<u32>),
    Map(HashMap<usize, u32>),
}

impl Numbers {
    /// Room for about so many numbers, of these indexes.
    pub(super) fn of(count: usize, indexes: impl Iterator<Item = usize>) -> Self {
        let room = indexes.max().map_or(0, |largest| largest + 1);
        if room / SPARSE <= count {
            Self::Table(vec![0; room])
        } else {
            Self::Map(HashMap::new())
        }
    }

    pub(super) fn get(&self, index: usize) -> Option<usize> {
        let number = match self {
            Self::Table(numbers) => numbers.get(index)?,
            Self::Map(numbers) => numbers.get(&index)?,
        };
        number.checked_sub(1).map(|number| number as usize)
    }

    /// Precondition: the index is not above those that were named.
    pub(super) fn set(&mut self, index: usize, number: usize) {
        let number = number as u32 + 1;
        match self {
            Self::Table(numbers) => numbers[index] = number,
            Self::Map(numbers) => {
                numbers.insert(index, number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_by_index() {
        for (count, is_table) in [(1, false), (2, true)] {
            let mut numbers = Numbers::of(count, [3, 70].into_iter());
            assert_eq!(matches!(numbers, Numbers::Table(_)), is_table);
            numbers.set(3, 0);
            numbers.set(70, 5);
            let known = [0, 3, 4, 70, 71].map(|index| numbers.get(index));
            assert_eq!(known, [None, Some(0), None, Some(5), None]);
        }
        assert_eq!(Numbers::of(0, std::iter::empty()).get(0), None);
    }
}
