//! When there may be a pass over the whole graph.

use std::time::Duration;

/// However many events ask for one, passes are no closer than this: a pass over a million waits takes longer, and what
/// it finds is worth waiting so long for.
const FULL_PASS_SPACING: Duration = Duration::from_millis(10);

/// The time of the last pass.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    last: Option<Duration>,
}

impl Pacing {
    /// Whether there may be a pass now. The error is when there may be one.
    pub(super) fn may_pass(&mut self, now: Duration) -> Result<(), Duration> {
        match self.last.map(|last| last.saturating_add(FULL_PASS_SPACING)) {
            Some(due_at) if now < due_at => Err(due_at),
            Some(_) | None => {
                self.last = Some(now);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_are_spaced() {
        let ms = Duration::from_millis;
        let mut pacing = Pacing::default();
        assert_eq!(pacing.may_pass(ms(3)), Ok(()));
        assert_eq!(pacing.may_pass(ms(12)), Err(ms(13)));
        assert_eq!(pacing.may_pass(ms(13)), Ok(()));
    }
}
