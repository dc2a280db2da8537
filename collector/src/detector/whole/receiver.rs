//! What a relay does with OTLP: the real sources, each of which speaks the native stream to it.
//!
//! As in the task that owns the sources, batches are numbered here, and each source lives as long as the receiver does.

use std::collections::BTreeMap;
use std::time::Duration;

use standoff_otlp::{Batch, Said, SourceNo, Sources};
use standoff_protocol::stream::{FromInstance, Goodbye, Heartbeat, OpenSet, from_instance};

/// How often a receiver says that its sources live, and that nothing that they have said before is still to be told.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(super) struct Receiver {
    sources: Sources,
    /// The batches that each source has sent.
    sequences: BTreeMap<SourceNo, u64>,
    next_heartbeat: Duration,
    said: Vec<Said>,
}

/// What a source says, and whether it is the last that it says.
#[derive(Debug)]
pub(super) struct Word {
    pub(super) source: SourceNo,
    pub(super) message: FromInstance,
    pub(super) is_last: bool,
}

impl Receiver {
    pub(super) fn start(now: Duration, max_open: Duration, forget_after: Duration, seed: u64) -> Self {
        Self {
            sources: Sources::new(standoff_otlp::Times { max_open, forget_after }, seed),
            sequences: BTreeMap::new(),
            next_heartbeat: now + HEARTBEAT,
            said: Vec::new(),
        }
    }

    pub(super) fn wake_at(&self) -> Duration {
        self.sources
            .next_expiry()
            .map_or(self.next_heartbeat, |at| at.min(self.next_heartbeat))
    }

    /// All clocks but those of foreign services show the same time.
    pub(super) fn take(&mut self, now: Duration, batch: Batch) -> Vec<Word> {
        self.sources.take(now, now, batch, &mut self.said);
        self.words()
    }

    pub(super) fn tick(&mut self, now: Duration) -> Vec<Word> {
        self.sources.expire(now, &mut self.said);
        let mut words = self.words();
        if now >= self.next_heartbeat {
            self.next_heartbeat = now + HEARTBEAT;
            let beat = |source| word(source, from_instance::Message::Heartbeat(Heartbeat::default()));
            words.extend(self.sources.sources().map(beat));
        }
        words
    }

    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        for said in self.said.drain(..) {
            match said {
                Said::Came { source, hello } => {
                    self.sequences.insert(source, 0);
                    let nothing = OpenSet {
                        complete: true,
                        ..OpenSet::default()
                    };
                    words.push(word(source, from_instance::Message::Hello(hello)));
                    words.push(word(source, from_instance::Message::OpenSet(nothing)));
                }
                Said::Batch { source, mut batch } => {
                    let sequence = self.sequences.get_mut(&source).unwrap();
                    *sequence += 1;
                    batch.sequence = *sequence;
                    words.push(word(source, from_instance::Message::Batch(batch)));
                }
                Said::Left { source } => {
                    self.sequences.remove(&source);
                    words.push(Word {
                        is_last: true,
                        ..word(source, from_instance::Message::Goodbye(Goodbye {}))
                    });
                }
            }
        }
        words
    }
}

fn word(source: SourceNo, message: from_instance::Message) -> Word {
    Word {
        source,
        message: FromInstance { message: Some(message) },
        is_last: false,
    }
}
