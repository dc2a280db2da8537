//! Dense storage: rows under small integers, which are given again, and chains of rows.

use std::ops::{Index, IndexMut};

/// No row.
pub(super) const NONE: u32 = u32::MAX;

/// Rows by index. What was freed last is given again first, while it is still in the processor's cache.
#[derive(Debug)]
pub(super) struct Rows<T> {
    rows: Vec<T>,
    free: Vec<u32>,
}

impl<T> Default for Rows<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Rows<T> {
    pub(super) fn insert(&mut self, row: T) -> u32 {
        if let Some(index) = self.free.pop() {
            self.rows[index as usize] = row;
            return index;
        }
        self.rows.push(row);
        (self.rows.len() - 1) as u32
    }

    /// Gives a row back. It stays as it is until it is given again, so it has to say by itself that it is vacant.
    pub(super) fn remove(&mut self, index: u32) {
        self.free.push(index);
    }

    /// How many rows there are, vacant ones included.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn used(&self) -> usize {
        self.rows.len() - self.free.len()
    }

    /// All rows by index, vacant ones included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0..).zip(&self.rows)
    }
}

impl<T> Index<u32> for Rows<T> {
    type Output = T;

    fn index(&self, index: u32) -> &T {
        &self.rows[index as usize]
    }
}

impl<T> IndexMut<u32> for Rows<T> {
    fn index_mut(&mut self, index: u32) -> &mut T {
        &mut self.rows[index as usize]
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
