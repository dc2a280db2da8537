//! When there may be a pass over the whole graph.

use std::time::Duration;

/// However many events ask for one, passes are no closer than this.
const FULL_PASS_SPACING: Duration = Duration::from_millis(10);

/// A pass over so many open spans takes about a millisecond. With more, passes are further apart, so that they never take
/// more than a small part of the time.
const PASS_SPANS: usize = 1 << 15;

/// The time of the last pass.
#[derive(Debug, Default)]
pub(super) struct Pacing {
    last: Option<Duration>,
}

impl Pacing {
    /// Whether there may be a pass over so many open spans now. The error is when there may be one.
    pub(super) fn may_pass(&mut self, now: Duration, open_spans: usize) -> Result<(), Duration> {
        let factor = u32::try_from(open_spans / PASS_SPANS)
            .unwrap_or(u32::MAX)
            .saturating_add(1);
        let spacing = FULL_PASS_SPACING.saturating_mul(factor);
        match self.last.map(|last| last.saturating_add(spacing)) {
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
        assert_eq!(pacing.may_pass(ms(3), 9), Ok(()));
        assert_eq!(pacing.may_pass(ms(12), 9), Err(ms(13)));
        assert_eq!(pacing.may_pass(ms(13), 9), Ok(()));
        assert_eq!(pacing.may_pass(ms(30), 1 << 16), Err(ms(43)));
    }
}
