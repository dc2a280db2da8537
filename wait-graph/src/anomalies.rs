//! What was odd about the input. Odd telemetry is data, counted here; it is never an error of the graph.

/// Counters by kind.
///
/// The first group counts events since the graph was made. The second group counts what is odd about the spans that
/// are open now, so it falls again when they end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Starts refused because the graph was full.
    pub refused_starts: u64,
    /// Memories given up before their minute was over because there were too many.
    pub forgotten_early: u64,
    /// Starts of a known span with another content; the first is kept.
    pub contradicting_starts: u64,
    /// Starts from an instance that was already gone; such a span was lost with it.
    pub late_starts: u64,

    /// Spans that known ones name as their parents, and that nobody has reported. Most are only too short to be reported,
    /// or belong to something that is not instrumented.
    pub unknown_parents: u64,
    /// Parents that lead back to where they came from; the chain ends there.
    pub parent_loops: u64,
    /// Open handles that several open calls claim by their conversation; such calls count as live.
    pub ambiguous_conversations: u64,
    /// Queued calls that ask for more units than their target has; they count as live.
    pub excessive_calls: u64,
    /// Resources of which more units are in use than were declared; their capacity counts as what is in use.
    pub overfull_resources: u64,
    /// Resources of which open spans declare different capacities; the largest counts.
    pub contradicting_capacities: u64,
}

impl Anomalies {
    /// Every kind by its name, for metrics.
    pub fn by_kind(&self) -> [(&'static str, u64); 10] {
        [
            ("refused_start", self.refused_starts),
            ("forgotten_early", self.forgotten_early),
            ("contradicting_start", self.contradicting_starts),
            ("late_start", self.late_starts),
            ("unknown_parent", self.unknown_parents),
            ("parent_loop", self.parent_loops),
            ("ambiguous_conversation", self.ambiguous_conversations),
            ("excessive_call", self.excessive_calls),
            ("overfull_resource", self.overfull_resources),
            ("contradicting_capacity", self.contradicting_capacities),
        ]
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.by_kind().iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_count() {
        let anomalies = Anomalies {
            refused_starts: 1,
            unknown_parents: 20,
            contradicting_capacities: 300,
            ..Anomalies::default()
        };
        assert_eq!(anomalies.total(), 321);
    }
}
