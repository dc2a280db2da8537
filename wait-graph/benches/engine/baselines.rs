//! What others do, on the same events: the strongly connected components of the whole graph after each event, and a
//! table of who waits for whom, searched at each new edge, as lock managers have it.
//!
//! Both take every wait for one that needs all it waits for: they know neither groups nor that one unit of a pool is
//! enough. So what they find would be wrong for some shapes; what it costs is what is compared.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use petgraph::Direction;
use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use standoff_wait_graph::{Event, Role, Span, SpanId};

/// A task, or a resource.
type Node = u64;

/// What happens to the edges.
pub(crate) trait Edges {
    /// A task waits for a resource.
    fn waits_for(&mut self, task: Node, resource: Node);
    fn waits_no_more_for(&mut self, task: Node, resource: Node);
    /// A task occupies a unit of a resource.
    fn holds(&mut self, task: Node, resource: Node);
    fn holds_no_more(&mut self, task: Node, resource: Node);
    /// A task waits for another, which handles its call.
    fn is_served_by(&mut self, task: Node, server: Node);
    fn is_served_no_more_by(&mut self, task: Node, server: Node);
    /// To be called after each event, once measuring has begun.
    fn detect(&mut self) {}
    /// Whether new edges are to be searched from; not while the shape is being built.
    fn set_searching(&mut self, _searching: bool) {}
}

/// From spans to edges.
#[derive(Default)]
pub(crate) struct Baseline<E> {
    pub(crate) edges: E,
    spans: HashMap<SpanId, Known>,
    names: HashMap<Arc<str>, Node>,
    nodes: Node,
}

/// What is known of an open span.
struct Known {
    task: Node,
    occupies: Vec<Node>,
    /// While queued.
    target: Option<Node>,
    /// The call that a handle answers, and who made it.
    answers: Option<Node>,
}

impl<E: Edges> Baseline<E> {
    pub(crate) fn apply(&mut self, event: &Event) {
        match event {
            Event::Started(span) => self.start(span),
            Event::Finished(id) => self.finish(*id),
            Event::Answered(_) | Event::InstanceSilent(_) | Event::InstanceBack(_) | Event::InstanceGone(_) => {}
        }
    }

    fn start(&mut self, span: &Span) {
        let parent = span.parent.filter(|parent| !parent.remote);
        let above = parent
            .and_then(|parent| self.spans.get(&parent.id))
            .map(|known| known.task);
        let mut known = Known {
            task: 0,
            occupies: Vec::new(),
            target: None,
            answers: None,
        };
        match &span.role {
            Role::Call(call) => {
                known.task = above.unwrap_or_else(|| self.node());
                if let Some(target) = &call.target {
                    let resource = self.name(target);
                    known.target = Some(resource);
                    self.edges.waits_for(known.task, resource);
                }
            }
            Role::Handle(handle) => {
                known.task = self.node();
                if let Some(call) = span.parent.and_then(|parent| self.spans.get_mut(&parent.id)) {
                    known.answers = Some(call.task);
                    if let Some(target) = call.target.take() {
                        self.edges.waits_no_more_for(call.task, target);
                    }
                    self.edges.is_served_by(call.task, known.task);
                }
                known.occupies = handle.resources.iter().map(|name| self.name(name)).collect();
            }
            Role::Hold(hold) => {
                known.task = above.unwrap_or_else(|| self.node());
                known.occupies = hold.resources.iter().map(|name| self.name(name)).collect();
            }
            Role::Member(_) | Role::Structural => {}
        }
        for resource in &known.occupies {
            self.edges.holds(known.task, *resource);
        }
        self.spans.insert(span.id, known);
    }

    fn finish(&mut self, id: SpanId) {
        let Some(known) = self.spans.remove(&id) else { return };
        if let Some(target) = known.target {
            self.edges.waits_no_more_for(known.task, target);
        }
        if let Some(caller) = known.answers {
            self.edges.is_served_no_more_by(caller, known.task);
        }
        for resource in known.occupies {
            self.edges.holds_no_more(known.task, resource);
        }
    }

    fn name(&mut self, name: &Arc<str>) -> Node {
        if let Some(node) = self.names.get(name) {
            return *node;
        }
        let node = self.node();
        self.names.insert(Arc::clone(name), node);
        node
    }

    fn node(&mut self) -> Node {
        self.nodes += 1;
        self.nodes
    }
}

/// Everything in one graph, resources as nodes; after each event Tarjan's algorithm over all of it.
#[derive(Default)]
pub(crate) struct WholeGraph {
    graph: DiGraphMap<Node, u32>,
}

impl WholeGraph {
    fn add(&mut self, from: Node, to: Node) {
        match self.graph.edge_weight_mut(from, to) {
            Some(times) => *times += 1,
            None => {
                self.graph.add_edge(from, to, 1);
            }
        }
    }

    fn remove(&mut self, from: Node, to: Node) {
        if let Some(times) = self.graph.edge_weight_mut(from, to) {
            *times -= 1;
            if *times == 0 {
                self.graph.remove_edge(from, to);
                self.forget_if_alone(from);
                self.forget_if_alone(to);
            }
        }
    }

    fn forget_if_alone(&mut self, node: Node) {
        let has = |direction| self.graph.neighbors_directed(node, direction).next().is_some();
        if !has(Direction::Outgoing) && !has(Direction::Incoming) {
            self.graph.remove_node(node);
        }
    }
}

impl Edges for WholeGraph {
    fn waits_for(&mut self, task: Node, resource: Node) {
        self.add(task, resource);
    }

    fn waits_no_more_for(&mut self, task: Node, resource: Node) {
        self.remove(task, resource);
    }

    fn holds(&mut self, task: Node, resource: Node) {
        self.add(resource, task);
    }

    fn holds_no_more(&mut self, task: Node, resource: Node) {
        self.remove(resource, task);
    }

    fn is_served_by(&mut self, task: Node, server: Node) {
        self.add(task, server);
    }

    fn is_served_no_more_by(&mut self, task: Node, server: Node) {
        self.remove(task, server);
    }

    fn detect(&mut self) {
        let components = tarjan_scc(&self.graph);
        let cycles = components.iter().filter(|component| component.len() > 1).count();
        std::hint::black_box(cycles);
    }
}

/// For each task whom it waits for, and how many times; a depth-first search from each new edge.
#[derive(Default)]
pub(crate) struct WaitTable {
    table: HashMap<Node, HashMap<Node, u32>>,
    /// Who holds a resource, and who waits for it, each how many times.
    holders: HashMap<Node, HashMap<Node, u32>>,
    waiters: HashMap<Node, HashMap<Node, u32>>,
    is_searching: bool,
    found: u64,
}

fn add(table: &mut HashMap<Node, HashMap<Node, u32>>, from: Node, to: Node) {
    *table.entry(from).or_default().entry(to).or_default() += 1;
}

fn remove(table: &mut HashMap<Node, HashMap<Node, u32>>, from: Node, to: Node) {
    let Some(row) = table.get_mut(&from) else { return };
    if let Some(times) = row.get_mut(&to) {
        *times -= 1;
        if *times == 0 {
            row.remove(&to);
        }
    }
    if row.is_empty() {
        table.remove(&from);
    }
}

impl WaitTable {
    fn add_edge(&mut self, from: Node, to: Node) {
        add(&mut self.table, from, to);
        if self.is_searching && self.reaches(to, from) {
            self.found += 1;
        }
    }

    fn reaches(&self, from: Node, to: Node) -> bool {
        let mut seen = HashSet::from([from]);
        let mut next = vec![from];
        while let Some(node) = next.pop() {
            if node == to {
                return true;
            }
            let on = self.table.get(&node).into_iter().flat_map(HashMap::keys);
            next.extend(on.filter(|node| seen.insert(**node)));
        }
        false
    }

    fn row(table: &HashMap<Node, HashMap<Node, u32>>, node: Node) -> Vec<Node> {
        table
            .get(&node)
            .map(|row| row.keys().copied().collect())
            .unwrap_or_default()
    }
}

impl Edges for WaitTable {
    fn waits_for(&mut self, task: Node, resource: Node) {
        add(&mut self.waiters, resource, task);
        for holder in Self::row(&self.holders, resource) {
            self.add_edge(task, holder);
        }
    }

    fn waits_no_more_for(&mut self, task: Node, resource: Node) {
        remove(&mut self.waiters, resource, task);
        for holder in Self::row(&self.holders, resource) {
            remove(&mut self.table, task, holder);
        }
    }

    fn holds(&mut self, task: Node, resource: Node) {
        add(&mut self.holders, resource, task);
        for waiter in Self::row(&self.waiters, resource) {
            self.add_edge(waiter, task);
        }
    }

    fn holds_no_more(&mut self, task: Node, resource: Node) {
        remove(&mut self.holders, resource, task);
        for waiter in Self::row(&self.waiters, resource) {
            remove(&mut self.table, waiter, task);
        }
    }

    fn is_served_by(&mut self, task: Node, server: Node) {
        self.add_edge(task, server);
    }

    fn is_served_no_more_by(&mut self, task: Node, server: Node) {
        remove(&mut self.table, task, server);
    }

    fn set_searching(&mut self, searching: bool) {
        self.is_searching = searching;
    }
}
