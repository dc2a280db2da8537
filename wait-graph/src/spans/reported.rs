//! What was reported of a span, put together again from the parts in which it is kept.

use std::sync::Arc;

use crate::explain::{Named, SpanFacts};
use crate::slab::Slot;
use crate::span::{Call, Handle, Hold, InstanceId, Member, Parent, Role, Span, SpanId, WaitGroup};
use crate::symbols::Symbol;

use super::record::{Flag, Kind};
use super::store::Store;

impl Store {
    /// Whether a start says the same as what is known. When it started is told by its age and so never exactly the same
    /// twice.
    pub(crate) fn is_same(&self, slot: Slot, span: &Span) -> bool {
        let record = &self[slot];
        let text = |symbol: Option<Symbol>| symbol.map(|it| self.symbols.text(it));
        record.trace() == span.trace
            && self.instance(slot) == span.instance
            && self.parent(slot) == span.parent
            && self.hint(slot).some().map(|hint| self[hint].id) == span.task
            && *self.name(slot) == span.name
            && text(self.conversation(slot)) == span.conversation.as_ref()
            && self.role(slot) == span.role
    }

    /// The span above it, as reported.
    pub(crate) fn parent(&self, slot: Slot) -> Option<Parent> {
        let record = &self[slot];
        record.parent.some().map(|parent| Parent {
            id: self[parent].id,
            remote: record.is(Flag::Remote),
        })
    }

    /// What it means for the graph, as reported.
    pub(crate) fn role(&self, slot: Slot) -> Role {
        let record = &self[slot];
        let text = |symbol: Symbol| Arc::clone(self.symbols.text(symbol));
        let rare = self.rare(slot);
        let resources = || match rare.and_then(|rare| rare.resources.as_ref()) {
            Some(names) => names.reported.iter().map(|name| text(*name)).collect(),
            None => record.resource.some().map(text).into_iter().collect(),
        };
        let capacity = self.capacity(slot);
        let units = self.units(slot);
        match record.kind() {
            Kind::Structural => Role::Structural,
            Kind::Call => Role::Call(Call {
                target: record.resource.some().map(text),
                units,
                group: rare.and_then(|rare| rare.group).map(|(name, quorum)| WaitGroup {
                    name: text(name),
                    quorum,
                }),
                detached: record.is(Flag::Detached),
                timeout: self.timeout(slot),
            }),
            Kind::Handle => Role::Handle(Handle {
                resources: resources(),
                capacity,
            }),
            Kind::Hold => Role::Hold(Hold {
                resources: resources(),
                capacity,
                units,
            }),
            Kind::Member => Role::Member(Member {
                resources: resources(),
                units,
            }),
        }
    }
}

impl Named for Store {
    fn id(&self, span: Slot) -> SpanId {
        self[span].id
    }

    fn span(&self, span: Slot) -> Option<SpanFacts<'_>> {
        let record = &self[span];
        record.is_known().then(|| SpanFacts {
            trace: record.trace(),
            instance: self.instances.id(record.instance),
            name: self.symbols.text(record.name),
            started_at: record.started_at(),
            timeout: self.timeout(span),
        })
    }

    fn service(&self, instance: InstanceId) -> Option<&Arc<str>> {
        self.instances.service(instance)
    }

    fn text(&self, name: Symbol) -> &Arc<str> {
        self.symbols.text(name)
    }
}
