//! The graph as its owner sees it: events in, deadlocks out, and questions about what is open.

mod open_span;
mod pacing;

use std::sync::Arc;
use std::time::Duration;

use crate::anomalies::Anomalies;
use crate::deadlock::{CallState, Capacity, Deadlock, Resource};
use crate::explain;
use crate::limits::Limits;
use crate::span::{Event, InstanceId, SpanId};
use crate::spans::Spans;

pub use open_span::OpenSpan;
use pacing::Pacing;

/// The wait-for graph of everything that is open.
///
/// Who can never proceed is kept up to date with each event, by looking only at what the event may have changed. Where
/// that would be too much, one pass over everything is due instead: see [`WaitGraph::settle`].
#[derive(Debug)]
pub struct WaitGraph {
    spans: Spans,
    pacing: Pacing,
}

/// What an event did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// Whether the graph knows more than before. If not, no answer of it has changed.
    pub changed: bool,
}

/// Whether everything that can be concluded has been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Every answer is exact.
    Exact,
    /// A pass over the whole graph is due at this time. Until then too few tasks may be dead, never too many.
    PassDueAt(Duration),
}

/// What is known of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mention {
    /// Nothing.
    Nothing,
    /// Nothing but that another one names it, as its parent or as the handle that it runs under.
    Named,
    /// It is open, or should be and was refused.
    Open,
    /// It has ended.
    Ended,
}

impl WaitGraph {
    /// An empty graph.
    pub fn new(limits: Limits) -> Self {
        Self {
            spans: Spans::new(limits),
            pacing: Pacing::default(),
        }
    }

    /// Names the service of an instance, for the names of tasks without a resource.
    pub fn describe_instance(&mut self, id: InstanceId, service: Arc<str>) {
        self.spans.describe(id, service);
    }

    /// Takes note of an event. Odd ones are counted in [`WaitGraph::anomalies`], never an error.
    pub fn apply(&mut self, now: Duration, event: &Event) -> Applied {
        let changed = self.spans.apply(now, event);
        self.spans.picture_mut().decide();
        Applied { changed }
    }

    /// How many events [`WaitGraph::look_ahead`] looks at.
    pub const LOOK_AHEAD: usize = crate::spans::TOGETHER;

    /// Reads what the next events will need, and changes nothing. Whoever has many events at hand says so of each
    /// [`WaitGraph::LOOK_AHEAD`] before applying them: in a large graph they then take less time, since memory is asked
    /// for all of them at once.
    pub fn look_ahead<'a>(&mut self, events: impl IntoIterator<Item = &'a Event, IntoIter: Clone>) {
        self.spans.look_ahead(events.into_iter());
    }

    /// Forgets what is older than a minute and not needed any more. To be called now and then; does something at most
    /// once a second.
    pub fn expire(&mut self, now: Duration) {
        self.spans.expire(now);
        self.spans.picture_mut().decide();
    }

    /// Does the pass over the whole graph if one is due. To be called after events, before the next question, and when
    /// the time has come that it names.
    pub fn settle(&mut self, now: Duration) -> Settled {
        if !self.spans.is_behind() && !self.spans.picture().pass_wanted() {
            return Settled::Exact;
        }
        match self.pacing.may_pass(now, self.spans.open_count()) {
            Ok(()) => {
                self.spans.catch_up();
                self.spans.picture_mut().full_pass();
                Settled::Exact
            }
            Err(due_at) => Settled::PassDueAt(due_at),
        }
    }

    /// Whether so much has changed at once that nothing can be said before the pass that is due. Until then there are no
    /// deadlocks, and other answers may be those of before.
    pub fn is_behind(&self) -> bool {
        self.spans.is_behind()
    }

    /// Changes whenever the answer of [`WaitGraph::deadlocks`] may have changed.
    pub fn revision(&self) -> u64 {
        self.spans.revision()
    }

    /// Every deadlock there is, by name. The same open spans give the same result, whatever the order of events.
    ///
    /// Nothing if the graph had to refuse a span that may still be open: see [`WaitGraph::is_complete`]; nor while it
    /// [is behind](WaitGraph::is_behind). Takes time in proportion to what is dead, not to what is open.
    pub fn deadlocks(&self) -> Vec<Deadlock> {
        if !self.is_complete() || self.spans.is_behind() {
            return Vec::new();
        }
        explain::deadlocks(self.spans.picture(), self.spans.store())
    }

    /// Whether every span that should be open is. Otherwise what was refused may be what proves a task to be live, so
    /// nothing is reported until it has ended, or its instance has gone.
    pub fn is_complete(&self) -> bool {
        self.spans.is_complete()
    }

    /// An open span.
    pub fn span(&self, id: SpanId) -> Option<OpenSpan<'_>> {
        let slot = self.spans.open_span(id)?;
        Some(OpenSpan::new(self.spans.store(), slot))
    }

    /// What is known of a span. Takes no time, so that it may be asked of every span of which only the end was told.
    pub fn mention(&self, id: SpanId) -> Mention {
        self.spans.mention(id)
    }

    /// Whether a call of this conversation is open.
    pub fn converses(&self, conversation: &str) -> bool {
        self.spans.converses(conversation)
    }

    /// Whether whoever makes an open call can never proceed, as far as has been concluded. Takes no time.
    pub fn is_dead(&self, call: SpanId) -> bool {
        let picture = self.spans.picture();
        let task = self.spans.wait_of(call).map(|wait| picture.wait(wait).task());
        task.is_some_and(|task| picture.place_among_dead(task).is_some())
    }

    /// How many tasks can never proceed.
    pub fn dead_task_count(&self) -> usize {
        self.spans.picture().dead_count()
    }

    /// How many spans are open.
    pub fn open_span_count(&self) -> usize {
        self.spans.open_count()
    }

    /// The open spans of an instance, by id, those among them that had to be refused last.
    pub fn open_spans(&self, instance: InstanceId) -> Vec<SpanId> {
        self.spans.open_of(instance)
    }

    /// How far an open call has come. A call directly inside another has come as far as the outermost one.
    pub fn call_state(&self, call: SpanId) -> Option<CallState> {
        let wait = self.spans.wait_of(call)?;
        Some(self.spans.picture().state(wait))
    }

    /// All spans that may be the parent of a handler that answers an open call, by id: the call itself, the calls
    /// directly inside it, and the structural spans beneath them in its instance.
    pub fn stand_ins(&self, call: SpanId) -> Vec<SpanId> {
        self.spans.stand_ins(call)
    }

    /// The instances that may have accepted a call to this resource, by id: those that occupy it, and those that have ever
    /// served it or been members of it. None that is gone.
    pub fn servers(&self, resource: &str) -> Vec<InstanceId> {
        self.spans.servers(resource).into_iter().collect()
    }

    /// What an instance has served or been a member of. Nothing once it is gone.
    pub fn served_by(&self, instance: InstanceId) -> Vec<Arc<str>> {
        self.spans.served_by(instance)
    }

    /// A resource that an open span names.
    pub fn resource(&self, name: &str) -> Option<Resource> {
        let resource = self.spans.resource(name)?;
        Some(explain::resource(self.spans.picture(), resource, self.spans.store()))
    }

    /// Whether units of this resource may be about to appear: its capacity is counted from members, or more than one
    /// instance has served its name. A deadlock that rests on it is to be confirmed only after a while.
    pub fn may_gain_units(&self, resource: &str) -> bool {
        let known = self.spans.resource(resource);
        let capacity = known.map(|it| self.spans.picture().resource(it).capacity());
        matches!(capacity, Some(Capacity::Counted(_))) || self.spans.is_served_by_several(resource)
    }

    /// How many calls are open for whose reply a task waits. Calls directly inside one another are one.
    pub fn open_calls(&self) -> usize {
        usize::try_from(self.spans.picture().waits_count()).unwrap_or(usize::MAX)
    }

    /// How many of them are queued for something of which too little is known: they count as live, and may hide a
    /// deadlock.
    pub fn undecided_waits(&self) -> usize {
        usize::try_from(self.spans.picture().undecided()).unwrap_or(usize::MAX)
    }

    /// What was odd about the input.
    pub fn anomalies(&self) -> Anomalies {
        self.spans.anomalies()
    }
}

#[cfg(test)]
mod tests;
