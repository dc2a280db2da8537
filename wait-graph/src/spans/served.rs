//! Which instances have served which names: whom to ask about a queued call, and where idle units may hide.
//!
//! Remembered for as long as the instance is not gone, however long ago it served; only when there are too many is the
//! one forgotten that was served longest ago.

use std::collections::{BTreeMap, BTreeSet};

use crate::hashing::IdMap;
use crate::slab::at_place;
use crate::span::InstanceId;
use crate::symbols::{Symbol, Symbols};

/// Pairs of a name and an instance that has served it.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Under their symbols.
    names: Vec<Option<Name>>,
    pairs: usize,
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

/// Who has served a name. Most names are served by one instance only.
#[derive(Debug)]
struct Name {
    first: InstanceId,
    serving: Serving,
    others: Option<Box<Others>>,
}

#[derive(Debug, Default)]
struct Others {
    serving: BTreeMap<InstanceId, Serving>,
    /// How many of them offer.
    offers: usize,
}

impl Name {
    fn all(&self) -> impl Iterator<Item = (InstanceId, Serving)> {
        let others = self.others.iter().flat_map(|others| &others.serving);
        std::iter::once((self.first, self.serving)).chain(others.map(|(instance, serving)| (*instance, *serving)))
    }

    fn is_served_by(&self, instance: InstanceId) -> bool {
        let others = self.others.as_ref();
        self.first == instance || others.is_some_and(|others| others.serving.contains_key(&instance))
    }

    fn has_offers(&self) -> bool {
        self.serving.offers || self.others.as_ref().is_some_and(|others| others.offers > 0)
    }

    /// Returns what was known of the instance.
    fn record(&mut self, instance: InstanceId, now: Serving) -> Option<Serving> {
        let serving = if instance == self.first {
            &mut self.serving
        } else {
            let others = self.others.get_or_insert_default();
            let Some(serving) = others.serving.get_mut(&instance) else {
                others.serving.insert(instance, now);
                others.offers += usize::from(now.offers);
                return None;
            };
            others.offers += usize::from(now.offers && !serving.offers);
            serving
        };
        let before = *serving;
        *serving = Serving {
            last: now.last,
            offers: now.offers || before.offers,
        };
        Some(before)
    }

    /// Returns whether nobody is left; `None` if the instance was not among them.
    fn remove(&mut self, instance: InstanceId) -> Option<bool> {
        let next = if instance == self.first {
            self.others.as_mut().and_then(|others| others.serving.pop_first())
        } else {
            let others = self.others.as_mut()?;
            let serving = others.serving.remove(&instance)?;
            others.offers -= usize::from(serving.offers);
            return Some(false);
        };
        let Some((first, serving)) = next else {
            return Some(true);
        };
        if let Some(others) = &mut self.others {
            others.offers -= usize::from(serving.offers);
        }
        (self.first, self.serving) = (first, serving);
        Some(false)
    }
}

/// The names of which something has changed. Some of them may not be in use any more.
#[derive(Debug, Default)]
pub(crate) struct Change {
    /// The one that was recorded.
    pub(crate) name: Option<Symbol>,
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
        let serving = Serving {
            last: self.turn,
            offers,
        };
        let place = at_place(&mut self.names, name.0 as usize);
        let before = if let Some(known) = place {
            known.record(instance, serving)
        } else {
            symbols.keep(name);
            *place = Some(Name {
                first: instance,
                serving,
                others: None,
            });
            None
        };
        if before.is_none() {
            self.pairs += 1;
            self.by_instance.entry(instance).or_default().push(name);
        }
        let is_news = before.is_none_or(|before| offers && !before.offers);
        let mut change = is_news.then(|| Change {
            name: Some(name),
            ..Change::default()
        });
        if self.pairs > limit {
            self.make_room(limit, change.get_or_insert_default(), symbols);
        }
        change
    }

    /// What an instance has served.
    pub(crate) fn names(&self, instance: InstanceId) -> impl Iterator<Item = Symbol> {
        let recorded = self.by_instance.get(&instance).into_iter().flatten().copied();
        recorded.filter(move |name| self.name(Some(*name)).is_some_and(|known| known.is_served_by(instance)))
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
        let Some(known) = self.names.get_mut(name.0 as usize) else {
            return;
        };
        let Some(is_last) = known.as_mut().and_then(|known| known.remove(instance)) else {
            return;
        };
        self.pairs -= 1;
        change.names.push(name);
        if is_last {
            *known = None;
            symbols.release(name);
        }
    }

    /// Reads what is recorded of a name, so that it is at hand.
    pub(crate) fn look_ahead(&self, name: Symbol) -> u32 {
        self.name(Some(name)).map_or(0, |known| known.serving.last as u32)
    }

    fn name(&self, name: Option<Symbol>) -> Option<&Name> {
        self.names.get(name?.0 as usize)?.as_ref()
    }

    /// The instances that have served the name.
    pub(crate) fn instances(&self, name: Option<Symbol>) -> BTreeSet<InstanceId> {
        let recorded = self.name(name).into_iter().flat_map(Name::all).map(|it| it.0);
        recorded.chain(self.offer_anything.iter().copied()).collect()
    }

    /// Whether more than one instance has served the name.
    pub(crate) fn by_several(&self, name: Option<Symbol>) -> bool {
        if self.offer_anything.is_empty() {
            self.name(name).is_some_and(|known| known.all().nth(1).is_some())
        } else {
            self.instances(name).len() > 1
        }
    }

    /// Whether an instance has declared on a handle what it offers of the name.
    pub(crate) fn has_offers(&self, name: Symbol) -> bool {
        self.name(Some(name)).is_some_and(Name::has_offers)
    }

    /// Pairs without a capacity go first: no verdict rests on them.
    fn make_room(&mut self, limit: usize, change: &mut Change, symbols: &mut Symbols) {
        let excess = self.pairs.saturating_sub(limit - limit / 8);
        let mut oldest: Vec<(bool, u64, Symbol, InstanceId)> = Vec::with_capacity(self.pairs);
        for (at, known) in self.names.iter().enumerate() {
            let name = Symbol(u32::try_from(at).unwrap_or(u32::MAX));
            let pairs = known.iter().flat_map(Name::all);
            oldest.extend(pairs.map(|(instance, serving)| (serving.offers, serving.last, name, instance)));
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
        let Self { names, by_instance, .. } = self;
        by_instance.retain(|instance, served| {
            served.sort_unstable();
            served.dedup();
            served.retain(|name| {
                let known = names.get(name.0 as usize).and_then(Option::as_ref);
                known.is_some_and(|known| known.is_served_by(*instance))
            });
            !served.is_empty()
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
        assert!(served.pairs == 0 && served.names.iter().all(Option::is_none));
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
