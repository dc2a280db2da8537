//! What an agent says of itself.

use standoff_protocol::stream::{Heartbeat, Loss, LossCause};

/// What the agent has done since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Calls, handles, holds and members that have started.
    pub captured: u64,
    /// Those of them that are open now.
    pub open: u64,
    /// Starts handed to the connection, each time that they were: a resync hands over everything anew.
    pub reported: u64,
    /// Finishes handed to the connection.
    pub finished: u64,
    /// How often the collector has welcomed this instance.
    pub sessions: u64,
    /// Whether there is a collector now.
    pub connection: Connection,
    /// What could not be kept.
    pub dropped: Dropped,
}

/// Whether there is a collector that listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connection {
    /// Not now; the agent is trying. Also before a tracer provider has been built, which gives the identity.
    #[default]
    Connecting,
    /// The collector has welcomed this instance.
    Connected,
    /// The agent has been shut down.
    Closed,
}

/// What could not be kept, by cause. All but the probes are told to the collector, and stand in the evidence of alerts: a
/// missing deadlock proves nothing where events were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Calls, handles, holds and members that started while too many were open. They stay unknown.
    pub spans: u64,
    /// Spans that only keep the parent chain, while too many were open, or beneath a call that has too many of them.
    /// A span beneath one of these may be taken for a root.
    pub structural: u64,
    /// Finishes that a slow connection had no room for. The full open set made up for them.
    pub finishes: u64,
    /// Questions of the collector that came faster than they could be answered. It asks again.
    pub probes: u64,
}

impl Dropped {
    /// How the collector is told.
    pub(crate) fn heartbeat(&self) -> Heartbeat {
        let by_cause = [
            (LossCause::LibrarySpans, self.spans),
            (LossCause::LibraryParents, self.structural),
            (LossCause::LibraryFinishes, self.finishes),
        ];
        let lost = by_cause.iter().filter(|(_, events)| *events > 0);
        let loss = |(cause, events): &(LossCause, u64)| Loss {
            cause: (*cause).into(),
            events: *events,
        };
        Heartbeat {
            events_lost: by_cause.iter().fold(0, |sum, (_, events)| sum.saturating_add(*events)),
            losses: lost.map(loss).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_told_by_cause_with_their_sum() {
        let dropped = Dropped {
            spans: 3,
            structural: 0,
            finishes: 4,
            probes: 5,
        };
        let heartbeat = dropped.heartbeat();
        let told: Vec<_> = heartbeat
            .losses
            .iter()
            .map(|loss| (loss.cause(), loss.events))
            .collect();
        assert_eq!(told, [(LossCause::LibrarySpans, 3), (LossCause::LibraryFinishes, 4)]);
        assert_eq!(heartbeat.events_lost, 7);
        assert_eq!(Dropped::default().heartbeat(), Heartbeat::default());
    }
}
