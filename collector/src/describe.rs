//! From the engine's report to the shapes of the HTTP API.

use std::time::Duration;

use jiff::Timestamp;
use standoff_protocol::api::{self, Alert, AlertState, Evidence, Kind, Severity};
use standoff_wait_graph::{CallState, Capacity, DeadTask, DeadWait, Deadlock, Resource};

use crate::alerts::EpisodeId;
use crate::clock::timestamp;
use crate::instances::Instances;

/// The most tasks of a core, and the most of its resources, that an alert lists: every listener gets them, nobody reads
/// more, and with ordinary names they are half a megabyte.
const CORE_LISTED_MAX: usize = 1000;

/// The most waits of a task, and the most of its resources, that are listed.
const OF_TASK_LISTED_MAX: usize = 100;

/// So many waits are listed of a core, and as many of its victims, but for one of each task. Each may be blocked by a
/// hundred tasks: with all of them they are four megabytes.
const WAITS_LISTED_MAX: usize = 2000;

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
        core: tasks(&deadlock.core, instances),
        core_total: deadlock.core.len() as u64,
        resources: deadlock.resources.iter().take(CORE_LISTED_MAX).map(resource).collect(),
        resources_total: deadlock.resources.len() as u64,
        victims: tasks(&deadlock.victims, instances),
        victims_total: deadlock.victims_total,
        evidence,
        acknowledged: None,
    }
}

/// Ids and fingerprints as the API writes them.
pub(crate) fn hex(id: u64) -> String {
    format!("{id:016x}")
}

/// What was lost by cause, for logs. Empty if nothing was.
pub(crate) fn losses(evidence: &Evidence) -> String {
    let losses: Vec<String> = evidence
        .losses
        .iter()
        .map(|it| format!("{} {}", it.cause, it.count))
        .collect();
    losses.join(", ")
}

fn first_timeout(deadlock: &Deadlock) -> Option<Timestamp> {
    let waits = deadlock
        .core
        .iter()
        .flat_map(|task| &task.waits)
        .filter(|wait| wait.in_core);
    waits.filter_map(|wait| wait.timeout_at).min().map(timestamp)
}

/// As many of the first of them as are listed.
fn tasks(tasks: &[DeadTask], instances: &Instances) -> Vec<api::Task> {
    let mut room = WAITS_LISTED_MAX;
    let mut list = |it| {
        let listed = task(it, instances, room.clamp(1, OF_TASK_LISTED_MAX));
        room = room.saturating_sub(listed.waits.len());
        listed
    };
    tasks.iter().take(CORE_LISTED_MAX).map(&mut list).collect()
}

fn task(task: &DeadTask, instances: &Instances, waits_max: usize) -> api::Task {
    let identity = instances.get(task.instance).map(|it| &it.identity);
    api::Task {
        task: task.id.to_string(),
        trace_id: task.trace.to_string(),
        name: task.name.to_string(),
        resources: task
            .resources
            .iter()
            .take(OF_TASK_LISTED_MAX)
            .map(ToString::to_string)
            .collect(),
        service: identity.map(|it| it.service.clone()).unwrap_or_default(),
        instance: identity.map(|it| it.key.instance_id.clone()).unwrap_or_default(),
        waits: waits(&task.waits, waits_max).map(wait).collect(),
    }
}

/// So many of the waits, those of the core before others, in the order in which they are.
fn waits(waits: &[DeadWait], most: usize) -> impl Iterator<Item = &DeadWait> {
    let in_core = waits.iter().filter(|wait| wait.in_core).count().min(most);
    let mut room = [most - in_core, in_core];
    waits.iter().filter(move |wait| {
        let left = &mut room[usize::from(wait.in_core)];
        let is_listed = *left > 0;
        *left = left.saturating_sub(1);
        is_listed
    })
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use standoff_wait_graph::{InstanceId, SpanId, TraceId};

    use super::*;

    /// A ring of so many tasks, each with so many waits, the last of which is the ring's.
    fn ring(tasks: u64, waits: u64) -> Deadlock {
        let wait = |task: u64, number: u64| DeadWait {
            call: SpanId(1_000_000 + task * waits + number),
            trace: TraceId::default(),
            name: "call".into(),
            target: Some(Arc::from(format!("server {}", (task + 1) % tasks))),
            state: CallState::Queued,
            blocked_by: [SpanId((task + 1) % tasks)].into(),
            in_core: number + 1 == waits,
            rests_on: [].into(),
            group: None,
            started_at: Duration::ZERO,
            timeout_at: Some(Duration::from_secs(tasks + 1 - task)),
        };
        let task = |task: u64| DeadTask {
            id: SpanId(task),
            trace: TraceId::default(),
            instance: InstanceId(1),
            service: "".into(),
            name: "task".into(),
            resources: vec![format!("server {task}").into()],
            occupied_by: vec![],
            waits: (0..waits).map(|number| wait(task, number)).collect(),
        };
        let resource = |task: u64| Resource {
            name: format!("server {task}").into(),
            capacity: Capacity::Declared(1),
            held: 1,
            queued: 1,
        };
        Deadlock {
            core: (0..tasks).map(task).collect(),
            victims: vec![],
            victims_total: 0,
            blast: vec![],
            resources: (0..tasks).map(resource).collect(),
        }
    }

    fn described(deadlock: &Deadlock) -> Alert {
        let instances = Instances::default();
        alert(1, Duration::ZERO, deadlock, &instances, Evidence::default())
    }

    #[test]
    fn of_a_large_core_the_first_tasks_are_listed_and_the_rest_is_counted() {
        let deadlock = ring(5000, 1);
        let alert = described(&deadlock);
        let listed: Vec<&str> = alert.core.iter().map(|task| &*task.resources[0]).collect();
        assert_eq!(listed[..2], ["server 0", "server 1"]);
        assert_eq!((listed.len(), alert.core_total), (1000, 5000));
        assert_eq!((alert.resources.len(), alert.resources_total), (1000, 5000));
        // What is said of it is said of all of it.
        assert_eq!(alert.fingerprint, hex(deadlock.fingerprint()));
        assert_eq!(alert.first_timeout_at, Some(timestamp(Duration::from_secs(2))));
    }

    #[test]
    fn the_core_s_own_waits_are_listed_before_others() {
        let alert = described(&ring(2, 5000));
        let of_first = &alert.core[0].waits;
        assert_eq!(of_first.len(), 100);
        assert_eq!(of_first[99].span_id, SpanId(1_004_999).to_string());
        assert_eq!(of_first[98].span_id, SpanId(1_000_098).to_string());
    }

    #[test]
    fn every_task_that_is_listed_has_a_wait_of_the_core() {
        let alert = described(&ring(1000, 100));
        let waits: Vec<usize> = alert.core.iter().map(|task| task.waits.len()).collect();
        assert_eq!((waits[19], waits[20], waits[999]), (100, 1, 1));
        assert_eq!(alert.core[999].waits[0].span_id, SpanId(1_099_999).to_string());
    }

    #[test]
    fn the_json_of_any_core_has_a_bounded_size() {
        let bytes = |deadlock: &Deadlock| serde_json::to_vec(&described(deadlock)).unwrap().len();
        let large = bytes(&ring(20_000, 3));
        assert!(large < 1_500_000, "{large}");
        assert!(bytes(&ring(40_000, 3)) < large + large / 100);
    }
}
