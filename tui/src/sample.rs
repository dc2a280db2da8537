//! A deadlock to design and test with: two services that ask each other over queues, with two replicas each.
//!
//! Shared by the unit tests and by `examples/sample.rs`.

use std::time::Duration;

use jiff::Timestamp;
use standoff_protocol::api::{
    Alert, AlertState, CallState, Confirmation, Evidence, Group, Kind, Resolution, Resource, Severity, Snapshot, Stats,
    Task, Wait,
};

/// A moment 1.2 s after the cycle closed.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_millisecond(1_767_225_601_200).unwrap_or_default()
}

fn at(before_ms: u64) -> Timestamp {
    now() - Duration::from_millis(before_ms)
}

fn wait(id: u64, target: &str, state: CallState, blocked_by: &[u64], open_ms: u64) -> Wait {
    Wait {
        span_id: format!("{id:016x}"),
        trace_id: format!("{:032x}", 0x4bf9_2f35_u64),
        name: format!("call {target}"),
        target: Some(target.to_owned()),
        state,
        blocked_by: blocked_by.iter().map(|task| format!("{task:016x}")).collect(),
        group: None,
        started_at: at(open_ms),
        timeout_at: None,
    }
}

fn timeout(wait: Wait, timeout_ms: u64) -> Wait {
    Wait {
        timeout_at: Some(wait.started_at + Duration::from_millis(timeout_ms)),
        ..wait
    }
}

fn task(id: u64, name: &str, resource: Option<&str>, instance: (&str, u8), waits: Vec<Wait>) -> Task {
    Task {
        task: format!("{id:016x}"),
        trace_id: format!("{:032x}", 0x4bf9_2f35_u64),
        name: name.to_owned(),
        resources: resource.map(str::to_owned).into_iter().collect(),
        service: instance.0.to_owned(),
        instance: format!("{}-{}", instance.0, instance.1),
        waits,
    }
}

/// Four tasks in a ring, of which the two server processes time out, with two victims.
pub(crate) fn ring() -> Alert {
    use CallState::{Accepted, Queued};
    Alert {
        id: "3c59dc048e885024".to_owned(),
        fingerprint: "8f14e45fceea167a".to_owned(),
        occurrences: 2,
        kind: Kind::Deadlock,
        pattern: "a87ff679a2f3e71d".to_owned(),
        state: AlertState::Firing,
        severity: Severity::Critical,
        confirmation: Some(Confirmation::Probed),
        detected_at: at(1_180),
        fired_at: Some(at(1_150)),
        resolved_at: None,
        resolution: None,
        first_timeout_at: Some(at(1_260) + Duration::from_secs(5)),
        summary: "service-a → {:server_a, 42} → service-b → {:server_b, 42} → service-a".to_owned(),
        core: vec![
            task(
                1,
                "process request",
                Some("service-a"),
                ("service-a", 2),
                vec![wait(11, "{:server_a, 42}", Queued, &[2], 1_200)],
            ),
            task(
                2,
                "compute 42",
                Some("{:server_a, 42}"),
                ("service-a", 1),
                vec![timeout(wait(12, "service-b", Accepted, &[3], 1_260), 5_000)],
            ),
            task(
                3,
                "process request",
                Some("service-b"),
                ("service-b", 1),
                vec![wait(13, "{:server_b, 42}", Accepted, &[4], 1_240)],
            ),
            task(
                4,
                "compute 42",
                Some("{:server_b, 42}"),
                ("service-b", 2),
                vec![timeout(wait(14, "service-a", Accepted, &[1], 1_220), 5_000)],
            ),
        ],
        core_total: 4,
        resources: vec![
            Resource {
                name: "service-a".to_owned(),
                capacity: Some(2),
                held: 2,
                queued: 0,
            },
            Resource {
                name: "service-b".to_owned(),
                capacity: Some(2),
                held: 1,
                queued: 0,
            },
            Resource {
                name: "{:server_a, 42}".to_owned(),
                capacity: Some(1),
                held: 1,
                queued: 1,
            },
            Resource {
                name: "{:server_b, 42}".to_owned(),
                capacity: Some(1),
                held: 1,
                queued: 0,
            },
        ],
        resources_total: 4,
        victims: vec![
            task(
                5,
                "request 42",
                None,
                ("runner", 1),
                vec![timeout(wait(15, "service-a", Accepted, &[6], 1_300), 5_000)],
            ),
            task(
                6,
                "process request",
                Some("service-a"),
                ("service-a", 1),
                vec![wait(16, "{:server_a, 42}", Accepted, &[2], 1_280)],
            ),
        ],
        victims_total: 2,
        evidence: Evidence::default(),
        acknowledged: None,
    }
}

/// Two workers that fill a pool and each wait for a unit of it; one of them could do with either of two calls.
pub(crate) fn knot() -> Alert {
    let group = |wait: Wait| Wait {
        group: Some(Group {
            name: "either".to_owned(),
            needed: 1,
            size: 2,
        }),
        ..wait
    };
    let core = vec![
        task(
            0x21,
            "work a",
            Some("workers"),
            ("worker", 1),
            vec![timeout(
                wait(0x31, "workers", CallState::Queued, &[0x21, 0x22], 2_200),
                10_000,
            )],
        ),
        task(
            0x22,
            "work b",
            Some("workers"),
            ("worker", 2),
            vec![
                group(wait(0x32, "workers", CallState::Queued, &[0x21, 0x22], 2_100)),
                group(wait(0x33, "worker-1/control", CallState::Accepted, &[0x21], 2_050)),
            ],
        ),
    ];
    Alert {
        id: "b6d767d2f8ed5d21".to_owned(),
        fingerprint: "98f13708210194c4".to_owned(),
        occurrences: 1,
        severity: Severity::Warning,
        confirmation: Some(Confirmation::Settled),
        detected_at: at(2_000),
        fired_at: Some(at(1_000)),
        first_timeout_at: Some(at(2_200) + Duration::from_secs(10)),
        summary: "workers → workers".to_owned(),
        core,
        core_total: 2,
        resources: vec![Resource {
            name: "workers".to_owned(),
            capacity: Some(2),
            held: 2,
            queued: 2,
        }],
        resources_total: 1,
        victims: Vec::new(),
        victims_total: 0,
        evidence: Evidence {
            events_lost: 12,
            undecided_waits: 1,
            losses: vec![],
        },
        ..ring()
    }
}

/// The same alert, over.
pub(crate) fn resolved(alert: Alert, resolution: Resolution) -> Alert {
    Alert {
        state: AlertState::Resolved,
        resolved_at: alert.first_timeout_at.or(Some(now())),
        resolution: Some(resolution),
        ..alert
    }
}

/// What the collector sees around it.
pub(crate) fn stats() -> Stats {
    Stats {
        open_calls: 7,
        instances: 5,
        instances_silent: 0,
        events_total: 4_711,
        events_lost: 0,
        losses: vec![],
        refuted_total: 0,
    }
}

/// Everything at once.
pub(crate) fn snapshot(alerts: Vec<Alert>) -> Snapshot {
    Snapshot { alerts, stats: stats() }
}
