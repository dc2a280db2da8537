//! What can be measured: the engine, and the baselines, told the same events.

use std::time::Duration;

use standoff_wait_graph::{Event, Limits, WaitGraph};

use crate::baselines::{Baseline, Edges};

/// What the collector keeps of ended spans in a quarter of a minute of such traffic. It is full soon, so that forgetting
/// is part of what is measured.
const ENDED_SPANS: usize = 1 << 16;
/// Room for a million waits together with what they hang on, and for a name for each of them.
const ROOM: usize = 1 << 23;

/// Something that is told events.
pub(crate) trait Subject {
    /// An event while the shape is being built.
    fn build(&mut self, now: Duration, event: &Event);
    /// Building is over.
    fn begin(&mut self) {}
    /// An event that is measured.
    fn apply(&mut self, now: Duration, event: &Event);
}

/// The engine.
pub(crate) struct Engine {
    pub(crate) graph: WaitGraph,
    /// Asks for the deadlocks whenever they may have changed.
    explains: bool,
    revision: u64,
    /// How many deadlocks have been explained.
    pub(crate) explained: usize,
}

impl Engine {
    pub(crate) fn new(explains: bool) -> Self {
        let limits = Limits {
            open_spans: ROOM,
            served: ROOM,
            ended_spans: ENDED_SPANS,
            ..Limits::default()
        };
        Self {
            graph: WaitGraph::new(limits),
            explains,
            revision: 0,
            explained: 0,
        }
    }
}

impl Subject for Engine {
    fn build(&mut self, now: Duration, event: &Event) {
        self.apply(now, event);
    }

    fn apply(&mut self, now: Duration, event: &Event) {
        self.graph.apply(now, event);
        self.graph.settle(now);
        let revision = self.graph.revision();
        if self.explains && revision != self.revision {
            self.revision = revision;
            self.explained += self.graph.deadlocks().len();
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
