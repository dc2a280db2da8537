use std::sync::Arc;

use standoff_otlp::{Finished, Instance, InstanceIx, Source, Started};
use standoff_protocol::stream::{LossCause, Outcome, Role};

use super::*;

/// Calls that have started and ended, of a service.
fn request(service: &str, started: &[u64], ended: &[u64]) -> Batch {
    let instance = InstanceIx(0);
    let mut batch = Batch::default();
    batch.instances.push(Arc::new(Instance {
        service_name: service.into(),
        instance_id: format!("{service}-1"),
        ..Instance::default()
    }));
    let started = started.iter().map(|id| {
        Box::new(Started {
            instance,
            span: stream::Started {
                span_id: *id,
                role: Role::Call.into(),
                ..stream::Started::default()
            },
            start_time_unix_nano: 0,
            source: Source::OpenSpan,
            code: None,
        })
    });
    let finished = ended.iter().map(|id| Finished {
        span_id: *id,
        trace_id: 1,
        parent_span_id: 77,
        parent_is_remote: false,
        instance,
        role: Role::Call,
        outcome: Outcome::Finished,
        conversation_id: None,
    });
    batch.started.extend(started);
    batch.finished.extend(finished);
    batch
}

/// Whom the owner would know, and what it was told of whom, shortly.
#[derive(Default)]
struct Told {
    peers: Vec<(ConnectionId, Peer)>,
    lines: Vec<String>,
    losses: Vec<Loss>,
}

impl Told {
    fn tell(&mut self, messages: Vec<Message>) {
        for message in messages {
            self.lines.push(match message {
                Message::Connected {
                    connection,
                    hello,
                    peer,
                } => {
                    self.peers.push((connection, peer));
                    let name = hello.instance.unwrap_or_default().instance_id;
                    format!("{}: {name}, cannot be asked: {}", connection.0, hello.cannot_be_asked)
                }
                Message::Alive { connections } => {
                    let numbers: Vec<u64> = connections.iter().map(|it| it.0).collect();
                    format!("alive: {numbers:?}")
                }
                Message::Input(Input::Lost { losses }) => {
                    self.losses = losses;
                    continue;
                }
                Message::Input(Input::Message { connection, message }) => match message.message {
                    Some(from_instance::Message::OpenSet(set)) => {
                        format!(
                            "{}: set of {}, complete: {}",
                            connection.0,
                            set.spans.len(),
                            set.complete
                        )
                    }
                    Some(from_instance::Message::Batch(batch)) => format!(
                        "{}: batch {} +{} -{} ~{}",
                        connection.0,
                        batch.sequence,
                        batch.started.len(),
                        batch.finished.len(),
                        batch.ended.len()
                    ),
                    Some(from_instance::Message::Goodbye(_)) => format!("{}: goodbye", connection.0),
                    other => panic!("{other:?}"),
                },
                unexpected @ (Message::UpstreamConnected { .. } | Message::Input(_) | Message::Status { .. }) => {
                    panic!("{unexpected:?}")
                }
            });
        }
    }

    fn lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines)
    }
}

struct Bench {
    feed: Feed,
    told: Told,
    now: Duration,
}

impl Bench {
    fn new() -> Self {
        Self {
            feed: Feed::new(Connections::default(), Duration::from_secs(600), 1),
            told: Told::default(),
            now: Duration::ZERO,
        }
    }

    fn take(&mut self, request: Batch) -> Vec<String> {
        let unix_now = Duration::from_secs(1_000_000) + self.now;
        self.told.tell(self.feed.take(self.now, unix_now, request));
        self.told.lines()
    }

    fn beat(&mut self, counts: &Counts) -> Vec<String> {
        self.told.tell(self.feed.beat(counts));
        self.told.lines()
    }
}

#[test]
fn each_source_has_a_connection_and_its_batches_are_counted() {
    let mut bench = Bench::new();
    assert_eq!(
        bench.take(request("a", &[1, 2], &[9])),
        [
            "1: a-1, cannot be asked: true",
            "1: set of 0, complete: true",
            "1: batch 1 +2 -0 ~1"
        ]
    );
    assert_eq!(
        bench.take(request("b", &[3], &[])),
        [
            "2: b-1, cannot be asked: true",
            "2: set of 0, complete: true",
            "2: batch 1 +1 -0 ~0"
        ]
    );
    assert_eq!(bench.take(request("a", &[4], &[1])), ["1: batch 2 +1 -1 ~0"]);
    assert_eq!(bench.beat(&Counts::default()), ["alive: [1, 2]"]);
    assert_eq!(bench.feed.counts().open, 3);
}

#[test]
fn a_source_that_is_not_wanted_is_left_alone_until_it_comes_again() {
    let mut bench = Bench::new();
    bench.take(request("a", &[1], &[]));
    bench.told.peers.clear();
    assert_eq!(bench.take(request("a", &[2], &[3])), Vec::<String>::new());
    assert_eq!(bench.beat(&Counts::default()), ["alive: []"]);
    assert_eq!(bench.feed.counts().open, 0, "nothing is kept of who is not wanted");
    let lost: Vec<(LossCause, u64)> = bench.told.losses.iter().map(|it| (it.cause(), it.events)).collect();
    assert_eq!(lost, [(LossCause::OtlpSpans, 2)]);
    assert_eq!(
        bench.take(request("a", &[4], &[])),
        [
            "2: a-1, cannot be asked: true",
            "2: set of 0, complete: true",
            "2: batch 1 +1 -0 ~0"
        ]
    );
}

#[test]
fn who_says_nothing_for_long_and_has_nothing_open_leaves() {
    let mut bench = Bench::new();
    bench.take(request("a", &[], &[1]));
    bench.now = Duration::from_secs(3600);
    bench.told.tell(bench.feed.expire(bench.now));
    assert_eq!(bench.told.lines(), ["1: goodbye"]);
    assert_eq!(bench.beat(&Counts::default()), ["alive: []"]);
}

#[test]
fn what_was_lost_is_told_by_cause() {
    let mut bench = Bench::new();
    let counts = Counts {
        refused: 2,
        invalid: 3,
        spans_rejected: 4,
        ..Counts::default()
    };
    bench.beat(&counts);
    let lost: Vec<(LossCause, u64)> = bench.told.losses.iter().map(|it| (it.cause(), it.events)).collect();
    assert_eq!(lost, [(LossCause::OtlpRejected, 7), (LossCause::OtlpRequests, 2)]);
}
