//! The library without its thread: for simulations of standoff itself, which drive it by a clock and a network of their
//! own. Services have no use for it.
//!
//! It is what the reporter's thread drives, and nothing else: the open table, the conversation and the backoff.

use std::collections::VecDeque;
use std::time::Duration;

use standoff_protocol::stream::{FromCollector, FromInstance, Hello, Instance, PROTOCOL_VERSION, Started};

use crate::Outcome;
use crate::backoff::{self, Backoff};
use crate::conversation::{Conversation, Heard, Lost, OUTGOING_MAX, Outgoing, Room};
use crate::record::Record;
use crate::table::OpenTable;

/// How long an attempt to connect may take.
pub const CONNECT_WITHIN: Duration = crate::reporter::CONNECT_WITHIN;

/// How long the other side may take to accept the stream.
pub const WELCOME_WITHIN: Duration = crate::conversation::WELCOME_WITHIN;

/// How often the library flushes.
pub const FLUSH_EVERY: Duration = crate::settings::FLUSH_EVERY;

/// How many messages wait for the connection at most.
pub const QUEUE_MAX: usize = OUTGOING_MAX;

/// A library. All times are by its own clock, which may have any origin.
#[derive(Debug)]
pub struct Library {
    table: OpenTable,
    instance: Instance,
    heartbeat: Duration,
    lease: Duration,
    retry: Retry,
    conversation: Option<Conversation>,
    outgoing: VecDeque<FromInstance>,
    counts: Counts,
}

/// When to connect again: of libraries, and of relays.
#[derive(Debug, Default)]
pub struct Retry {
    backoff: Backoff,
    /// When the latest attempt to connect began.
    began: Duration,
}

impl Retry {
    /// An attempt begins.
    pub fn begin(&mut self, now: Duration) {
        self.began = now;
    }

    /// It has failed, or the connection has ended. Returns how long to wait before the next one. `jitter` is from 0 to 1.
    pub fn end(&mut self, now: Duration, jitter: f64) -> Duration {
        // One that welcomes us only to hang up again is no success.
        if now.saturating_sub(self.began) > backoff::CAP {
            self.backoff.reset();
        }
        self.backoff.next(jitter)
    }
}

/// What a library has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// First welcomes of connections.
    pub sessions: u64,
    /// Questions that there was no room to answer.
    pub probes_dropped: u64,
}

/// Where a library stands with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It goes on.
    GoesOn,
    /// It is given up: see [`Library::lose`].
    Lost,
    /// Goodbye has been said. What is still in the queue is to be delivered.
    Left,
}

impl Library {
    /// One that has no connection.
    pub fn new(instance: Instance, report_after: Duration, heartbeat: Duration, lease: Duration) -> Self {
        Library {
            table: OpenTable::new(report_after),
            instance,
            heartbeat,
            lease,
            retry: Retry::default(),
            conversation: None,
            outgoing: VecDeque::with_capacity(OUTGOING_MAX),
            counts: Counts::default(),
        }
    }

    /// A span starts, with the parent that it names itself.
    pub fn start(&self, span: Started, now: Duration) {
        self.table.start(Record::reported_as(span), now);
    }

    /// A span ends.
    pub fn end(&self, span_id: u64, outcome: Outcome, now: Duration) {
        self.table.end(span_id, outcome, now);
    }

    /// Begins a connection. The hello goes with the request to connect.
    pub fn connect(&mut self, now: Duration) -> Option<FromInstance> {
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            instance: Some(self.instance.clone()),
            lease_ms: u32::try_from(self.lease.as_millis()).unwrap_or(u32::MAX),
            cannot_be_asked: false,
        };
        self.retry.begin(now);
        let mut conversation = Conversation::new(hello, self.heartbeat, self.lease, now);
        let hello = conversation.hello(&self.table, now);
        self.conversation = Some(conversation);
        hello
    }

    /// The other side has accepted the stream.
    pub fn accepted(&mut self, now: Duration) {
        if let Some(conversation) = &mut self.conversation {
            conversation.accepted(now);
        }
    }

    /// Time for a flush.
    pub fn tick(&mut self, now: Duration) -> Standing {
        let Some(conversation) = &mut self.conversation else {
            return Standing::Lost;
        };
        if conversation.tick(now) == Err(Lost) {
            return Standing::Lost;
        }
        self.pump(now)
    }

    /// The other side says something.
    pub fn hear(&mut self, message: FromCollector, now: Duration) -> Standing {
        let Some(conversation) = &mut self.conversation else {
            return Standing::Lost;
        };
        match conversation.hear(message, &self.table, now) {
            Heard::Welcome => self.counts.sessions += 1,
            Heard::ProbeDropped => self.counts.probes_dropped += 1,
            Heard::Other => {}
        }
        self.pump(now)
    }

    /// The instance ends.
    pub fn leave(&mut self, now: Duration) -> Standing {
        let Some(conversation) = &mut self.conversation else {
            return Standing::Lost;
        };
        conversation.leave();
        self.pump(now)
    }

    fn pump(&mut self, now: Duration) -> Standing {
        let Some(conversation) = &mut self.conversation else {
            return Standing::Lost;
        };
        let pumped = conversation.pump(&self.table, || now, &mut Queue(&mut self.outgoing));
        match pumped {
            Err(Lost) => Standing::Lost,
            Ok(()) if conversation.has_left() => Standing::Left,
            Ok(()) => Standing::GoesOn,
        }
    }

    /// What is to be sent next. The library does not notice the room before it is next told something.
    pub fn next_outgoing(&mut self) -> Option<FromInstance> {
        self.outgoing.pop_front()
    }

    /// How much waits to be sent.
    pub fn outgoing(&self) -> usize {
        self.outgoing.len()
    }

    /// When a flush has something to do even if nothing happens before; `None` without a connection.
    pub fn wake_at(&self) -> Option<Duration> {
        self.conversation.as_ref().map(Conversation::wake_at)
    }

    /// The connection is no more. Returns how long to wait before the next attempt. `jitter` is from 0 to 1.
    pub fn lose(&mut self, now: Duration, jitter: f64) -> Duration {
        self.conversation = None;
        self.outgoing.clear();
        self.table.end_session();
        self.retry.end(now, jitter)
    }

    /// How many calls, handles, holds and members are open.
    pub fn open_count(&self) -> u64 {
        self.table.open_count()
    }

    /// What it has done.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

struct Queue<'a>(&'a mut VecDeque<FromInstance>);

impl Outgoing for Queue<'_> {
    fn room(&self) -> Room {
        if self.0.len() < OUTGOING_MAX {
            Room::Yes
        } else {
            Room::Full
        }
    }

    fn send(&mut self, message: FromInstance) {
        self.0.push_back(message);
    }
}
