//! Calls and handles that only a conversation joins.

use std::collections::VecDeque;

use standoff_wait_graph::SpanId;

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, handle, in_conversation, instance, server};

/// Everybody uses the same conversation: whom a handle answers cannot be told.
#[derive(Default)]
pub(crate) struct OneForAll {
    source: Source,
    /// Calls and handles.
    open: VecDeque<(SpanId, SpanId)>,
}

const CONVERSATION: &str = "conversation";

impl OneForAll {
    fn begin(&mut self, sink: Sink<'_>) {
        let (id, answers) = (self.source.id(), self.source.id());
        let number = self.source.below(1000);
        let asks = call(id, instance(number), Above::Nothing, server(number));
        sink(in_conversation(asks, CONVERSATION));
        let serves = handle(answers, instance(number + 1), Above::Nothing, Some(server(number)));
        sink(in_conversation(serves, CONVERSATION));
        self.open.push_back((id, answers));
    }
}

impl Shape for OneForAll {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for _ in 0..waits {
            self.begin(sink);
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        if let Some((asks, serves)) = self.open.pop_front() {
            sink(finished(serves));
            sink(finished(asks));
        }
        self.begin(sink);
    }
}
