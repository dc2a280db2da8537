//! What is known, and what follows from it for the picture, both kept up to date event by event.
//!
//! ```text
//!   event ──▶ events ──▶ store: what was reported      ──▶ derive: who belongs to whom ──▶ picture
//!                        memories: what is remembered       (landmarks, waits, homes, tasks,
//!                        refused: what had no room           handlers, fates)
//! ```
//!
//! The facts are a set: each event adds to it, and the same events in any order and number leave the same facts. What
//! follows from them is never a matter of order either: each derived fact is a function of facts and of derived facts
//! above it (`derive`), and after an event everything that depends on what has changed is derived again.
//!
//! Owns what is known of spans and instances, and keeps the picture as these say. Does not decide who is dead.

mod ages;
mod ahead;
mod conversations;
mod derive;
mod effort;
mod ended;
mod events;
mod fates;
mod forgetting;
mod instances;
mod loops;
mod needs;
mod record;
mod reported;
mod resources;
mod served;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::anomalies::Anomalies;
use crate::graph::Mention;
use crate::hashing::IdMap;
use crate::limits::Limits;
use crate::slab::Slot;
use crate::span::{InstanceId, Span, SpanId};
use crate::symbols::Symbol;
use crate::wait_for::{Picture, ResourceIx, TaskIx, WaitIx};

use ages::Memory;
use ahead::Ahead;
pub(crate) use ahead::{Few, TOGETHER};
use conversations::Conversations;
use derive::Pending;
use effort::Effort;
use ended::EndedSpans;
use fates::Fates;
use instances::InstanceIx;
use record::State;
use resources::{Remembered, Resources};
use served::Served;
pub(crate) use store::Store;

/// Everything that events have said and that is not forgotten, and the picture of it.
#[derive(Debug, Default)]
pub(crate) struct Spans {
    limits: Limits,
    store: Store,
    picture: Picture,

    open: usize,
    ended: EndedSpans,
    /// Finishes that came before their start, which they will cancel.
    early_finishes: Memory<SpanId>,
    /// Calls, or stand-ins of calls, said to have been answered.
    answered: Memory<SpanId>,
    gone: Memory<InstanceId>,
    served: Served,
    /// Names to which members that have ended contributed.
    pools: Memory<Arc<str>>,
    /// Until then, any name may be one of a pool that had to be forgotten.
    pools_forgotten_until: Option<Duration>,
    /// Open spans for which there was no room; the smallest comes in when there is.
    refused: BTreeMap<SpanId, Span>,
    /// Instances with more of them than could be kept at all.
    refused_untold: BTreeSet<InstanceId>,
    /// How many ended spans open ones need.
    needed: usize,
    expired_at: Option<Duration>,

    resources: Resources,
    fates: Fates,
    conversations: Conversations,
    /// The spans that stand for each task of which the span that stands for it was never reported.
    tasks_of_unseen: IdMap<(Slot, InstanceIx), TaskIx>,
    /// How many spans belong to each task.
    task_spans: Vec<u32>,
    /// What is to be derived again before the event is done with.
    pending: Pending,
    effort: Effort,
    ahead: Box<Ahead>,
    /// Open spans whose parents lead back to them.
    looping: u64,
    anomalies: Anomalies,
    /// Changes with whatever is said of a deadlock and is not in the picture.
    revision: u64,
}

impl Spans {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    pub(crate) fn picture(&self) -> &Picture {
        &self.picture
    }

    pub(crate) fn picture_mut(&mut self) -> &mut Picture {
        &mut self.picture
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision.wrapping_add(self.picture.revision())
    }

    /// Whether every span that should be open is.
    pub(crate) fn is_complete(&self) -> bool {
        self.refused.is_empty() && self.refused_untold.is_empty()
    }

    /// What is known of a span.
    pub(crate) fn mention(&self, id: SpanId) -> Mention {
        match self.store.place(id).map(|slot| self.store[slot].state()) {
            Some(State::Open) => Mention::Open,
            Some(State::Finished | State::Lost) => Mention::Ended,
            Some(State::Unseen) | None if self.refused.contains_key(&id) => Mention::Open,
            Some(State::Unseen) => Mention::Named,
            None => Mention::Nothing,
        }
    }

    /// Whether a call of this conversation is open.
    pub(crate) fn converses(&self, conversation: &str) -> bool {
        let symbol = self.store.symbols.find(conversation);
        symbol.is_some_and(|symbol| self.conversations.has_calls(symbol))
    }

    /// An open span.
    pub(crate) fn open_span(&self, id: SpanId) -> Option<Slot> {
        self.store.place(id).filter(|slot| self.store[*slot].is_open())
    }

    /// The spans of an instance that are open, or should be and were refused, each by id.
    pub(crate) fn open_of(&self, instance: InstanceId) -> Vec<SpanId> {
        let mut open: Vec<SpanId> = self.store.open_of(instance).map(|slot| self.store.id(slot)).collect();
        open.sort_unstable();
        let refused = self.refused.values().filter(|span| span.instance == instance);
        open.extend(refused.map(|span| span.id));
        open
    }

    /// The wait that an open call is, or is part of.
    pub(crate) fn wait_of(&self, call: SpanId) -> Option<WaitIx> {
        let slot = self.open_span(call).filter(|slot| self.store[*slot].is_call())?;
        self.wait(self.store[slot].anchor)
    }

    /// All known spans that may be the parent of a handler that answers this call, by id.
    pub(crate) fn stand_ins(&self, call: SpanId) -> Vec<SpanId> {
        let mut found = Vec::new();
        let wait = self
            .store
            .known(call)
            .map_or(Slot::NONE, |slot| self.store.wait_at(slot));
        let mut next: Vec<Slot> = wait.some().into_iter().collect();
        while let Some(slot) = next.pop() {
            found.push(self.store.id(slot));
            let mut child = self.store[slot].first_child;
            while child.is_some() {
                let record = &self.store[child];
                let is_inner = self.store.local_parent(child).is_some()
                    && !record.is_handle()
                    && self.store.wait_at(child) == wait;
                next.extend(is_inner.then_some(child));
                child = record.next;
            }
        }
        found.sort_unstable();
        found
    }

    pub(crate) fn resource(&self, name: &str) -> Option<ResourceIx> {
        self.resources.get(self.store.symbols.find(name)?)
    }

    /// The instances that occupy a resource, and those that have ever served it or been members of it, by id.
    pub(crate) fn servers(&self, name: &str) -> BTreeSet<InstanceId> {
        let symbol = self.store.symbols.find(name);
        let mut servers = self.served.instances(symbol);
        if let Some(symbol) = symbol {
            servers.extend(self.resources.members(symbol).map(|ix| self.store.instances.id(ix)));
        }
        if let Some(resource) = self.resource(name) {
            servers.extend(resources::occupying(resource, &self.picture, &self.store));
        }
        servers
    }

    /// The names that an instance has served.
    pub(crate) fn served_by(&self, instance: InstanceId) -> Vec<Arc<str>> {
        let names = self.served.names(instance);
        names.map(|name| Arc::clone(self.store.symbols.text(name))).collect()
    }

    /// Whether more than one instance has served the name.
    pub(crate) fn is_served_by_several(&self, name: &str) -> bool {
        self.served.by_several(self.store.symbols.find(name))
    }

    /// What was odd about the input.
    pub(crate) fn anomalies(&self) -> Anomalies {
        Anomalies {
            unknown_parents: self.store.unknown_parents(),
            parent_loops: self.looping,
            ambiguous_conversations: self.conversations.ambiguous(),
            excessive_calls: self.picture.excessive(),
            overfull_resources: self.picture.overfull(),
            contradicting_capacities: self.resources.contradicting(),
            ..self.anomalies.clone()
        }
    }

    /// The wait in the picture of a call that is one.
    fn wait(&self, call: Slot) -> Option<WaitIx> {
        let record = &self.store[call.some()?];
        record.is(record::Flag::Waits).then_some(WaitIx(record.node))
    }

    /// The task that an open call, handle or hold belongs to.
    fn own_task(&self, slot: Slot) -> Option<TaskIx> {
        let record = &self.store[slot];
        let of_wait = self.wait(slot).map(|wait| self.picture.wait(wait).task());
        of_wait.or_else(|| record.is(record::Flag::Occupies).then_some(TaskIx(record.node)))
    }

    /// Looks again at what is declared of a resource.
    fn look_at_capacity(&mut self, name: Symbol) {
        if let Some(resource) = self.resources.get(name) {
            let had_members = self.pools_forgotten_until.is_some()
                || self.pools.len() > 0 && self.pools.contains(self.store.symbols.text(name));
            let remembered = Remembered {
                had_members,
                served: &self.served,
            };
            let declared = self.resources.declared(name, remembered);
            self.picture.set_declared(resource, declared);
        }
    }

    fn look_at_all_capacities(&mut self) {
        for name in self.resources.names().collect::<Vec<_>>() {
            self.look_at_capacity(name);
        }
    }

    fn take_served_change(&mut self, change: served::Change) {
        self.anomalies.forgotten_early += change.forgotten;
        if change.all {
            self.look_at_all_capacities();
            return;
        }
        for name in change.names.into_iter().chain(change.name) {
            self.look_at_capacity(name);
        }
    }
}
