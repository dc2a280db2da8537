//! Looking at what the next events will need, before they are applied.
//!
//! In a graph of a million waits almost everything that an event touches has long left the processor's caches, and one
//! thing leads to the next: the id to its span, the span to its task. Applied one by one, events wait for memory at each
//! step. Here each step is taken for several events before the next one, so that memory answers for all of them at once.
//! Hence no step branches on what it has just read, and each does as little as it can.
//!
//! Nothing is decided here, and what is read is not kept.

use std::hint::black_box;
use std::sync::Arc;

use crate::slab::Slot;
use crate::span::{Event, Role, SpanId};
use crate::symbols::Symbol;
use crate::wait_for::Nodes;

use super::Spans;
use super::record::Flag;

/// How many events are looked at together, so that it does not matter that the first and the last of each step wait.
pub(crate) const TOGETHER: usize = 64;

/// Where some events lead. Kept between events, since to clear it would take as long as to fill it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    spans: Few<TOGETHER>,
    parents: Few<TOGETHER>,
    beside: Few<{ 2 * TOGETHER }>,
    names: Few<{ 3 * TOGETHER }>,
    nodes: Nodes,
}

/// A few numbers, none of them `u32::MAX`.
#[derive(Debug)]
pub(crate) struct Few<const MOST: usize> {
    numbers: [u32; MOST],
    len: usize,
}

impl<const MOST: usize> Default for Few<MOST> {
    fn default() -> Self {
        Self {
            numbers: [0; MOST],
            len: 0,
        }
    }
}

impl<const MOST: usize> Few<MOST> {
    /// Adds a number, if it is one, is wanted, and has room. Without a branch, since nobody could predict it.
    pub(crate) fn push_if(&mut self, number: u32, is_wanted: bool) {
        if let Some(place) = self.numbers.get_mut(self.len) {
            *place = number;
            self.len += usize::from(is_wanted && number != u32::MAX);
        }
    }

    pub(crate) fn push(&mut self, number: u32) {
        self.push_if(number, true);
    }

    pub(crate) fn clear(&mut self) {
        self.len = 0;
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> {
        self.numbers[..self.len].iter().copied()
    }
}

impl Ahead {
    fn clear(&mut self) {
        self.spans.clear();
        self.parents.clear();
        self.beside.clear();
        self.names.clear();
        self.nodes.clear();
    }
}

impl Spans {
    /// Reads what these events will need, the first [`TOGETHER`] of them. Changes nothing.
    pub(crate) fn look_ahead<'a>(&mut self, events: impl Iterator<Item = &'a Event> + Clone) {
        let Self {
            ahead,
            store,
            resources,
            served,
            picture,
            ..
        } = self;
        ahead.clear();
        for event in events.clone() {
            let [span, parent] = ids(event);
            // That of a span that starts has no place yet, but it will be looked for.
            if let Some(id) = span {
                ahead.spans.push(store.probable_place(id).0);
            }
            if let Some(id) = parent {
                ahead.parents.push(store.probable_place(id).0);
            }
        }
        for name in events.filter_map(name) {
            ahead.names.push(store.symbols.probable(name).0);
        }

        let mut read = 0;
        for slot in ahead.spans.iter() {
            let record = &store[Slot(slot)];
            ahead.nodes.push(record.node, record.is(Flag::Waits));
            // Its siblings are not: only what is forgotten is taken from among them.
            ahead.beside.push(record.first_child.0);
            ahead.beside.push(record.parent.0);
            ahead.names.push(record.resource.0);
            read ^= store.rare(Slot(slot)).map_or(0, |rare| rare.units);
        }
        for slot in ahead.parents.iter() {
            let record = &store[Slot(slot)];
            ahead.nodes.push(record.node, record.is(Flag::Waits));
            // The new span will be its sibling.
            ahead.beside.push(record.first_child.0);
            ahead.beside.push(record.home.0);
        }
        for name in ahead.names.iter().map(Symbol) {
            read ^= store.symbols.look_ahead(name) ^ served.look_ahead(name);
            ahead.nodes.push_resource(resources.get(name));
        }

        for slot in ahead.beside.iter() {
            let record = &store[Slot(slot)];
            ahead.nodes.push(record.node, record.is(Flag::Waits));
        }
        black_box(read ^ picture.look_ahead(&mut ahead.nodes));
    }
}

/// The span that an event is about, and the one above it.
fn ids(event: &Event) -> [Option<SpanId>; 2] {
    match event {
        Event::Started(span) => [Some(span.id), span.parent.map(|parent| parent.id)],
        Event::Finished(id) | Event::Answered(id) => [Some(*id), None],
        Event::InstanceSilent(_) | Event::InstanceBack(_) | Event::InstanceGone(_) => [None, None],
    }
}

/// The resource that a start names, if that is one.
fn name(event: &Event) -> Option<&Arc<str>> {
    let Event::Started(span) = event else { return None };
    match &span.role {
        Role::Call(call) => call.target.as_ref(),
        Role::Handle(handle) => handle.resources.first(),
        Role::Hold(hold) => hold.resources.first(),
        Role::Member(member) => member.resources.first(),
        Role::Structural => None,
    }
}
