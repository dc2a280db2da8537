//! Which parent a span is reported with, and what is reported for the sake of handlers elsewhere.

use standoff_protocol::stream::Role;

use super::{Bench, MS, REPORT_AFTER};
use crate::table::LINKS_PER_CALL_MAX;

#[test]
fn structural_spans_are_left_out_of_the_chain() {
    let mut bench = Bench::connected();
    bench.start_with(Role::Structural, 1, |span| {
        (span.parent_span_id, span.parent_is_remote) = (99, true)
    });
    bench.start(Role::Handle, 2, 1);
    bench.start(Role::Structural, 3, 2);
    bench.start(Role::Hold, 4, 3);
    bench.start(Role::Call, 5, 4);
    bench.end(3);
    bench.start(Role::Call, 6, 3);
    bench.start(Role::Call, 7, 1);
    bench.start(Role::Call, 8, 12345);
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!(bench.mirror.open_ids(), [2, 4, 5, 6, 7, 8]);
    assert_eq!(
        bench.parent(2),
        (99, true),
        "a handle answers the caller, whatever the middleware"
    );
    assert_eq!(bench.parent(4), (2, false));
    assert_eq!(bench.parent(5), (2, false), "holds are no tasks");
    assert_eq!(bench.parent(6), (2, false), "an ended parent still counts");
    assert_eq!(
        bench.parent(7),
        (1, false),
        "outside of any handler it is the topmost span"
    );
    assert_eq!(bench.parent(8), (12345, false), "unknown, and local");
}

#[test]
fn spans_beneath_a_call_are_its_links() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    bench.start(Role::Structural, 2, 1);
    bench.end(2);
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!(
        (bench.parent(2), bench.mirror.open[&2].role()),
        ((1, false), Role::Structural)
    );
    bench.start(Role::Structural, 3, 2);
    bench.flush();
    assert_eq!(bench.parent(3), (1, false), "told at once, since the call is known");
    bench.session.resync();
    bench.flush();
    assert_eq!(bench.mirror.open.len(), 3);
    bench.end(1);
    bench.flush();
    assert!(bench.mirror.open.is_empty(), "they end with their call");
}

#[test]
fn short_calls_within_a_call_are_its_links() {
    // A wrapper around a stock client span that ends before the reply: the handler's parent is the inner span.
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    bench.start(Role::Call, 2, 1);
    bench.start(Role::Structural, 3, 2);
    bench.pass(MS);
    bench.end(2);
    bench.start_with(Role::Call, 4, |span| (span.parent_span_id, span.detached) = (1, true));
    bench.end(4);
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!(
        bench.mirror.open.keys().copied().collect::<Vec<_>>(),
        [1, 2, 3],
        "a detached call is no part of it"
    );
    assert_eq!(
        (bench.mirror.open[&2].role(), bench.parent(2)),
        (Role::Structural, (1, false))
    );
    assert_eq!(
        (bench.mirror.open[&3].role(), bench.parent(3)),
        (Role::Structural, (1, false))
    );
}

#[test]
fn links_of_one_call_are_bounded() {
    let mut bench = Bench::connected();
    bench.start(Role::Call, 1, 0);
    (0..300).for_each(|nth| bench.start(Role::Structural, 100 + nth, 1));
    bench.pass(REPORT_AFTER);
    bench.flush();
    assert_eq!(bench.mirror.open.len(), 1 + LINKS_PER_CALL_MAX);
    assert_eq!(bench.table.dropped().structural, 300 - LINKS_PER_CALL_MAX as u64);

    // A handler elsewhere may have one of the others as its parent, so the call may have been answered.
    bench.start(Role::Call, 2, 0);
    (0..LINKS_PER_CALL_MAX as u64).for_each(|nth| bench.start(Role::Structural, 1000 + nth, 2));
    bench.probe(&[1, 2], &[]);
    bench.flush();
    assert_eq!(bench.answer(), (vec![1], vec![]));

    // It would answer the call around it as well.
    bench.start(Role::Call, 3, 0);
    bench.start(Role::Call, 4, 3);
    (0..=LINKS_PER_CALL_MAX as u64).for_each(|nth| bench.start(Role::Structural, 2000 + nth, 4));
    bench.probe(&[2, 3, 4], &[]);
    bench.flush();
    assert_eq!(bench.answer(), (vec![3, 4], vec![]));
}
