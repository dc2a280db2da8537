//! What open spans say of the resources that they name, and what follows for the capacity.
//!
//! Who occupies what is the picture's.

use std::collections::BTreeMap;

use crate::deadlock::Capacity;
use crate::slab::{Slot, at_place};
use crate::span::InstanceId;
use crate::symbols::Symbol;
use crate::wait_for::{Picture, ResourceIx};

use super::instances::InstanceIx;
use super::record::Kind;
use super::served::Served;
use super::store::Store;

/// The resources that open spans name.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    /// Under their symbols.
    said: Vec<Said>,
    /// Of how many of them different capacities are declared.
    contradicting: u64,
}

/// What open spans say of one name.
#[derive(Debug, Default)]
struct Said {
    /// How many name it.
    by: u32,
    /// How many of them are handles or holds.
    users: u32,
    resource: Option<ResourceIx>,
    /// Most have no members, and nobody declares a capacity.
    more: Option<Box<More>>,
}

#[derive(Debug, Default)]
struct More {
    /// Of members.
    units: u64,
    members: BTreeMap<InstanceIx, u32>,
    /// How many members belong to silent instances.
    silent: u32,
    /// How often each capacity is declared.
    by_holds: BTreeMap<u32, u32>,
    by_handles: BTreeMap<u32, u32>,
}

/// What is remembered of a name beside what open spans say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remembered<'a> {
    /// Members have contributed to it within memory.
    pub(crate) had_members: bool,
    pub(crate) served: &'a Served,
}

impl Resources {
    pub(crate) fn get(&self, name: Symbol) -> Option<ResourceIx> {
        self.said.get(name.0 as usize)?.resource
    }

    /// All names that are resources, in no particular order.
    pub(crate) fn names(&self) -> impl Iterator<Item = Symbol> {
        let named = self.said.iter().enumerate().filter(|(_, said)| said.resource.is_some());
        named.map(|(at, _)| Symbol(u32::try_from(at).unwrap_or(u32::MAX)))
    }

    /// Of how many of them open spans declare different capacities.
    pub(crate) fn contradicting(&self) -> u64 {
        self.contradicting
    }

    /// The instances of its members.
    pub(crate) fn members(&self, name: Symbol) -> impl Iterator<Item = InstanceIx> {
        let more = self.said.get(name.0 as usize).and_then(|said| said.more.as_ref());
        more.into_iter().flat_map(|more| more.members.keys().copied())
    }

    /// An open span names a resource. Returns whether its capacity is to be looked at.
    pub(crate) fn add(&mut self, name: Symbol, by: Slot, store: &Store, picture: &mut Picture) -> bool {
        let said = at_place(&mut self.said, name.0 as usize);
        said.by += 1;
        said.resource.get_or_insert_with(|| picture.add_resource(name));
        let record = &store[by];
        match record.kind() {
            // Of what is only called nothing is declared, and that is how it began.
            Kind::Call | Kind::Structural => false,
            kind @ (Kind::Handle | Kind::Hold) => {
                said.users += 1;
                if let Some(capacity) = store.capacity(by) {
                    let more = said.more.get_or_insert_default();
                    let before = more.is_contradicting();
                    *more.declared_by(kind).entry(capacity).or_default() += 1;
                    self.contradicting += u64::from(more.is_contradicting() && !before);
                }
                said.users == 1 || said.more.is_some()
            }
            Kind::Member => {
                let more = said.more.get_or_insert_default();
                more.units += u64::from(store.units(by));
                *more.members.entry(record.instance).or_default() += 1;
                more.silent += u32::from(store.instances.is_silent(record.instance));
                true
            }
        }
    }

    /// An open span does not name it any more, and occupies nothing of it. Returns whether the capacity of what is left
    /// is to be looked at.
    pub(crate) fn remove(&mut self, name: Symbol, by: Slot, store: &Store, picture: &mut Picture) -> bool {
        let Some(said) = self.said.get_mut(name.0 as usize) else {
            return false;
        };
        said.by -= 1;
        let record = &store[by];
        let is_affected = match record.kind() {
            Kind::Call | Kind::Structural => false,
            kind @ (Kind::Handle | Kind::Hold) => {
                said.users -= 1;
                if let (Some(capacity), Some(more)) = (store.capacity(by), &mut said.more) {
                    let before = more.is_contradicting();
                    take_one(more.declared_by(kind), capacity);
                    self.contradicting -= u64::from(before && !more.is_contradicting());
                }
                said.users == 0 || said.more.is_some()
            }
            Kind::Member => {
                if let Some(more) = &mut said.more {
                    more.units -= u64::from(store.units(by));
                    take_one(&mut more.members, record.instance);
                    more.silent -= u32::from(store.instances.is_silent(record.instance));
                }
                true
            }
        };
        if said.by == 0 {
            if let Some(resource) = said.resource.take() {
                picture.remove_resource(resource);
            }
            said.more = None;
            return false;
        }
        is_affected
    }

    /// An instance has become silent, or is not any more, and has this member.
    pub(crate) fn set_member_silent(&mut self, name: Symbol, is_silent: bool) {
        if let Some(more) = self.said.get_mut(name.0 as usize).and_then(|said| said.more.as_mut()) {
            if is_silent {
                more.silent += 1;
            } else {
                more.silent -= 1;
            }
        }
    }

    /// What is declared or counted of a resource, whatever is in use.
    pub(crate) fn declared(&self, name: Symbol, remembered: Remembered<'_>) -> Capacity {
        let Some(said) = self.said.get(name.0 as usize) else {
            return Capacity::Unknown;
        };
        let more = said.more.as_deref();
        if let Some(more) = more.filter(|more| !more.members.is_empty()) {
            // A silent member may be gone or may be serving: nobody knows what the pool still has.
            return if more.silent > 0 {
                Capacity::Unknown
            } else {
                Capacity::Counted(more.units)
            };
        }
        let Remembered { had_members, served } = remembered;
        if had_members || served.has_offers(name) && served.by_several(Some(name)) {
            return Capacity::Unknown;
        }
        let largest = |by: &BTreeMap<u32, u32>| by.last_key_value().map(|(capacity, _)| u64::from(*capacity));
        match more.and_then(|more| largest(&more.by_holds).max(largest(&more.by_handles))) {
            Some(units) => Capacity::Declared(units),
            // Named without any capacity: exclusive.
            None if said.users > 0 => Capacity::Declared(1),
            None => Capacity::Unknown,
        }
    }
}

impl More {
    /// Whether not all who declare a capacity declare the same.
    fn is_contradicting(&self) -> bool {
        let declared = [&self.by_holds, &self.by_handles];
        let least = declared
            .iter()
            .filter_map(|by| by.first_key_value())
            .map(|it| it.0)
            .min();
        let most = declared
            .iter()
            .filter_map(|by| by.last_key_value())
            .map(|it| it.0)
            .max();
        least != most
    }

    fn declared_by(&mut self, kind: Kind) -> &mut BTreeMap<u32, u32> {
        if kind == Kind::Hold {
            &mut self.by_holds
        } else {
            &mut self.by_handles
        }
    }
}

fn take_one<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K) {
    if let std::collections::btree_map::Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() -= 1;
        if *count.get() == 0 {
            count.remove();
        }
    }
}

/// The instances of those who occupy a resource.
pub(crate) fn occupying(resource: ResourceIx, picture: &Picture, store: &Store) -> Vec<InstanceId> {
    let tasks = picture.occupants(resource);
    let spans = tasks.flat_map(|(task, _)| picture.occupiers(task, resource));
    spans.map(|span| store.instance(span)).collect()
}
