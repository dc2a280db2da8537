//! One connection's worth of the protocol: which message comes next.
//!
//! It does no I/O and reads no clock. Whoever has room for a message asks for the next one, so nothing is made before it
//! can be sent, and nothing waits anywhere but in the open table.

use std::collections::VecDeque;
use std::time::Duration;

use standoff_protocol::stream::from_instance::Message;
use standoff_protocol::stream::{Batch, Goodbye, Hello, OpenSet, Probe, ProbeAnswer, Welcome};

use crate::table::{OpenTable, Round, RoundState, Takes};

/// How many answers may wait for what has to be reported before them. The collector has one probe in flight for each
/// instance; the rest is slack for those that it has given up on.
pub(crate) const ANSWERS_MAX: usize = 16;

/// Heartbeats are no more frequent than this, whoever asks for it: they are to take no room from what matters.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Session {
    /// `None` once said.
    hello: Option<Hello>,
    stage: Stage,
    resync: bool,
    /// Whether there may be something due that no round has looked for.
    flush: bool,
    round: Option<(Takes, Round)>,
    /// The number of the last batch.
    sequence: u64,
    /// How many rounds of changes have begun.
    rounds_begun: u64,
    answers: VecDeque<Pending>,
    heartbeat: Duration,
    last_heartbeat: Duration,
    /// What has been handed out so far.
    pub(crate) sent: Sent,
}

/// Counts of what a session has handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) started: u64,
    pub(crate) finished: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The collector knows nothing, or too little.
    Unknown,
    /// The collector has the open set, or is being sent it.
    Mirrored,
    /// One more round, then goodbye.
    Leaving,
    /// Goodbye has been said.
    Left,
}

/// An answer, and how many rounds had begun when it was found. It follows the end of a later one.
#[derive(Debug)]
struct Pending {
    answer: ProbeAnswer,
    found_after: u64,
    flushed: bool,
}

impl Session {
    pub(crate) fn new(hello: Hello, heartbeat: Duration, now: Duration) -> Self {
        Session {
            hello: Some(hello),
            stage: Stage::Unknown,
            resync: false,
            flush: false,
            round: None,
            sequence: 0,
            rounds_begun: 0,
            answers: VecDeque::new(),
            heartbeat: heartbeat.max(HEARTBEAT_MIN),
            last_heartbeat: now,
            sent: Sent::default(),
        }
    }

    /// Time for a flush: what is due by now is to be sent.
    pub(crate) fn tick(&mut self) {
        self.flush = true;
    }

    /// The collector may want to hear of the instance more often than the instance would say by itself.
    pub(crate) fn welcome(&mut self, welcome: &Welcome) {
        if welcome.heartbeat_ms != 0 {
            let wanted = Duration::from_millis(welcome.heartbeat_ms.into()).max(HEARTBEAT_MIN);
            self.heartbeat = self.heartbeat.min(wanted);
        }
    }

    /// The collector has lost track.
    pub(crate) fn resync(&mut self) {
        self.resync = true;
    }

    /// The collector asks. Returns whether it will be answered; if not, it asks again.
    pub(crate) fn probe(&mut self, probe: &Probe, table: &OpenTable, now: Duration) -> bool {
        if self.answers.len() >= ANSWERS_MAX {
            return false;
        }
        let answer = table.answer(probe, now);
        self.answers.push_back(Pending {
            answer,
            found_after: self.rounds_begun,
            flushed: false,
        });
        true
    }

    /// The instance ends.
    pub(crate) fn leave(&mut self) {
        if self.stage != Stage::Left {
            self.stage = Stage::Leaving;
            self.flush = true;
        }
    }

    /// When the next heartbeat is due.
    #[cfg(feature = "sans-io")]
    pub(crate) fn heartbeat_at(&self) -> Duration {
        self.last_heartbeat.saturating_add(self.heartbeat)
    }

    /// Whether the instance ends.
    pub(crate) fn is_leaving(&self) -> bool {
        matches!(self.stage, Stage::Leaving | Stage::Left)
    }

    /// Whether goodbye has been said. Nothing comes after it.
    pub(crate) fn has_left(&self) -> bool {
        self.stage == Stage::Left
    }

    /// The next message, if there is one to send now.
    pub(crate) fn next(&mut self, table: &OpenTable, now: Duration) -> Option<Message> {
        if let Some(hello) = self.hello.take() {
            return Some(Message::Hello(hello));
        }
        loop {
            if self.round.is_some() {
                match self.next_of_round(table, now) {
                    Some(message) => return Some(message),
                    None => continue,
                }
            }
            match self.stage {
                Stage::Left => return None,
                Stage::Unknown => {
                    self.begin_round(table, now);
                    continue;
                }
                Stage::Mirrored | Stage::Leaving => {}
            }
            if let Some(answer) = self.next_answer() {
                return Some(Message::ProbeAnswer(answer));
            }
            if now.saturating_sub(self.last_heartbeat) >= self.heartbeat {
                self.last_heartbeat = now;
                return Some(Message::Heartbeat(table.dropped().heartbeat()));
            }
            if !self.begin_round(table, now) {
                if self.stage == Stage::Leaving {
                    self.stage = Stage::Left;
                    return Some(Message::Goodbye(Goodbye {}));
                }
                return None;
            }
        }
    }

    /// Begins the round that is called for. Returns whether there is one.
    fn begin_round(&mut self, table: &OpenTable, now: Duration) -> bool {
        let takes = match self.stage {
            Stage::Left => return false,
            Stage::Unknown => Takes::OpenSet,
            Stage::Mirrored if self.resync || table.resync_needed() => Takes::OpenSet,
            Stage::Mirrored | Stage::Leaving if self.flush || !self.answers.is_empty() => Takes::Changes,
            Stage::Mirrored | Stage::Leaving => return false,
        };
        match takes {
            Takes::OpenSet => {
                table.begin_session(now);
                self.resync = false;
                self.stage = Stage::Mirrored;
                self.sequence = 0;
            }
            Takes::Changes => {
                self.flush = false;
                self.rounds_begun += 1;
            }
        }
        self.round = Some((takes, Round::new(takes)));
        true
    }

    /// The next message of the round that has begun. `None` if the round has come to its end without one.
    fn next_of_round(&mut self, table: &OpenTable, now: Duration) -> Option<Message> {
        let (takes, round) = self.round.as_mut()?;
        let takes = *takes;
        let taken = table.take(round, now);
        let complete = taken.round == RoundState::Done;
        if complete {
            self.round = None;
        }
        self.sent.started += taken.started.len() as u64;
        self.sent.finished += taken.finished.len() as u64;
        match takes {
            Takes::OpenSet => Some(Message::OpenSet(OpenSet {
                spans: taken.started,
                complete,
            })),
            Takes::Changes => {
                if complete {
                    for pending in self
                        .answers
                        .iter_mut()
                        .filter(|pending| pending.found_after < self.rounds_begun)
                    {
                        pending.flushed = true;
                    }
                }
                if taken.started.is_empty() && taken.finished.is_empty() {
                    return None;
                }
                self.sequence += 1;
                Some(Message::Batch(Batch {
                    sequence: self.sequence,
                    started: taken.started,
                    finished: taken.finished,
                    ended: Vec::new(),
                }))
            }
        }
    }

    fn next_answer(&mut self) -> Option<ProbeAnswer> {
        self.answers
            .pop_front_if(|pending| pending.flushed)
            .map(|pending| pending.answer)
    }
}

#[cfg(test)]
mod tests;
