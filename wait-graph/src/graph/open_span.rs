//! What is known of one open span.

use std::sync::Arc;
use std::time::Duration;

use crate::slab::Slot;
use crate::span::{InstanceId, Parent, Role, SpanId, TraceId};
use crate::spans::Store;

/// An open span as the graph keeps it: in parts, which are put together when asked for.
#[derive(Clone, Copy, Debug)]
pub struct OpenSpan<'a> {
    store: &'a Store,
    slot: Slot,
}

impl<'a> OpenSpan<'a> {
    pub(super) fn new(store: &'a Store, slot: Slot) -> Self {
        Self { store, slot }
    }

    /// Its identity.
    pub fn id(&self) -> SpanId {
        self.store.id(self.slot)
    }

    /// For display.
    pub fn trace(&self) -> TraceId {
        self.store.trace(self.slot)
    }

    /// The instance in which it runs.
    pub fn instance(&self) -> InstanceId {
        self.store.instance(self.slot)
    }

    /// The span above it, as reported.
    pub fn parent(&self) -> Option<Parent> {
        self.store.parent(self.slot)
    }

    /// Its name.
    pub fn name(&self) -> &'a Arc<str> {
        self.store.name(self.slot)
    }

    /// What correlates it where the chain of parents is broken.
    pub fn conversation(&self) -> Option<&'a Arc<str>> {
        let symbol = self.store.conversation(self.slot)?;
        Some(self.store.symbols.text(symbol))
    }

    /// What it means for the graph. Put together from its parts.
    pub fn role(&self) -> Role {
        self.store.role(self.slot)
    }

    /// When it started, on the clock of whoever feeds the graph.
    pub fn started_at(&self) -> Duration {
        self.store[self.slot].started_at()
    }

    /// Of a call: the caller gives up when it is this old.
    pub fn timeout(&self) -> Option<Duration> {
        self.store.timeout(self.slot)
    }
}
