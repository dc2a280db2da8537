//! What a run depends on besides its script and its seed.

use std::time::Duration;

use crate::limits::DEFAULT_TIMEOUT;

/// How a world is in which a script runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// After how long a call, or a wait for a pool, gives up where the script does not say. `None`: nobody ever gives
    /// up, whatever the script says, so that a deadlock stays for good.
    pub timeout: Option<Duration>,
    /// How long a request, a reply, or a pool's word that a unit is free may be on its way at most. Each takes a random
    /// time up to this, so they overtake one another.
    pub delay_max: Duration,
    /// Who gets a unit of a pool that is free again. Servers take requests in the order of arrival in any case.
    pub turn: Turn,
    /// Whether instances stand still now and then; `None`: never.
    pub stalls: Option<Stalls>,
}

/// Who of those who wait is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Whoever asked first.
    FirstComeFirstServed,
    /// Anybody.
    Random,
}

/// How instances stand still. What should happen in one meanwhile happens when it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stalls {
    /// Each thing that is to happen in an instance is with this probability, one in so many, put off by a stall. At
    /// least 2.
    pub one_in: u32,
    /// How long a stall takes at most.
    pub duration_max: Duration,
}

/// As scripts are defined: timeouts after five seconds, messages that take no time, pools that are fair, and no stalls.
impl Default for Settings {
    fn default() -> Self {
        Self {
            timeout: Some(DEFAULT_TIMEOUT),
            delay_max: Duration::ZERO,
            turn: Turn::FirstComeFirstServed,
            stalls: None,
        }
    }
}
