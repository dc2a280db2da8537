//! What has to stand for a while before it is asked about, or told: because somebody may just be joining, because the collector
//! has just been started, or because somebody is concerned who cannot be asked. What the latter would say is on its way by
//! itself, so time counts only while that can arrive.

use std::time::Duration;

use standoff_protocol::api::Resolution;
use standoff_wait_graph::{CallState, DeadWait, InstanceId};

use super::judgement::Suspect;
use super::{Detector, GAPS_PER_SETTLE, START_SETTLE};
use crate::alerts::EpisodeId;
use crate::confirm::Questions;
use crate::departures::LATE_REPORT;

impl Detector {
    /// Before when a core may not be asked about: somebody who could serve its queued calls may just be joining, or, when
    /// the collector has just started, may not have been heard of yet.
    pub(super) fn settled_at(&self, suspect: &Suspect) -> Duration {
        let queued = || {
            let waits = suspect.deadlock.core.iter().flat_map(|task| &task.waits);
            waits.filter(|wait| wait.in_core && wait.state == CallState::Queued)
        };
        let lease_after_start = self.started_at + self.times.lease;
        if queued().next().is_none() {
            return Duration::ZERO;
        }
        if !queued()
            .filter_map(|wait| wait.target.as_deref())
            .any(|target| self.graph.may_gain_units(target))
        {
            return if self.awaited.is_empty() {
                Duration::ZERO
            } else {
                lease_after_start
            };
        }
        if !self.awaited.is_empty() {
            return Duration::MAX;
        }
        // Of a member of somebody who cannot be asked it is told later.
        let settle = if self.instances.has_unasked() {
            self.times.settle
        } else {
            Duration::ZERO
        };
        let settled = suspect.since + self.times.pool_settle.max(settle);
        if self.remembers {
            settled
        } else {
            settled.max(self.started_at + START_SETTLE)
        }
    }

    /// The same because of those who cannot be asked: what they have to say may still be on its way. While one of them has no
    /// connection, or something of him is missing, nobody knows how long that takes.
    pub(super) fn settled_unasked_at(&self, suspect: &Suspect, questions: &Questions) -> Duration {
        let mut unasked = questions.unasked().map(|id| self.instances.get(id));
        unasked
            .try_fold(Duration::ZERO, |settled_at, instance| {
                let instance = instance.filter(|it| it.is_synced())?;
                let stands_since = suspect.since.max(instance.steady_since).max(self.awake_since);
                Some(settled_at.max(stands_since + self.times.settle))
            })
            .unwrap_or(Duration::MAX)
    }

    /// Fires what nobody can be asked about, once it has stood for long enough.
    pub(super) fn fire_settled(&mut self, now: Duration) {
        if self.settled(now).is_empty() {
            return;
        }
        // Whatever has come by now must be in the graph's verdict first.
        if self.dirty {
            self.evaluate(now, Resolution::Finished);
        }
        if self.graph.is_behind() {
            return;
        }
        for episode in self.settled(now) {
            self.fire(now, episode);
        }
    }

    pub(super) fn settled(&self, now: Duration) -> Vec<EpisodeId> {
        self.confirmations.settled(now, |id| self.instances.heartbeat_at(id))
    }

    /// Whether somebody who cannot be asked may have answered a call before the collector was started again, and was there to
    /// hear of it.
    pub(super) fn may_have_ended_unheard(&self, wait: &DeadWait) -> bool {
        let is_old = self.remembers && wait.started_at <= self.started_at + LATE_REPORT;
        let servers = wait
            .target
            .as_deref()
            .filter(|_| is_old && self.instances.has_unasked());
        servers.is_some_and(|target| {
            self.graph
                .servers(target)
                .into_iter()
                .any(|id| !self.instances.answers(id))
        })
    }

    /// A suspicion about somebody who cannot be asked is worth as much as what is known of him.
    pub(super) fn sync_changed(&mut self, id: InstanceId) {
        self.dirty |= !self.instances.answers(id);
    }

    /// Whether the collector itself did not run when it wanted to. What would refute a suspicion may have waited.
    pub(super) fn has_not_run(&self, now: Duration, gap: Duration) -> bool {
        let late = self.times.settle / GAPS_PER_SETTLE;
        let wanted = || self.wake_at(now.saturating_sub(gap));
        self.instances.has_unasked() && gap > late && now > wanted() + late
    }
}
