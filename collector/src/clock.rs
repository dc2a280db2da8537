//! The collector's only clock: wall time when it started, monotonic from there on.
//!
//! The engine and everything around it take `now` as an argument; only the owner's loop and the borders read this.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::{SignedDuration, Timestamp};

/// Gives the time since the Unix epoch, and never goes backwards.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    started_since_epoch: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
            started_since_epoch: Self::since_epoch(),
        }
    }

    pub(crate) fn now(&self) -> Duration {
        self.started_since_epoch + self.started.elapsed()
    }

    /// What the wall clock says, which is set now and then: to compare with the clocks of others.
    pub(crate) fn since_epoch() -> Duration {
        // A machine whose clock stands before 1970 has no better idea of the date either.
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }

    /// The moment at which [`Clock::now`] is `at`.
    pub(crate) fn instant(&self, at: Duration) -> Instant {
        self.started + at.saturating_sub(self.started_since_epoch)
    }
}

/// How the API writes a time of [`Clock`].
pub(crate) fn timestamp(at: Duration) -> Timestamp {
    SignedDuration::try_from(at)
        .ok()
        .and_then(|at| Timestamp::from_duration(at).ok())
        .unwrap_or(Timestamp::MAX)
}
