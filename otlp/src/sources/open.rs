//! Spans that are open, and when each ends if nothing is heard of it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use standoff_protocol::stream::Outcome;

use super::SourceNo;
use super::hashing::IdHashes;

/// Why a span ends of whose end nothing was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Its caller has given up.
    Timeout,
    /// It is older than is believed.
    MaxOpen,
    /// Its source repeats itself, and has not.
    MissedHeartbeats,
}

impl Why {
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Why::Timeout => Outcome::Timeout,
            Why::MaxOpen | Why::MissedHeartbeats => Outcome::Expired,
        }
    }
}

/// A span that opens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    pub(super) source: SourceNo,
    /// When its caller gives up.
    pub(super) timeout: Option<Duration>,
    /// Until when it is believed to be open, and why not for longer.
    pub(super) believed: (Duration, Why),
    /// Its start is said again with each heartbeat.
    pub(super) repeats: bool,
    /// Its age is no reason to take it for ended.
    pub(super) is_member: bool,
}

/// A span that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) source: SourceNo,
    /// Why it ends when it is due.
    pub(super) why: Why,
    /// As it was begun.
    pub(super) repeats: bool,
    /// As it was begun.
    pub(super) is_member: bool,
    due: Nanos,
    timeout: Nanos,
}

/// Half as large as a [`Duration`], and enough for 584 years.
type Nanos = u64;

/// Spans that are open.
#[derive(Debug)]
pub(super) struct OpenSpans {
    spans: HashMap<u64, Open, IdHashes>,
    /// The same spans, in the order in which they are due.
    due: BTreeSet<(Nanos, u64)>,
    /// The most that there were since room was given back.
    most: usize,
}

/// When so few are left of the most that there were, their room is given back.
const SHRINK_AT: usize = 8;
/// Room for so few spans is not worth it.
const SHRINK_ABOVE: usize = 64;

impl OpenSpans {
    pub(super) fn new(hashes: IdHashes) -> Self {
        OpenSpans {
            spans: HashMap::with_hasher(hashes),
            due: BTreeSet::new(),
            most: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.spans.len()
    }

    pub(super) fn get(&self, id: u64) -> Option<Open> {
        self.spans.get(&id).copied()
    }

    /// Adds one that is not there.
    pub(super) fn insert(&mut self, id: u64, begun: Begun) {
        let (until, why) = begun.believed;
        let mut open = Open {
            source: begun.source,
            why,
            repeats: begun.repeats,
            is_member: begun.is_member,
            due: 0,
            timeout: begun.timeout.map_or(Nanos::MAX, nanos),
        };
        open.believe(until, why);
        self.due.insert((open.due, id));
        let before = self.spans.insert(id, open);
        debug_assert!(before.is_none(), "span {id:016x} was open already");
        self.most = self.most.max(self.spans.len());
    }

    /// Believes a span until later.
    pub(super) fn renew(&mut self, id: u64, until: Duration, why: Why) {
        if let Some(open) = self.spans.get_mut(&id) {
            self.due.remove(&(open.due, id));
            open.believe(until, why);
            self.due.insert((open.due, id));
        }
    }

    /// Removes a span that has ended. Most that end were never here.
    #[inline]
    pub(super) fn remove(&mut self, id: u64) -> Option<Open> {
        if self.spans.is_empty() {
            return None;
        }
        let open = self.spans.remove(&id)?;
        self.due.remove(&(open.due, id));
        self.shrink();
        Some(open)
    }

    /// The first of those that are due.
    pub(super) fn first_due(&self, now: Duration) -> Option<(u64, Open)> {
        let (_, id) = self.due.first().filter(|(due, _)| *due <= nanos(now))?;
        let open = self.spans.get(id);
        debug_assert!(open.is_some(), "span {id:016x} is due and not open");
        Some((*id, *open?))
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| Duration::from_nanos(*due))
    }

    /// Removes what a source has open.
    pub(super) fn remove_all_of(&mut self, source: SourceNo) {
        let spans = &mut self.spans;
        self.due.retain(|(_, id)| {
            let is_its = spans.get(id).is_some_and(|open| open.source == source);
            if is_its {
                spans.remove(id);
            }
            !is_its
        });
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.most > SHRINK_ABOVE && self.spans.len() < self.most / SHRINK_AT {
            self.spans.shrink_to(2 * self.spans.len());
            self.most = self.spans.len();
        }
    }
}

impl Open {
    /// Believes it until some time, but not beyond its own timeout.
    fn believe(&mut self, until: Duration, why: Why) {
        let until = nanos(until);
        (self.due, self.why) = if self.timeout <= until {
            (self.timeout, Why::Timeout)
        } else {
            (until, why)
        };
    }
}

fn nanos(time: Duration) -> Nanos {
    Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX)
}
