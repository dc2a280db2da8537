//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// The first pause: a collector that was merely restarted is found again before anybody has noticed.
const FIRST: Duration = Duration::from_millis(50);

/// No pause is longer. It is short because what the monitor shows is only of use before the first timeout.
pub(crate) const LONGEST: Duration = Duration::from_millis(500);

/// Doubles from [`FIRST`] to [`LONGEST`].
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The pause before the next attempt.
    pub(crate) fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn never_above_the_longest_and_never_shorter_than_before(attempts in 1_usize..1_000) {
            let mut backoff = Backoff::default();
            let pauses: Vec<_> = (0..attempts).map(|_| backoff.pause()).collect();
            assert_eq!(pauses[0], FIRST);
            assert!(pauses.is_sorted());
            assert!(pauses.iter().all(|pause| *pause <= LONGEST));
        }
    }
}
