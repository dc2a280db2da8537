//! The channels of one relay's stream: which are open, and what waits to be sent on them.
//!
//! Three use it: the task that reads what the relay says opens and closes channels, the owner puts messages in, and the
//! stream to the relay takes them out. A channel whose instance is slow takes nothing from the others: each has room of
//! its own, and they take turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::Stream;
use standoff_protocol::stream::{
    ChannelRefused, FromCollector, RelayWelcome, ToRelay, from_collector::Message, to_relay,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::instances::{ConnectionId, INSTANCES_MAX};
use crate::owner::OUTBOX_MAX;

/// The most channels for which something waits: all that can be open, and as many that were refused. A relay that has
/// taken nothing for so many does not listen.
const WAITING_MAX: usize = 2 * INSTANCES_MAX;

/// The channels of one stream.
#[derive(Debug)]
pub(crate) struct Channels {
    state: Mutex<State>,
    /// There may be something to take.
    ready: Notify,
    /// Ends the reading of what the relay says.
    reading: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    open: BTreeMap<u64, ConnectionId>,
    /// The highest number that was used.
    last: u64,
    welcome: Option<RelayWelcome>,
    waiting: BTreeMap<u64, Waiting>,
    /// Those of `waiting`, each once, in the order in which they are next.
    turns: VecDeque<u64>,
    end: Option<End>,
}

/// What waits to be sent on one channel.
#[derive(Debug, Default)]
struct Waiting {
    /// At most one of each kind: a second request for the open set asks for nothing new, and an instance that is asked
    /// again is not expected to answer what it was asked before.
    messages: VecDeque<Message>,
    /// The last message of the channel.
    refused: Option<ChannelRefused>,
    /// How many were put in since one was taken.
    not_taken: usize,
}

/// Nothing more is sent.
#[derive(Debug)]
enum End {
    /// But for this.
    Saying(Status),
    Said,
}

/// What a channel's number says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Open(ConnectionId),
    /// It has ended. The relay may not have heard of that yet.
    Ended,
    /// It has never been used.
    New,
}

/// As many channels are open as can be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMany;

/// The relay takes no messages.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TakesNone;

impl Channels {
    pub(crate) fn new(welcome: RelayWelcome, reading: CancellationToken) -> Self {
        let state = State {
            welcome: Some(welcome),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            ready: Notify::new(),
            reading,
        }
    }

    pub(crate) fn state_of(&self, channel: u64) -> Channel {
        let state = self.lock();
        match state.open.get(&channel) {
            Some(connection) => Channel::Open(*connection),
            None if channel <= state.last => Channel::Ended,
            None => Channel::New,
        }
    }

    /// Opens a new channel, and uses its number up even if it cannot.
    pub(crate) fn open(&self, channel: u64, connection: ConnectionId) -> Result<(), TooMany> {
        let mut state = self.lock();
        state.last = state.last.max(channel);
        if state.open.len() >= INSTANCES_MAX {
            return Err(TooMany);
        }
        state.open.insert(channel, connection);
        Ok(())
    }

    /// The relay has closed a channel.
    pub(crate) fn close(&self, channel: u64) {
        self.lock().open.remove(&channel);
    }

    /// Puts a message in line for a channel.
    pub(crate) fn put(&self, channel: u64, message: Message) -> Result<(), TakesNone> {
        let mut state = self.lock();
        if !state.open.contains_key(&channel) {
            return Ok(());
        }
        let waiting = state.waiting(channel)?;
        if waiting.not_taken >= OUTBOX_MAX {
            return Err(TakesNone);
        }
        waiting.not_taken += 1;
        let kind = std::mem::discriminant(&message);
        waiting.messages.retain(|it| std::mem::discriminant(it) != kind);
        waiting.messages.push_back(message);
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Ends a channel that may or may not have been opened.
    pub(crate) fn refuse(&self, channel: u64, status: &Status) -> Result<(), TakesNone> {
        let mut state = self.lock();
        state.last = state.last.max(channel);
        state.open.remove(&channel);
        let waiting = state.waiting(channel)?;
        waiting.messages.clear();
        waiting.refused = Some(ChannelRefused {
            code: u32::try_from(i32::from(status.code())).unwrap_or_default(),
            message: status.message().to_owned(),
        });
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Ends the whole stream. What waits is not sent any more; the status is.
    pub(crate) fn end(&self, status: Option<Status>) {
        let mut state = self.lock();
        if state.end.is_none() {
            state.end = Some(status.map_or(End::Said, End::Saying));
        }
        drop(state);
        self.reading.cancel();
        self.ready.notify_one();
    }

    /// Takes note that the stream has ended, and answers whose connections have ended with it.
    pub(crate) fn take_open(&self) -> Vec<ConnectionId> {
        std::mem::take(&mut self.lock().open).into_values().collect()
    }

    /// All that is to be sent. There must be one only.
    pub(crate) fn outgoing(self: Arc<Self>) -> impl Stream<Item = Result<ToRelay, Status>> + Send {
        futures_util::stream::unfold(self, async |channels| {
            let next = channels.take().await?;
            Some((next, channels))
        })
    }

    async fn take(&self) -> Option<Result<ToRelay, Status>> {
        loop {
            let next = {
                let mut state = self.lock();
                match &mut state.end {
                    Some(end) => return end.say().map(Err),
                    None => state.next(),
                }
            };
            match next {
                Some(message) => return Some(Ok(message)),
                None => self.ready.notified().await,
            }
        }
    }

    /// Nothing that is done under the lock can panic half-way.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn waiting(&mut self, channel: u64) -> Result<&mut Waiting, TakesNone> {
        if !self.waiting.contains_key(&channel) {
            if self.waiting.len() >= WAITING_MAX {
                return Err(TakesNone);
            }
            self.turns.push_back(channel);
        }
        Ok(self.waiting.entry(channel).or_default())
    }

    fn next(&mut self) -> Option<ToRelay> {
        if let Some(welcome) = self.welcome.take() {
            return Some(ToRelay {
                channel: 0,
                message: Some(to_relay::Message::Welcome(welcome)),
            });
        }
        let channel = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&channel)?;
        waiting.not_taken = 0;
        let message = match waiting.messages.pop_front() {
            Some(message) => Some(to_relay::Message::Collector(FromCollector { message: Some(message) })),
            None => waiting.refused.take().map(to_relay::Message::Refused),
        };
        if waiting.messages.is_empty() && waiting.refused.is_none() {
            self.waiting.remove(&channel);
        } else {
            self.turns.push_back(channel);
        }
        Some(ToRelay { channel, message })
    }
}

impl End {
    fn say(&mut self) -> Option<Status> {
        match std::mem::replace(self, Self::Said) {
            Self::Saying(status) => Some(status),
            Self::Said => None,
        }
    }
}

#[cfg(test)]
mod tests;
