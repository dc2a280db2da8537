//! What comes out: what a request says of spans that are open, and of spans that have ended.

use std::sync::Arc;
use std::time::Duration;

use standoff_protocol::stream::{self, Outcome, Role};

use crate::budget::Held;

/// The signals of one request.
///
/// Apply `finished` before `started`, so that a wait that ends and the next one of the same task are never seen
/// together. A span that has ended within the request is not among those that started.
#[derive(Debug, Default)]
pub struct Batch {
    /// The instances that the signals speak of by their place in this list.
    pub instances: Vec<Arc<Instance>>,
    /// Spans that have ended, in the order in which they were said. A span may be here more than once.
    pub finished: Vec<Finished>,
    /// Spans that are open, once each. Boxed, so that the list does not move them as it grows.
    pub started: Vec<Box<Started>>,
    /// What the batch takes of the receiver's memory, until it is dropped.
    pub(crate) held: Option<Held>,
}

impl Batch {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.started.is_empty()
    }

    /// About how many bytes it takes, texts included.
    pub(crate) fn bytes(&self) -> usize {
        let started: usize = self.started.iter().map(|started| started.bytes()).sum();
        let conversations: usize = self
            .finished
            .iter()
            .filter_map(|finished| finished.conversation_id.as_deref())
            .map(str::len)
            .sum();
        // An instance with its identity and texts for display, of which few are long.
        const INSTANCE: usize = size_of::<Instance>() + 256;
        self.finished.capacity() * size_of::<Finished>() + conversations + started + self.instances.len() * INSTANCE
    }

    /// The instance that a signal of this batch speaks of.
    pub fn instance(&self, instance: InstanceIx) -> Option<&Arc<Instance>> {
        self.instances.get(instance.0 as usize)
    }
}

/// Names an instance within its [`Batch`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceIx(pub u32);

/// One running copy of a service, as its resource tells.
///
/// The three names are its identity together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Instance {
    /// `service.name`; empty if it has none.
    pub service_name: String,
    /// `service.namespace`; empty if it has none.
    pub service_namespace: String,
    /// `service.instance.id`. Without one, host and process id with a colon between them, as far as they are known:
    /// copies that do not say even that cannot be told apart.
    pub instance_id: String,
    /// What else may be worth showing: `k8s.*`, as text, in the order of the resource.
    pub display: Vec<(String, String)>,
}

/// A span that is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Started {
    /// Where it runs.
    pub instance: InstanceIx,
    /// What the native stream would say of it, and within the limits of that. Its age is always 0: the start time is by
    /// the clock of another host, so whoever takes it decides how far to believe it.
    ///
    /// If the source did not say whether the parent is in another process, that of a server or consumer span is taken
    /// to be.
    pub span: stream::Started,
    /// By the source's clock, in nanoseconds since 1970. 0 if it did not say.
    pub start_time_unix_nano: u64,
    /// How we know that it is open.
    pub source: Source,
    /// Where in the code it began, for display.
    pub code: Option<Box<Code>>,
}

impl Started {
    fn bytes(&self) -> usize {
        let span = &self.span;
        let resources: usize = span.resources.iter().map(|name| size_of::<String>() + name.len()).sum();
        let group = span.wait_group.as_ref().map_or(0, |group| group.name.len());
        let code = self
            .code
            .as_ref()
            .map_or(0, |code| size_of::<Code>() + code.function.len() + code.file.len());
        let texts = span.name.len() + span.target.len() + span.conversation_id.len();
        size_of::<Self>() + size_of::<Box<Self>>() + span.trace_id.len() + texts + resources + group + code
    }

    /// For how long to believe that it is still open without hearing of it again. `None` if its source does not repeat
    /// itself: it then ends at its timeout, or after a time that the user sets.
    pub fn lease(&self) -> Option<Duration> {
        match self.source {
            // Three heartbeats missed.
            Source::PartialLog { heartbeat } => Some(heartbeat * 3),
            Source::OpenSpan | Source::PendingSpan | Source::PartialTwin => None,
        }
    }
}

/// The dialect in which a source says that a span is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// A span without an end time.
    OpenSpan,
    /// Logfire's: a child of no duration, with `logfire.span_type` = `pending_span`, stands for its parent.
    PendingSpan,
    /// A log record with `partial.event` and the span in its body, again and again.
    PartialLog {
        /// How often it comes.
        heartbeat: Duration,
    },
    /// A sibling that ends at once, with `$span.partial` and the id of the span that it stands for.
    PartialTwin,
}

/// Where a span began in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Code {
    /// The function, with its namespace; empty if unknown.
    pub function: String,
    /// The file; empty if unknown.
    pub file: String,
    /// The line; 0 if unknown.
    pub line: u32,
}

/// A span that has ended, whether or not its start was ever seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// Its id; never 0.
    pub span_id: u64,
    /// The id of its trace; never 0.
    pub trace_id: u128,
    /// The span above it; 0 if there is none. Of a handle: what it answered is there or above. Of a structural span:
    /// through it the chain of parents leads on.
    pub parent_span_id: u64,
    /// As in [`Started::span`].
    pub parent_is_remote: bool,
    /// Where it ran.
    pub instance: InstanceIx,
    /// What it was.
    pub role: Role,
    /// How it ended.
    pub outcome: Outcome,
    /// Of a handle: `messaging.message.conversation_id`, by which it may have answered a call.
    pub conversation_id: Option<Box<str>>,
}
