use futures_util::{FutureExt, StreamExt};
use standoff_protocol::stream::{Probe, ResyncRequest, Welcome};
use tonic::Code;

use super::*;

fn channels() -> Channels {
    let channels = Channels::new(RelayWelcome::default(), CancellationToken::new());
    assert!(matches!(
        taken(&channels),
        Some(ToRelay {
            channel: 0,
            message: Some(to_relay::Message::Welcome(_))
        })
    ));
    channels
}

fn opened(channels: &Channels, numbers: impl IntoIterator<Item = u64>) {
    for number in numbers {
        channels.open(number, ConnectionId(number)).unwrap();
    }
}

fn probe(probe_id: u64) -> Message {
    Message::Probe(Probe {
        probe_id,
        ..Probe::default()
    })
}

/// What can be taken without waiting.
fn taken(channels: &Channels) -> Option<ToRelay> {
    channels.take().now_or_never()?.map(Result::unwrap)
}

/// Channels and numbers of all probes that wait.
fn probes(channels: &Channels) -> Vec<(u64, u64)> {
    std::iter::from_fn(|| taken(channels))
        .filter_map(|it| match it.message {
            Some(to_relay::Message::Collector(FromCollector {
                message: Some(Message::Probe(probe)),
            })) => Some((it.channel, probe.probe_id)),
            _ => None,
        })
        .collect()
}

#[test]
fn channels_take_turns() {
    let channels = channels();
    opened(&channels, [1, 2]);
    for message in [
        Message::Welcome(Welcome::default()),
        Message::ResyncRequest(ResyncRequest {}),
        probe(1),
    ] {
        channels.put(1, message).unwrap();
    }
    channels.put(2, probe(2)).unwrap();
    let order: Vec<u64> = std::iter::from_fn(|| taken(&channels)).map(|it| it.channel).collect();
    assert_eq!(order, [1, 2, 1, 1]);
}

#[test]
fn of_probes_that_were_not_taken_only_the_last_one_counts() {
    let channels = channels();
    opened(&channels, [1, 2]);
    for id in 0..10 {
        channels.put(1, probe(id)).unwrap();
        channels.put(2, probe(100 + id)).unwrap();
    }
    assert_eq!(probes(&channels), [(1, 9), (2, 109)]);
}

#[test]
fn a_relay_that_takes_nothing_for_so_long_is_found_out() {
    let channels = channels();
    opened(&channels, [1, 2]);
    for id in 0..OUTBOX_MAX as u64 {
        assert_eq!(channels.put(1, probe(id)), Ok(()));
    }
    assert_eq!(channels.put(1, probe(0)), Err(TakesNone));
    assert_eq!(probes(&channels).len(), 1);
    assert_eq!(channels.put(1, probe(0)), Ok(()), "it has taken what there was");
}

#[test]
fn refusals_that_nobody_takes_are_bounded() {
    let channels = channels();
    let refusal = Status::invalid_argument("no");
    for number in 1..=WAITING_MAX as u64 {
        assert_eq!(channels.refuse(number, &refusal), Ok(()));
    }
    assert_eq!(channels.refuse(WAITING_MAX as u64 + 1, &refusal), Err(TakesNone));
}

#[test]
fn no_more_channels_are_open_than_there_can_be_instances() {
    let channels = channels();
    opened(&channels, 1..=INSTANCES_MAX as u64);
    let next = INSTANCES_MAX as u64 + 1;
    assert_eq!(channels.open(next, ConnectionId(next)), Err(TooMany));
    assert_eq!(channels.state_of(next), Channel::Ended, "its number is used up");
    channels.close(1);
    assert_eq!(channels.open(next + 1, ConnectionId(next)), Ok(()));
}

#[test]
fn a_refusal_is_the_last_that_is_sent_on_a_channel() {
    let channels = channels();
    opened(&channels, [3]);
    channels.put(3, probe(1)).unwrap();
    channels.refuse(3, &Status::aborted("superseded")).unwrap();
    channels.put(3, probe(2)).unwrap();
    assert_eq!(channels.state_of(3), Channel::Ended);
    assert_eq!(channels.state_of(4), Channel::New);
    let Some(ToRelay {
        channel: 3,
        message: Some(to_relay::Message::Refused(refused)),
    }) = taken(&channels)
    else {
        panic!("no refusal")
    };
    assert_eq!((refused.code, &*refused.message), (Code::Aborted as u32, "superseded"));
    assert_eq!(taken(&channels), None);
}

#[test]
fn the_end_is_said_once_and_tells_whose_connections_have_ended() {
    let reading = CancellationToken::new();
    let channels = Arc::new(Channels::new(RelayWelcome::default(), reading.clone()));
    opened(&channels, [1, 2]);
    channels.put(1, probe(1)).unwrap();
    channels.end(Some(Status::aborted("enough")));
    channels.end(None);
    assert!(reading.is_cancelled());
    assert_eq!(channels.take_open(), [ConnectionId(1), ConnectionId(2)]);
    let said: Vec<_> = channels.outgoing().collect().now_or_never().unwrap();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].as_ref().unwrap_err().code(), Code::Aborted);
}
