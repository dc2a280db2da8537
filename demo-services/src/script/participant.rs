//! One participant's end of the line to the exchange: it asks, and knows who waits for which answer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use standoff_script::program::{BlockIndex, PoolIndex, ServerIndex};
use tokio::sync::{mpsc, oneshot};

use super::exchange::ParticipantIndex;
use super::message::{Heard, Request, Said};

/// Messages of all participants that wait for the exchange, and of one that wait for its pipe. Who has more to say waits.
pub(super) const OUTBOX_MAX: usize = 1024;

/// What happens to the exchange.
#[derive(Debug)]
pub(super) enum Event {
    Said(ParticipantIndex, Said),
    Lost(ParticipantIndex),
}

/// Where a participant speaks.
#[derive(Debug)]
pub(super) enum Line {
    /// The exchange is in this process.
    Here {
        participant: ParticipantIndex,
        exchange: mpsc::Sender<Event>,
    },
    /// It is at the other end of a pipe.
    Pipe(mpsc::Sender<Said>),
}

/// A participant, from within.
#[derive(Debug)]
pub(super) struct Participant {
    line: Line,
    last_id: AtomicU64,
    waiting: Mutex<HashMap<u64, oneshot::Sender<()>>>,
}

/// An answer that has yet to come. Dropping it is to wait no longer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    participant: &'a Participant,
    id: u64,
    come: oneshot::Receiver<()>,
}

impl Participant {
    pub(super) fn new(line: Line) -> Self {
        Self {
            line,
            last_id: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    /// Says something. Once the exchange is gone the run is over, and nobody is interested.
    pub(super) async fn say(&self, said: Said) {
        match &self.line {
            Line::Here { participant, exchange } => exchange.send(Event::Said(*participant, said)).await.ok(),
            Line::Pipe(pipe) => pipe.send(said).await.ok(),
        };
    }

    /// Calls a server.
    pub(super) async fn call(&self, server: ServerIndex, block: BlockIndex, traceparent: String) -> Answer<'_> {
        self.ask(|id| Said::Call {
            id,
            server,
            block,
            traceparent,
        })
        .await
    }

    /// Asks for a unit.
    pub(super) async fn take(&self, pool: PoolIndex) -> Answer<'_> {
        self.ask(|id| Said::Take { id, pool }).await
    }

    async fn ask(&self, said: impl FnOnce(u64) -> Said) -> Answer<'_> {
        let id = self.last_id.fetch_add(1, Relaxed) + 1;
        let (sender, come) = oneshot::channel();
        self.waiting().insert(id, sender);
        let answer = Answer {
            participant: self,
            id,
            come,
        };
        self.say(said(id)).await;
        answer
    }

    /// Takes in what the exchange says. A request is for whoever serves.
    pub(super) async fn hear(&self, heard: Heard) -> Option<Request> {
        match heard {
            Heard::Request(request) => return Some(request),
            Heard::Reply { id } => _ = self.answer(id),
            // A unit for which nobody waits any more goes back.
            Heard::Granted { id, pool } => {
                if !self.answer(id) {
                    self.say(Said::Release { pool }).await;
                }
            }
        }
        None
    }

    /// Whether somebody waits for that, and now has it.
    fn answer(&self, id: u64) -> bool {
        let waiting = self.waiting().remove(&id);
        waiting.is_some_and(|waiting| waiting.send(()).is_ok())
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<()>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answer<'_> {
    /// Until it has come. If the exchange is gone it never does.
    pub(super) async fn come(&mut self) {
        if (&mut self.come).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits no longer for a unit. Whether it had come all the same.
    pub(super) async fn give_up(mut self) -> bool {
        self.come.close();
        if self.come.try_recv().is_ok() {
            return true;
        }
        self.participant.say(Said::GiveUp { id: self.id }).await;
        false
    }
}

impl Drop for Answer<'_> {
    fn drop(&mut self) {
        self.participant.waiting().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use super::*;

    fn participant() -> (Participant, mpsc::Receiver<Said>) {
        let (pipe, said) = mpsc::channel(OUTBOX_MAX);
        (Participant::new(Line::Pipe(pipe)), said)
    }

    fn is_ready(future: impl Future<Output = ()>) -> bool {
        futures_util::FutureExt::now_or_never(future).is_some()
    }

    #[tokio::test]
    async fn everybody_gets_the_own_answer() {
        let (participant, _said) = participant();
        let mut first = participant.call(0, 0, String::new()).await;
        let mut second = participant.take(0).await;
        assert_eq!(participant.hear(Heard::Granted { id: 2, pool: 0 }).await, None);
        assert!(!is_ready(first.come()) && is_ready(second.come()));
        participant.hear(Heard::Reply { id: 1 }).await;
        assert!(is_ready(first.come()));
    }

    #[tokio::test]
    async fn a_unit_that_comes_too_late_goes_back() {
        let (participant, mut said) = participant();
        let taking = participant.take(3).await;
        assert!(!taking.give_up().await);
        participant.hear(Heard::Granted { id: 1, pool: 3 }).await;
        let all = [said.recv().await, said.recv().await, said.recv().await];
        let expected = [
            Said::Take { id: 1, pool: 3 },
            Said::GiveUp { id: 1 },
            Said::Release { pool: 3 },
        ];
        assert_eq!(all, expected.map(Some));
    }

    #[tokio::test]
    async fn a_unit_that_has_come_at_the_last_moment_is_kept() {
        let (participant, mut said) = participant();
        let taking = participant.take(3).await;
        participant.hear(Heard::Granted { id: 1, pool: 3 }).await;
        assert!(taking.give_up().await);
        said.recv().await;
        assert!(said.try_recv().is_err(), "nothing is said");
    }
}
