//! Many who are queued for several units of one pool at once.

use standoff_wait_graph::SpanId;

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, for_units, handle, hold, instance, server};

const UNITS: u32 = 64;
const POOL: &str = "pool";

/// Two tasks hold half of the pool each, and whoever is queued needs 2 to all of its units. One of the two gives its half
/// back and takes it again, or, if it calls itself in between, dies and lives again, and half of the queue with it.
#[derive(Default)]
pub(crate) struct Wide {
    source: Source,
    dies: bool,
    holder: Option<SpanId>,
    held: Option<SpanId>,
}

impl Wide {
    /// Of whom one dies again and again.
    pub(crate) fn mortal() -> Self {
        Self {
            dies: true,
            ..Self::default()
        }
    }

    fn hold(&mut self, task: SpanId, sink: Sink<'_>) -> SpanId {
        let id = self.source.id();
        let hold = hold(id, instance(0), Above::Local(task), POOL.to_owned(), Some(UNITS));
        sink(for_units(hold, UNITS / 2));
        id
    }
}

impl Shape for Wide {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for number in 0..2 {
            let task = self.source.id();
            sink(handle(task, instance(0), Above::Nothing, Some(server(number))));
            self.holder = Some(task);
            self.held = Some(self.hold(task, sink));
        }
        for (number, units) in (1..waits).zip((2..=UNITS).cycle()) {
            let (task, id) = (self.source.id(), self.source.id());
            sink(handle(task, instance(number), Above::Nothing, None));
            let call = call(id, instance(number), Above::Local(task), POOL.to_owned());
            sink(for_units(call, units));
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let Some(task) = self.holder else { return };
        if self.dies {
            let id = self.source.id();
            sink(call(id, instance(0), Above::Local(task), server(1)));
            sink(finished(id));
        } else {
            self.held.into_iter().for_each(|held| sink(finished(held)));
            self.held = Some(self.hold(task, sink));
        }
    }
}
