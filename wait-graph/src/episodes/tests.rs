use super::*;
use crate::deadlock::{CallState, DeadTask, DeadWait};
use crate::span::{InstanceId, TraceId};

/// A deadlock whose core has these waits.
fn core(waits: &[u64]) -> Deadlock {
    let wait = |id: &u64| DeadWait {
        call: SpanId(*id),
        trace: TraceId(0),
        name: "".into(),
        target: None,
        state: CallState::Queued,
        blocked_by: [].into(),
        in_core: true,
        rests_on: [].into(),
        group: None,
        started_at: std::time::Duration::ZERO,
        timeout_at: None,
    };
    let task = DeadTask {
        id: SpanId(0),
        trace: TraceId(0),
        instance: InstanceId(0),
        service: "".into(),
        name: "".into(),
        resources: Vec::new(),
        occupied_by: Vec::new(),
        waits: waits.iter().map(wait).collect(),
    };
    Deadlock {
        core: vec![task],
        victims: Vec::new(),
        victims_total: 0,
        blast: Vec::new(),
        resources: Vec::new(),
    }
}

fn opened(waits: &[u64]) -> Change {
    Change::Opened {
        id: core(waits).id(),
        deadlock: core(waits).into(),
    }
}

fn continued(id: u64, current: &[u64], widest: &[u64]) -> Change {
    Change::Continued {
        id,
        current: core(current).into(),
        widest: core(widest).into(),
    }
}

#[test]
fn opens_goes_on_and_closes() {
    let mut episodes = Episodes::default();
    let id = core(&[1, 2]).id();
    assert_eq!(episodes.update(vec![core(&[1, 2])]), [opened(&[1, 2])]);
    assert_eq!(episodes.update(vec![core(&[1, 2])]), []);
    assert!(episodes.touches(SpanId(1)) && !episodes.touches(SpanId(3)));
    assert_eq!(
        episodes.update(vec![core(&[1, 2, 3])]),
        [continued(id, &[1, 2, 3], &[1, 2, 3])]
    );
    assert!(episodes.touches(SpanId(3)));
    assert_eq!(
        episodes.update(vec![core(&[2, 3])]),
        [continued(id, &[2, 3], &[1, 2, 3])]
    );
    assert!(!episodes.touches(SpanId(1)));
    assert_eq!(episodes.update(vec![]), [Change::Closed { id }]);
    assert!(!episodes.touches(SpanId(2)));
}

#[test]
fn what_nobody_dead_waits_in_is_closed_by_itself() {
    let mut episodes = Episodes::default();
    episodes.update(vec![core(&[1, 2]), core(&[3, 4])]);
    let id = core(&[1, 2]).id();
    assert_eq!(episodes.close(SpanId(1), |call| call == SpanId(2)), None);
    assert_eq!(episodes.close(SpanId(5), |_| false), None);
    assert_eq!(episodes.close(SpanId(1), |call| call == SpanId(3)), Some(id));
    assert!(!episodes.touches(SpanId(2)) && episodes.touches(SpanId(3)));
    let changes = episodes.update(vec![core(&[1, 2]), core(&[3, 4])]);
    let [Change::Opened { id: another, .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_ne!(*another, id, "what is over never comes back");
}

#[test]
fn of_two_that_are_equally_wide_the_newer_is_the_widest() {
    let mut episodes = Episodes::default();
    let id = core(&[1, 2]).id();
    episodes.update(vec![core(&[1, 2])]);
    assert_eq!(episodes.update(vec![core(&[2, 3])]), [continued(id, &[2, 3], &[2, 3])]);
    assert_eq!(episodes.update(vec![core(&[3])]), [continued(id, &[3], &[2, 3])]);
}

#[test]
fn without_a_wait_in_common_it_is_another_one() {
    let mut episodes = Episodes::default();
    episodes.update(vec![core(&[1, 2])]);
    assert_eq!(
        episodes.update(vec![core(&[3])]),
        [Change::Closed { id: core(&[1, 2]).id() }, opened(&[3])]
    );
}

#[test]
fn the_largest_part_of_a_split_goes_on() {
    let mut episodes = Episodes::default();
    episodes.update(vec![core(&[1, 2, 3, 4, 5])]);
    let id = core(&[1, 2, 3, 4, 5]).id();
    let changes = episodes.update(vec![core(&[1, 2]), core(&[3, 4, 5])]);
    assert_eq!(changes, [opened(&[1, 2]), continued(id, &[3, 4, 5], &[1, 2, 3, 4, 5])]);
}

#[test]
fn of_two_that_grow_together_the_older_goes_on() {
    // Whichever of them has the smaller id.
    for (first, second) in [([9], [1]), ([1], [9])] {
        let mut episodes = Episodes::default();
        episodes.update(vec![core(&first)]);
        episodes.update(vec![core(&second), core(&first)]);
        let (older, younger) = (core(&first).id(), core(&second).id());
        let changes = episodes.update(vec![core(&[1, 2, 9])]);
        assert_eq!(
            changes,
            [
                Change::Merged {
                    id: younger,
                    into: older
                },
                continued(older, &[1, 2, 9], &[1, 2, 9])
            ]
        );
    }
}

#[test]
fn an_id_is_never_given_twice() {
    let mut episodes = Episodes::default();
    let first = core(&[1]).id();
    episodes.update(vec![core(&[1])]);
    episodes.update(vec![]);
    let again = episodes.update(vec![core(&[1])]);
    assert!(
        matches!(again[..], [Change::Opened { id, .. }] if id != first),
        "{again:?}"
    );

    // A part that splits off may look like the whole did when it began.
    let mut episodes = Episodes::default();
    episodes.update(vec![core(&[1])]);
    episodes.update(vec![core(&[1, 2, 3])]);
    let changes = episodes.update(vec![core(&[1]), core(&[2, 3])]);
    assert!(
        matches!(changes[..], [Change::Opened { id, .. }, Change::Continued { id: same, .. }]
        if id != first && same == first)
    );
}

#[test]
fn restored_episodes_go_on() {
    let mut episodes = Episodes::default();
    episodes.restore(7, [SpanId(1), SpanId(2)]);
    episodes.restore(8, [SpanId(5)]);
    assert!(episodes.touches(SpanId(1)));
    assert_eq!(
        episodes.update(vec![core(&[2, 3])]),
        [Change::Closed { id: 8 }, continued(7, &[2, 3], &[2, 3])]
    );
}

#[test]
fn restored_episodes_have_the_age_in_which_they_were_restored() {
    let mut episodes = Episodes::default();
    episodes.restore(8, [SpanId(1)]);
    episodes.restore(7, [SpanId(2)]);
    assert_eq!(
        episodes.update(vec![core(&[1, 2])]),
        [Change::Merged { id: 7, into: 8 }, continued(8, &[1, 2], &[1, 2])]
    );
}

#[test]
fn what_is_left_of_an_episode_can_begin_anew() {
    let mut episodes = Episodes::default();
    let id = core(&[1]).id();
    assert_eq!(episodes.renew(id), None);
    episodes.update(vec![core(&[1])]);
    episodes.update(vec![core(&[1, 2])]);
    assert_eq!(episodes.update(vec![core(&[2])]), [continued(id, &[2], &[1, 2])]);
    let renewed = episodes.renew(id).unwrap();
    assert_eq!(renewed, core(&[2]).id());
    assert_eq!(episodes.update(vec![core(&[2])]), []);
    assert_eq!(
        episodes.update(vec![core(&[2, 3])]),
        [continued(renewed, &[2, 3], &[2, 3])]
    );
    assert_eq!(episodes.update(vec![]), [Change::Closed { id: renewed }]);
}

#[test]
fn the_oldest_of_the_ids_that_are_over_are_forgotten() {
    let mut past = PastIds::default();
    (0..PAST_IDS_MAX as u64).for_each(|id| past.add(id));
    assert!(past.contains(0));
    past.add(u64::MAX);
    assert!(!past.contains(0) && past.contains(1) && past.contains(u64::MAX));
    assert_eq!((past.in_order.len(), past.all.len()), (PAST_IDS_MAX, PAST_IDS_MAX));
}
