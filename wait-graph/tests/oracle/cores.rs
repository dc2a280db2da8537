//! What causes a deadlock, and who merely suffers from it.
//!
//! A core is a strongly connected component of the dead tasks that stays dead even if everything outside it is taken
//! to be live; where only a part of a component does, the same is asked of that part. Looks at the dead part of the
//! picture only.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::kosaraju_scc;
use petgraph::graphmap::DiGraphMap;

use standoff_wait_graph::CallState;

use super::liveness::Liveness;
use super::picture::{Picture, ResourceIndex, TaskIndex};

/// A dead task, or a resource for which one is queued. Resources stand between those who wait and those who hold, so
/// that there are never waiters × holders edges; what hangs together through them is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Node {
    Task(TaskIndex),
    Resource(ResourceIndex),
}

impl Node {
    pub(crate) fn task(self) -> Option<TaskIndex> {
        match self {
            Self::Task(task) => Some(task),
            Self::Resource(_) => None,
        }
    }
}

/// On what dead tasks depend.
pub(crate) type Dependencies = BTreeMap<Node, BTreeSet<Node>>;

/// An accepted call depends on its handlers, a queued one on every dead holder, a group on all its dead calls.
pub(crate) fn dependencies(picture: &Picture, liveness: &Liveness<'_>) -> Dependencies {
    let mut dependencies = Dependencies::new();
    for task in liveness.dead() {
        let on = dependencies.entry(Node::Task(task)).or_default();
        for (_, wait) in liveness.blocking_waits(task) {
            match wait.state {
                CallState::Accepted => on.extend(wait.handlers.iter().map(|(handler, _)| Node::Task(*handler))),
                CallState::Queued => on.extend(wait.target.map(Node::Resource)),
                CallState::Answered | CallState::Orphaned => {}
            }
        }
    }
    let awaited: BTreeSet<Node> = dependencies.values().flatten().copied().collect();
    for node in awaited {
        if let Node::Resource(resource) = node {
            let holders = picture.resources[resource]
                .occupants
                .keys()
                .filter(|task| !liveness.is_live(**task));
            dependencies.insert(node, holders.map(|task| Node::Task(*task)).collect());
        }
    }
    dependencies
}

/// The cores among dead tasks. No two share a task.
pub(crate) fn cores(picture: &Picture, dead: BTreeSet<TaskIndex>) -> Vec<BTreeSet<TaskIndex>> {
    let mut cores = Vec::new();
    let mut parts = vec![dead];
    while let Some(part) = parts.pop() {
        for component in components(&dependencies(picture, &Liveness::among(picture, &part))) {
            let still_dead = Liveness::among(picture, &component).dead();
            if still_dead == component {
                cores.push(component);
            } else if !still_dead.is_empty() {
                parts.push(still_dead);
            }
        }
    }
    cores
}

/// The tasks of each strongly connected component that has a cycle.
///
/// By Kosaraju's algorithm, since petgraph's version of Tarjan's recurses as deep as its graph.
fn components(dependencies: &Dependencies) -> Vec<BTreeSet<TaskIndex>> {
    let mut graph = DiGraphMap::<Node, ()>::new();
    for (node, on) in dependencies {
        graph.add_node(*node);
        for other in on {
            graph.add_edge(*node, *other, ());
        }
    }
    let has_cycle =
        |component: &Vec<Node>| component.len() > 1 || component.iter().any(|node| graph.contains_edge(*node, *node));
    let components = kosaraju_scc(&graph).into_iter().filter(has_cycle);
    components
        .map(|component| component.into_iter().filter_map(Node::task).collect())
        .collect()
}

/// The victims of a core: all other dead tasks that reach it.
pub(crate) fn victims(dependencies: &Dependencies, core: &BTreeSet<TaskIndex>) -> BTreeSet<TaskIndex> {
    let mut dependents: BTreeMap<Node, Vec<Node>> = BTreeMap::new();
    for (node, on) in dependencies {
        for other in on {
            dependents.entry(*other).or_default().push(*node);
        }
    }
    let mut next: Vec<Node> = core.iter().map(|task| Node::Task(*task)).collect();
    let mut reached: BTreeSet<Node> = next.iter().copied().collect();
    while let Some(node) = next.pop() {
        next.extend(
            dependents
                .get(&node)
                .into_iter()
                .flatten()
                .filter(|dependent| reached.insert(**dependent)),
        );
    }
    reached
        .into_iter()
        .filter_map(Node::task)
        .filter(|task| !core.contains(task))
        .collect()
}
