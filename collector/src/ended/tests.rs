//! What is remembered of spans that have ended, and for how long.

use super::*;

const A: InstanceId = InstanceId(1);
const B: InstanceId = InstanceId(2);
const NOW: Duration = Duration::from_secs(1000);

fn link(id: u64, parent: u64) -> EndedSpan {
    EndedSpan {
        id: SpanId(id),
        parent: (parent != 0).then_some(Parent {
            id: SpanId(parent),
            remote: false,
        }),
        instance: A,
        role: Role::Structural,
    }
}

fn handle(id: u64, caller: u64) -> EndedSpan {
    EndedSpan {
        parent: Some(Parent {
            id: SpanId(caller),
            remote: true,
        }),
        role: Role::Handle,
        ..link(id, 0)
    }
}

#[test]
fn a_line_of_the_cache_has_three_entries() {
    assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
}

#[test]
fn what_was_told_of_a_span_is_known() {
    let mut ended = EndedSpans::default();
    assert!(ended.is_empty());
    for span in [link(1, 0), link(2, 1), handle(3, 2)] {
        assert_eq!(ended.remember(NOW, span), News::Ended);
        assert_eq!(ended.remember(NOW, span), News::Nothing, "told twice");
        assert_eq!(ended.get(span.id), Some(span));
    }
    assert_eq!(ended.get(SpanId(4)), None);
}

#[test]
fn a_mark_is_taken_once_and_only_by_the_instance_that_it_is_meant_for() {
    for (within, taken) in [(None, [true, true]), (Some(A), [true, false]), (Some(B), [false, true])] {
        for (instance, is_taken) in [A, B].into_iter().zip(taken) {
            let mut ended = EndedSpans::default();
            ended.mark(NOW, SpanId(1), within);
            assert!(!ended.take_marks(SpanId(2), instance));
            assert_eq!(
                ended.take_marks(SpanId(1), instance),
                is_taken,
                "{within:?} {instance:?}"
            );
            assert!(!ended.take_marks(SpanId(1), instance));
        }
    }
}

#[test]
fn a_span_that_ends_takes_its_marks_along() {
    let mut ended = EndedSpans::default();
    ended.mark(NOW, SpanId(1), Some(B));
    assert_eq!(ended.get(SpanId(1)), None, "it has not ended");
    assert_eq!(
        ended.remember(NOW, link(1, 0)),
        News::Ended,
        "it is of another instance"
    );
    ended.mark(NOW, SpanId(2), Some(B));
    ended.mark(NOW, SpanId(2), Some(A));
    assert_eq!(ended.remember(NOW, link(2, 1)), News::EndedAboveHandler);
    assert_eq!(ended.get(SpanId(2)), Some(link(2, 1)));
    assert!(!ended.take_marks(SpanId(2), A));
}

#[test]
fn the_handlers_of_a_conversation_are_found_and_told_apart() {
    let mut ended = EndedSpans::default();
    ended.remember(NOW, handle(1, 9));
    for (conversation, span) in [
        ("one", handle(1, 9)),
        ("one", handle(1, 9)),
        ("one", handle(2, 8)),
        ("two", handle(3, 7)),
    ] {
        ended.converse(NOW, conversation, span);
    }
    let forgotten = |id| EndedSpan {
        parent: None,
        ..handle(id, 9)
    };
    let mut of_one = ended.handlers("one");
    of_one.sort_by_key(|it| it.0.id);
    assert_eq!(
        of_one,
        [(handle(1, 9), true), (forgotten(2), false)],
        "the second itself is not remembered"
    );
    assert_eq!(ended.handlers("two"), [(forgotten(3), false)]);
    ended.pass(SpanId(1));
    assert!(ended.handlers("one").contains(&(handle(1, 9), false)));
    assert_eq!(ended.get(SpanId(1)), Some(handle(1, 9)));
    assert_eq!(ended.handlers("three"), []);
}

/// However many have ended in a minute, those of the last seconds are known.
#[test]
fn it_grows_with_what_ends_in_a_minute_and_no_further_than_it_may() {
    let mut ended = EndedSpans::default();
    let spans = 3 * BUCKETS_MIN as u64;
    (1..=spans).for_each(|id| assert_eq!(ended.remember(NOW, link(id, id / 2)), News::Ended));
    assert_eq!(ended.buckets.len(), 3 * BUCKETS_MIN);
    let known = (1..=spans)
        .filter(|id| ended.get(SpanId(*id)) == Some(link(*id, id / 2)))
        .count() as u64;
    assert!(known > spans - spans / 10, "{known} of {spans}");
    let of_last = (spans - 100..=spans)
        .filter(|id| ended.get(SpanId(*id)).is_some())
        .count();
    assert_eq!(of_last, 101);
    // The same again and again in other minutes needs no more.
    for minute in 1..10 {
        let now = NOW + REMEMBERED * minute;
        (1..=spans).for_each(|id| _ = ended.remember(now, link((u64::from(minute) << 32) + id, 0)));
    }
    assert_eq!(ended.buckets.len(), 3 * BUCKETS_MIN);
    while ended.buckets.len() < BUCKETS_MAX {
        ended.buckets.push();
    }
    ended.entered = usize::MAX;
    ended.grow(NOW + REMEMBERED * 9);
    assert_eq!(ended.buckets.len() * size_of::<Bucket>(), REMEMBERED_BYTES_MAX);
    let fill = |ended: &mut EndedSpans, now| {
        let place = ended.place(1);
        let ids = (1 << 50..)
            .filter(|id| ended.place(*id) == place)
            .take(2 * bucket::TOGETHER);
        for id in ids.collect::<Vec<_>>() {
            ended.remember(now, link(id, 0));
        }
        ended.forgotten()
    };
    assert!(
        fill(&mut ended, NOW + REMEMBERED * 9) >= bucket::TOGETHER as u64,
        "before their time"
    );
    let counted = ended.forgotten();
    ended.forget_old(NOW + REMEMBERED * 11);
    assert_eq!(ended.forgotten(), counted, "that is long ago");
    assert!(!ended.is_crowded);
}

#[test]
fn what_is_not_needed_is_given_back() {
    let mut ended = EndedSpans::default();
    (1..=4 * BUCKETS_MIN as u64).for_each(|id| _ = ended.remember(NOW, link(id, 0)));
    let mut sizes = vec![];
    for minute in 1..=4 {
        ended.forget_old(NOW + REMEMBERED * minute - Duration::from_nanos(1));
        ended.forget_old(NOW + REMEMBERED * minute);
        sizes.push(ended.buckets.len() / BUCKETS_MIN);
        if minute < 3 {
            assert_eq!(
                ended.remember(NOW + REMEMBERED * minute, link(1 << 40 | u64::from(minute), 0)),
                News::Ended
            );
        }
    }
    assert_eq!(sizes, [4, 1, 1, 0]);
    assert!(ended.is_empty());
}

#[test]
fn the_oldest_of_a_full_place_gives_way() {
    let mut ended = EndedSpans::default();
    ended.remember(NOW, link(1, 0));
    let place = ended.place(1);
    let mut shared = (2..).filter(|id| ended.place(*id) == place);
    let [second, third, fourth] = [0; 3].map(|_| shared.next().unwrap());
    drop(shared);
    for id in [second, third, fourth] {
        ended.remember(NOW, link(id, 0));
    }
    assert_eq!(
        [1, second, third, fourth].map(|id| ended.get(SpanId(id)).is_some()),
        [false, true, true, true]
    );
    assert!(!ended.take_marks(SpanId(third), A));
    assert_eq!(ended.get(SpanId(fourth)), Some(link(fourth, 0)));
}

#[test]
fn whatever_is_remembered_is_found_while_there_is_more_and_less_room() {
    let mut ended = EndedSpans::default();
    // Few enough for none to give way.
    let spans: Vec<EndedSpan> = (1..=100).map(|id| link(id << 20, 0)).collect();
    spans.iter().for_each(|span| _ = ended.remember(NOW, *span));
    let all_are_found = |ended: &EndedSpans| spans.iter().all(|span| ended.get(span.id) == Some(*span));
    for _ in 0..3 * BUCKETS_MIN {
        ended.split();
        assert!(all_are_found(&ended), "{} buckets", ended.buckets.len());
    }
    for _ in 0..3 * BUCKETS_MIN {
        ended.merge();
        assert!(all_are_found(&ended), "{} buckets", ended.buckets.len());
    }
}
