//! Memory that all requests share.
//!
//! Bytes are taken before they are read and given back when the request is answered, or when its signals have been
//! taken. Whoever finds nothing left is refused, and tries again later.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// So many bytes, and how many of them are taken.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    taken: Arc<AtomicUsize>,
}

impl Budget {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Budget {
            bytes_max,
            taken: Arc::default(),
        }
    }

    /// A part of it, of no bytes yet.
    pub(crate) fn hold(&self) -> Held {
        Held {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// Bytes that are taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// There is not so much left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// A part of the budget, given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Budget,
    bytes: usize,
}

impl Held {
    /// Takes so many bytes more, or none at all.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let max = self.budget.bytes_max;
        self.budget
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                taken.checked_add(bytes).filter(|sum| *sum <= max)
            })
            .map_err(|_| NoRoom)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives back all but so many bytes.
    pub(crate) fn shrink_to(&mut self, bytes: usize) {
        if let Some(back) = self.bytes.checked_sub(bytes) {
            self.budget.taken.fetch_sub(back, Ordering::Relaxed);
            self.bytes = bytes;
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.hold(), budget.hold());
        assert_eq!(one.grow(6), Ok(()));
        assert_eq!(other.grow(5), Err(NoRoom));
        assert_eq!(budget.taken(), 6, "who is refused takes nothing");
        one.shrink_to(2);
        assert_eq!(other.grow(8), Ok(()));
        assert_eq!(one.grow(usize::MAX), Err(NoRoom), "no overflow");
        drop(one);
        assert_eq!(budget.taken(), 8);
        drop(other);
        assert_eq!(budget.taken(), 0);
    }
}
