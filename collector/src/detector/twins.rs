//! Processes that take part with a library, and besides with telemetry of their own; and what such telemetry says that is not
//! to be taken at its word.

use std::time::Duration;

use standoff_protocol::api::Resolution;
use standoff_protocol::stream::{Finished, Outcome, Started};
use standoff_wait_graph::{Event, InstanceId, Role, SpanId};

use super::Detector;

impl Detector {
    /// A library tells of its process all that there is, so what the process tells besides of its open spans does not count.
    pub(super) fn quiet_twins(&mut self, now: Duration, id: InstanceId) {
        if !self.instances.answers(id) {
            return;
        }
        let twins = self.instances.namesakes(id).filter(|(_, answers)| !answers);
        for twin in twins.map(|it| it.0).collect::<Vec<_>>() {
            if self.graph.open_spans(twin).is_empty() && self.graph.served_by(twin).is_empty() {
                continue;
            }
            self.apply(now, &Event::InstanceGone(twin), Resolution::InstanceLost);
            if let Some(again) = self.instances.renumber(twin)
                && let Some(instance) = self.instances.get(again)
            {
                let service = instance.identity.service.as_str().into();
                self.graph.describe_instance(again, service);
            }
        }
    }

    /// The spans that count of those that an instance says have started.
    pub(super) fn counted(&mut self, id: InstanceId, spans: Vec<Started>) -> Vec<Started> {
        if self.instances.voice_of(id).is_none() {
            return spans;
        }
        if let Some(instance) = self.instances.get_mut(id) {
            instance.told_twice += spans.len() as u64;
        }
        vec![]
    }

    /// Nobody has spoken of a member for long. That does not make its pool smaller: how many units there are would be unknown,
    /// and to count it as there hides as much.
    pub(super) fn outlives_its_news(&self, finished: &Finished) -> bool {
        let span = || self.graph.span(SpanId(finished.span_id));
        finished.outcome() == Outcome::Expired && span().is_some_and(|span| matches!(span.role(), Role::Member(_)))
    }
}
