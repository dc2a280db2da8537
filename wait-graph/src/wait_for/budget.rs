//! How much may be looked at between two events.

/// How many steps may be taken for one event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// How many to go in one direction before looking in the other.
    pub(super) first: u32,
    /// In any case.
    pub(super) least: u32,
    /// What every event adds for later ones.
    pub(super) saved: u32,
    /// What can be saved up.
    pub(super) most: u32,
}

/// A step takes some ten nanoseconds, or a hundred where memory is slow. So the least is well below what one event may
/// take at its worst, what is saved is no more than the event itself takes, and the most is what can be taken once
/// without being noticed.
const STEPS: Steps = Steps {
    first: 64,
    least: 1_000,
    saved: 16,
    most: 1 << 16,
};

/// The steps that are left.
#[derive(Debug)]
pub(super) struct Budget {
    left: u32,
    /// Of these, for the current attempt.
    now: u32,
    steps: Steps,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            left: STEPS.least,
            now: 0,
            steps: STEPS,
        }
    }
}

impl Budget {
    /// For the next event.
    pub(super) fn renew(&mut self) {
        let left = self.left.saturating_add(self.steps.saved);
        self.left = left.clamp(self.steps.least, self.steps.most);
    }

    /// How far to go at the first attempt, at the second, and so on.
    pub(super) fn attempts(&self) -> [u32; 3] {
        [self.steps.first, self.steps.first * 16, u32::MAX]
    }

    /// Begins an attempt of so many steps at most.
    pub(super) fn attempt(&mut self, most: u32) {
        self.now = most.min(self.left);
    }

    /// Whether no step is left for this attempt.
    pub(super) fn is_spent(&self) -> bool {
        self.now == 0
    }

    /// Whether no step is left for another attempt.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left == 0
    }

    pub(super) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
        self.now = self.now.saturating_sub(1);
    }

    pub(super) fn left_for_attempt(&self) -> usize {
        self.now as usize
    }

    pub(super) fn left(&self) -> usize {
        self.left as usize
    }

    /// Pays for so many steps of something else than a search. If they are too many nothing is left at all, since it may
    /// have taken as many to count them.
    pub(super) fn affords(&mut self, steps: usize) -> bool {
        let left = self.left().checked_sub(steps);
        self.left = left.unwrap_or(0) as u32;
        left.is_some()
    }

    /// For a full pass there is no limit.
    pub(super) fn lift(&mut self) {
        self.left = u32::MAX;
    }

    pub(super) fn restore(&mut self) {
        self.left = self.steps.least;
    }

    #[cfg(test)]
    pub(super) fn limit(&mut self, steps: Steps) {
        self.steps = steps;
        self.left = steps.least;
    }
}
