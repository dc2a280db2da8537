//! The engine, fed with what a simulation tells. The only place that knows both.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use standoff_script as script;
use standoff_wait_graph::{
    Call, DeadTask, Deadlock, Event, Handle, Hold, InstanceId, Limits, Parent, Quorum, Role, Settled, Span, SpanId,
    TraceId, WaitGraph, WaitGroup,
};

/// A wait graph of a run.
pub(crate) struct Engine {
    graph: WaitGraph,
}

impl Engine {
    pub(crate) fn of(run: &script::Simulation) -> Self {
        let mut graph = WaitGraph::new(Limits::default());
        for (instance, service) in run.instances() {
            graph.describe_instance(InstanceId(instance.0), Arc::clone(service));
        }
        Self { graph }
    }

    pub(crate) fn apply(&mut self, at: Duration, event: &script::Event) {
        self.graph.apply(at, &translate(at, event));
        let mut now = at;
        while let Settled::PassDueAt(due_at) = self.graph.settle(now) {
            now = due_at;
        }
    }

    pub(crate) fn deadlocks(&self) -> Vec<Deadlock> {
        self.graph.deadlocks()
    }

    /// All tasks that it takes to be dead.
    pub(crate) fn dead(&self) -> BTreeSet<script::SpanId> {
        let ids = |tasks: &[DeadTask]| tasks.iter().map(|task| script::SpanId(task.id.0)).collect::<Vec<_>>();
        self.deadlocks()
            .iter()
            .flat_map(|deadlock| [ids(&deadlock.core), ids(&deadlock.victims)])
            .flatten()
            .collect()
    }

    /// What the engine found odd. A run tells nothing odd.
    pub(crate) fn anomalies(&self) -> u64 {
        self.graph.anomalies().total()
    }
}

fn translate(at: Duration, event: &script::Event) -> Event {
    match event {
        script::Event::Started(span) => Event::Started(Span {
            id: SpanId(span.id.0),
            trace: TraceId(span.trace.into()),
            instance: InstanceId(span.instance.0),
            parent: span.parent.map(|parent| Parent {
                id: SpanId(parent.id.0),
                remote: parent.is_remote,
            }),
            task: None,
            name: Arc::clone(&span.name),
            conversation: None,
            role: role(&span.role),
            started_at: at,
        }),
        script::Event::Finished(id) => Event::Finished(SpanId(id.0)),
        script::Event::Gone(instance) => Event::InstanceGone(InstanceId(instance.0)),
    }
}

fn role(role: &script::Role) -> Role {
    match role {
        script::Role::Client => Role::Structural,
        script::Role::Handle { resource, capacity } => Role::Handle(Handle {
            resources: vec![Arc::clone(resource)],
            capacity: Some(*capacity),
        }),
        script::Role::Call { target, group, timeout } => Role::Call(Call {
            target: Some(Arc::clone(target)),
            units: 1,
            group: group.as_ref().map(|group| WaitGroup {
                name: Arc::clone(&group.name),
                quorum: Some(Quorum {
                    needed: group.needed,
                    size: group.size,
                }),
            }),
            detached: false,
            timeout: *timeout,
        }),
        script::Role::Hold { resource, capacity } => Role::Hold(Hold {
            resources: vec![Arc::clone(resource)],
            capacity: Some(*capacity),
            units: 1,
        }),
    }
}
