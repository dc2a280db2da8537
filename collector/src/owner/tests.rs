use standoff_protocol::stream::{Batch, RelayWelcome};
use tonic::Code;

use super::*;
use crate::known::InstanceKey;

const START: Duration = Duration::from_secs(1_000_000);

/// A host of which nothing is known.
struct Nothing;

impl Surroundings for Nothing {
    fn look(&mut self, _: &Process) -> Sight {
        Sight::Unknown
    }

    fn remember(&mut self, _: known::Change) {}
}

fn work() -> Work<Nothing> {
    Work::new(START, Times::default(), known::Known::new(), Nothing)
}

fn connect(work: &mut Work<Nothing>, connection: ConnectionId, outbox: Outbox) {
    let identity = Identity {
        key: InstanceKey {
            instance_id: format!("instance {}", connection.0),
            incarnation: 1,
        },
        service: String::new(),
        namespace: String::new(),
        process: Process::default(),
        lease: None,
        cannot_be_asked: false,
    };
    work.handle(
        START,
        Message::Connected {
            connection,
            identity,
            outbox,
        },
    );
}

/// Whether anything can still be sent to it.
fn is_connected(work: &Work<Nothing>, connection: ConnectionId) -> bool {
    work.connections.contains_key(&connection)
}

/// The instance loses a batch and sends its open set, for which it is asked each time.
fn loses_batches(work: &mut Work<Nothing>, connection: ConnectionId, times: usize) {
    for _ in 0..times {
        let batch = Batch {
            sequence: 9,
            ..Batch::default()
        };
        let inputs = [
            Input::OpenSet {
                connection,
                spans: vec![],
                complete: true,
            },
            Input::Batch { connection, batch },
        ];
        for input in inputs {
            work.handle(START, Message::Input(input));
        }
    }
}

#[test]
fn an_instance_that_never_reads_is_disconnected() {
    let mut work = work();
    let (messages, unread) = mpsc::channel(OUTBOX_MAX);
    let reading = CancellationToken::new();
    let outbox = Outbox::Stream {
        messages,
        _reading: reading.clone().drop_guard(),
    };
    let connection = ConnectionId(1);
    connect(&mut work, connection, outbox);
    // The welcome is the first message that it does not read.
    loses_batches(&mut work, connection, OUTBOX_MAX - 1);
    assert!(is_connected(&work, connection) && !reading.is_cancelled());
    loses_batches(&mut work, connection, 1);
    assert!(!is_connected(&work, connection) && reading.is_cancelled());
    assert_eq!(unread.len(), OUTBOX_MAX);
}

#[test]
fn a_relay_that_never_reads_is_disconnected_and_nobody_else() {
    let mut work = work();
    let reading = CancellationToken::new();
    let channels = Arc::new(Channels::new(RelayWelcome::default(), reading.clone()));
    let relayed = [1, 2].map(ConnectionId);
    for connection in relayed {
        channels.open(connection.0, connection).unwrap();
        let outbox = Outbox::Channel(Arc::clone(&channels), connection.0);
        connect(&mut work, connection, outbox);
    }
    let (messages, mut read) = mpsc::channel(OUTBOX_MAX);
    let outbox = Outbox::Stream {
        messages,
        _reading: CancellationToken::new().drop_guard(),
    };
    let direct = ConnectionId(3);
    connect(&mut work, direct, outbox);
    for _ in 0..2 * OUTBOX_MAX {
        loses_batches(&mut work, direct, 1);
        while let Ok(message) = read.try_recv() {
            message.unwrap();
        }
    }
    loses_batches(&mut work, relayed[0], OUTBOX_MAX - 1);
    assert!(!reading.is_cancelled());
    loses_batches(&mut work, relayed[0], 1);
    assert!(
        reading.is_cancelled(),
        "whoever reads it tells of the end of all its channels"
    );
    let ended = Input::RelayEnded {
        relay: ConnectionId(9),
        connections: channels.take_open(),
        is_unreadable: false,
    };
    work.handle(START, Message::Input(ended));
    assert!(relayed.iter().all(|it| !is_connected(&work, *it)));
    assert!(is_connected(&work, direct));
}

#[test]
fn an_instance_hears_why_it_is_not_understood() {
    let mut work = work();
    let (messages, mut heard) = mpsc::channel(OUTBOX_MAX);
    let outbox = Outbox::Stream {
        messages,
        _reading: CancellationToken::new().drop_guard(),
    };
    let connection = ConnectionId(1);
    connect(&mut work, connection, outbox);
    heard.try_recv().unwrap().unwrap();
    let status = Status::invalid_argument("no");
    work.handle(START, Message::Unreadable { connection, status });
    assert_eq!(heard.try_recv().unwrap().unwrap_err().code(), Code::InvalidArgument);
    assert!(!is_connected(&work, connection));
    assert!(heard.try_recv().is_err(), "the stream has ended");
}
