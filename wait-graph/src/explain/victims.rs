//! Who else cannot proceed because of a core: all other dead tasks that reach it.

use std::cmp::Reverse;
use std::sync::Arc;

use petgraph::Direction::Incoming;
use petgraph::graph::NodeIndex;

use crate::deadlock::{BLAST_MAX, VICTIMS_MAX};
use crate::explain::dead_part::TaskNo;
use crate::explain::dependencies::{Dependencies, Node};
use crate::explain::titles::{TitleNo, Titles};

/// How often each node and edge of the dead part may be visited in search of victims, all in all. A task is a victim of every core
/// that it reaches, so a crowd behind a hundred thousand cores would otherwise be counted as often.
const VISITS_MAX: usize = 16;
/// The visits that are spent in any case, so that small graphs are always counted to the end.
const VISITS_MIN: usize = 1 << 20;
/// The visits that every core may spend, so that it names its victims even if it is not known how many there are.
const VISITS_OF_CORE_MIN: usize = 4 * VICTIMS_MAX;

/// To pick the first few victims by name costs a few comparisons each, to put all names in order about twenty. So that is
/// done when so many victims have been found for each name.
const FOUND_BEFORE_RANKS: usize = 4;

/// The victims of one core.
#[derive(Debug)]
pub(super) struct Victims {
    /// The first of them by name.
    pub(super) first: Vec<TaskNo>,
    pub(super) total: u64,
    /// By canonical name.
    pub(super) blast: Vec<(Arc<str>, u64)>,
}

/// What a node is to the core of this number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    Core(usize),
    Victim(usize),
}

/// Finds the victims of core after core. Keeps its memory between them.
#[derive(Debug)]
pub(super) struct Search<'a> {
    dependencies: &'a Dependencies,
    titles: &'a Titles<'a>,
    /// What each node was to the last core from which it was reached.
    marks: Vec<Mark>,
    last_core: usize,
    /// How many victims of the core have each name; 0 between cores.
    by_title: Vec<u64>,
    visits_left: usize,
    /// Victims of all cores so far.
    found: usize,
}

impl<'a> Search<'a> {
    pub(super) fn new(dependencies: &'a Dependencies, titles: &'a Titles<'a>) -> Self {
        let (nodes, edges) = (dependencies.node_count(), dependencies.edge_count());
        Self {
            dependencies,
            titles,
            marks: vec![Mark::None; nodes],
            last_core: 0,
            by_title: vec![0; titles.len()],
            found: 0,
            visits_left: VISITS_MIN.max(VISITS_MAX.saturating_mul(nodes + edges)),
        }
    }

    /// The victims of a core, nearest first as far as the visits go.
    pub(super) fn of(&mut self, core: &[TaskNo]) -> Victims {
        let mut victims = self.reach(core);
        self.rank_if_worth_it(victims.len());
        let total = victims.len() as u64;
        let blast = self.blast(&victims);
        let order = |one: &TaskNo, other: &TaskNo| self.titles.compare_tasks(*one, *other);
        if victims.len() > VICTIMS_MAX {
            victims.select_nth_unstable_by(VICTIMS_MAX, order);
            victims.truncate(VICTIMS_MAX);
        }
        victims.sort_unstable_by(order);
        Victims {
            first: victims,
            total,
            blast,
        }
    }

    /// Puts the names in order once so many victims have been found that it saves time.
    fn rank_if_worth_it(&mut self, found: usize) {
        self.found += found;
        if self.found > FOUND_BEFORE_RANKS.saturating_mul(self.titles.len()) {
            self.titles.rank();
        }
    }

    fn reach(&mut self, core: &[TaskNo]) -> Vec<TaskNo> {
        self.last_core += 1;
        let (inside, behind) = (Mark::Core(self.last_core), Mark::Victim(self.last_core));
        let mut visits_left = self.visits_left.max(VISITS_OF_CORE_MIN);
        let mut nodes: Vec<NodeIndex> = core.iter().map(|task| NodeIndex::new(*task)).collect();
        for node in &nodes {
            self.marks[node.index()] = inside;
        }
        let mut victims = Vec::new();
        let mut next = 0;
        'search: while let Some(node) = nodes.get(next).copied() {
            next += 1;
            for dependent in self.dependencies.neighbors_directed(node, Incoming) {
                let mark = &mut self.marks[dependent.index()];
                // No two cores share a task, so this costs nothing that finding the core has not cost.
                if *mark == inside {
                    continue;
                }
                let Some(left) = visits_left.checked_sub(1) else {
                    break 'search;
                };
                visits_left = left;
                if *mark == behind {
                    continue;
                }
                *mark = behind;
                nodes.push(dependent);
                if let Node::Task(task) = self.dependencies[dependent] {
                    victims.push(task);
                }
            }
        }
        self.visits_left = self.visits_left.min(visits_left);
        victims
    }

    fn blast(&mut self, victims: &[TaskNo]) -> Vec<(Arc<str>, u64)> {
        let mut named: Vec<TitleNo> = Vec::new();
        for victim in victims {
            let title = self.titles.of_task(*victim);
            if self.by_title[title] == 0 {
                named.push(title);
            }
            self.by_title[title] += 1;
        }
        let mut blast: Vec<(TitleNo, u64)> = named.iter().map(|title| (*title, self.by_title[*title])).collect();
        for title in named {
            self.by_title[title] = 0;
        }
        let order = |one: &(TitleNo, u64), other: &(TitleNo, u64)| {
            Reverse(one.1)
                .cmp(&Reverse(other.1))
                .then_with(|| self.titles.compare(one.0, other.0))
        };
        if blast.len() > BLAST_MAX {
            blast.select_nth_unstable_by(BLAST_MAX, order);
            blast.truncate(BLAST_MAX);
        }
        blast.sort_unstable_by(order);
        blast
            .into_iter()
            .map(|(title, count)| (self.titles.text(title), count))
            .collect()
    }
}
