//! The order in which a core is told: along its waits.

use petgraph::graph::NodeIndex;

use crate::explain::dead_part::{DeadPart, ResourceNo, TaskNo};
use crate::explain::dependencies::{Dependencies, Node};
use crate::explain::titles::Titles;

/// A core, and what its tasks occupy of the resources that are waited for in vain.
#[derive(Debug)]
pub(super) struct Core<'a> {
    /// By id.
    pub(super) tasks: &'a [TaskNo],
    /// Sorted.
    holders: Vec<(ResourceNo, TaskNo)>,
}

impl<'a> Core<'a> {
    pub(super) fn of(dead: &DeadPart, tasks: &'a [TaskNo]) -> Self {
        let occupations = |task: &TaskNo| {
            let task = *task;
            dead.occupations(task)
                .iter()
                .map(move |(resource, _)| (*resource, task))
        };
        let mut holders: Vec<_> = tasks.iter().flat_map(occupations).collect();
        holders.sort_unstable();
        Self { tasks, holders }
    }

    pub(super) fn contains(&self, task: TaskNo) -> bool {
        self.tasks.binary_search(&task).is_ok()
    }

    /// The tasks of the core that occupy a resource, by id.
    pub(super) fn holders(&self, resource: ResourceNo) -> impl Iterator<Item = TaskNo> {
        let start = self.holders.partition_point(|(other, _)| *other < resource);
        self.holders[start..]
            .iter()
            .take_while(move |(other, _)| *other == resource)
            .map(|(_, task)| *task)
    }

    /// Each task followed by one that it waits for as far as possible: depth first, from the one with the smallest name,
    /// to those with smaller names first. A ring comes out in its order.
    pub(super) fn along_the_waits(
        &self,
        dependencies: &Dependencies,
        titles: &Titles<'_>,
        seen: &mut Seen,
    ) -> Vec<TaskNo> {
        let first = self
            .tasks
            .iter()
            .copied()
            .min_by(|one, other| titles.compare_tasks(*one, *other));
        let mut ordered = Vec::with_capacity(self.tasks.len());
        let mut next: Vec<TaskNo> = first.into_iter().collect();
        let mut on: Vec<TaskNo> = Vec::new();
        while let Some(task) = next.pop() {
            if !seen.insert(NodeIndex::new(task)) {
                continue;
            }
            ordered.push(task);
            for node in dependencies.neighbors(NodeIndex::new(task)) {
                match dependencies[node] {
                    Node::Task(other) if self.contains(other) => on.push(other),
                    // The holders of a resource that has been seen are on their way already.
                    Node::Resource(resource) if seen.insert(node) => on.extend(self.holders(resource)),
                    Node::Task(_) | Node::Resource(_) => {}
                }
            }
            on.sort_unstable_by(|one, other| titles.compare_tasks(*other, *one));
            next.append(&mut on);
        }
        seen.clear();
        ordered
    }
}

/// Nodes that have been seen while a core was put in order. Costs what is seen, however often it is used again.
#[derive(Debug)]
pub(super) struct Seen {
    is_seen: Vec<bool>,
    seen: Vec<NodeIndex>,
}

impl Seen {
    pub(super) fn new(dependencies: &Dependencies) -> Self {
        Self {
            is_seen: vec![false; dependencies.node_count()],
            seen: Vec::new(),
        }
    }

    fn insert(&mut self, node: NodeIndex) -> bool {
        let is_new = !std::mem::replace(&mut self.is_seen[node.index()], true);
        if is_new {
            self.seen.push(node);
        }
        is_new
    }

    fn clear(&mut self) {
        for node in self.seen.drain(..) {
            self.is_seen[node.index()] = false;
        }
    }
}
