use standoff_protocol::stream::{Heartbeat, Loss, RelayHeartbeat};

use super::*;

fn heartbeat(events_lost: u64, losses: &[(stream::LossCause, u64)]) -> Heartbeat {
    let loss = |(cause, events): &(stream::LossCause, u64)| Loss {
        cause: (*cause).into(),
        events: *events,
    };
    Heartbeat {
        events_lost,
        losses: losses.iter().map(loss).collect(),
    }
}

fn key(number: usize) -> InstanceKey {
    InstanceKey {
        instance_id: format!("instance {number}"),
        incarnation: 1,
    }
}

fn refused(instances_refused: u64) -> RelayHeartbeat {
    RelayHeartbeat {
        instances_refused,
        losses: Vec::new(),
    }
}

fn shown(losses: &Losses) -> Vec<(LossCause, u64)> {
    let shown = losses.shown(&Counts::default());
    shown.into_iter().map(|it| (it.cause, it.count)).collect()
}

const SPANS: stream::LossCause = stream::LossCause::LibrarySpans;
const RELAY: stream::LossCause = stream::LossCause::RelaySpans;

#[test]
fn what_an_instance_says_is_taken_by_cause_and_what_is_left_has_none() {
    let (mut losses, mut instance) = (Losses::default(), OfInstance::default());
    losses.heard(&mut instance, &heartbeat(10, &[(SPANS, 4), (RELAY, 3)]));
    assert_eq!(
        shown(&losses),
        [
            (LossCause::LibrarySpans, 4),
            (LossCause::RelaySpans, 3),
            (LossCause::Unknown, 3)
        ]
    );
    assert_eq!(losses.events(&Counts::default()), 10);
    losses.heard(&mut instance, &heartbeat(12, &[(SPANS, 6), (RELAY, 3)]));
    assert_eq!(losses.events(&Counts::default()), 12);
    let of_later_version = Heartbeat {
        events_lost: 12,
        losses: vec![Loss { cause: 99, events: 2 }],
    };
    let (mut losses, mut instance) = (Losses::default(), OfInstance::default());
    losses.heard(&mut instance, &of_later_version);
    assert_eq!(shown(&losses), [(LossCause::Unknown, 12)]);
}

#[test]
fn counts_only_grow_while_a_connection_lasts_and_a_new_one_may_begin_anew() {
    let (mut losses, mut instance) = (Losses::default(), OfInstance::default());
    for said in [5, 3, 5] {
        losses.heard(&mut instance, &heartbeat(said, &[(RELAY, said)]));
    }
    assert_eq!(shown(&losses), [(LossCause::RelaySpans, 5)]);
    // The relay was started again; then the instance has only connected again.
    losses.comes(&key(1), &mut instance);
    losses.heard(&mut instance, &heartbeat(2, &[(RELAY, 2)]));
    assert_eq!(shown(&losses), [(LossCause::RelaySpans, 7)]);
    losses.comes(&key(1), &mut instance);
    losses.heard(&mut instance, &heartbeat(2, &[(RELAY, 2)]));
    assert_eq!(shown(&losses), [(LossCause::RelaySpans, 7)]);
}

#[test]
fn what_was_lost_stays_lost_and_is_not_counted_twice_should_its_instance_come_back() {
    let (mut losses, mut instance) = (Losses::default(), OfInstance::default());
    losses.comes(&key(1), &mut instance);
    losses.heard(&mut instance, &heartbeat(5, &[]));
    losses.leaves(&key(1), instance);
    assert_eq!(losses.events(&Counts::default()), 5);
    let mut instance = OfInstance::default();
    losses.comes(&key(1), &mut instance);
    losses.heard(&mut instance, &heartbeat(6, &[]));
    assert_eq!(losses.events(&Counts::default()), 6);
}

#[test]
fn instances_and_relays_that_are_remembered_are_bounded() {
    let mut losses = Losses::default();
    for number in 0..2 * GONE_MAX {
        let mut instance = OfInstance::default();
        losses.comes(&key(number), &mut instance);
        losses.heard(&mut instance, &heartbeat(1, &[]));
        losses.leaves(&key(number), instance);
        let relay = ConnectionId(number as u64);
        losses.relay_comes(relay, format!("relay {number}"));
        losses.relay_says(relay, &refused(1));
        losses.relay_leaves(relay);
    }
    assert_eq!((losses.gone.len(), losses.gone_in_order.len()), (GONE_MAX, GONE_MAX));
    assert_eq!((losses.relays.len(), losses.relay_names.len()), (0, RELAY_NAMES_MAX));
    assert_eq!(
        shown(&losses),
        [
            (LossCause::Unknown, 2 * GONE_MAX as u64),
            (LossCause::RelayInstances, 2 * GONE_MAX as u64)
        ]
    );
}

#[test]
fn a_relay_counts_since_it_started_however_often_it_connects() {
    let mut losses = Losses::default();
    for (connection, said) in [(1, 2), (1, 3), (2, 3), (3, 1)] {
        if !losses.relays.contains_key(&ConnectionId(connection)) {
            losses.relay_comes(ConnectionId(connection), "host-1".into());
        }
        losses.relay_says(ConnectionId(connection), &refused(said));
    }
    // Three, and one after it was started again.
    assert_eq!(shown(&losses), [(LossCause::RelayInstances, 4)]);
    losses.relay_says(ConnectionId(9), &refused(100));
    assert_eq!(
        shown(&losses),
        [(LossCause::RelayInstances, 4)],
        "nobody knows that relay"
    );
}

#[test]
fn what_a_relay_could_not_take_over_otlp_is_told_by_cause() {
    let mut losses = Losses::default();
    losses.relay_comes(ConnectionId(1), "host-1".into());
    let said = |rejected, requests| {
        let losses = [
            (stream::LossCause::OtlpRejected, rejected),
            (stream::LossCause::OtlpRequests, requests),
        ];
        RelayHeartbeat {
            instances_refused: 0,
            losses: losses
                .map(|(cause, events)| Loss {
                    cause: cause.into(),
                    events,
                })
                .to_vec(),
        }
    };
    losses.relay_says(ConnectionId(1), &said(3, 1));
    losses.relay_says(ConnectionId(1), &said(5, 1));
    losses.relay_leaves(ConnectionId(1));
    losses.relay_comes(ConnectionId(2), "host-1".into());
    // It was started again: one counter is below what it was, the other is not.
    losses.relay_says(ConnectionId(2), &said(2, 4));
    assert_eq!(
        shown(&losses),
        [(LossCause::OtlpRejected, 7), (LossCause::OtlpRequests, 4)]
    );
    assert_eq!(losses.events(&Counts::default()), 7);
}

#[test]
fn numbers_beyond_all_bounds_do_no_harm() {
    let (mut losses, mut instance) = (Losses::default(), OfInstance::default());
    losses.heard(
        &mut instance,
        &heartbeat(u64::MAX, &[(SPANS, u64::MAX), (SPANS, u64::MAX), (RELAY, u64::MAX)]),
    );
    losses.add_of(&mut instance, LossCause::Batches, u64::MAX);
    losses.add_of(&mut instance, LossCause::Batches, 1);
    assert_eq!(losses.events(&Counts::default()), u64::MAX);
}
