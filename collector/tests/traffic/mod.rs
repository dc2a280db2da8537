//! Histories for the player of any bytes: instances that deadlock, die and come back, directly and through relays, with
//! some of the bytes changed on the way.

use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use standoff_protocol::stream::{
    Acceptance, Batch, ChannelClosed, ENDED_PER_MESSAGE_MAX, Ended, Finished, FromInstance, FromRelay, Goodbye,
    Heartbeat, Hello, Instance, Loss, OpenSet, PROTOCOL_VERSION, ProbeAnswer, Process, REPEATED_MAX, RelayHeartbeat,
    RelayHello, Role, SPANS_PER_MESSAGE_MAX, Started, WaitGroup, from_instance, from_relay,
};

/// How many acts a history has.
const ACTS: usize = 60;

/// Few of everything, so that they meet.
const IDS: u64 = 30;
const NAMES: u32 = 5;
const CHANNELS: u64 = 4;

/// The messages of a greedy history: enough that what a collector begins with does not matter.
const PARTS: u64 = 32;
/// Few enough that their length can be said.
const SPANS_PER_PART: u64 = 256;

/// What happens, as the player reads it.
const INSTANCE_SAYS: u8 = 0;
const RELAY_SAYS: u8 = 3;
const TIME_PASSES: u8 = 5;
const ENDS: u8 = 6;
const ALL_CONFIRM: u8 = 7;

/// A history in which each byte is changed with this chance.
pub(crate) fn history(random: &mut StdRng, damage: f64) -> Vec<u8> {
    let mut acts = Vec::new();
    let mut batches = [0; 4];
    let mut last_channel = 0;
    for who in 0..4 {
        says(
            &mut acts,
            INSTANCE_SAYS,
            who,
            &FromInstance {
                message: Some(hello(random)),
            },
        );
    }
    for who in 0..2 {
        let hello = RelayHello {
            protocol_version: PROTOCOL_VERSION,
            name: "relay".into(),
        };
        let message = Some(from_relay::Message::Hello(hello));
        says(&mut acts, RELAY_SAYS, who, &FromRelay { channel: 0, message });
    }
    for _ in 0..ACTS {
        let who = random.random_range(0..4);
        match random.random_range(0..20) {
            0..=8 => {
                let message = Some(instance_says(random, &mut batches[usize::from(who)]));
                says(&mut acts, INSTANCE_SAYS, who, &FromInstance { message });
            }
            9..=13 => {
                let message = relay_says(random, &mut last_channel);
                says(&mut acts, RELAY_SAYS, who % 2, &message);
            }
            14..=16 => acts.extend([ALL_CONFIRM, 0]),
            17 | 18 => acts.extend([TIME_PASSES, random.random_range(0..6)]),
            _ => acts.extend([ENDS, random.random_range(0..6)]),
        }
    }
    for byte in &mut acts {
        if random.random_bool(damage) {
            *byte = random.random();
        }
    }
    acts
}

fn says(acts: &mut Vec<u8>, act: u8, who: u8, message: &impl prost::Message) {
    let message = message.encode_to_vec();
    // What is longer than two bytes can say is cut, which is one more kind of damage.
    let len = u16::try_from(message.len()).unwrap_or(u16::MAX);
    acts.extend([act, who]);
    acts.extend(len.to_le_bytes());
    acts.extend(&message[..usize::from(len)]);
}

fn hello(random: &mut StdRng) -> from_instance::Message {
    from_instance::Message::Hello(Hello {
        protocol_version: if random.random_bool(0.05) {
            random.random()
        } else {
            PROTOCOL_VERSION
        },
        instance: Some(Instance {
            service_name: name(random),
            instance_id: name(random),
            incarnation: random.random_range(0..2),
            process: random.random_bool(0.5).then(|| Process {
                host: "h".into(),
                pid: random.random_range(0..3),
                start_ticks: 1,
            }),
            ..Instance::default()
        }),
        lease_ms: if random.random_bool(0.2) { random.random() } else { 0 },
        cannot_be_asked: random.random_bool(0.2),
    })
}

fn instance_says(random: &mut StdRng, batches: &mut u64) -> from_instance::Message {
    match random.random_range(0..12) {
        0 => hello(random),
        1 | 2 => {
            *batches = 0;
            from_instance::Message::OpenSet(OpenSet {
                spans: spans(random),
                complete: random.random_bool(0.8),
            })
        }
        3..=7 => {
            *batches = if random.random_bool(0.05) {
                random.random()
            } else {
                *batches + 1
            };
            from_instance::Message::Batch(Batch {
                sequence: *batches,
                started: spans(random),
                finished: (0..random.random_range(0..3))
                    .map(|_| Finished {
                        span_id: id(random),
                        outcome: random.random_range(-1..6),
                    })
                    .collect(),
                ended: (0..random.random_range(0..3))
                    .map(|_| Ended {
                        span_id: id(random),
                        parent_span_id: id(random),
                        parent_is_remote: random.random(),
                        role: random.random_range(-1..6),
                        conversation_id: name(random),
                    })
                    .collect(),
            })
        }
        8 | 9 => from_instance::Message::Heartbeat(Heartbeat {
            events_lost: number(random),
            losses: losses(random),
        }),
        10 => from_instance::Message::ProbeAnswer(ProbeAnswer {
            probe_id: random.random_range(0..20),
            not_open: (0..random.random_range(0..3)).map(|_| id(random)).collect(),
            acceptances: (0..random.random_range(0..4))
                .map(|_| Acceptance {
                    call_span_id: id(random),
                    state: random.random_range(-1..6),
                })
                .collect(),
        }),
        _ => from_instance::Message::Goodbye(Goodbye {}),
    }
}

fn relay_says(random: &mut StdRng, last_channel: &mut u64) -> FromRelay {
    let mut channel = random.random_range(0..=CHANNELS) + last_channel.saturating_sub(CHANNELS);
    let instance = |message| from_relay::Message::Instance(FromInstance { message: Some(message) });
    let message = match random.random_range(0..12) {
        0..=2 => {
            *last_channel += 1;
            channel = *last_channel;
            instance(hello(random))
        }
        3 => from_relay::Message::Closed(ChannelClosed {
            process_died: random.random(),
        }),
        4 => {
            channel = 0;
            from_relay::Message::Heartbeat(RelayHeartbeat {
                instances_refused: number(random),
                losses: losses(random),
            })
        }
        _ => {
            let mut batches = random.random_range(0..3);
            instance(instance_says(random, &mut batches))
        }
    };
    FromRelay {
        channel,
        message: Some(message),
    }
}

fn spans(random: &mut StdRng) -> Vec<Started> {
    let mut spans = Vec::new();
    for _ in 0..random.random_range(0..4) {
        if random.random_bool(0.4) {
            spans.push(span(random));
        } else {
            spans.extend(turn(random));
        }
    }
    spans
}

/// A server's turn that waits for a server: of these deadlocks are made.
fn turn(random: &mut StdRng) -> [Started; 2] {
    let handle = Started {
        span_id: id(random),
        role: Role::Handle.into(),
        resources: vec![name(random)],
        ..Started::default()
    };
    let call = Started {
        span_id: id(random),
        parent_span_id: handle.span_id,
        role: Role::Call.into(),
        target: name(random),
        ..Started::default()
    };
    [handle, call]
}

fn span(random: &mut StdRng) -> Started {
    Started {
        span_id: id(random),
        trace_id: if random.random_bool(0.005) {
            vec![1; random.random_range(0..20)]
        } else {
            vec![]
        },
        parent_span_id: if random.random_bool(0.7) { id(random) } else { 0 },
        parent_is_remote: random.random_bool(0.3),
        role: if random.random_bool(0.005) {
            random.random()
        } else {
            random.random_range(0..5)
        },
        name: name(random),
        age_ns: number(random),
        resources: (0..random.random_range(0..3)).map(|_| name(random)).collect(),
        capacity: if random.random_bool(0.2) {
            random.random_range(0..4)
        } else {
            0
        },
        units: if random.random_bool(0.1) { random.random() } else { 0 },
        target: name(random),
        timeout_ms: number(random),
        wait_group: random.random_bool(0.1).then(|| WaitGroup {
            name: name(random),
            needed: random.random_range(0..3),
            size: random.random_range(0..3),
        }),
        detached: random.random_bool(0.05),
        task_span_id: if random.random_bool(0.1) { id(random) } else { 0 },
        conversation_id: if random.random_bool(0.1) {
            name(random)
        } else {
            String::new()
        },
    }
}

fn id(random: &mut StdRng) -> u64 {
    if random.random_bool(0.01) {
        random.random()
    } else {
        random.random_range(1..IDS)
    }
}

fn losses(random: &mut StdRng) -> Vec<Loss> {
    (0..random.random_range(0..4))
        .map(|_| Loss {
            cause: random.random_range(-1..12),
            events: number(random),
        })
        .collect()
}

fn number(random: &mut StdRng) -> u64 {
    if random.random_bool(0.05) {
        random.random()
    } else {
        random.random_range(0..10_000)
    }
}

fn name(random: &mut StdRng) -> String {
    if random.random_bool(0.001) {
        return "x".repeat(random.random_range(0..2000));
    }
    format!("n{}", random.random_range(0..NAMES))
}

/// Histories that ask for as much memory as they can with as few bytes.
pub(crate) fn greedy() -> Vec<(&'static str, Vec<u8>)> {
    let span = |id: u64| Started {
        span_id: id,
        ..Started::default()
    };
    let numbered = |id: u64| char::from_u32(0x100 + u32::try_from(id % 0xd000).unwrap_or(0)).unwrap_or('x');
    let named = |id: u64| numbered(id).to_string();
    let of = |make: &dyn Fn(u64) -> Started| {
        let mut acts = Vec::new();
        let mut random = StdRng::seed_from_u64(1);
        let mut introduced = hello(&mut random);
        if let from_instance::Message::Hello(hello) = &mut introduced {
            hello.protocol_version = PROTOCOL_VERSION;
        }
        says(
            &mut acts,
            INSTANCE_SAYS,
            0,
            &FromInstance {
                message: Some(introduced),
            },
        );
        for part in 0..PARTS {
            let started = (1..=SPANS_PER_PART)
                .map(|id| make(part * SPANS_PER_PART + id))
                .collect();
            let batch = Batch {
                sequence: part + 1,
                started,
                finished: vec![],
                ended: vec![],
            };
            says(
                &mut acts,
                INSTANCE_SAYS,
                0,
                &FromInstance {
                    message: Some(from_instance::Message::Batch(batch)),
                },
            );
        }
        acts
    };
    vec![
        ("structural spans", of(&span)),
        ("calls without a target", of(&|id| Started { role: 1, ..span(id) })),
        (
            "calls for different targets",
            of(&|id| Started {
                role: 1,
                target: named(id),
                ..span(id)
            }),
        ),
        (
            "handles",
            of(&|id| Started {
                role: 2,
                resources: vec![named(id)],
                ..span(id)
            }),
        ),
        (
            "holds of the same",
            of(&|id| Started {
                role: 3,
                resources: vec!["r".into()],
                ..span(id)
            }),
        ),
        (
            "members of several",
            of(&|id| Started {
                role: 4,
                resources: (0..8).map(|it| named(8 * id + it)).collect(),
                ..span(id)
            }),
        ),
        (
            "members of as many as can be",
            of(&|id| Started {
                role: 4,
                resources: (0..32).map(|it| named(32 * id + it)).collect(),
                ..span(id)
            }),
        ),
        (
            "calls in one conversation",
            of(&|id| Started {
                role: 1,
                conversation_id: "c".into(),
                ..span(id)
            }),
        ),
        (
            "calls with unknown parents",
            of(&|id| Started {
                role: 1,
                parent_span_id: id + (1 << 32),
                parent_is_remote: true,
                ..span(id)
            }),
        ),
        (
            "calls in groups of their own",
            of(&|id| Started {
                role: 1,
                wait_group: Some(WaitGroup {
                    name: named(id),
                    needed: 1,
                    size: 2,
                }),
                ..span(id)
            }),
        ),
    ]
}

/// Messages with the longest lists that are read, and with longer ones.
pub(crate) fn lists() -> Vec<(&'static str, Vec<u8>)> {
    let message = |message| FromInstance { message: Some(message) }.encode_to_vec();
    let batch = |batch: Batch| message(from_instance::Message::Batch(batch));
    let answer = |answer| message(from_instance::Message::ProbeAnswer(answer));
    let full = Started {
        resources: vec![String::new(); 32],
        ..Started::default()
    };
    vec![
        ("4 MiB of empty spans", empty_spans(4 << 20)),
        (
            "as many spans and resources as can be",
            batch(Batch {
                started: vec![full.clone(); SPANS_PER_MESSAGE_MAX],
                ..Batch::default()
            }),
        ),
        (
            "as much as can be of everything in a batch",
            batch(Batch {
                started: vec![full; SPANS_PER_MESSAGE_MAX],
                finished: vec![Finished::default(); REPEATED_MAX],
                ended: vec![Ended::default(); ENDED_PER_MESSAGE_MAX],
                sequence: 1,
            }),
        ),
        (
            "more finishes than can be",
            batch(Batch {
                finished: vec![Finished::default(); 1 << 21],
                ..Batch::default()
            }),
        ),
        (
            "more resources than can be",
            batch(Batch {
                started: vec![Started {
                    resources: vec![String::new(); 1 << 20],
                    ..Started::default()
                }],
                ..Batch::default()
            }),
        ),
        (
            "4 MiB of numbers",
            answer(ProbeAnswer {
                not_open: vec![1; 1 << 19],
                ..ProbeAnswer::default()
            }),
        ),
        (
            "as many acceptances as can be",
            answer(ProbeAnswer {
                acceptances: vec![Acceptance::default(); REPEATED_MAX],
                ..ProbeAnswer::default()
            }),
        ),
        (
            "one text of 4 MiB",
            batch(Batch {
                started: vec![Started {
                    name: "x".repeat(4 << 20),
                    ..Started::default()
                }],
                ..Batch::default()
            }),
        ),
    ]
}

/// An open set of so many bytes: nothing but spans of two bytes each.
pub(crate) fn empty_spans(bytes: usize) -> Vec<u8> {
    let spans = vec![Started::default(); bytes / 2];
    FromInstance {
        message: Some(from_instance::Message::OpenSet(OpenSet { spans, complete: false })),
    }
    .encode_to_vec()
}
