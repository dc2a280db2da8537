//! Which instances have served which names: whom to ask about a queued call, and where idle units may hide.
//!
//! Remembered for as long as the instance is not gone, however long ago it served; only when there are too many is the
//! one forgotten that was served longest ago.

use std::collections::BTreeSet;

use crate::hashing::IdMap;
use crate::span::InstanceId;
use crate::symbols::{Symbol, Symbols};

/// Pairs of a name and an instance that has served it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    pairs: IdMap<(Symbol, InstanceId), Serving>,
    by_name: IdMap<Symbol, Name>,
    /// Each name as often as it was new; names that were forgotten since may be among them.
    by_instance: IdMap<InstanceId, Vec<Symbol>>,
    /// Counts what is recorded, to know what was served longest ago.
    turn: u64,
    /// Instances of which a pair with a capacity had to be forgotten: they count as offering every name.
    offer_anything: BTreeSet<InstanceId>,
}

#[derive(Clone, Copy, Debug)]
struct Serving {
    last: u64,
    /// A handle of that instance declared a capacity for the name.
    offers: bool,
}

/// Who has served a name.
#[derive(Debug)]
struct Name {
    /// How many of them have declared a capacity.
    offers: usize,
    first: InstanceId,
    /// Most names are served by one instance only.
    others: BTreeSet<InstanceId>,
}

impl Name {
    fn instances(&self) -> impl Iterator<Item = InstanceId> {
        std::iter::once(self.first).chain(self.others.iter().copied())
    }

    /// Returns whether nobody is left.
    fn remove(&mut self, instance: InstanceId) -> bool {
        if instance != self.first {
            self.others.remove(&instance);
            return false;
        }
        match self.others.pop_first() {
            Some(other) => {
                self.first = other;
                false
            }
            None => true,
        }
    }
}

/// The names of which something has changed. Some of them may not be in use any more.
#[derive(Debug, Default)]
pub(crate) struct Change {
    pub(crate) names: Vec<Symbol>,
    /// Any name.
    pub(crate) all: bool,
    /// How many pairs were forgotten to make room.
    pub(crate) forgotten: u64,
}

impl Served {
    /// What an instance serves. Names are in use for as long as they are recorded.
    pub(crate) fn record(
        &mut self,
        name: Symbol,
        instance: InstanceId,
        offers: bool,
        limit: usize,
        symbols: &mut Symbols,
    ) -> Option<Change> {
        self.turn += 1;
        let before = self.pairs.get(&(name, instance)).copied();
        let offered = before.is_some_and(|it| it.offers);
        let serving = Serving {
            last: self.turn,
            offers: offers || offered,
        };
        self.pairs.insert((name, instance), serving);
        if before.is_none() {
            self.add(name, instance, symbols);
        }
        if offers
            && !offered
            && let Some(known) = self.by_name.get_mut(&name)
        {
            known.offers += 1;
        }
        let is_news = before.is_none() || offers && !offered;
        let mut change = is_news.then(|| Change {
            names: vec![name],
            ..Change::default()
        });
        if self.pairs.len() > limit {
            self.make_room(limit, change.get_or_insert_default(), symbols);
        }
        change
    }

    fn add(&mut self, name: Symbol, instance: InstanceId, symbols: &mut Symbols) {
        self.by_instance.entry(instance).or_default().push(name);
        if let Some(known) = self.by_name.get_mut(&name) {
            known.others.insert(instance);
        } else {
            symbols.keep(name);
            let first = Name {
                offers: 0,
                first: instance,
                others: BTreeSet::new(),
            };
            self.by_name.insert(name, first);
        }
    }

    /// What an instance has served.
    pub(crate) fn names(&self, instance: InstanceId) -> impl Iterator<Item = Symbol> {
        let recorded = self.by_instance.get(&instance).into_iter().flatten().copied();
        recorded.filter(move |name| self.pairs.contains_key(&(*name, instance)))
    }

    /// The instance is gone.
    pub(crate) fn forget(&mut self, instance: InstanceId, symbols: &mut Symbols) -> Change {
        let mut change = Change {
            all: self.offer_anything.remove(&instance),
            ..Change::default()
        };
        for name in self.by_instance.remove(&instance).unwrap_or_default() {
            self.remove(name, instance, &mut change, symbols);
        }
        change
    }

    fn remove(&mut self, name: Symbol, instance: InstanceId, change: &mut Change, symbols: &mut Symbols) {
        let Some(serving) = self.pairs.remove(&(name, instance)) else {
            return;
        };
        if let Some(known) = self.by_name.get_mut(&name) {
            known.offers -= usize::from(serving.offers);
            if known.remove(instance) {
                self.by_name.remove(&name);
                symbols.release(name);
            }
            change.names.push(name);
        }
    }

    /// The instances that have served the name.
    pub(crate) fn instances(&self, name: Option<Symbol>) -> BTreeSet<InstanceId> {
        let known = name.and_then(|name| self.by_name.get(&name));
        let recorded = known.into_iter().flat_map(Name::instances);
        recorded.chain(self.offer_anything.iter().copied()).collect()
    }

    /// Whether more than one instance has served the name.
    pub(crate) fn by_several(&self, name: Option<Symbol>) -> bool {
        let known = name.and_then(|name| self.by_name.get(&name));
        if self.offer_anything.is_empty() {
            known.is_some_and(|it| it.instances().nth(1).is_some())
        } else {
            self.instances(name).len() > 1
        }
    }

    /// Whether an instance has declared on a handle what it offers of the name.
    pub(crate) fn has_offers(&self, name: Symbol) -> bool {
        self.by_name.get(&name).is_some_and(|it| it.offers > 0)
    }

    /// Pairs without a capacity go first: no verdict rests on them.
    fn make_room(&mut self, limit: usize, change: &mut Change, symbols: &mut Symbols) {
        let excess = self.pairs.len().saturating_sub(limit - limit / 8);
        let mut oldest: Vec<(bool, u64, Symbol, InstanceId)> = Vec::with_capacity(self.pairs.len());
        #[expect(
            clippy::iter_over_hash_type,
            reason = "sorted below, and no two were recorded in one turn"
        )]
        for ((name, instance), serving) in &self.pairs {
            oldest.push((serving.offers, serving.last, *name, *instance));
        }
        oldest.sort_unstable();
        oldest.truncate(excess);
        change.forgotten = oldest.len() as u64;
        for (offers, _, name, instance) in oldest {
            self.remove(name, instance, change, symbols);
            if offers {
                change.all |= self.offer_anything.insert(instance);
            }
        }
        self.by_instance.retain(|instance, names| {
            names.retain(|name| self.pairs.contains_key(&(*name, *instance)));
            names.sort_unstable();
            names.dedup();
            !names.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: InstanceId = InstanceId(1);
    const B: InstanceId = InstanceId(2);

    fn record(served: &mut Served, symbols: &mut Symbols, name: &str, by: InstanceId, offers: bool, limit: usize) {
        let name = symbols.intern(&name.into());
        served.record(name, by, offers, limit, symbols);
        symbols.release(name);
    }

    #[test]
    fn knows_who_has_served_until_they_are_gone() {
        let (mut served, mut symbols) = (Served::default(), Symbols::default());
        for (by, offers) in [(B, false), (A, true), (A, false)] {
            record(&mut served, &mut symbols, "worker", by, offers, 10);
        }
        let name = symbols.find("worker");
        assert_eq!(served.instances(name), BTreeSet::from([A, B]));
        assert!(served.by_several(name) && name.is_some_and(|name| served.has_offers(name)));
        served.forget(A, &mut symbols);
        assert!(!served.by_several(name) && !name.is_some_and(|name| served.has_offers(name)));
        served.forget(B, &mut symbols);
        assert!(served.pairs.is_empty() && served.by_name.is_empty());
        assert_eq!(symbols.find("worker"), None);
    }

    #[test]
    fn forgets_what_no_verdict_rests_on_first() {
        let (mut served, mut symbols) = (Served::default(), Symbols::default());
        record(&mut served, &mut symbols, "pool", A, true, 8);
        for id in 0..8 {
            record(&mut served, &mut symbols, &format!("process {id}"), A, false, 8);
        }
        assert!(symbols.find("pool").is_some_and(|name| served.has_offers(name)));
        assert_eq!(served.instances(symbols.find("process 0")).len(), 0);
        assert_eq!(served.instances(symbols.find("process 7")).len(), 1);
    }

    #[test]
    fn an_instance_whose_offers_are_forgotten_may_offer_anything() {
        let (mut served, mut symbols) = (Served::default(), Symbols::default());
        for id in 0..9 {
            record(&mut served, &mut symbols, &format!("pool {id}"), A, true, 8);
        }
        record(&mut served, &mut symbols, "other", B, true, 8);
        assert!(served.by_several(symbols.find("other")));
        served.forget(A, &mut symbols);
        assert!(!served.by_several(symbols.find("other")));
    }
}
