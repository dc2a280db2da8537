//! On what dead tasks depend: an accepted call on its handlers, a queued one on every holder, a group on all its calls.
//!
//! Resources stand between those who wait and those who hold, so that there are never waiters × holders edges; what hangs
//! together through them is the same.

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::NodeFiltered;

use crate::explain::dead_part::{DeadPart, DependsOn, ResourceNo, TaskNo};

/// A dead task, or a resource for which one is queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Task(TaskNo),
    Resource(ResourceNo),
}

/// From each node to those on which it depends. Of the whole dead part, the node of a task has its number, and the nodes of
/// the resources come after all tasks.
pub(super) type Dependencies = DiGraph<Node, ()>;

/// Traces the dependencies within parts of the dead part. Keeps its memory between them, so that a small part costs little.
#[derive(Debug)]
pub(super) struct Tracing<'a> {
    dead: &'a DeadPart,
    /// The node of each task and resource of the part; `None` for those outside.
    tasks: Vec<Option<NodeIndex>>,
    resources: Vec<Option<NodeIndex>>,
    /// The units of each resource that the part occupies.
    held: Vec<u64>,
}

impl<'a> Tracing<'a> {
    pub(super) fn new(dead: &'a DeadPart) -> Self {
        Self {
            dead,
            tasks: vec![None; dead.tasks.len()],
            resources: vec![None; dead.resources.len()],
            held: vec![0; dead.resources.len()],
        }
    }

    /// The dependencies of all dead tasks.
    pub(super) fn of_all(&mut self) -> Dependencies {
        self.among(&(0..self.dead.tasks.len()).collect::<Vec<_>>())
    }

    /// The dependencies of tasks that stay dead if everything outside them is live. Sorted by number.
    pub(super) fn among(&mut self, part: &[TaskNo]) -> Dependencies {
        let mut graph = Dependencies::with_capacity(part.len(), part.len());
        for task in part {
            self.tasks[*task] = Some(graph.add_node(Node::Task(*task)));
            for (resource, units) in self.dead.occupations(*task) {
                self.held[*resource] = self.held[*resource].saturating_add(*units);
            }
        }
        for task in part {
            self.add_waits(*task, &mut graph);
        }
        for task in part {
            for (resource, _) in self.dead.occupations(*task) {
                if let (Some(resource), Some(holder)) = (self.resources[*resource], self.tasks[*task]) {
                    graph.add_edge(resource, holder, ());
                }
            }
        }
        self.forget(part, &graph);
        graph
    }

    fn add_waits(&mut self, task: TaskNo, graph: &mut Dependencies) {
        let Some(from) = self.tasks[task] else { return };
        for (place, group) in self.dead.groups(task) {
            let mut dead = 0;
            let mut total = 0;
            for (_, call) in self.dead.waits_of_group(place) {
                total += 1;
                dead += usize::from(!self.can_finish(self.dead.depends_on(call)));
            }
            if total - dead >= group.lacks {
                continue;
            }
            for (_, call) in self.dead.waits_of_group(place) {
                let on = self.dead.depends_on(call);
                if self.can_finish(on) {
                    continue;
                }
                match on {
                    DependsOn::Handlers(handlers) => {
                        for handler in handlers.iter().filter_map(|handler| self.tasks[*handler]) {
                            graph.add_edge(from, handler, ());
                        }
                    }
                    DependsOn::Units { resource, .. } => {
                        let known = &mut self.resources[resource];
                        let node = *known.get_or_insert_with(|| graph.add_node(Node::Resource(resource)));
                        graph.add_edge(from, node, ());
                    }
                }
            }
        }
    }

    /// Whether a call can finish if everything outside the part is live and nothing inside it is.
    fn can_finish(&self, on: DependsOn<'_>) -> bool {
        match on {
            DependsOn::Handlers(handlers) => handlers.iter().any(|handler| self.tasks[*handler].is_none()),
            DependsOn::Units { resource, needed } => {
                self.dead.resources[resource]
                    .capacity
                    .saturating_sub(self.held[resource])
                    >= needed
            }
        }
    }

    fn forget(&mut self, part: &[TaskNo], graph: &Dependencies) {
        for task in part {
            self.tasks[*task] = None;
            for (resource, _) in self.dead.occupations(*task) {
                self.held[*resource] = 0;
            }
        }
        for node in graph.node_weights() {
            if let Node::Resource(resource) = node {
                self.resources[*resource] = None;
            }
        }
    }
}

/// The tasks of each strongly connected component, sorted; the components by their first tasks. Whatever no cycle depends
/// on is left out.
///
/// By Kosaraju's algorithm, since petgraph's version of Tarjan's recurses as deep as its graph.
pub(super) fn components(dependencies: &Dependencies) -> Vec<Vec<TaskNo>> {
    let tasks = |component: Vec<NodeIndex>| {
        let mut tasks: Vec<TaskNo> = component
            .into_iter()
            .filter_map(|node| match dependencies[node] {
                Node::Task(task) => Some(task),
                Node::Resource(_) => None,
            })
            .collect();
        tasks.sort_unstable();
        tasks
    };
    let is_awaited = awaited_by_a_cycle(dependencies);
    let within = NodeFiltered::from_fn(dependencies, |node: NodeIndex| is_awaited[node.index()]);
    let mut components: Vec<Vec<TaskNo>> = kosaraju_scc(&within).into_iter().map(tasks).collect();
    // A resource between two cycles is a component without a task.
    components.retain(|component| !component.is_empty());
    components.sort_unstable_by_key(|component| component.first().copied());
    components
}

/// Whether each node is on a cycle, or depended on by one. Most victims are neither, and are left out with little effort:
/// again and again whoever nobody depends on.
fn awaited_by_a_cycle(dependencies: &Dependencies) -> Vec<bool> {
    let mut dependents = vec![0_usize; dependencies.node_count()];
    for edge in dependencies.raw_edges() {
        dependents[edge.target().index()] += 1;
    }
    let mut next: Vec<NodeIndex> = dependencies
        .node_indices()
        .filter(|node| dependents[node.index()] == 0)
        .collect();
    while let Some(node) = next.pop() {
        for on in dependencies.neighbors(node) {
            dependents[on.index()] -= 1;
            if dependents[on.index()] == 0 {
                next.push(on);
            }
        }
    }
    dependents.into_iter().map(|number| number > 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_no_cycle_depends_on_is_left_out() {
        // 0 → 1 → 2 ⇄ 3 → 4 → 5 ⇄ 6
        let mut dependencies = Dependencies::new();
        let nodes: Vec<NodeIndex> = (0..7).map(|task| dependencies.add_node(Node::Task(task))).collect();
        for (from, to) in [(0, 1), (1, 2), (2, 3), (3, 2), (3, 4), (4, 5), (5, 6), (6, 5)] {
            dependencies.add_edge(nodes[from], nodes[to], ());
        }
        let awaited = [false, false, true, true, true, true, true];
        assert_eq!(awaited_by_a_cycle(&dependencies), awaited);
        assert_eq!(components(&dependencies), [vec![2, 3], vec![4], vec![5, 6]]);
    }
}
