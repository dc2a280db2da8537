//! Places for what is open, used again and again: a span that comes and goes allocates nothing.

use super::keys::IdMap;

/// Values by id, at places that are kept for the next one.
#[derive(Debug)]
pub(crate) struct Slots<T> {
    /// Where the value of an id is.
    places: IdMap<u32>,
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots {
            places: IdMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.places.contains_key(&id)
    }

    pub(crate) fn get(&self, id: u64) -> Option<&T> {
        self.slots.get(*self.places.get(&id)? as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: u64) -> Option<&mut T> {
        self.slots.get_mut(*self.places.get(&id)? as usize)?.as_mut()
    }

    /// Puts a value to its place. Returns the one that had the id before, if there was one.
    pub(crate) fn insert(&mut self, id: u64, value: T) -> Option<T> {
        if let Some(slot) = self.get_mut(id) {
            return Some(std::mem::replace(slot, value));
        }
        let place = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            // As many as the table has room for, which is far less than 2³².
            (self.slots.len() - 1) as u32
        });
        self.slots[place as usize] = Some(value);
        self.places.insert(id, place);
        None
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<T> {
        let place = self.places.remove(&id)?;
        self.free.push(place);
        self.slots.get_mut(place as usize)?.take()
    }

    /// All values, in no order that means anything.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.slots.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_used_again() {
        let mut slots = Slots::default();
        for round in 0..100_u64 {
            for id in 0..10 {
                assert_eq!(slots.insert(10 * round + id, id), None);
            }
            assert_eq!((slots.len(), slots.slots.len()), (10, 10));
            for id in 0..10 {
                assert_eq!(slots.remove(10 * round + id), Some(id));
            }
        }
        assert_eq!((slots.len(), slots.iter_mut().count()), (0, 0));
        assert_eq!(slots.remove(7), None);
    }

    #[test]
    fn the_same_id_again_replaces() {
        let mut slots = Slots::default();
        slots.insert(1, 'a');
        assert_eq!(slots.insert(1, 'b'), Some('a'));
        assert_eq!((slots.get(1), slots.len()), (Some(&'b'), 1));
    }
}
