//! Random histories of an instance: whatever happens, the collector's mirror comes to equal the open spans.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use standoff_protocol::stream::{Probe, Role};

use super::{Bench, REPORT_AFTER};
use crate::Outcome;

/// What happens to an instance.
#[derive(Clone, Debug)]
enum Step {
    Start { role: usize, parent: usize, origin: usize },
    End { span: usize, outcome: usize },
    Pass { micros: u64 },
    Tick,
    Send { messages: usize },
    Probe { span: usize },
    Resync,
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5_usize, 0..64_usize, 0..6_usize)
            .prop_map(|(role, parent, origin)| Step::Start { role, parent, origin }),
        6 => (0..64_usize, 0..4_usize).prop_map(|(span, outcome)| Step::End { span, outcome }),
        4 => (0..15_000_u64).prop_map(|micros| Step::Pass { micros }),
        3 => Just(Step::Tick),
        4 => (0..4_usize).prop_map(|messages| Step::Send { messages }),
        1 => (0..64_usize).prop_map(|span| Step::Probe { span }),
        1 => Just(Step::Resync),
        1 => Just(Step::Reconnect),
    ]
}

/// A span as the model keeps it: for good.
#[derive(Clone, Copy, Debug)]
struct Known {
    span_id: u64,
    role: Role,
    /// The nth span, if it is one of this instance.
    parent: Option<usize>,
    /// The parent, if it is elsewhere; 0 if there is none.
    remote: u64,
    started: Duration,
    is_open: bool,
}

/// The parent to report, found by walking up the whole tree.
fn parent_of(known: &[Known], span: &Known) -> (u64, bool) {
    let Some(mut at) = span.parent.map(|nth| &known[nth]) else {
        return (span.remote, span.remote != 0);
    };
    loop {
        if matches!(at.role, Role::Call | Role::Handle) {
            return (at.span_id, false);
        }
        match at.parent {
            Some(nth) => at = &known[nth],
            None if span.role == Role::Handle && at.remote != 0 => return (at.remote, true),
            None => return (at.span_id, false),
        }
    }
}

proptest! {
    #[test]
    fn the_mirror_comes_to_equal_the_open_spans(steps in prop::collection::vec(step(), 0..200)) {
        const ROLES: [Role; 5] = [Role::Structural, Role::Call, Role::Handle, Role::Hold, Role::Member];
        const OUTCOMES: [Outcome; 4] = [Outcome::Finished, Outcome::Error, Outcome::Timeout, Outcome::Cancelled];
        let mut bench = Bench::new();
        let mut known: Vec<Known> = Vec::new();
        for step in steps {
            match step {
                Step::Start { role, parent, origin } => {
                    let span_id = 1000 + known.len() as u64;
                    let local = (origin > 1 && !known.is_empty()).then(|| parent % known.len());
                    let remote = if local.is_none() && origin == 1 { 7 } else { 0 };
                    let role = ROLES[role];
                    let parent_id = local.map_or(remote, |nth| known[nth].span_id);
                    bench.start_with(role, span_id, |span| {
                        (span.parent_span_id, span.parent_is_remote) = (parent_id, remote != 0);
                    });
                    known.push(Known { span_id, role, parent: local, remote, started: bench.now, is_open: true });
                }
                Step::End { span, outcome } => {
                    let open: Vec<usize> = (0..known.len()).filter(|nth| known[*nth].is_open).collect();
                    if let Some(nth) = open.get(span % open.len().max(1)) {
                        known[*nth].is_open = false;
                        bench.table.end(known[*nth].span_id, OUTCOMES[outcome], bench.now);
                    }
                }
                Step::Pass { micros } => bench.pass(Duration::from_micros(micros)),
                Step::Tick => bench.session.tick(),
                Step::Send { messages } => { bench.send(messages); }
                Step::Probe { span } => {
                    let asked = known.get(span % known.len().max(1)).map_or(1, |span| span.span_id);
                    let probe = Probe { probe_id: 1, still_open: vec![asked], accepted: vec![] };
                    bench.session.probe(&probe, &bench.table, bench.now);
                }
                Step::Resync => bench.session.resync(),
                Step::Reconnect => bench.reconnect(),
            }
        }

        // At any moment: everything old enough, and nothing that is not open.
        bench.flush();
        let reported = |span: &&Known| span.is_open && span.role != Role::Structural;
        let open: BTreeSet<u64> = known.iter().filter(reported).map(|span| span.span_id).collect();
        let due = |span: &&Known| reported(span) && (span.role == Role::Member || span.started + REPORT_AFTER <= bench.now);
        let due: BTreeSet<u64> = known.iter().filter(due).map(|span| span.span_id).collect();
        let mirrored = BTreeSet::from_iter(bench.mirror.open_ids());
        prop_assert!(mirrored.is_superset(&due) && mirrored.is_subset(&open), "{mirrored:?} {due:?} {open:?}");

        // In the end: exactly the open ones.
        bench.pass(REPORT_AFTER);
        bench.flush();
        prop_assert_eq!(BTreeSet::from_iter(bench.mirror.open_ids()), open);
        for span in known.iter().filter(reported) {
            let parent = parent_of(&known, span);
            prop_assert_eq!(bench.parent(span.span_id), parent, "{:?}", span);
        }
        for link in bench.mirror.open.values().filter(|span| span.role() == Role::Structural) {
            let call = bench.mirror.open.get(&link.parent_span_id).map(|call| call.role());
            prop_assert_eq!(call, Some(Role::Call), "a link is open for as long as its call");
        }

        // And nothing is left when all have ended.
        for span in known.iter().filter(|span| span.is_open) {
            bench.table.end(span.span_id, Outcome::Finished, bench.now);
        }
        bench.flush();
        prop_assert!(bench.mirror.open.is_empty());
        prop_assert_eq!(bench.table.open_count(), 0);
        prop_assert_eq!(bench.table.dropped(), crate::Dropped::default());
    }
}
