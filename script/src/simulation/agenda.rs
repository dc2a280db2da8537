//! What is to happen when.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

/// Things to come, by time; those of one time in the order in which they were put down.
#[derive(Clone, Debug)]
pub(crate) struct Agenda<T> {
    entries: BinaryHeap<Reverse<Entry<T>>>,
    count: u64,
}

#[derive(Clone, Debug)]
struct Entry<T> {
    at: Duration,
    number: u64,
    what: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<T> Agenda<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: BinaryHeap::new(),
            count: 0,
        }
    }

    pub(crate) fn put(&mut self, at: Duration, what: T) {
        self.count += 1;
        self.entries.push(Reverse(Entry {
            at,
            number: self.count,
            what,
        }));
    }

    pub(crate) fn next_at(&self) -> Option<Duration> {
        self.entries.peek().map(|Reverse(entry)| entry.at)
    }

    pub(crate) fn pop(&mut self) -> Option<(Duration, T)> {
        self.entries.pop().map(|Reverse(entry)| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_time_then_in_order() {
        let mut agenda = Agenda::new();
        for (at, what) in [(2, 'z'), (1, 'b'), (2, 'a'), (1, 'c')] {
            agenda.put(Duration::from_millis(at), what);
        }
        assert_eq!(agenda.next_at(), Some(Duration::from_millis(1)));
        let all: String = std::iter::from_fn(|| agenda.pop()).map(|(_, what)| what).collect();
        assert_eq!(all, "bcza");
    }
}
