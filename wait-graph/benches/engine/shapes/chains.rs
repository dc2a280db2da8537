//! Chains of tasks each of which waits for the next.

use standoff_wait_graph::{Event, SpanId};

use super::{Shape, Sink};
use crate::events::{Above, Source, call, finished, handle, instance, server};

/// How many links come, and then go again.
const STRETCH: usize = 64;

/// Everybody is served by the next, who has just begun to wait: nobody at the end of the chain waits for anybody.
#[derive(Default)]
pub(crate) struct Tail {
    source: Source,
    /// Calls and the handles that answer them.
    links: Vec<(SpanId, SpanId)>,
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
pub(crate) struct Head {
    source: Source,
    /// Of the names of the servers.
    prefix: &'static str,
    /// Somebody who has never been heard of, unless told otherwise.
    first_waits_for: &'static str,
    /// Handles and the calls beneath them.
    links: Vec<(SpanId, SpanId)>,
}

impl Default for Head {
    fn default() -> Self {
        Self {
            source: Source::default(),
            prefix: "server",
            first_waits_for: "elsewhere",
            links: Vec::new(),
        }
    }
}

impl Head {
    fn name(&self, number: usize) -> String {
        format!("{{:{}, {number}}}", self.prefix)
    }

    /// The name of the last one.
    fn last(&self) -> String {
        self.name(self.links.len().saturating_sub(1))
    }

    fn push(&mut self, sink: Sink<'_>) {
        let number = self.links.len();
        let link = (self.source.id(), self.source.id());
        let name = Some(self.name(number));
        sink(handle(link.0, instance(number), Above::Nothing, name));
        let before = number.checked_sub(1).map(|before| self.name(before));
        let target = before.unwrap_or_else(|| self.first_waits_for.to_owned());
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

/// Two chains of servers and one server between them, for whom one chain waits, and who begins to wait for the other
/// and gives up, again and again. Whether that closes a ring is known only at the other end of one of the chains.
#[derive(Default)]
pub(crate) struct Joined {
    ahead: Head,
    behind: Head,
    source: Source,
    joining: Option<SpanId>,
    joins: Option<SpanId>,
}

const JOINING: &str = "joining";

impl Joined {
    /// What makes one ring of everybody once they are joined: who is ahead of all waits for who is behind all others.
    pub(crate) fn close(&mut self) -> Option<(SpanId, Event)> {
        let id = self.source.id();
        let (first, _) = self.ahead.links.first()?;
        let event = call(id, instance(0), Above::Local(*first), self.behind.last());
        Some((id, event))
    }

    /// Of how many servers that ring is.
    pub(crate) fn servers(&self) -> usize {
        self.ahead.links.len() + 1 + self.behind.links.len()
    }
}

impl Shape for Joined {
    fn grow(&mut self, waits: usize, sink: Sink<'_>) {
        // Ids of their own, and names.
        self.source = Source::starting_at(1);
        self.behind = Head {
            source: Source::starting_at(2),
            prefix: "behind",
            first_waits_for: JOINING,
            ..Head::default()
        };
        let joining = self.source.id();
        sink(handle(joining, instance(1), Above::Nothing, Some(JOINING.to_owned())));
        self.joining = Some(joining);
        self.ahead.grow(waits / 2, sink);
        self.behind.grow(waits - waits / 2, sink);
    }

    fn churn(&mut self, sink: Sink<'_>) {
        let Some(joining) = self.joining else { return };
        if let Some(joins) = self.joins.take() {
            sink(finished(joins));
        }
        let joins = self.source.id();
        sink(call(joins, instance(1), Above::Local(joining), self.ahead.last()));
        self.joins = Some(joins);
    }
}
