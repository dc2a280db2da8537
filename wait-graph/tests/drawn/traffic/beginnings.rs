//! Calls are accepted and made, and spans begin.

use std::sync::Arc;

use standoff_wait_graph::{Call, Event, Handle, InstanceId, Parent, Role, Span, SpanId, TraceId};

use super::acts::{Beneath, By, Link, Names, Pick};
use super::{IDS, Traffic, conversation_name, resources_occupied, target};
use crate::history::Input;

/// Longer than a name that is nothing odd.
const LONG_NAME: usize = 5000;
/// So that a history of a few hundred spans has one, and a short one can do without.
const LONG_NAME_EVERY: u64 = 50;

impl Traffic {
    pub(super) fn accept(
        &mut self,
        call: Option<Pick>,
        instance: Pick,
        link: Link,
        names: &Names,
        capacity: Option<u32>,
        is_rude: bool,
    ) {
        let instance = self.instance(instance);
        // Whoever is polite serves only what is free.
        let can_serve = |span: &Span| target(&span.role).is_some_and(|name| is_rude || !self.is_busy(name));
        let call = call.and_then(|pick| self.pick(pick, can_serve).cloned());
        let mut resources = self.names(names);
        resources.retain(|name| is_rude || !self.is_busy(name));
        let Some(call) = call else {
            self.start(instance, None, Role::Handle(Handle { resources, capacity }));
            return;
        };
        // What is called is what serves, but for odd ones.
        if resources.len() < 2 {
            resources = target(&call.role).cloned().into_iter().collect();
        }
        let mut conversation = None;
        let parent = match link {
            Link::Direct => Some(call.id),
            Link::Conversation(name) => {
                conversation = Some(conversation_name(name));
                None
            }
            Link::Structural { .. } | Link::InnerCall => {
                let role = match link {
                    Link::InnerCall => call.role.clone(),
                    Link::Structural { .. } | Link::Direct | Link::Conversation(_) => Role::Structural,
                };
                let id = self.start(
                    call.instance,
                    Some(Parent {
                        id: call.id,
                        remote: false,
                    }),
                    role,
                );
                if matches!(link, Link::Structural { is_ended: true }) {
                    self.finish(id);
                }
                Some(id)
            }
        };
        let parent = parent.map(|id| Parent { id, remote: true });
        let role = Role::Handle(Handle { resources, capacity });
        self.start_span(instance, parent, None, conversation, role);
    }

    pub(super) fn call_back(&mut self, handle: Pick, cause: Pick) {
        let is_caused = |span: &Span| matches!(span.role, Role::Handle(_)) && span.parent.is_some();
        let Some(handle) = self.pick(handle, is_caused).cloned() else {
            return;
        };
        let above = |span: &&Span| {
            self.open
                .iter()
                .find(|it| Some(it.id) == span.parent.map(|parent| parent.id))
        };
        let causes: Vec<&Arc<str>> = std::iter::successors(Some(&handle), above)
            .skip(1)
            .take(self.open.len())
            .flat_map(resources_occupied)
            .collect();
        let Some(place) = usize::from(cause).checked_rem(causes.len()) else {
            return;
        };
        let role = Role::Call(Call {
            target: Some(Arc::clone(causes[place])),
            units: 1,
            group: None,
            detached: false,
            timeout: None,
        });
        let parent = Parent {
            id: handle.id,
            remote: false,
        };
        self.start(handle.instance, Some(parent), role);
    }

    pub(super) fn start_by(&mut self, by: By, role: Role, conversation: Option<Arc<str>>) {
        let is_handle = |span: &Span| matches!(span.role, Role::Handle(_));
        let local = |id| Some(Parent { id, remote: false });
        let (instance, parent, task) = match by {
            By::Handle(pick, beneath) => {
                let Some((id, instance)) = self.pick(pick, is_handle).map(|span| (span.id, span.instance)) else {
                    return self.start_by(By::Client(pick % 4), role, conversation);
                };
                match beneath {
                    Beneath::Directly => (instance, local(id), None),
                    Beneath::Structural => {
                        let between = self.start(instance, local(id), Role::Structural);
                        (instance, local(between), None)
                    }
                    Beneath::ByHint => (instance, None, Some(id)),
                }
            }
            By::Any(pick) => {
                let Some((id, instance)) = self.pick(pick, |_| true).map(|span| (span.id, span.instance)) else {
                    return;
                };
                (instance, local(id), None)
            }
            // Ids that no span has.
            By::Client(number) => {
                let id = SpanId(IDS + 1 + u64::from(number));
                (self.instance(number), local(id), None)
            }
            By::Nobody(instance) => (self.instance(instance), None, None),
        };
        self.start_span(instance, parent, task, conversation, role);
    }

    /// Few of them differ, and one in a while is no name at all.
    fn span_name(&self) -> Arc<str> {
        if self.spans.is_multiple_of(LONG_NAME_EVERY) {
            return "z".repeat(LONG_NAME).into();
        }
        format!("request-{}", self.spans % 3).into()
    }

    pub(super) fn start(&mut self, instance: InstanceId, parent: Option<Parent>, role: Role) -> SpanId {
        self.start_span(instance, parent, None, None, role)
    }

    pub(super) fn start_span(
        &mut self,
        instance: InstanceId,
        parent: Option<Parent>,
        task: Option<SpanId>,
        conversation: Option<Arc<str>>,
        role: Role,
    ) -> SpanId {
        self.spans += 1;
        let id = SpanId(1 + self.spans * 773 % IDS);
        let span = Span {
            id,
            trace: TraceId::default(),
            instance,
            parent,
            task,
            name: self.span_name(),
            conversation,
            role,
            started_at: self.now,
        };
        self.open.push(span.clone());
        self.input(Input::Event(Event::Started(span)));
        id
    }
}
