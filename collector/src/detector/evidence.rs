//! What is to be held against alerts, and against silence: what was lost, and who knows of it.

use standoff_protocol::api::{Evidence, Loss, LossCause};
use standoff_wait_graph::InstanceId;

use super::{Detector, Effect, Published};
use crate::alerts::EpisodeId;
use crate::losses::Counts;

/// So many firing alerts at most are told again in one go, [once a second](super::HOUSEKEEPING_EVERY), because something
/// was lost: in a storm all of them would be, and a listener may be 256 behind.
const TOLD_MAX: usize = 100;

/// What open alerts say of losses.
#[derive(Debug, Default)]
pub(super) struct Told {
    losses: Vec<Loss>,
    /// Those up to this one have been told; none are left to be told if it is absent.
    until: Option<EpisodeId>,
}

impl Detector {
    pub(super) fn evidence(&self) -> Evidence {
        let graph = self.lost_by_graph();
        Evidence {
            events_lost: self.losses.events(&graph),
            undecided_waits: self.graph.undecided_waits() as u64,
            losses: self.losses.shown(&graph),
        }
    }

    fn lost_by_graph(&self) -> Counts {
        let anomalies = self.graph.anomalies();
        let mut counts = Counts::default();
        counts.add(LossCause::GraphSpans, anomalies.refused_starts);
        counts.add(LossCause::GraphMemory, anomalies.forgotten_early);
        counts.add(LossCause::GraphMemory, self.ended.forgotten());
        counts
    }

    /// An instance has lost something.
    pub(super) fn lost(&mut self, id: InstanceId, cause: LossCause, count: u64) {
        match self.instances.get_mut(id) {
            Some(instance) => self.losses.add_of(&mut instance.losses, cause, count),
            None => self.losses.add(cause, count),
        }
    }

    /// Open alerts are to say what was lost since they began, too.
    pub(super) fn tell_evidence(&mut self) {
        self.losses.look(&self.instances);
        let evidence = self.evidence();
        if evidence.losses != self.told.losses {
            self.told.losses.clone_from(&evidence.losses);
            self.told.until = Some(EpisodeId::MIN);
        }
        let Some(until) = self.told.until else { return };
        let (changed, until) = self.alerts.hold_against(until, TOLD_MAX, &evidence);
        self.told.until = until;
        for alert in changed {
            self.effects.push(Effect::Publish(Published::Alert(Box::new(alert))));
        }
    }

    /// Probes that have not been answered.
    pub(super) fn count_unanswered(&mut self) {
        for id in self.confirmations.take_unanswered() {
            self.lost(id, LossCause::Probes, 1);
        }
    }
}
