//! How long to wait before the next attempt to connect.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(50);

/// The longest wait: a collector that has come back is to hear of everyone within a second.
pub(crate) const CAP: Duration = Duration::from_millis(500);

/// Doubles the wait with each attempt, up to [`CAP`]. It draws no random numbers itself.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// The wait before the next attempt. `jitter`, from 0 to 1, shortens it by up to half, so that the instances that
    /// have lost the same collector do not all come back at once.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(16)).min(CAP);
        self.attempts = self.attempts.saturating_add(1);
        full.mul_f64(1.0 - 0.5 * jitter.clamp(0.0, 1.0))
    }

    /// The attempt was a success: begin anew.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_doubles_up_to_the_cap() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..6).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 500, 500]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_millis(), 25);
    }

    proptest! {
        #[test]
        fn never_above_the_cap_nor_below_half(jitters in prop::collection::vec(-1.0..2.0, 1..100)) {
            let mut backoff = Backoff::default();
            for jitter in jitters {
                let wait = backoff.next(jitter);
                prop_assert!((FIRST / 2..=CAP).contains(&wait), "{wait:?}");
            }
        }
    }
}
