//! Turns requests into what the owner is told. Never waits, and reads no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use standoff_otlp::{Batch, Counts, Said, SourceCounts, SourceNo, Sources, Times, losses};
use standoff_protocol::stream::{self, FromInstance, Goodbye, Hello, Loss, OpenSet, from_instance};
use tokio_util::sync::CancellationToken;

use crate::relay::core::{ConnectionId, Input};
use crate::relay::owner::{Connections, Message, Peer};

/// A source that the owner was told of.
#[derive(Debug)]
struct Known {
    connection: ConnectionId,
    /// How many batches of it were told.
    batches: u64,
    /// Cancelled when the owner has no more use for it.
    unwanted: CancellationToken,
}

/// The sources, and as whom the owner knows them.
#[derive(Debug)]
pub(super) struct Feed {
    sources: Sources,
    connections: Connections,
    /// All sources, but for those that the owner does not want.
    known: BTreeMap<SourceNo, Known>,
    /// Starts and ends of those that it does not want.
    unwanted_events: u64,
}

impl Feed {
    pub(super) fn new(connections: Connections, max_open: Duration, seed: u64) -> Self {
        let times = Times {
            max_open,
            ..Times::default()
        };
        Self {
            sources: Sources::new(times, seed),
            connections,
            known: BTreeMap::new(),
            unwanted_events: 0,
        }
    }

    /// Takes a request. `unix_now` is the time since 1970, with which the start times of spans are compared.
    pub(super) fn take(&mut self, now: Duration, unix_now: Duration, request: Batch) -> Vec<Message> {
        let mut said = Vec::new();
        self.sources.take(now, unix_now, request, &mut said);
        self.messages(said)
    }

    /// Ends what is not believed any longer.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<Message> {
        let mut said = Vec::new();
        self.sources.expire(now, &mut said);
        self.messages(said)
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        self.sources.next_expiry()
    }

    pub(super) fn counts(&self) -> SourceCounts {
        self.sources.counts()
    }

    /// All sources are there, and this was lost so far.
    pub(super) fn beat(&mut self, counts: &Counts) -> Vec<Message> {
        let is_unwanted = |it: &SourceNo| self.known.get(it).is_none_or(|it| it.unwanted.is_cancelled());
        let unwanted: Vec<SourceNo> = self.sources.sources().filter(is_unwanted).collect();
        for source in unwanted {
            // If it is heard of again, it may try again.
            self.sources.drop_source(source);
            self.known.remove(&source);
        }
        let alive = self.known.values().map(|it| it.connection).collect();
        vec![
            Message::Input(Input::Lost {
                losses: self.losses(counts),
            }),
            Message::Alive { connections: alive },
        ]
    }

    fn messages(&mut self, said: Vec<Said>) -> Vec<Message> {
        let mut messages = Vec::with_capacity(said.len());
        for said in said {
            match said {
                Said::Came { source, hello } => self.came(source, hello, &mut messages),
                Said::Batch { source, batch } => messages.extend(self.batch(source, batch)),
                Said::Left { source } => {
                    if let Some(Known { connection, .. }) = self.known.remove(&source) {
                        messages.push(says(connection, from_instance::Message::Goodbye(Goodbye {})));
                    }
                }
            }
        }
        messages
    }

    /// A new source has nothing open.
    fn came(&mut self, source: SourceNo, hello: Hello, messages: &mut Vec<Message>) {
        let connection = self.connections.next();
        let unwanted = CancellationToken::new();
        messages.push(Message::Connected {
            connection,
            hello,
            peer: Peer::Source {
                _wanted: unwanted.clone().drop_guard(),
            },
        });
        let empty = OpenSet {
            spans: Vec::new(),
            complete: true,
        };
        messages.push(says(connection, from_instance::Message::OpenSet(empty)));
        let known = Known {
            connection,
            batches: 0,
            unwanted,
        };
        self.known.insert(source, known);
    }

    fn batch(&mut self, source: SourceNo, mut batch: stream::Batch) -> Option<Message> {
        let Some(known) = self.known.get_mut(&source).filter(|it| !it.unwanted.is_cancelled()) else {
            self.unwanted_events += (batch.started.len() + batch.finished.len() + batch.ended.len()) as u64;
            return None;
        };
        known.batches += 1;
        batch.sequence = known.batches;
        Some(says(known.connection, from_instance::Message::Batch(batch)))
    }

    /// Since the relay started.
    fn losses(&self, counts: &Counts) -> Vec<Loss> {
        let lost = losses(counts, &self.sources.counts(), self.unwanted_events);
        let lost = lost.into_iter().filter(|(_, events)| *events > 0);
        lost.map(|(cause, events)| Loss {
            cause: cause.into(),
            events,
        })
        .collect()
    }
}

fn says(connection: ConnectionId, message: from_instance::Message) -> Message {
    Message::Input(Input::Message {
        connection,
        message: FromInstance { message: Some(message) },
    })
}

#[cfg(test)]
mod tests;
