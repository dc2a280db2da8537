//! What participants and the exchange say to each other, and how it is written between processes: a line for each message.

use std::fmt::{Display, Formatter};
use std::str::FromStr;

use standoff_script::program::{BlockIndex, PoolIndex, ServerIndex};

/// The longest line: six words of at most 20 characters, and a trace context, with room to spare.
pub(super) const LINE_BYTES_MAX: usize = 256;

/// What a participant says to the exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It can take requests.
    Ready,
    /// It calls a server and waits for the reply.
    Call {
        /// Names the call among those of this participant.
        id: u64,
        server: ServerIndex,
        /// What the server is to do.
        block: BlockIndex,
        /// The call's span, as W3C trace context.
        traceparent: String,
    },
    /// It has served a request.
    Reply {
        ticket: u64,
    },
    /// It waits for a unit.
    Take {
        /// Names the wait among the calls and waits of this participant.
        id: u64,
        pool: PoolIndex,
    },
    /// It waits no longer for that unit.
    GiveUp {
        id: u64,
    },
    Release {
        pool: PoolIndex,
    },
}

/// What the exchange says to a participant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Request(Request),
    /// A server has served the call.
    Reply {
        id: u64,
    },
    /// The unit is the participant's, whether or not it still waits for it.
    Granted {
        id: u64,
        pool: PoolIndex,
    },
}

/// A call as its server sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// Names the call among all.
    pub(super) ticket: u64,
    pub(super) block: BlockIndex,
    pub(super) traceparent: String,
}

/// A line that is no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message between a script's servers: {0:?}")]
pub(super) struct NotAMessage(String);

impl Display for Said {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ready => write!(f, "ready"),
            Self::Call {
                id,
                server,
                block,
                traceparent,
            } => write!(f, "call {id} {server} {block} {traceparent}"),
            Self::Reply { ticket } => write!(f, "reply {ticket}"),
            Self::Take { id, pool } => write!(f, "take {id} {pool}"),
            Self::GiveUp { id } => write!(f, "give-up {id}"),
            Self::Release { pool } => write!(f, "release {pool}"),
        }
    }
}

impl Display for Heard {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request(Request {
                ticket,
                block,
                traceparent,
            }) => write!(f, "request {ticket} {block} {traceparent}"),
            Self::Reply { id } => write!(f, "reply {id}"),
            Self::Granted { id, pool } => write!(f, "granted {id} {pool}"),
        }
    }
}

impl FromStr for Said {
    type Err = NotAMessage;

    fn from_str(line: &str) -> Result<Self, NotAMessage> {
        let words: Vec<&str> = line.split(' ').collect();
        let said = match words[..] {
            ["ready"] => Some(Self::Ready),
            ["call", id, server, block, traceparent] => call(id, server, block, traceparent),
            ["reply", ticket] => number(ticket).map(|ticket| Self::Reply { ticket }),
            ["take", id, pool] => number(id).zip(number(pool)).map(|(id, pool)| Self::Take { id, pool }),
            ["give-up", id] => number(id).map(|id| Self::GiveUp { id }),
            ["release", pool] => number(pool).map(|pool| Self::Release { pool }),
            _ => None,
        };
        said.ok_or_else(|| NotAMessage(line.to_owned()))
    }
}

fn call(id: &str, server: &str, block: &str, traceparent: &str) -> Option<Said> {
    Some(Said::Call {
        id: number(id)?,
        server: number(server)?,
        block: number(block)?,
        traceparent: traceparent.to_owned(),
    })
}

impl FromStr for Heard {
    type Err = NotAMessage;

    fn from_str(line: &str) -> Result<Self, NotAMessage> {
        let words: Vec<&str> = line.split(' ').collect();
        let heard = match words[..] {
            ["request", ticket, block, traceparent] => number(ticket).zip(number(block)).map(|(ticket, block)| {
                Self::Request(Request {
                    ticket,
                    block,
                    traceparent: traceparent.to_owned(),
                })
            }),
            ["reply", id] => number(id).map(|id| Self::Reply { id }),
            ["granted", id, pool] => number(id)
                .zip(number(pool))
                .map(|(id, pool)| Self::Granted { id, pool }),
            _ => None,
        };
        heard.ok_or_else(|| NotAMessage(line.to_owned()))
    }
}

fn number<T: FromStr>(word: &str) -> Option<T> {
    word.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-00000000000000000000000000000007-0000000000000009-01";

    #[test]
    fn what_is_said_is_what_is_heard() {
        let all = [
            Said::Ready,
            Said::Call {
                id: u64::MAX,
                server: usize::MAX,
                block: usize::MAX,
                traceparent: TRACEPARENT.to_owned(),
            },
            Said::Reply { ticket: 2 },
            Said::Take { id: 3, pool: 4 },
            Said::GiveUp { id: 5 },
            Said::Release { pool: 6 },
        ];
        for said in all {
            let line = said.to_string();
            assert!(line.len() <= LINE_BYTES_MAX && !line.contains('\n'), "{line}");
            assert_eq!(line.parse(), Ok(said));
        }
        let all = [
            Heard::Request(Request {
                ticket: 7,
                block: 8,
                traceparent: TRACEPARENT.to_owned(),
            }),
            Heard::Reply { id: 9 },
            Heard::Granted { id: 10, pool: 11 },
        ];
        for heard in all {
            assert_eq!(heard.to_string().parse(), Ok(heard));
        }
    }

    #[test]
    fn nonsense_is_no_message() {
        for line in [
            "",
            "ready ",
            "call 1 2 3",
            "take -1 2",
            "give-up",
            "reply x",
            "granted 1",
        ] {
            assert!(line.parse::<Said>().is_err(), "{line}");
            assert!(line.parse::<Heard>().is_err(), "{line}");
        }
    }
}
