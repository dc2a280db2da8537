//! Chains of tasks each of which waits for the next.

use standoff_wait_graph::SpanId;

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, handle, instance, server};

/// How many links come, and then go again.
const STRETCH: usize = 64;

/// Everybody is served by the next, who has just begun to wait: nobody at the end of the chain waits for anybody.
#[derive(Default)]
pub(crate) struct Tail {
    pub(crate) source: Source,
    /// Calls and the handles that answer them.
    pub(crate) links: Vec<(SpanId, SpanId)>,
}

impl Tail {
    fn push(&mut self, sink: Sink<'_>) {
        let number = self.links.len();
        let above = self
            .links
            .last()
            .map_or(Above::Nothing, |(_, handle)| Above::Local(*handle));
        let link = (self.source.id(), self.source.id());
        sink(call(link.0, instance(number), above, server(number + 1)));
        let resource = Some(server(number + 1));
        sink(handle(link.1, instance(number + 1), Above::Remote(link.0), resource));
        self.links.push(link);
    }
}

impl Shape for Tail {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for _ in 0..waits {
            self.push(sink);
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        for _ in 0..STRETCH {
            self.push(sink);
        }
        for (call, handle) in self.links.drain(self.links.len() - STRETCH..).rev() {
            sink(finished(handle));
            sink(finished(call));
        }
    }
}

/// Servers that are each queued for the one before, who waits already: for nobody the last one.
#[derive(Default)]
pub(crate) struct Head {
    pub(crate) source: Source,
    /// Handles and the calls beneath them.
    pub(crate) links: Vec<(SpanId, SpanId)>,
}

impl Head {
    fn push(&mut self, sink: Sink<'_>) {
        let number = self.links.len();
        let link = (self.source.id(), self.source.id());
        sink(handle(link.0, instance(number), Above::Nothing, Some(server(number))));
        // The first one waits for somebody who has never been heard of.
        let target = number.checked_sub(1).map_or_else(|| "elsewhere".to_owned(), server);
        sink(call(link.1, instance(number), Above::Local(link.0), target));
        self.links.push(link);
    }
}

impl Shape for Head {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        for _ in 0..waits {
            self.push(sink);
        }
    }

    fn churn(&mut self, sink: Sink<'_>) {
        for _ in 0..STRETCH {
            self.push(sink);
        }
        for (handle, call) in self.links.drain(self.links.len() - STRETCH..).rev() {
            sink(finished(call));
            sink(finished(handle));
        }
    }
}

/// A chain of servers, and one more, for whom somebody waits, who begins to wait for its head and gives up, again and
/// again. Whether that closes a ring is known only at the other end of the chain.
#[derive(Default)]
pub(crate) struct Joined {
    pub(crate) chain: Head,
    joining: Option<SpanId>,
    joins: Option<SpanId>,
}

impl Shape for Joined {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        self.chain.grow(waits, sink);
        let source = &mut self.chain.source;
        let (joining, waiting, call_of_it) = (source.id(), source.id(), source.id());
        let name = || "joining".to_owned();
        sink(handle(joining, instance(1), Above::Nothing, Some(name())));
        sink(handle(waiting, instance(2), Above::Nothing, None));
        sink(call(call_of_it, instance(2), Above::Local(waiting), name()));
        self.joining = Some(joining);
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let Some(joining) = self.joining else { return };
        if let Some(joins) = self.joins.take() {
            sink(finished(joins));
        }
        let joins = self.chain.source.id();
        let head = server(self.chain.links.len() - 1);
        sink(call(joins, instance(1), Above::Local(joining), head));
        self.joins = Some(joins);
    }
}
