//! Where the lists of a message are, and a walk over the encoded bytes that counts them.

use super::{ENDED_PER_MESSAGE_MAX, RESOURCES_PER_SPAN_MAX, SPANS_PER_MESSAGE_MAX};

/// The most elements of any list but that of spans, over a whole message: what [`SPANS_PER_MESSAGE_MAX`] spans may name
/// of resources. The library's messages and the collector's probes have far fewer.
pub const REPEATED_MAX: usize = SPANS_PER_MESSAGE_MAX * RESOURCES_PER_SPAN_MAX;

/// The fields of a message that are lists, or messages that have some. All others are of no interest here.
#[derive(Debug)]
pub struct Shape(&'static [(u32, Field)]);

#[derive(Debug)]
enum Field {
    One(&'static Shape),
    /// Each of these counts.
    List(List, &'static Shape),
}

#[derive(Clone, Copy, Debug)]
enum List {
    Spans,
    Resources,
    Finishes,
    Ended,
    Losses,
    Acceptances,
    Questions,
}

const LISTS: usize = 7;

/// How deep messages are within one another: a span in an open set of an instance behind a relay.
const DEPTH_MAX: usize = 4;

const NOTHING: Shape = Shape(&[]);
const STARTED: Shape = Shape(&[(8, Field::List(List::Resources, &NOTHING))]);
const OPEN_SET: Shape = Shape(&[(1, Field::List(List::Spans, &STARTED))]);
const BATCH: Shape = Shape(&[
    (2, Field::List(List::Spans, &STARTED)),
    (3, Field::List(List::Finishes, &NOTHING)),
    (4, Field::List(List::Ended, &NOTHING)),
]);
const HEARTBEAT: Shape = Shape(&[(2, Field::List(List::Losses, &NOTHING))]);
const PROBE_ANSWER: Shape = Shape(&[(3, Field::List(List::Acceptances, &NOTHING))]);
const PROBE: Shape = Shape(&[(3, Field::List(List::Questions, &NOTHING))]);
pub(super) const FROM_INSTANCE: Shape = Shape(&[
    (2, Field::One(&OPEN_SET)),
    (3, Field::One(&BATCH)),
    (4, Field::One(&HEARTBEAT)),
    (5, Field::One(&PROBE_ANSWER)),
]);
const RELAY_HEARTBEAT: Shape = Shape(&[(2, Field::List(List::Losses, &NOTHING))]);
pub(super) const FROM_RELAY: Shape = Shape(&[(3, Field::One(&RELAY_HEARTBEAT)), (4, Field::One(&FROM_INSTANCE))]);
pub(super) const FROM_COLLECTOR: Shape = Shape(&[(3, Field::One(&PROBE))]);
pub(super) const TO_RELAY: Shape = Shape(&[(3, Field::One(&FROM_COLLECTOR))]);

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It has a longer list than the protocol allows.
    TooMany {
        /// Of what.
        what: &'static str,
        /// What is allowed.
        most: usize,
    },
    /// It is no message.
    Malformed(String),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooMany { what, most } => write!(f, "the message has more than {most} {what}"),
            Self::Malformed(why) => write!(f, "the message cannot be read: {why}"),
        }
    }
}

impl std::error::Error for Unreadable {}

impl List {
    fn what(self) -> &'static str {
        match self {
            Self::Spans => "spans",
            Self::Resources => "resources",
            Self::Finishes => "finishes",
            Self::Ended => "ended spans",
            Self::Losses => "losses",
            Self::Acceptances => "acceptances",
            Self::Questions => "questions",
        }
    }

    fn most(self) -> usize {
        match self {
            Self::Spans => SPANS_PER_MESSAGE_MAX,
            Self::Ended => ENDED_PER_MESSAGE_MAX,
            Self::Resources | Self::Finishes | Self::Losses | Self::Acceptances | Self::Questions => REPEATED_MAX,
        }
    }
}

/// Counts the elements of all lists.
pub(super) fn check(bytes: &[u8], shape: &'static Shape) -> Result<(), Unreadable> {
    let mut counts = [0; LISTS];
    // What is left to be read of the messages around the one that is being read.
    let mut around: [(&[u8], &'static Shape); DEPTH_MAX] = [(&[], &NOTHING); DEPTH_MAX];
    let mut depth = 0;
    let (mut rest, mut shape) = (bytes, shape);
    loop {
        while rest.is_empty() {
            if depth == 0 {
                return Ok(());
            }
            depth -= 1;
            (rest, shape) = around[depth];
        }
        let (number, value) = field(&mut rest)?;
        let Some(value) = value else { continue };
        let Some((_, field)) = shape.0.iter().find(|(it, _)| *it == number) else {
            continue;
        };
        let inner = match field {
            Field::One(inner) => *inner,
            Field::List(list, inner) => {
                let count: &mut usize = &mut counts[*list as usize];
                *count += 1;
                if *count > list.most() {
                    return Err(Unreadable::TooMany {
                        what: list.what(),
                        most: list.most(),
                    });
                }
                *inner
            }
        };
        if !inner.0.is_empty()
            && let Some(place) = around.get_mut(depth)
        {
            *place = (rest, shape);
            depth += 1;
            (rest, shape) = (value, inner);
        }
    }
}

/// Takes the next field: its number, and its bytes if it has a length of its own.
fn field<'a>(rest: &mut &'a [u8]) -> Result<(u32, Option<&'a [u8]>), Unreadable> {
    let key = varint(rest)?;
    let number = u32::try_from(key >> 3).ok().filter(|it| *it != 0);
    let number = number.ok_or_else(|| malformed("a field has no valid number"))?;
    let value = match key & 7 {
        0 => varint(rest).map(|_| None)?,
        1 => take(rest, 8).map(|_| None)?,
        2 => {
            let len = varint(rest)?;
            Some(take(rest, usize::try_from(len).unwrap_or(usize::MAX))?)
        }
        5 => take(rest, 4).map(|_| None)?,
        _ => return Err(malformed("a field is of an unknown kind")),
    };
    Ok((number, value))
}

fn varint(rest: &mut &[u8]) -> Result<u64, Unreadable> {
    let mut value = 0;
    for shift in (0..70).step_by(7) {
        let (byte, others) = rest.split_first().ok_or_else(|| malformed("it ends in a number"))?;
        *rest = others;
        value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("a number does not end"))
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Unreadable> {
    let (value, others) = rest
        .split_at_checked(len)
        .ok_or_else(|| malformed("it ends in a field"))?;
    *rest = others;
    Ok(value)
}

fn malformed(why: &str) -> Unreadable {
    Unreadable::Malformed(why.to_owned())
}
