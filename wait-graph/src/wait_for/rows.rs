//! Dense storage: rows under small integers, which are given again, and chains of rows.

use std::ops::{Index, IndexMut};

/// No row.
pub(super) const NONE: u32 = u32::MAX;

/// Rows that are allocated together: growing neither moves what is there nor keeps much more room than is needed.
type Chunk<T> = Box<[T; CHUNK]>;
const CHUNK: usize = 1 << 10;

/// Rows by index. What was freed last is given again first, while it is still in the processor's cache.
#[derive(Debug)]
pub(super) struct Rows<T> {
    chunks: Vec<Chunk<T>>,
    len: usize,
    free: Vec<u32>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            chunks: Vec::new(),
            len: 0,
            free: Vec::new(),
        }
    }
}

impl<T: Clone> Rows<T> {
    pub(super) fn insert(&mut self, row: T) -> u32 {
        let index = self.free.pop().unwrap_or(self.len as u32);
        if index as usize == self.len {
            self.len += 1;
        }
        match self.chunks.get_mut(index as usize / CHUNK) {
            Some(chunk) => chunk[index as usize % CHUNK] = row,
            // Those beyond it are overwritten before anybody asks for them.
            None => self.chunks.extend(vec![row; CHUNK].into_boxed_slice().try_into().ok()),
        }
        index
    }
}

impl<T> Rows<T> {
    /// Gives a row back. It stays as it is until it is given again, so it has to say by itself that it is vacant.
    pub(super) fn remove(&mut self, index: u32) {
        self.free.push(index);
    }

    /// A row if there may be one: it may be vacant, or never have been given.
    pub(super) fn get(&self, index: u32) -> Option<&T> {
        self.chunks
            .get(index as usize / CHUNK)
            .map(|chunk| &chunk[index as usize % CHUNK])
    }

    /// How many rows there are, vacant ones included.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn used(&self) -> usize {
        self.len - self.free.len()
    }

    /// All rows by index, vacant ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        let rows = self.chunks.iter().flat_map(|chunk| chunk.iter());
        (0..).zip(rows.take(self.len))
    }
}

impl<T> Index<u32> for Rows<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

impl<T> IndexMut<u32> for Rows<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.chunks[index as usize / CHUNK][index as usize % CHUNK]
    }
}

/// A row's neighbours in one chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Links {
    pub(super) next: u32,
    pub(super) prev: u32,
}

impl Links {
    pub(super) const NONE: Self = Self { next: NONE, prev: NONE };
}

/// Rows that hang together in chains, so that each can be taken out of its own in constant time.
pub(super) trait Chained {
    fn links(&mut self, node: u32) -> &mut Links;

    fn push(&mut self, head: &mut u32, node: u32) {
        let next = std::mem::replace(head, node);
        *self.links(node) = Links { next, prev: NONE };
        if next != NONE {
            self.links(next).prev = node;
        }
    }

    fn take_out(&mut self, head: &mut u32, node: u32) {
        let Links { next, prev } = *self.links(node);
        match prev {
            NONE => *head = next,
            _ => self.links(prev).next = next,
        }
        if next != NONE {
            self.links(next).prev = prev;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_rows_over_many_chunks_and_gives_indices_again() {
        let mut rows = Rows::default();
        let many = 3 * CHUNK as u32;
        assert!((0..many).all(|row| rows.insert(row) == row));
        assert!(rows.iter().all(|(index, row)| index == *row && rows[index] == *row));
        assert_eq!((rows.iter().count(), rows.len()), (many as usize, many as usize));
        rows.remove(7);
        rows.remove(2000);
        assert_eq!((rows.insert(1), rows.insert(2), rows.insert(3)), (2000, 7, many));
        assert_eq!((rows[2000], rows[7], rows[many]), (1, 2, 3));
        assert_eq!(rows.iter().count(), many as usize + 1);
        assert_eq!(rows.used(), rows.len());
    }
}
