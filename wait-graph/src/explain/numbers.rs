//! Numbers by index, for a few indexes among very many.

/// A number for some of the indexes. A table, of which pages that are not touched cost nothing.
#[derive(Debug, Default)]
pub(super) struct Numbers(Vec<u32>);

impl Numbers {
    pub(super) fn with_room_for(largest: Option<usize>) -> Self {
        Self(vec![0; largest.map_or(0, |largest| largest + 1)])
    }

    pub(super) fn get(&self, index: usize) -> Option<usize> {
        let number = self.0.get(index)?.checked_sub(1)?;
        Some(number as usize)
    }

    pub(super) fn set(&mut self, index: usize, number: usize) {
        if self.0.len() <= index {
            self.0.resize((index + 1).max(2 * self.0.len()), 0);
        }
        self.0[index] = number as u32 + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_by_index() {
        let mut numbers = Numbers::with_room_for(Some(3));
        numbers.set(3, 0);
        numbers.set(70, 5);
        assert_eq!(
            [0, 3, 4, 70, 71].map(|index| numbers.get(index)),
            [None, Some(0), None, Some(5), None]
        );
        assert_eq!(Numbers::default().get(0), None);
    }
}
