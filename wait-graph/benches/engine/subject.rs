//! What can be measured: the engine, and the baselines, told the same events.

use std::time::Duration;

use standoff_wait_graph::{Episodes, Event, Limits, SpanId, WaitGraph};

use crate::baselines::{Baseline, Edges};
use crate::shapes::Asks;

/// What the collector keeps of ended spans in a quarter of a minute of such traffic. It is full soon, so that forgetting
/// is part of what is measured.
const ENDED_SPANS: usize = 1 << 16;
/// Room for a million waits together with what they hang on, and for a name for each of them.
const ROOM: usize = 1 << 23;

/// The collector explains once in so long for each so many dead tasks.
const EXPLAINED_SPACING: Duration = Duration::from_millis(1);
/// See [`EXPLAINED_SPACING`].
const EXPLAINED_TASKS: usize = 100;

/// Something that is told events.
pub(crate) trait Subject {
    /// An event while the shape is being built.
    fn build(&mut self, now: Duration, event: &Event);
    /// Building is over.
    fn begin(&mut self) {}
    /// These events are next.
    fn look_ahead(&mut self, _events: &[Event]) {}
    /// An event that is measured.
    fn apply(&mut self, now: Duration, event: &Event);
}

/// The engine.
pub(crate) struct Engine {
    pub(crate) graph: WaitGraph,
    asks: Asks,
    episodes: Episodes,
    revision: u64,
    asked_at: Duration,
    /// How many tasks were dead when the shape had been built.
    pub(crate) dead_at_first: usize,
    /// How many deadlocks have been explained.
    pub(crate) explained: usize,
}

impl Engine {
    pub(crate) fn new(asks: Asks) -> Self {
        let limits = Limits {
            open_spans: ROOM,
            served: ROOM,
            ended_spans: ENDED_SPANS,
            ..Limits::default()
        };
        Self {
            graph: WaitGraph::new(limits),
            asks,
            episodes: Episodes::default(),
            revision: 0,
            asked_at: Duration::ZERO,
            dead_at_first: 0,
            explained: 0,
        }
    }

    /// Whether a span was a wait of a deadlock, and it does not go without saying that this is over.
    fn is_to_be_compared(&mut self, span: SpanId) -> bool {
        let (graph, episodes) = (&self.graph, &mut self.episodes);
        episodes.touches(span) && episodes.close(span, |call| graph.is_dead(call)).is_none()
    }

    /// Whether it is time to ask, after this event.
    fn is_asked(&self, now: Duration, is_end: bool) -> bool {
        let dead = (self.graph.dead_task_count() / EXPLAINED_TASKS) as u32;
        let is_due = || now >= self.asked_at + EXPLAINED_SPACING * dead;
        self.revision != self.graph.revision()
            && match self.asks {
                Asks::Never => false,
                Asks::AtOnce => true,
                Asks::Paced => is_due(),
                Asks::AtEnds => is_end || is_due(),
            }
    }
}

impl Subject for Engine {
    fn build(&mut self, now: Duration, event: &Event) {
        self.graph.apply(now, event);
        self.graph.settle(now);
    }

    fn begin(&mut self) {
        self.dead_at_first = self.graph.dead_task_count();
    }

    fn look_ahead(&mut self, events: &[Event]) {
        self.graph.look_ahead(events);
    }

    fn apply(&mut self, now: Duration, event: &Event) {
        self.graph.apply(now, event);
        self.graph.settle(now);
        let is_end = match event {
            Event::Finished(span) if self.asks == Asks::AtEnds => self.is_to_be_compared(*span),
            Event::Finished(_)
            | Event::Started(_)
            | Event::Answered(_)
            | Event::InstanceSilent(_)
            | Event::InstanceBack(_)
            | Event::InstanceGone(_) => false,
        };
        if self.is_asked(now, is_end) {
            self.revision = self.graph.revision();
            self.asked_at = now;
            let deadlocks = self.graph.deadlocks();
            self.explained += deadlocks.len();
            self.episodes.update(deadlocks);
        }
    }
}

impl<E: Edges> Subject for Baseline<E> {
    fn build(&mut self, _now: Duration, event: &Event) {
        self.apply(event);
    }

    fn begin(&mut self) {
        self.edges.set_searching(true);
    }

    fn apply(&mut self, _now: Duration, event: &Event) {
        Baseline::apply(self, event);
        self.edges.detect();
    }
}
