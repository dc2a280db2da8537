//! Spans that lie deep beneath one another, and are reported before what is above them.

use standoff_wait_graph::SpanId;

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, handle, instance, server, structural};

/// A request with one span inside the other, each of which calls somebody: reported from the innermost to the outermost,
/// so that each new one may concern all that are known. Then all end, and the next request comes.
#[derive(Default)]
pub(crate) struct BottomUp {
    source: Source,
    depth: usize,
    open: Vec<SpanId>,
}

impl Shape for BottomUp {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        self.depth = waits;
        let mut inner = self.source.id();
        for number in 0..waits {
            let (above, calls) = (self.source.id(), self.source.id());
            sink(call(calls, instance(0), Above::Local(inner), server(number % 1000)));
            sink(structural(inner, instance(0), Above::Local(above)));
            self.open.extend([calls, inner]);
            inner = above;
        }
        sink(handle(inner, instance(0), Above::Nothing, None));
        self.open.push(inner);
    }

    fn churn(&mut self, sink: Sink<'_>) {
        for span in self.open.drain(..) {
            sink(finished(span));
        }
        self.grow(self.depth, sink);
    }
}

/// The same with requests through many servers: each call is reported after the handle that answers it.
#[derive(Default)]
pub(crate) struct AnsweredFirst {
    source: Source,
    depth: usize,
    open: Vec<SpanId>,
}

impl Shape for AnsweredFirst {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        self.depth = waits;
        let mut inner = self.source.id();
        for number in 0..waits {
            let (calls, above) = (self.source.id(), self.source.id());
            let name = server(number % 1000);
            sink(handle(
                inner,
                instance(number),
                Above::Remote(calls),
                Some(name.clone()),
            ));
            sink(call(calls, instance(number + 1), Above::Local(above), name));
            self.open.extend([calls, inner]);
            inner = above;
        }
        sink(handle(inner, instance(waits), Above::Nothing, None));
        self.open.push(inner);
    }

    fn churn(&mut self, sink: Sink<'_>) {
        for span in self.open.drain(..) {
            sink(finished(span));
        }
        self.grow(self.depth, sink);
    }
}
