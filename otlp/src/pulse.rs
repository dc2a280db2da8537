//! When a receiver gives signs of life of its sources.

use std::time::Duration;

/// When to say of all sources that they are there.
///
/// That says, too, that nothing that came before it is still to be told. After the receiver itself did not run for a while, what
/// was sent to it meanwhile is still to be read, so the sign of life that would come first is left out: until the next one
/// there is time for that.
#[derive(Debug)]
pub struct Pulse {
    every: Duration,
    last: Duration,
    has_skipped: bool,
}

impl Pulse {
    /// Begins at `now`, with a sign of life each `every`.
    pub fn new(now: Duration, every: Duration) -> Self {
        Self {
            every,
            last: now,
            has_skipped: false,
        }
    }

    /// It is time for one, at `now`. Returns whether it may be given. Never left out are two in a row: where everything is slow all the
    /// time, nobody is silent for that.
    pub fn beats(&mut self, now: Duration) -> bool {
        let is_late = now >= self.last + 2 * self.every;
        self.last = now;
        self.has_skipped = is_late && !self.has_skipped;
        !self.has_skipped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beats(at_ms: &[u64]) -> Vec<bool> {
        let mut pulse = Pulse::new(Duration::ZERO, Duration::from_millis(250));
        at_ms.iter().map(|ms| pulse.beats(Duration::from_millis(*ms))).collect()
    }

    #[test]
    fn after_a_stall_the_first_is_left_out() {
        assert_eq!(beats(&[250, 520, 2500, 2750, 3000]), [true, true, false, true, true]);
    }

    #[test]
    fn who_is_always_late_is_not_silent() {
        assert_eq!(beats(&[600, 1200, 1800, 2400]), [false, true, false, true]);
    }
}
