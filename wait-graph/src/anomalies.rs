//! What was odd about the input. Odd telemetry is data, counted here; it is never an error of the graph.

use crate::span::Span;

/// What a text of a span has at most that is nothing odd. Four times what standoff's own stream lets through, and about
/// where tracing back ends cut the value of an attribute: who sends more sends data as a name.
const NAME_BYTES: usize = 4096;

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
    /// Starts of new spans with a name, resource, target, conversation or wait group of more than 4,096 bytes. It is kept
    /// whole, since it tells spans apart, and cut where it is shown.
    pub long_names: u64,

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
    pub fn by_kind(&self) -> [(&'static str, u64); 11] {
        [
            ("refused_start", self.refused_starts),
            ("forgotten_early", self.forgotten_early),
            ("contradicting_start", self.contradicting_starts),
            ("late_start", self.late_starts),
            ("long_name", self.long_names),
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

/// Whether a text of a span is so long that it is odd. Looks at lengths only.
pub(crate) fn has_long_name(span: &Span) -> bool {
    let of_role = span.role.texts();
    let mut texts = [&span.name].into_iter().chain(&span.conversation).chain(of_role);
    texts.any(|text| text.len() > NAME_BYTES)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::span::{Event, Quorum, Role, WaitGroup};
    use crate::testing::{call, graph, handle, hold, member, started};

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

    /// How many starts count as odd for the names that one span has, the first of which has so many bytes.
    fn long_names(bytes: usize, put: impl Fn(&mut Span, Arc<str>), role: Role) -> u64 {
        let mut event = started(10, 1, 0, role);
        if let Event::Started(span) = &mut event {
            put(span, "x".repeat(bytes).into());
        }
        // It is counted once, however often it is told.
        graph([event.clone(), event]).anomalies().long_names
    }

    #[test]
    fn every_text_may_be_too_long() {
        let text = || Arc::from("x".repeat(NAME_BYTES + 1));
        let in_group = |span: &mut Span, name| {
            if let Role::Call(call) = &mut span.role {
                let quorum = Some(Quorum { needed: 1, size: 1 });
                call.group = Some(WaitGroup { name, quorum });
            }
        };
        for bytes in [NAME_BYTES, NAME_BYTES + 1] {
            let expected = u64::from(bytes > NAME_BYTES);
            let name = "x".repeat(bytes);
            assert_eq!(
                long_names(bytes, |span, name| span.name = name, Role::Structural),
                expected
            );
            assert_eq!(
                long_names(bytes, |span, name| span.conversation = Some(name), call("A")),
                expected
            );
            assert_eq!(long_names(bytes, in_group, call("A")), expected);
            for role in [call(&name), handle(&["A", &name]), hold(&name), member(&name)] {
                assert_eq!(long_names(0, |_, _| {}, role), expected);
            }
        }
        let all_at_once = |span: &mut Span, name| (span.name, span.conversation) = (name, Some(text()));
        assert_eq!(long_names(NAME_BYTES + 1, all_at_once, call("A")), 1);
    }
}
