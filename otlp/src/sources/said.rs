//! What sources say, and for how long they are believed.

use std::time::Duration;

use standoff_protocol::stream;

/// Names a source, and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceNo(pub u64);

/// What is to be passed on, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A source was heard of for the first time, or again after it had left. Nothing of it is open yet.
    Came {
        /// Its number from now on.
        source: SourceNo,
        /// Who it is.
        hello: stream::Hello,
    },
    /// Spans of a source have started or ended.
    Batch {
        /// One that came and did not leave.
        source: SourceNo,
        /// Within the limits of the stream. Its sequence is 0: whoever has the connection counts.
        batch: stream::Batch,
    },
    /// Nothing was heard of a source for long, and nothing of it is open.
    Left {
        /// Its number until now.
        source: SourceNo,
    },
}

/// How long what sources say is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The age at which a span ends of whose end nothing was heard, unless its source repeats itself.
    pub max_open: Duration,
    /// How long a source is remembered that says nothing and has nothing open.
    pub forget_after: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            max_open: Duration::from_secs(600),
            forget_after: Duration::from_secs(300),
        }
    }
}

/// How much there is, and how much there was since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Spans that are open now.
    pub open: u64,
    /// Sources that are known now.
    pub sources: u64,
    /// Spans that have ended at their own timeouts.
    pub ended_by_timeout: u64,
    /// Spans that have ended since they were older than is believed.
    pub ended_by_max_open: u64,
    /// Spans that have ended since three heartbeats were missed.
    pub ended_by_missed_heartbeats: u64,
    /// Starts that came after the end of their span.
    pub late_starts: u64,
    /// Starts for which there was no room, or no room for their source. They may come again, and count again.
    pub refused_spans: u64,
    /// Ends for whose source there was no room.
    pub refused_ends: u64,
    /// How often there was no room for a source of a batch.
    pub refused_sources: u64,
}
