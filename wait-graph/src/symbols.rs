//! Names, each kept once for as long as anybody uses it.

use std::sync::Arc;

use hashbrown::HashTable;

use crate::hashing::Seed;
use crate::slab::reserve_some;

/// A name that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Symbol(pub(crate) u32);

impl Symbol {
    /// No name. Half the size of an `Option`.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn some(self) -> Option<Self> {
        (self != Self::NONE).then_some(self)
    }
}

/// All names in use.
#[derive(Debug, Default)]
pub(crate) struct Symbols {
    entries: Vec<Entry>,
    by_text: HashTable<u32>,
    seed: Seed,
    free: Vec<u32>,
    /// Names that many spans have, by how long they are; what is here may not be in use any more.
    common: [u32; COMMON],
}

/// A service has a few names of spans that come again and again.
const COMMON: usize = 32;

#[derive(Debug)]
struct Entry {
    text: Arc<str>,
    uses: u32,
}

impl Symbols {
    /// The same for a name that many have: it is compared with the last one of that length before it is looked up.
    pub(crate) fn intern_common(&mut self, text: &Arc<str>) -> Symbol {
        let place = text.len() % COMMON;
        let last = self.common[place];
        if let Some(entry) = self.entries.get_mut(last as usize)
            && entry.uses > 0
            && entry.text == *text
        {
            entry.uses += 1;
            return Symbol(last);
        }
        let symbol = self.intern(text);
        self.common[place] = symbol.0;
        symbol
    }

    /// The symbol of a name, used once more.
    pub(crate) fn intern(&mut self, text: &Arc<str>) -> Symbol {
        let Self {
            entries,
            by_text,
            seed,
            free,
            ..
        } = self;
        let hash = seed.hash_text(text);
        if let Some(found) = by_text.find(hash, |at| entries[*at as usize].text == *text) {
            entries[*found as usize].uses += 1;
            return Symbol(*found);
        }
        let entry = Entry {
            text: Arc::clone(text),
            uses: 1,
        };
        let at = if let Some(at) = free.pop() {
            entries[at as usize] = entry;
            at
        } else {
            reserve_some(entries);
            entries.push(entry);
            u32::try_from(entries.len() - 1).unwrap_or(u32::MAX)
        };
        by_text.insert_unique(hash, at, |at| seed.hash_text(&entries[*at as usize].text));
        Symbol(at)
    }

    /// The symbol of a name that is in use.
    pub(crate) fn find(&self, text: &str) -> Option<Symbol> {
        let is_it = |at: &u32| &*self.entries[*at as usize].text == text;
        self.by_text
            .find(self.seed.hash_text(text), is_it)
            .map(|at| Symbol(*at))
    }

    /// The symbol of a name if it is in use, or of another one; or none. Does not look at the name itself.
    pub(crate) fn probable(&self, text: &str) -> Symbol {
        let found = self.by_text.find(self.seed.hash_text(text), |_| true);
        found.map_or(Symbol::NONE, |at| Symbol(*at))
    }

    /// Reads a name, so that it is at hand.
    pub(crate) fn look_ahead(&self, symbol: Symbol) -> u32 {
        let text = self
            .entries
            .get(symbol.0 as usize)
            .and_then(|entry| entry.text.as_bytes().first());
        text.map_or(0, |first| u32::from(*first))
    }

    /// Uses a name once more.
    pub(crate) fn keep(&mut self, symbol: Symbol) {
        self.entries[symbol.0 as usize].uses += 1;
    }

    /// Uses a name once less, and forgets it if nobody uses it any more.
    pub(crate) fn release(&mut self, symbol: Symbol) {
        let entry = &mut self.entries[symbol.0 as usize];
        entry.uses -= 1;
        if entry.uses > 0 {
            return;
        }
        let hash = self.seed.hash_text(&entry.text);
        entry.text = Arc::default();
        if let Ok(found) = self.by_text.find_entry(hash, |at| *at == symbol.0) {
            found.remove();
        }
        self.free.push(symbol.0);
    }

    pub(crate) fn text(&self, symbol: Symbol) -> &Arc<str> {
        &self.entries[symbol.0 as usize].text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_common_name_is_the_same_symbol_and_not_longer_than_it_is_used() {
        let mut symbols = Symbols::default();
        let [one, other] = ["one", "two"].map(|name| symbols.intern_common(&name.into()));
        assert_ne!(one, other);
        for again in ["one", "one"] {
            assert_eq!(symbols.intern_common(&again.into()), one);
        }
        assert_eq!(symbols.intern(&"one".into()), one);
        (0..4).for_each(|_| symbols.release(one));
        assert_eq!(symbols.find("one"), None);
        let empty = symbols.intern_common(&"".into());
        assert_eq!(symbols.find(""), Some(empty));
        assert_eq!(symbols.find("two"), Some(other));
    }

    #[test]
    fn the_same_name_is_the_same_symbol_while_it_is_used() {
        let mut symbols = Symbols::default();
        let name: Arc<str> = "worker".into();
        let symbol = symbols.intern(&name);
        assert_eq!(symbols.intern(&"worker".into()), symbol);
        assert_ne!(symbols.intern(&"other".into()), symbol);
        assert_eq!(symbols.find("worker"), Some(symbol));
        symbols.release(symbol);
        assert_eq!(&**symbols.text(symbol), "worker");
        symbols.release(symbol);
        assert_eq!(symbols.find("worker"), None);
        assert_eq!(symbols.intern(&"third".into()), symbol);
    }
}
