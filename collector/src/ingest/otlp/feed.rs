//! Turns requests into what the owner is told. Never waits, and reads no clock.

use std::collections::HashMap;
use std::time::Duration;

use standoff_otlp::{Batch, Counts, Said, SourceNo, Sources, losses};
use standoff_protocol::stream::{self, ENDED_PER_MESSAGE_MAX, Hello};
use tokio_util::sync::CancellationToken;

use crate::detector::Input;
use crate::ingest::{Connections, hello};
use crate::instances::ConnectionId;
use crate::losses::api_cause;
use crate::owner::{Message, Outbox};
use crate::settings::Times;

/// A source that the owner knows as an instance.
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
pub(crate) struct Feed {
    sources: Sources,
    connections: Connections,
    /// Those that the owner wants.
    known: HashMap<SourceNo, Known>,
    /// Starts and ends of those that it does not want.
    unwanted_events: u64,
    /// What the owner has been told was lost.
    told: [u64; 5],
}

impl Feed {
    pub(crate) fn new(connections: Connections, times: &Times, seed: u64) -> Self {
        let times = standoff_otlp::Times {
            max_open: times.max_open,
            forget_after: times.forget_after,
        };
        Self {
            sources: Sources::new(times, seed),
            connections,
            known: HashMap::new(),
            unwanted_events: 0,
            told: [0; 5],
        }
    }

    /// Takes requests. `unix_now` is the time since 1970, with which the start times of spans are compared.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        unix_now: Duration,
        requests: impl Iterator<Item = Batch>,
    ) -> Vec<Message> {
        let mut said = Vec::new();
        for request in requests {
            self.sources.take(now, unix_now, request, &mut said);
        }
        self.messages(merged(said))
    }

    /// Ends what is not believed any longer.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<Message> {
        let mut said = Vec::new();
        self.sources.expire(now, &mut said);
        self.messages(said)
    }

    pub(crate) fn next_expiry(&self) -> Option<Duration> {
        self.sources.next_expiry()
    }

    /// All sources are there, and this was lost.
    pub(crate) fn beat(&mut self, counts: &Counts) -> Vec<Message> {
        let unwanted: Vec<SourceNo> = self.sources.sources().filter(|it| !self.is_wanted(*it)).collect();
        for source in unwanted {
            self.leave(source);
        }
        let mut messages = self.losses(counts);
        let known = self.sources.sources().filter_map(|it| self.known.get(&it));
        let connections: Vec<ConnectionId> = known.map(|it| it.connection).collect();
        if !connections.is_empty() {
            messages.push(Message::Input(Input::Heartbeats { connections }));
        }
        messages
    }

    fn is_wanted(&self, source: SourceNo) -> bool {
        self.known.get(&source).is_some_and(|it| !it.unwanted.is_cancelled())
    }

    /// The owner does not want it. If it is heard of again, it may try again.
    fn leave(&mut self, source: SourceNo) {
        self.sources.drop_source(source);
        self.known.remove(&source);
    }

    fn messages(&mut self, said: impl IntoIterator<Item = Said>) -> Vec<Message> {
        let mut messages = Vec::new();
        for said in said {
            match said {
                Said::Came { source, hello } => self.came(source, hello, &mut messages),
                Said::Batch { source, batch } => messages.extend(self.batch(source, batch)),
                Said::Left { source } => {
                    if let Some(Known { connection, .. }) = self.known.remove(&source) {
                        let ended = [Input::Goodbye { connection }, Input::Disconnected { connection }];
                        messages.extend(ended.map(Message::Input));
                    }
                }
            }
        }
        messages
    }

    /// A new source has nothing open.
    fn came(&mut self, source: SourceNo, hello: Hello, messages: &mut Vec<Message>) {
        let identity = match hello::identity(hello) {
            Ok(identity) => identity,
            Err(status) => {
                // It may be heard of many times a second. How often is counted.
                tracing::debug!(%status, "source of OTLP refused");
                messages.push(Message::Input(Input::Refused));
                return;
            }
        };
        let connection = self.connections.next();
        tracing::info!(
            connection = connection.0,
            instance = identity.key.instance_id,
            service = identity.service,
            "instance heard of over OTLP"
        );
        let unwanted = CancellationToken::new();
        let outbox = Outbox::Nobody {
            _wanted: unwanted.clone().drop_guard(),
        };
        messages.push(Message::Connected {
            connection,
            identity,
            outbox,
        });
        messages.push(Message::Input(Input::OpenSet {
            connection,
            spans: Vec::new(),
            complete: true,
        }));
        let known = Known {
            connection,
            batches: 0,
            unwanted,
        };
        self.known.insert(source, known);
    }

    fn batch(&mut self, source: SourceNo, mut batch: stream::Batch) -> Option<Message> {
        let Some(known) = self.known.get_mut(&source).filter(|it| !it.unwanted.is_cancelled()) else {
            self.unwanted_events += events(&batch);
            return None;
        };
        known.batches += 1;
        batch.sequence = known.batches;
        Some(Message::Input(Input::Batch {
            connection: known.connection,
            batch,
        }))
    }

    /// What was lost since this was last asked.
    fn losses(&mut self, counts: &Counts) -> Vec<Message> {
        let lost = losses(counts, &self.sources.counts(), self.unwanted_events);
        let before = std::mem::replace(&mut self.told, lost.map(|(_, now)| now));
        lost.into_iter()
            .zip(before)
            .map(|((cause, now), before)| (api_cause(cause), now.saturating_sub(before)))
            .filter(|(_, count)| *count > 0)
            .map(|(cause, count)| Message::Input(Input::Lost { cause, count }))
            .collect()
    }
}

fn events(batch: &stream::Batch) -> u64 {
    (batch.started.len() + batch.finished.len() + batch.ended.len()) as u64
}

/// Puts together what one source says in several batches, as long as nothing starts in them: then their order does not
/// matter.
fn merged(said: Vec<Said>) -> Vec<Said> {
    let mut merged: Vec<Said> = Vec::with_capacity(said.len());
    // Where the last batch of a source is, if more may be put into it.
    let mut open: HashMap<SourceNo, usize> = HashMap::new();
    for said in said {
        let Said::Batch { source, mut batch } = said else {
            merged.push(said);
            continue;
        };
        let before = open.get(&source).and_then(|at| merged.get_mut(*at));
        if let Some(Said::Batch { batch: before, .. }) = before
            && batch.started.is_empty()
            && before.finished.len() + batch.finished.len() <= ENDED_PER_MESSAGE_MAX
            && before.ended.len() + batch.ended.len() <= ENDED_PER_MESSAGE_MAX
        {
            before.finished.append(&mut batch.finished);
            before.ended.append(&mut batch.ended);
            continue;
        }
        if batch.started.is_empty() {
            open.insert(source, merged.len());
        } else {
            open.remove(&source);
        }
        merged.push(Said::Batch { source, batch });
    }
    merged
}

#[cfg(test)]
mod tests;
