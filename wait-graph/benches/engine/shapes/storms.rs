//! Many deadlocks at once.

use std::collections::VecDeque;

use standoff_wait_graph::SpanId;

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, handle, instance, server};

/// Pairs of servers that call each other, each pair a deadlock of its own. The oldest gives up, and another one forms.
#[derive(Default)]
pub(crate) struct Storm {
    source: Source,
    pairs: VecDeque<[SpanId; 4]>,
    servers: usize,
}

impl Storm {
    fn form(&mut self, sink: Sink<'_>) {
        let [one, other] = [self.servers, self.servers + 1];
        self.servers += 2;
        let pair = [(); 4].map(|()| self.source.id());
        sink(handle(pair[0], instance(one), Above::Nothing, Some(server(one))));
        sink(handle(pair[1], instance(other), Above::Nothing, Some(server(other))));
        sink(call(pair[2], instance(one), Above::Local(pair[0]), server(other)));
        sink(call(pair[3], instance(other), Above::Local(pair[1]), server(one)));
        self.pairs.push_back(pair);
    }
}

impl Shape for Storm {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for _ in 0..waits / 2 {
            self.form(sink);
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        for span in self.pairs.pop_front().into_iter().flatten().rev() {
            sink(finished(span));
        }
        self.form(sink);
    }
}
