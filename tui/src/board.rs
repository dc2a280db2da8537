//! The alerts that the monitor knows: those that stand, and those it has seen end.
//!
//! Owns their order and their limits. Knows neither selection nor screen.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use jiff::Timestamp;
use standoff_protocol::api::{Alert, AlertState};

/// The most standing alerts that are kept, newest first. A storm beyond that is not read line by line; their number
/// is shown.
pub(crate) const STANDING_MAX: usize = 1_000;

/// The most ended alerts that are kept: a few screens, so that one sees what has just happened.
pub(crate) const ENDED_MAX: usize = 100;

/// An alert as the monitor last heard of it.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) alert: Alert,
    /// Set when a snapshot no longer held this alert although nobody had said how it ended: it ended while the monitor
    /// was not connected, or the collector was restarted and has not found it again yet.
    pub(crate) missed_at: Option<Timestamp>,
}

/// How an alert stands, as far as the monitor can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Firing,
    Suspected,
    /// No longer reported, and how it ended was not seen.
    Missed,
    Resolved,
}

impl Entry {
    pub(crate) fn standing(&self) -> Standing {
        match (self.alert.state, self.missed_at) {
            (AlertState::Resolved, _) => Standing::Resolved,
            (_, Some(_)) => Standing::Missed,
            (AlertState::Firing, None) => Standing::Firing,
            (AlertState::Suspected, None) => Standing::Suspected,
        }
    }

    /// When it ended, as far as the monitor can tell; `None` while it stands.
    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        match self.standing() {
            Standing::Firing | Standing::Suspected => None,
            Standing::Missed => self.missed_at,
            Standing::Resolved => Some(self.alert.resolved_at.unwrap_or(self.alert.detected_at)),
        }
    }

    fn stands(&self) -> bool {
        self.ended_at().is_none()
    }

    /// Firing first, then suspected, then those that have ended; the newest of each first.
    fn rank(&self) -> (bool, bool, Reverse<Timestamp>, &str) {
        let suspected = self.standing() == Standing::Suspected;
        let since = self
            .ended_at()
            .or(self.alert.fired_at)
            .unwrap_or(self.alert.detected_at);
        (!self.stands(), suspected, Reverse(since), &self.alert.id)
    }
}

/// All entries in the order in which they are shown.
#[derive(Debug, Default)]
pub(crate) struct Board {
    entries: Vec<Entry>,
    /// Standing alerts that were reported and not kept, since the last snapshot.
    not_kept: u64,
}

impl Board {
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(crate) fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.alert.id == id)
    }

    pub(crate) fn count(&self, standing: Standing) -> u64 {
        self.entries.iter().filter(|entry| entry.standing() == standing).count() as u64
    }

    /// Standing alerts beyond [`STANDING_MAX`].
    pub(crate) fn not_kept(&self) -> u64 {
        self.not_kept
    }

    /// Takes over what a snapshot says: these alerts fire, and no others.
    pub(crate) fn replace(&mut self, alerts: Vec<Alert>, now: Timestamp) {
        let reported: BTreeSet<_> = alerts.iter().map(|alert| alert.id.as_str()).collect();
        self.entries.retain(|entry| !reported.contains(entry.alert.id.as_str()));
        for entry in self.entries.iter_mut().filter(|entry| entry.stands()) {
            entry.missed_at = Some(now);
        }
        self.not_kept = 0;
        self.entries
            .extend(alerts.into_iter().map(|alert| Entry { alert, missed_at: None }));
        self.tidy();
    }

    /// Takes over what is said about one alert.
    pub(crate) fn put(&mut self, alert: Alert) {
        self.entries.retain(|entry| entry.alert.id != alert.id);
        self.entries.push(Entry { alert, missed_at: None });
        self.tidy();
    }

    fn tidy(&mut self) {
        self.entries.sort_by(|a, b| a.rank().cmp(&b.rank()));
        let standing = self.entries.iter().take_while(|entry| entry.stands()).count();
        let excess = standing.saturating_sub(STANDING_MAX);
        self.entries.drain(standing - excess..standing);
        self.not_kept += excess as u64;
        self.entries.truncate(standing - excess + ENDED_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use standoff_protocol::api::Resolution;

    use super::*;
    use crate::sample;

    fn alert(id: &str, after: Duration) -> Alert {
        let ring = sample::ring();
        Alert {
            id: id.to_owned(),
            fired_at: ring.fired_at.map(|at| at + after),
            ..ring
        }
    }

    fn ids(board: &Board) -> Vec<&str> {
        board.entries().iter().map(|entry| entry.alert.id.as_str()).collect()
    }

    #[test]
    fn firing_first_and_the_newest_first() {
        let mut board = Board::default();
        board.put(alert("old", Duration::ZERO));
        board.put(alert("new", Duration::from_secs(1)));
        board.put(sample::resolved(
            alert("over", Duration::from_secs(2)),
            Resolution::Timeout,
        ));
        let suspect = Alert {
            state: AlertState::Suspected,
            fired_at: None,
            ..alert("suspect", Duration::ZERO)
        };
        board.put(suspect);
        assert_eq!(ids(&board), ["new", "old", "suspect", "over"]);
        assert_eq!(board.count(Standing::Firing), 2);
    }

    #[test]
    fn what_a_snapshot_lacks_was_missed_until_it_is_reported_again() {
        let now = sample::now();
        let mut board = Board::default();
        board.put(alert("a", Duration::ZERO));
        board.replace(vec![alert("b", Duration::ZERO)], now);
        assert_eq!(ids(&board), ["b", "a"]);
        assert_eq!(board.get("a").unwrap().standing(), Standing::Missed);
        board.replace(vec![alert("a", Duration::ZERO)], now);
        assert_eq!(board.get("a").unwrap().standing(), Standing::Firing);
        assert_eq!(board.get("b").unwrap().standing(), Standing::Missed);
    }

    #[test]
    fn both_kinds_are_limited() {
        let mut board = Board::default();
        for n in 0..ENDED_MAX + 5 {
            board.put(sample::resolved(
                alert(&format!("ended {n}"), Duration::ZERO),
                Resolution::Timeout,
            ));
        }
        let storm = (0..STANDING_MAX + 7)
            .map(|n| alert(&format!("{n:05}"), Duration::ZERO))
            .collect();
        board.replace(storm, sample::now());
        assert_eq!(board.count(Standing::Firing), STANDING_MAX as u64);
        assert_eq!(board.not_kept(), 7);
        assert_eq!(board.entries().len(), STANDING_MAX + ENDED_MAX);
    }
}
