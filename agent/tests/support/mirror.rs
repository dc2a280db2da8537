//! A collector's view of one instance, that checks the rules of the stream as it goes. Shared by unit and integration
//! tests.

use std::collections::BTreeMap;

use standoff_protocol::stream::from_instance::Message;
use standoff_protocol::stream::{Finished, LossCause, Outcome, ProbeAnswer, Role, SPANS_PER_MESSAGE_MAX, Started};

/// What one connection has told.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror {
    /// What is open, by span id.
    pub(crate) open: BTreeMap<u64, Started>,
    /// Everything that was ever reported as started on this connection, in order.
    pub(crate) started: Vec<Started>,
    /// Everything that was ever reported as finished on this connection, in order.
    pub(crate) finished: Vec<Finished>,
    pub(crate) answers: Vec<ProbeAnswer>,
    pub(crate) sets_complete: usize,
    pub(crate) heartbeats: usize,
    /// What the latest heartbeat said of lost events: how many, and by cause.
    pub(crate) lost: Option<(u64, Vec<(LossCause, u64)>)>,
    pub(crate) batches: usize,
    pub(crate) left: bool,
    /// Kinds of messages, in order.
    pub(crate) log: Vec<&'static str>,
    sequence: u64,
    /// The set being received; `None` between sets.
    set: Option<BTreeMap<u64, Started>>,
}

impl Mirror {
    pub(crate) fn apply(&mut self, message: Message) {
        assert!(!self.left, "nothing follows a goodbye");
        assert_eq!(
            self.log.is_empty(),
            matches!(message, Message::Hello(_)),
            "a stream begins with its only hello"
        );
        match message {
            Message::Hello(_) => self.log.push("hello"),
            Message::OpenSet(part) => {
                self.log.push(if part.complete { "set complete" } else { "set" });
                assert!(part.spans.len() <= SPANS_PER_MESSAGE_MAX);
                let set = self.set.get_or_insert_default();
                for span in part.spans {
                    self.started.push(span.clone());
                    assert!(set.insert(span.span_id, span).is_none(), "a span is in a set once");
                }
                if part.complete {
                    self.open = self.set.take().unwrap_or_default();
                    self.sets_complete += 1;
                    self.sequence = 0;
                }
            }
            Message::Batch(batch) => {
                self.log.push("batch");
                assert!(
                    self.set.is_none() && self.sets_complete > 0,
                    "batches follow a complete set"
                );
                assert_eq!(batch.sequence, self.sequence + 1, "batches are counted without gaps");
                assert!(batch.started.len() + batch.finished.len() <= SPANS_PER_MESSAGE_MAX);
                self.sequence = batch.sequence;
                self.batches += 1;
                for span in batch.started {
                    self.started.push(span.clone());
                    self.open.insert(span.span_id, span);
                }
                for finished in batch.finished {
                    self.open.remove(&finished.span_id);
                    self.finished.push(finished);
                }
            }
            Message::Heartbeat(heartbeat) => {
                self.log.push("heartbeat");
                let causes = heartbeat.losses.iter().map(|loss| (loss.cause(), loss.events));
                self.lost = Some((heartbeat.events_lost, causes.collect()));
                self.heartbeats += 1;
            }
            Message::ProbeAnswer(answer) => {
                self.log.push("answer");
                self.answers.push(answer);
            }
            Message::Goodbye(_) => {
                self.log.push("goodbye");
                self.left = true;
                self.open.clear();
            }
        }
    }

    /// The ids of what is open and not merely structural.
    pub(crate) fn open_ids(&self) -> Vec<u64> {
        self.open
            .values()
            .filter(|span| span.role() != Role::Structural)
            .map(|span| span.span_id)
            .collect()
    }

    /// How a span was reported to have ended.
    pub(crate) fn outcome(&self, span_id: u64) -> Option<Outcome> {
        self.finished
            .iter()
            .find(|finished| finished.span_id == span_id)
            .map(|finished| finished.outcome())
    }
}
