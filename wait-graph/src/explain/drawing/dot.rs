//! Deadlocks in the language of Graphviz.

use petgraph::dot::{Config, Dot, RankDir};
use petgraph::graph::{DiGraph, NodeIndex};

use super::{Arrow, Drawing, Figure, Kind};
use crate::deadlock::Deadlock;

/// A drawing of deadlocks for Graphviz: `dot -Tsvg`. The same deadlocks give the same text.
///
/// Of very large ones only a part is drawn, cores before victims. Names are quoted, and cut where they are long.
pub fn to_dot(deadlocks: &[Deadlock]) -> String {
    let Drawing { figures, arrows } = Drawing::of(deadlocks);
    let mut graph = DiGraph::<Figure, Arrow>::with_capacity(figures.len(), arrows.len());
    for figure in figures {
        graph.add_node(figure);
    }
    for arrow in arrows {
        graph.add_edge(NodeIndex::new(arrow.from), NodeIndex::new(arrow.to), arrow);
    }
    let config = [Config::RankDir(RankDir::LR)];
    let dot = Dot::with_attr_getters(
        &graph,
        &config,
        &|_, arrow| style(arrow.weight().in_core).to_owned(),
        &|_, (_, figure)| shape(figure.kind).to_owned(),
    );
    dot.to_string()
}

impl std::fmt::Display for Figure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

impl std::fmt::Display for Arrow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.label)
    }
}

fn shape(kind: Kind) -> &'static str {
    match kind {
        Kind::CoreTask => "shape=box style=bold ",
        Kind::Victim => "shape=box style=dashed ",
        Kind::Resource => "shape=ellipse ",
        Kind::Rest => "shape=plaintext ",
    }
}

fn style(in_core: bool) -> &'static str {
    if in_core { "style=bold " } else { "style=dashed " }
}
