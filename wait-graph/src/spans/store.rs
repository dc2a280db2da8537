//! The spans that are open or remembered, under dense numbers, and how to find them.
//!
//! Knows what was reported of each span and what lies between spans: children, the open spans of an instance, hints.
//! What follows from it is not decided here.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use crate::hashing::{IdMap, Seed};
use crate::slab::{Slab, Slot};
use crate::span::{InstanceId, Role, Span, SpanId, TraceId};
use crate::symbols::{Symbol, Symbols};

use super::instances::{InstanceIx, Instances};
use super::record::{Flag, Kind, NO_TIMEOUT, Names, Rare, Record, State, nanoseconds};

/// All spans of which anything is known, and those that these name.
#[derive(Debug, Default)]
pub(crate) struct Store {
    by_id: HashTable<u32>,
    seed: Seed,
    records: Slab<Record>,
    rare: IdMap<Slot, Box<Rare>>,
    /// Who names a span as the handle that it runs under.
    hinting: IdMap<Slot, BTreeSet<Slot>>,
    pub(crate) symbols: Symbols,
    pub(crate) instances: Instances,
    /// How many places that are not known are somebody's parent.
    unknown_parents: u64,
    /// Places that may not be named any more, to be given up once nothing is under way.
    orphans: Vec<Slot>,
}

impl std::ops::Index<Slot> for Store {
    type Output = Record;

    fn index(&self, slot: Slot) -> &Record {
        &self.records[slot]
    }
}

impl std::ops::IndexMut<Slot> for Store {
    fn index_mut(&mut self, slot: Slot) -> &mut Record {
        &mut self.records[slot]
    }
}

// What is asked.
impl Store {
    /// The place of a span, known or only named by others.
    pub(crate) fn place(&self, id: SpanId) -> Option<Slot> {
        self.by_id
            .find(self.seed.hash(id.0), |slot| self.records[Slot(*slot)].id == id)
            .map(|slot| Slot(*slot))
    }

    /// How many spans are somebody's parent, and were not reported or are forgotten.
    pub(crate) fn unknown_parents(&self) -> u64 {
        self.unknown_parents
    }

    /// Where a span is if it is known at all, or another one; or nowhere. Does not look at the span itself.
    pub(crate) fn probable_place(&self, id: SpanId) -> Slot {
        self.by_id
            .find(self.seed.hash(id.0), |_| true)
            .map_or(Slot::NONE, |slot| Slot(*slot))
    }

    /// A span that is open or remembered.
    pub(crate) fn known(&self, id: SpanId) -> Option<Slot> {
        self.place(id).filter(|slot| self[*slot].is_known())
    }

    pub(crate) fn id(&self, slot: Slot) -> SpanId {
        self[slot].id
    }

    pub(crate) fn instance(&self, slot: Slot) -> InstanceId {
        self.instances.id(self[slot].instance)
    }

    pub(crate) fn trace(&self, slot: Slot) -> TraceId {
        self[slot].trace()
    }

    pub(crate) fn name(&self, slot: Slot) -> &Arc<str> {
        self.symbols.text(self[slot].name)
    }

    pub(crate) fn rare(&self, slot: Slot) -> Option<&Rare> {
        self.rare_with(slot, Flag::Rare)
    }

    /// What is rare of a span, if what the flag says is part of it. Otherwise it need not be looked up.
    fn rare_with(&self, slot: Slot, part: Flag) -> Option<&Rare> {
        let found = self[slot].is(part).then(|| self.rare.get(&slot));
        found.flatten().map(Box::as_ref)
    }

    pub(crate) fn conversation(&self, slot: Slot) -> Option<Symbol> {
        self.rare_with(slot, Flag::Talks)?.conversation
    }

    /// The span that it says it runs under, known or not.
    pub(crate) fn hint(&self, slot: Slot) -> Slot {
        self.rare_with(slot, Flag::Hints).map_or(Slot::NONE, |rare| rare.hint)
    }

    /// Whoever says that it runs under this span.
    pub(crate) fn hinting(&self, slot: Slot) -> impl Iterator<Item = Slot> {
        let hinting = self[slot].is(Flag::Hinted).then(|| self.hinting.get(&slot)).flatten();
        hinting.into_iter().flatten().copied()
    }

    /// The resources that it names, each once, by their places; `None` beyond the last.
    #[inline]
    pub(crate) fn resource(&self, slot: Slot, place: usize) -> Option<Symbol> {
        self.named(slot, place, |names| &names.distinct)
    }

    /// The same as they were reported, one more than once if it was.
    pub(crate) fn reported_resource(&self, slot: Slot, place: usize) -> Option<Symbol> {
        self.named(slot, place, |names| &names.reported)
    }

    #[inline]
    fn named(&self, slot: Slot, place: usize, of: impl Fn(&Names) -> &[Symbol]) -> Option<Symbol> {
        let record = &self[slot];
        if record.is(Flag::Several) {
            let names = self.rare(slot)?.resources.as_ref()?;
            of(names).get(place).copied()
        } else if place == 0 {
            record.resource.some()
        } else {
            None
        }
    }

    /// The units that a call asks for, or a hold or member has.
    pub(crate) fn units(&self, slot: Slot) -> u32 {
        match self[slot].kind() {
            Kind::Call => self.rare_with(slot, Flag::Wide).map_or(1, |rare| rare.units),
            Kind::Hold | Kind::Member => self[slot].extra,
            Kind::Handle | Kind::Structural => 1,
        }
    }

    pub(crate) fn capacity(&self, slot: Slot) -> Option<u32> {
        self.rare_with(slot, Flag::Declares)?.capacity
    }

    pub(crate) fn timeout(&self, slot: Slot) -> Option<Duration> {
        let record = &self[slot];
        if !record.is_call() {
            return None;
        }
        match record.extra {
            NO_TIMEOUT => self.rare(slot)?.timeout,
            ms => Some(Duration::from_millis(u64::from(ms))),
        }
    }

    /// The span above within the same instance. A parent that came with a message is not, even if the sender was the
    /// instance itself.
    pub(crate) fn local_parent(&self, slot: Slot) -> Option<Slot> {
        let record = &self[slot];
        let parent = record.above().some().filter(|_| !record.is(Flag::Remote))?;
        let above = &self[parent];
        (above.is_known() && above.instance == record.instance).then_some(parent)
    }

    /// The nearest call or handle at or above a known span in its instance.
    pub(crate) fn landmark(&self, slot: Slot) -> Slot {
        let record = &self[slot];
        if record.is_link() { record.anchor } else { slot }
    }

    /// The wait for which a known span may stand as the parent of a handler.
    pub(crate) fn wait_at(&self, slot: Slot) -> Slot {
        let landmark = self.landmark(slot);
        if landmark.is_some() && self[landmark].is_call() {
            self[landmark].anchor
        } else {
            Slot::NONE
        }
    }

    /// All known spans and named places that nothing known is above.
    pub(crate) fn tops(&self) -> Vec<Slot> {
        let mut tops: Vec<Slot> = self.by_id.iter().map(|slot| Slot(*slot)).collect();
        tops.retain(|slot| !self[*slot].above().is_some());
        tops.sort_unstable();
        tops
    }
}

// What is changed.
impl Store {
    /// The place of a span, made if there is none.
    pub(crate) fn make_place(&mut self, id: SpanId) -> Slot {
        let Self {
            by_id, records, seed, ..
        } = self;
        let id_at = |slot: &u32| records[Slot(*slot)].id;
        match by_id.entry(
            seed.hash(id.0),
            |slot| id_at(slot) == id,
            |slot| seed.hash(id_at(slot).0),
        ) {
            Entry::Occupied(known) => Slot(*known.get()),
            Entry::Vacant(vacant) => {
                let slot = records.insert(Record::unseen(id));
                vacant.insert(slot.0);
                slot
            }
        }
    }

    /// Enters what was reported of a span that was not known, among the children of its parent. Its instance may have
    /// been looked up before.
    pub(crate) fn fill(&mut self, slot: Slot, instance: Option<InstanceIx>, span: &Span, state: State) {
        let (resource, extra, rare) = self.particulars(span);
        let parent = span.parent.map_or(Slot::NONE, |parent| self.make_place(parent.id));
        let name = self.symbols.intern_common(&span.name);
        let instance = match instance {
            Some(known) => self.instances.keep(known),
            None => self.instances.intern(span.instance),
        };
        if rare.hint.is_some() {
            self[rare.hint].set(Flag::Hinted, true);
            self.hinting.entry(rare.hint).or_default().insert(slot);
        }
        let record = &mut self.records[slot];
        self.unknown_parents -= u64::from(record.is_unknown_parent());
        record.trace = [(span.trace.0 >> 64) as u64, span.trace.0 as u64];
        record.started_ns = nanoseconds(span.started_at);
        record.instance = instance;
        record.name = name;
        record.resource = resource;
        record.extra = extra;
        record.anchor = Slot::NONE;
        record.home = Slot::NONE;
        record.place_or_needs = 0;
        record.stamp = 0;
        record.set_state(state);
        record.set_kind(kind(&span.role));
        record.set(Flag::Detached, matches!(&span.role, Role::Call(call) if call.detached));
        record.set(Flag::Remote, span.parent.is_some_and(|parent| parent.remote));
        if rare.is_needed() {
            record.set_rare(&rare);
            self.rare.insert(slot, Box::new(rare));
        }
        self.adopt(slot, parent);
    }

    /// The resource, what `extra` is, and what is rare of a span, with all names in use once more.
    fn particulars(&mut self, span: &Span) -> (Symbol, u32, Rare) {
        let mut rare = Rare {
            hint: span.task.map_or(Slot::NONE, |id| self.make_place(id)),
            conversation: span.conversation.as_ref().map(|name| self.symbols.intern(name)),
            ..Rare::default()
        };
        let (resources, extra): (&[Arc<str>], u32) = match &span.role {
            Role::Structural => (&[], 1),
            Role::Call(call) => {
                rare.units = call.units;
                let group = call.group.as_ref();
                rare.group = group.map(|group| (self.symbols.intern(&group.name), group.quorum));
                let ms = call.timeout.map_or(NO_TIMEOUT, exact_ms);
                rare.timeout = call.timeout.filter(|_| ms == NO_TIMEOUT);
                (call.target.as_slice(), ms)
            }
            Role::Handle(handle) => {
                rare.capacity = handle.capacity;
                (&handle.resources, Slot::NONE.0)
            }
            Role::Hold(hold) => {
                rare.capacity = hold.capacity;
                (&hold.resources, hold.units)
            }
            Role::Member(member) => (&member.resources, member.units),
        };
        let resource = match resources {
            [] => Symbol::NONE,
            [one] => self.symbols.intern(one),
            several => {
                let reported: Box<[Symbol]> = several.iter().map(|name| self.symbols.intern(name)).collect();
                let mut distinct = reported.to_vec();
                distinct.sort_unstable();
                distinct.dedup();
                rare.resources = Some(Names {
                    reported,
                    distinct: distinct.into_boxed_slice(),
                });
                Symbol::NONE
            }
        };
        (resource, extra, rare)
    }

    /// Forgets what was reported of a span. Its place remains until [`Store::give_up_orphans`], or for as long as others
    /// name it.
    pub(crate) fn clear(&mut self, slot: Slot) {
        self.abandon(slot);
        if self[slot].is(Flag::Rare)
            && let Some(rare) = self.rare.remove(&slot)
        {
            self.forget_hint(slot, rare.hint);
            let resources = rare.resources.iter().flat_map(|names| names.reported.iter());
            for symbol in rare
                .conversation
                .iter()
                .chain(rare.group.iter().map(|it| &it.0))
                .chain(resources)
            {
                self.symbols.release(*symbol);
            }
        }
        let Record {
            name,
            resource,
            instance,
            ..
        } = self.records[slot];
        self.symbols.release(name);
        if let Some(resource) = resource.some() {
            self.symbols.release(resource);
        }
        self.instances.release(instance);
        let record = &mut self.records[slot];
        record.forget();
        self.unknown_parents += u64::from(record.is_unknown_parent());
        self.suspect_orphan(slot);
    }

    fn forget_hint(&mut self, slot: Slot, hint: Slot) {
        if let Some(hinting) = self.hinting.get_mut(&hint) {
            hinting.remove(&slot);
            if hinting.is_empty() {
                self.hinting.remove(&hint);
                self[hint].set(Flag::Hinted, false);
                self.suspect_orphan(hint);
            }
        }
    }

    /// Makes a span the first child of its parent.
    fn adopt(&mut self, slot: Slot, parent: Slot) {
        self[slot].parent = parent;
        self[slot].previous = Slot::NONE;
        self[slot].next = Slot::NONE;
        if parent.is_some() {
            let above = &mut self.records[parent];
            self.unknown_parents += u64::from(!above.is_known() && !above.first_child.is_some());
            let next = std::mem::replace(&mut above.first_child, slot);
            self[slot].next = next;
            if next.is_some() {
                self[next].previous = slot;
            }
        }
    }

    /// Takes a span from the children of its parent.
    fn abandon(&mut self, slot: Slot) {
        let Record {
            parent, next, previous, ..
        } = self[slot];
        if !parent.is_some() {
            return;
        }
        if next.is_some() {
            self[next].previous = previous;
        }
        if previous.is_some() {
            self[previous].next = next;
        } else {
            let above = &mut self.records[parent];
            above.first_child = next;
            self.unknown_parents -= u64::from(!above.is_known() && !next.is_some());
        }
        self[slot].parent = Slot::NONE;
        self.suspect_orphan(parent);
    }

    /// To be said of a place that may have been named for the last time, or made in vain.
    pub(crate) fn suspect_orphan(&mut self, slot: Slot) {
        if !self[slot].is_known() && !self[slot].is(Flag::Orphan) {
            self[slot].set(Flag::Orphan, true);
            self.orphans.push(slot);
        }
    }

    /// Gives up the places of unknown spans that nobody names any more.
    pub(crate) fn give_up_orphans(&mut self) {
        while let Some(slot) = self.orphans.pop() {
            self[slot].set(Flag::Orphan, false);
            let record = &self[slot];
            let is_named = record.first_child.is_some() || record.is(Flag::Hinted);
            if record.is_known() || is_named {
                continue;
            }
            let id = record.id;
            if let Ok(found) = self.by_id.find_entry(self.seed.hash(id.0), |it| *it == slot.0) {
                found.remove();
            }
            self.records.remove(slot);
        }
    }

    /// Enters an open span among those of its instance.
    pub(crate) fn enter_instance(&mut self, slot: Slot) {
        let record = &mut self.records[slot];
        record.place_or_needs = self.instances.enter_open(record.instance, slot);
    }

    /// Takes an open span from those of its instance.
    pub(crate) fn leave_instance(&mut self, slot: Slot) {
        let record = &mut self.records[slot];
        let place = std::mem::take(&mut record.place_or_needs);
        if let Some(moved) = self.instances.leave_open(record.instance, place) {
            self.records[moved].place_or_needs = place;
        }
    }

    /// The open spans of an instance.
    pub(crate) fn open_of(&self, instance: InstanceId) -> impl Iterator<Item = Slot> {
        let ix = self.instances.find(instance);
        ix.into_iter().flat_map(|ix| self.instances.open(ix)).copied()
    }
}

fn kind(role: &Role) -> Kind {
    match role {
        Role::Structural => Kind::Structural,
        Role::Call(_) => Kind::Call,
        Role::Handle(_) => Kind::Handle,
        Role::Hold(_) => Kind::Hold,
        Role::Member(_) => Kind::Member,
    }
}

/// A timeout in milliseconds, or [`NO_TIMEOUT`] if that is not exact.
fn exact_ms(timeout: Duration) -> u32 {
    let ms = u32::try_from(timeout.as_millis()).unwrap_or(NO_TIMEOUT);
    if Duration::from_millis(u64::from(ms)) == timeout {
        ms
    } else {
        NO_TIMEOUT
    }
}
