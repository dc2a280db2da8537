//! From the engine's report to the shapes of the HTTP API.

use std::time::Duration;

use jiff::Timestamp;
use standoff_protocol::api::{self, Alert, AlertState, Evidence, Kind, Severity};
use standoff_wait_graph::{CallState, Capacity, DeadTask, DeadWait, Deadlock, Resource};

use crate::alerts::EpisodeId;
use crate::clock::timestamp;
use crate::instances::Instances;

/// A deadlock as the alert of an episode that has just been suspected.
pub(crate) fn alert(
    id: EpisodeId,
    detected_at: Duration,
    deadlock: &Deadlock,
    instances: &Instances,
    evidence: Evidence,
) -> Alert {
    Alert {
        id: hex(id),
        fingerprint: hex(deadlock.fingerprint()),
        occurrences: 0,
        kind: Kind::Deadlock,
        pattern: hex(deadlock.pattern()),
        state: AlertState::Suspected,
        severity: Severity::Critical,
        confirmation: None,
        detected_at: timestamp(detected_at),
        fired_at: None,
        resolved_at: None,
        resolution: None,
        first_timeout_at: first_timeout(deadlock),
        summary: deadlock.summary(),
        core: deadlock.core.iter().map(|it| task(it, instances)).collect(),
        resources: deadlock.resources.iter().map(resource).collect(),
        victims: deadlock.victims.iter().map(|it| task(it, instances)).collect(),
        victims_total: deadlock.victims_total,
        evidence,
        acknowledged: None,
    }
}

/// Ids and fingerprints as the API writes them.
pub(crate) fn hex(id: u64) -> String {
    format!("{id:016x}")
}

fn first_timeout(deadlock: &Deadlock) -> Option<Timestamp> {
    let waits = deadlock
        .core
        .iter()
        .flat_map(|task| &task.waits)
        .filter(|wait| wait.in_core);
    waits.filter_map(|wait| wait.timeout_at).min().map(timestamp)
}

fn task(task: &DeadTask, instances: &Instances) -> api::Task {
    let identity = instances.get(task.instance).map(|it| &it.identity);
    api::Task {
        task: task.id.to_string(),
        trace_id: task.trace.to_string(),
        name: task.name.to_string(),
        resources: task.resources.iter().map(ToString::to_string).collect(),
        service: identity.map(|it| it.service.clone()).unwrap_or_default(),
        instance: identity.map(|it| it.key.instance_id.clone()).unwrap_or_default(),
        waits: task.waits.iter().map(wait).collect(),
    }
}

fn wait(wait: &DeadWait) -> api::Wait {
    api::Wait {
        span_id: wait.call.to_string(),
        trace_id: wait.trace.to_string(),
        name: wait.name.to_string(),
        target: wait.target.as_deref().map(Into::into),
        state: match wait.state {
            CallState::Queued => api::CallState::Queued,
            CallState::Accepted => api::CallState::Accepted,
            CallState::Answered => api::CallState::Answered,
            CallState::Orphaned => api::CallState::Orphaned,
        },
        blocked_by: wait.blocked_by.iter().map(ToString::to_string).collect(),
        group: wait.group.as_ref().map(|(name, quorum)| api::Group {
            name: name.to_string(),
            needed: quorum.needed,
            size: quorum.size,
        }),
        started_at: timestamp(wait.started_at),
        timeout_at: wait.timeout_at.map(timestamp),
    }
}

fn resource(resource: &Resource) -> api::Resource {
    api::Resource {
        name: resource.name.to_string(),
        capacity: match resource.capacity {
            Capacity::Unknown => None,
            Capacity::Declared(units) | Capacity::Counted(units) => Some(units),
        },
        held: resource.held,
        queued: resource.queued,
    }
}
