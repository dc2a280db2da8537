//! Waiting longer and longer between attempts, up to a cap.

use std::time::Duration;

/// The first delay before connecting again.
const FIRST: Duration = Duration::from_millis(20);
/// The longest delay: a server that is back is found within this time.
const CAP: Duration = Duration::from_millis(500);

/// The delays between attempts at the same thing: each twice the last, never above the cap.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
}

impl Backoff {
    /// For connecting to a server again.
    pub(crate) fn reconnect() -> Self {
        Self::starting_at(FIRST)
    }

    /// For what usually works at the second attempt.
    pub(crate) fn starting_at(first: Duration) -> Self {
        Self { next: first, first }
    }

    /// After a success, the next failure starts from the first delay.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    fn next_delay(&mut self) -> Duration {
        let delay = self.next.min(CAP);
        self.next = (delay * 2).min(CAP);
        delay
    }

    /// Waits for the next delay.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.next_delay()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_start_anew_after_a_success() {
        let mut backoff = Backoff::reconnect();
        let delays: Vec<Duration> = (0..100).map(|_| backoff.next_delay()).collect();
        assert_eq!(delays[0], FIRST);
        assert_eq!(delays[1], FIRST * 2);
        assert!(delays.iter().all(|delay| *delay <= CAP));
        assert_eq!(delays[99], CAP);
        backoff.reset();
        assert_eq!(backoff.next_delay(), FIRST);
    }
}
