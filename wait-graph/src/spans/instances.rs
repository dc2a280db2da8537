//! Instances, numbered for as long as they are there or a span of them is known.

use std::sync::Arc;

use crate::hashing::IdMap;
use crate::slab::{Slot, reserve_some};
use crate::span::InstanceId;

/// The number of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct InstanceIx(u32);

impl InstanceIx {
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    entries: Vec<Instance>,
    by_id: IdMap<InstanceId, InstanceIx>,
    free: Vec<InstanceIx>,
    /// How many are there.
    present: usize,
}

#[derive(Debug)]
struct Instance {
    id: InstanceId,
    /// Known spans, and one more while it is there.
    uses: u32,
    is_present: bool,
    is_silent: bool,
    service: Option<Arc<str>>,
    /// Its open spans, each of which knows its place here.
    open: Vec<Slot>,
}

impl Instances {
    pub(crate) fn find(&self, id: InstanceId) -> Option<InstanceIx> {
        self.by_id.get(&id).copied()
    }

    /// The number of an instance, used once more.
    pub(crate) fn intern(&mut self, id: InstanceId) -> InstanceIx {
        let Self {
            entries, by_id, free, ..
        } = self;
        let ix = *by_id.entry(id).or_insert_with(|| {
            let instance = Instance {
                id,
                uses: 0,
                is_present: false,
                is_silent: false,
                service: None,
                open: Vec::new(),
            };
            if let Some(ix) = free.pop() {
                entries[ix.0 as usize] = instance;
                ix
            } else {
                entries.push(instance);
                InstanceIx(u32::try_from(entries.len() - 1).unwrap_or(u32::MAX))
            }
        });
        entries[ix.0 as usize].uses += 1;
        ix
    }

    pub(crate) fn release(&mut self, ix: InstanceIx) {
        let instance = &mut self.entries[ix.0 as usize];
        instance.uses -= 1;
        if instance.uses == 0 {
            self.by_id.remove(&instance.id);
            self.free.push(ix);
        }
    }

    /// How many are there.
    pub(crate) fn present(&self) -> usize {
        self.present
    }

    /// The number of an instance that is there.
    pub(crate) fn find_present(&self, id: InstanceId) -> Option<InstanceIx> {
        self.find(id).filter(|ix| self.entries[ix.0 as usize].is_present)
    }

    /// Uses an instance once more.
    pub(crate) fn keep(&mut self, ix: InstanceIx) -> InstanceIx {
        self.entries[ix.0 as usize].uses += 1;
        ix
    }

    /// An instance is there that was not.
    pub(crate) fn enter(&mut self, id: InstanceId) -> InstanceIx {
        let ix = self.intern(id);
        self.entries[ix.0 as usize].is_present = true;
        self.present += 1;
        ix
    }

    /// An instance has gone. Returns whether it was there.
    pub(crate) fn leave(&mut self, id: InstanceId) -> bool {
        let Some(ix) = self.find_present(id) else {
            return false;
        };
        let instance = &mut self.entries[ix.0 as usize];
        instance.is_present = false;
        instance.is_silent = false;
        instance.service = None;
        self.present -= 1;
        self.release(ix);
        true
    }

    pub(crate) fn id(&self, ix: InstanceIx) -> InstanceId {
        self.entries[ix.0 as usize].id
    }

    pub(crate) fn is_silent(&self, ix: InstanceIx) -> bool {
        self.entries[ix.0 as usize].is_silent
    }

    /// Returns whether it was so.
    pub(crate) fn set_silent(&mut self, ix: InstanceIx, is_silent: bool) -> bool {
        std::mem::replace(&mut self.entries[ix.0 as usize].is_silent, is_silent)
    }

    /// Returns whether that is news.
    pub(crate) fn describe(&mut self, ix: InstanceIx, service: Arc<str>) -> bool {
        let known = &mut self.entries[ix.0 as usize].service;
        let is_news = known.as_ref() != Some(&service);
        *known = Some(service);
        is_news
    }

    pub(crate) fn service(&self, id: InstanceId) -> Option<&Arc<str>> {
        self.entries[self.find(id)?.0 as usize].service.as_ref()
    }

    /// Its open spans.
    pub(crate) fn open(&self, ix: InstanceIx) -> &[Slot] {
        &self.entries[ix.0 as usize].open
    }

    /// One more of its spans is open. Returns its place among them.
    pub(crate) fn enter_open(&mut self, ix: InstanceIx, slot: Slot) -> u32 {
        let open = &mut self.entries[ix.0 as usize].open;
        reserve_some(open);
        open.push(slot);
        u32::try_from(open.len() - 1).unwrap_or(u32::MAX)
    }

    /// The one at this place has ended. Returns which has its place now, if another one has.
    pub(crate) fn leave_open(&mut self, ix: InstanceIx, place: u32) -> Option<Slot> {
        let open = &mut self.entries[ix.0 as usize].open;
        open.swap_remove(place as usize);
        open.get(place as usize).copied()
    }
}
