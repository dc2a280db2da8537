//! The definition that the engine is checked against: everything is worked out from scratch after every event, as
//! plainly as it can be written.
//!
//! ```text
//!   events ──▶ facts ──▶ links ──▶ picture ──▶ liveness ──▶ cores ──▶ report
//!              what is    who       tasks,      who can      what      what is
//!              open       belongs   waits,      still        causes    said
//!                         to whom   resources   proceed      it        of it
//! ```
//!
//! Shares with the engine the types that go in and come out, and not a line of what happens between.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use standoff_wait_graph::{
    Anomalies, CallState, Capacity, Deadlock, Event, InstanceId, Limits, Resource, Role, Span, SpanId,
};

mod capacity;
mod chains;
mod cores;
mod facts;
mod links;
mod liveness;
mod memory;
mod oddities;
mod parents;
mod picture;
mod report;
mod served;

use facts::Facts;
use links::Links;
use liveness::Liveness;
use picture::{Picture, Wait};

/// The wait-for graph of everything that is open.
///
/// It keeps facts only. What follows from them is worked out anew after every change, when first asked for, so that
/// nothing depends on the order of events.
#[derive(Debug)]
pub(crate) struct OracleGraph {
    facts: Facts,
    /// What follows from the facts; empty after a change.
    conclusions: OnceCell<Conclusions>,
}

#[derive(Debug)]
struct Conclusions {
    links: Links,
    picture: Picture,
}

impl OracleGraph {
    /// An empty graph.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            facts: Facts::new(limits),
            conclusions: OnceCell::new(),
        }
    }

    /// Names the service of an instance, for the names of tasks without a resource.
    pub(crate) fn describe_instance(&mut self, id: InstanceId, service: Arc<str>) {
        if self.facts.describe(id, service) {
            self.conclusions.take();
        }
    }

    /// Takes note of an event, and answers whether the graph knows more than before. Odd ones are counted in
    /// [`OracleGraph::anomalies`], never an error.
    pub(crate) fn apply(&mut self, now: Duration, event: &Event) -> bool {
        let changed = self.facts.apply(now, event);
        if changed {
            self.conclusions.take();
        }
        if self.facts.is_crowded() {
            let links = Links::of(&self.facts);
            self.facts.make_room(now, &links);
            self.conclusions.take();
        }
        changed
    }

    /// Forgets what is older than a minute and not needed any more. To be called now and then; does something at most
    /// once a second.
    pub(crate) fn expire(&mut self, now: Duration) {
        if self.facts.is_overdue(now) {
            let links = Links::of(&self.facts);
            self.facts.expire(now, &links);
            self.conclusions.take();
        }
    }

    /// Every deadlock there is, by name. The same open spans give the same result, whatever the order of events.
    ///
    /// Nothing if the graph had to refuse a span that may still be open: see [`OracleGraph::is_complete`].
    pub(crate) fn deadlocks(&self) -> Vec<Deadlock> {
        if !self.is_complete() {
            return Vec::new();
        }
        report::deadlocks(&self.facts, &self.conclusions().picture)
    }

    /// Every dead task, whether or not that may be reported.
    pub(crate) fn dead(&self) -> BTreeSet<(SpanId, InstanceId)> {
        let picture = &self.conclusions().picture;
        let ids = Liveness::of(picture)
            .dead()
            .into_iter()
            .map(|task| picture.tasks[task].id);
        ids.map(|id| (id.span, id.instance)).collect()
    }

    /// Whether every span that should be open is. Otherwise what was refused may be what proves a task to be live, so
    /// nothing is reported until it has ended, or its instance has gone.
    pub(crate) fn is_complete(&self) -> bool {
        self.facts.is_complete()
    }

    /// An open span.
    pub(crate) fn span(&self, id: SpanId) -> Option<&Span> {
        self.facts.open.get(&id)
    }

    /// How many spans are open. Known without looking at them.
    pub(crate) fn open_span_count(&self) -> usize {
        self.facts.open.len()
    }

    /// The open spans of an instance, those among them that had to be refused last.
    pub(crate) fn open_spans(&self, instance: InstanceId) -> Vec<SpanId> {
        self.facts.open_of(instance).map(|span| span.id).collect()
    }

    /// How far an open call has come. A call directly inside another has come as far as the outermost one.
    pub(crate) fn call_state(&self, call: SpanId) -> Option<CallState> {
        if !matches!(self.span(call)?.role, Role::Call(_)) {
            return None;
        }
        let Conclusions { links, picture } = self.conclusions();
        picture.wait(links.wait_at(call)?).map(|wait| wait.state)
    }

    /// All spans that may be the parent of a handler that answers an open call, by id: the call itself, the calls
    /// directly inside it, and the structural spans beneath them in its instance.
    pub(crate) fn stand_ins(&self, call: SpanId) -> Vec<SpanId> {
        self.conclusions().links.stand_ins(call).to_vec()
    }

    /// The instances that may have accepted a call to this resource, by id: those that occupy it, and those that have ever
    /// served it or been members of it. None that is gone.
    pub(crate) fn servers(&self, resource: &str) -> Vec<InstanceId> {
        let now = self
            .facts
            .open
            .values()
            .filter(|span| occupies_or_offers(&span.role, resource));
        let servers: BTreeSet<InstanceId> = now
            .map(|span| span.instance)
            .chain(self.facts.served.instances(resource))
            .collect();
        servers.into_iter().collect()
    }

    /// A resource that an open span names.
    pub(crate) fn resource(&self, name: &str) -> Option<Resource> {
        self.conclusions().picture.resource(name).map(report::resource)
    }

    /// Whether units of this resource may be about to appear: its capacity is counted from members, or more than one
    /// instance has served its name. A deadlock that rests on it is to be confirmed only after a while.
    pub(crate) fn may_gain_units(&self, resource: &str) -> bool {
        let capacity = self.conclusions().picture.resource(resource).map(|it| it.capacity);
        matches!(capacity, Some(Capacity::Counted(_))) || self.facts.served.by_several(resource)
    }

    /// How many calls are open for whose reply a task waits. Calls directly inside one another are one.
    pub(crate) fn open_calls(&self) -> usize {
        self.conclusions().picture.waits().count()
    }

    /// How many of them are queued for something of which too little is known: they count as live, and may hide a
    /// deadlock.
    pub(crate) fn undecided_waits(&self) -> usize {
        let picture = &self.conclusions().picture;
        let is_undecided = |wait: &&Wait| wait.state == CallState::Queued && wait.demand(picture).is_none();
        picture.waits().filter(is_undecided).count()
    }

    /// What was odd about the input.
    pub(crate) fn anomalies(&self) -> Anomalies {
        let Conclusions { links, picture } = self.conclusions();
        let is_excessive = |wait: &&Wait| {
            wait.demand(picture)
                .is_some_and(|(needed, _, capacity)| needed > capacity)
        };
        Anomalies {
            unknown_parents: oddities::unknown_parents(&self.facts) as u64,
            parent_loops: links.open_on_loops(&self.facts) as u64,
            ambiguous_conversations: links.ambiguous_handles,
            excessive_calls: picture.waits().filter(is_excessive).count() as u64,
            overfull_resources: picture.resources.iter().filter(|resource| resource.is_overfull).count() as u64,
            contradicting_capacities: oddities::contradicting_capacities(&self.facts) as u64,
            ..self.facts.anomalies.clone()
        }
    }

    fn conclusions(&self) -> &Conclusions {
        self.conclusions.get_or_init(|| {
            let links = Links::of(&self.facts);
            let picture = Picture::of(&self.facts, &links);
            Conclusions { links, picture }
        })
    }
}

fn occupies_or_offers(role: &Role, resource: &str) -> bool {
    let names = match role {
        Role::Handle(handle) => &handle.resources,
        Role::Hold(hold) => &hold.resources,
        Role::Member(member) => &member.resources,
        Role::Call(_) | Role::Structural => return false,
    };
    names.iter().any(|name| &**name == resource)
}
