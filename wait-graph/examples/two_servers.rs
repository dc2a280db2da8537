//! Two servers that call each other, event by event, and a drawing of the deadlock for Graphviz.
//!
//! `cargo run -p standoff-wait-graph --example two_servers`

use std::time::Duration;

use standoff_wait_graph::{
    Call, CallState, Capacity, Change, DeadTask, Deadlock, Episodes, Event, Handle, InstanceId, Limits, Parent, Role,
    Span, SpanId, TraceId, WaitGraph, to_dot,
};

const CLIENT: InstanceId = InstanceId(1);
const SERVICE_A: InstanceId = InstanceId(2);
const SERVICE_B: InstanceId = InstanceId(3);

#[expect(clippy::print_stdout, reason = "an example is there to show something")]
fn main() {
    let mut graph = WaitGraph::new(Limits::default());
    for (instance, service) in [(CLIENT, "client"), (SERVICE_A, "service-a"), (SERVICE_B, "service-b")] {
        graph.describe_instance(instance, service.into());
    }
    let mut episodes = Episodes::default();
    for (millis, said, event) in history() {
        let now = Duration::from_millis(millis);
        println!("{millis:>5} ms  {said}");
        graph.apply(now, &event);
        for change in episodes.update(graph.deadlocks()) {
            match change {
                Change::Opened { id, deadlock } => {
                    println!("{}", report(id, &deadlock, now, &graph));
                    println!("{}", to_dot(std::slice::from_ref(&*deadlock)));
                }
                Change::Closed { id } => println!("          no longer deadlocked: {id:016x}"),
                Change::Continued { id, .. } | Change::Merged { id, .. } => println!("          changed: {id:016x}"),
            }
        }
    }
}

/// What happens, and when.
fn history() -> Vec<(u64, &'static str, Event)> {
    let a = "{:server_a, 42}";
    let b = "{:server_b, 42}";
    vec![
        (0, "the client calls A", started(1, CLIENT, None, call(a))),
        (1, "A handles it", started(2, SERVICE_A, from(1), handle(a))),
        (2, "A calls B", started(3, SERVICE_A, within(2), call(b))),
        (3, "B handles it", started(4, SERVICE_B, from(3), handle(b))),
        (
            4,
            "B calls A, which is waiting",
            started(5, SERVICE_B, within(4), call(a)),
        ),
        (5004, "B gives up", Event::Finished(SpanId(5))),
    ]
}

fn report(id: u64, deadlock: &Deadlock, now: Duration, graph: &WaitGraph) -> String {
    let mut lines = vec![format!("          deadlock {id:016x}: {}", deadlock.summary())];
    lines.extend(deadlock.core.iter().map(|task| describe("core  ", task)));
    lines.extend(deadlock.victims.iter().map(|task| describe("victim", task)));
    for (name, count) in &deadlock.blast {
        lines.push(format!(
            "          {count} of {} victims: {name}",
            deadlock.victims_total
        ));
    }
    let timeouts = deadlock.waits().filter_map(|wait| wait.timeout_at);
    lines.extend(
        timeouts
            .min()
            .map(|at| format!("          the first timeout fires in {:?}", at.saturating_sub(now))),
    );
    let capacity = graph.resource("{:server_a, 42}").map(|resource| resource.capacity);
    if let Some(Capacity::Declared(units)) = capacity {
        lines.push(format!("          {{:server_a, 42}} has {units} unit"));
    }
    lines.join("\n")
}

fn describe(part: &str, task: &DeadTask) -> String {
    let waits: Vec<String> = task
        .waits
        .iter()
        .map(|wait| {
            let state = match wait.state {
                CallState::Queued => "queued",
                CallState::Accepted => "accepted",
                CallState::Answered => "answered",
                CallState::Orphaned => "orphaned",
            };
            format!("{} ({state})", wait.target.as_deref().unwrap_or("something unknown"))
        })
        .collect();
    format!(
        "          {part} {} waits for {}",
        task.canonical_name(),
        waits.join(", ")
    )
}

fn started(id: u64, instance: InstanceId, parent: Option<Parent>, role: Role) -> Event {
    Event::Started(Span {
        id: SpanId(id),
        trace: TraceId(1),
        instance,
        parent,
        task: None,
        name: "request 42".into(),
        conversation: None,
        role,
        started_at: Duration::from_millis(id - 1),
    })
}

fn within(id: u64) -> Option<Parent> {
    Some(Parent {
        id: SpanId(id),
        remote: false,
    })
}

fn from(id: u64) -> Option<Parent> {
    Some(Parent {
        id: SpanId(id),
        remote: true,
    })
}

fn call(target: &str) -> Role {
    let timeout = Some(Duration::from_secs(5));
    Role::Call(Call {
        target: Some(target.into()),
        units: 1,
        group: None,
        detached: false,
        timeout,
    })
}

fn handle(name: &str) -> Role {
    Role::Handle(Handle {
        resources: vec![name.into()],
        capacity: None,
    })
}
