//! When to look whether a source has been silent for long.

use std::collections::BTreeSet;
use std::time::Duration;

use super::SourceNo;

/// When to look after which source.
///
/// A source that speaks is not moved, which would cost more than what it says: it is looked after too early, and noted
/// again then.
#[derive(Debug, Default)]
pub(super) struct Silent(BTreeSet<(Duration, SourceNo)>);

impl Silent {
    pub(super) fn note(&mut self, at: Duration, source: SourceNo) {
        self.0.insert((at, source));
    }

    pub(super) fn remove(&mut self, at: Duration, source: SourceNo) {
        self.0.remove(&(at, source));
    }

    /// The first that is to be looked after by now.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<SourceNo> {
        let (at, source) = *self.0.first()?;
        if at > now {
            return None;
        }
        self.0.pop_first();
        Some(source)
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.0.first().map(|(at, _)| *at)
    }
}
