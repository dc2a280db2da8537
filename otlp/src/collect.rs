//! Collects the signals of one request while it is decoded, and knows the dialects in which traces tell of open spans.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::attributes::{Attributes, Value};
use crate::keys::Key;
use crate::limits::SPANS_PER_REQUEST_MAX;
use crate::signal::{Batch, Instance, InstanceIx, Source};
use crate::span::{Ending, Ids, RawSpan, Rejection};

/// What a request said.
#[derive(Debug, Default)]
pub struct Decoded {
    /// The signals.
    pub batch: Batch,
    /// Spans, or log records, that were not accepted.
    pub rejected: u64,
    /// Why, in English; empty if all were accepted.
    pub reason: String,
}

/// What is known of the spans before they are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// Nothing: they are spans like any others.
    Trace,
    /// A log record says that they are open, and that it will say so again.
    Heartbeat(Duration),
    /// A log record says that they have ended.
    Stop,
}

/// What ordinary spans have at least, so that the table of those that have ended is seldom too small, and never large.
const BYTES_PER_SPAN: usize = 256;

/// Signals that have been read so far.
#[derive(Debug)]
pub(crate) struct Collector {
    decoded: Decoded,
    first: Option<Rejection>,
    spans: usize,
    said: Said,
    /// An instance of which nothing is known: there may be as many of these as spans, so they are all the same one.
    nobody: Arc<Instance>,
}

/// How far a [`Collector`] has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    instances: usize,
    finished: usize,
    started: usize,
}

impl Collector {
    /// For a request of so many bytes.
    pub(crate) fn new(bytes: usize) -> Self {
        let mut decoded = Decoded::default();
        decoded.batch.finished.reserve(bytes / BYTES_PER_SPAN);
        Collector {
            decoded,
            first: None,
            spans: 0,
            said: Said::Trace,
            nobody: Arc::default(),
        }
    }

    /// Says what is known of the spans that come now.
    pub(crate) fn expect(&mut self, said: Said) {
        self.said = said;
    }

    /// Begins an instance, of which nothing is known yet: in JSON it may come after its spans.
    pub(crate) fn open_instance(&mut self) -> InstanceIx {
        let instances = &mut self.decoded.batch.instances;
        instances.push(self.nobody.clone());
        InstanceIx(u32::try_from(instances.len() - 1).unwrap_or(u32::MAX))
    }

    /// Says who it was. One of which no signal has come since is forgotten.
    pub(crate) fn close_instance(&mut self, ix: InstanceIx, since: Mark, instance: impl FnOnce() -> Instance) {
        let batch = &mut self.decoded.batch;
        let is_last = batch.instances.len() == ix.0 as usize + 1;
        if is_last && batch.finished.len() == since.finished && batch.started.len() == since.started {
            batch.instances.pop();
            return;
        }
        if let Some(place) = batch.instances.get_mut(ix.0 as usize) {
            let instance = instance();
            if instance != *self.nobody {
                *place = Arc::new(instance);
            }
        }
    }

    /// Says who it was that the body of a log record spoke of: the record's own instance, unless the body names one.
    pub(crate) fn close_body(&mut self, ix: InstanceIx, since: Mark, of_record: InstanceIx, instance: Instance) {
        if instance.is_named() {
            self.close_instance(ix, since, || instance);
        } else {
            self.hand_over(since, ix, of_record);
        }
    }

    /// Makes what has come since a mark speak of another instance, and forgets the one that it spoke of.
    fn hand_over(&mut self, since: Mark, from: InstanceIx, to: InstanceIx) {
        let batch = &mut self.decoded.batch;
        for finished in batch.finished.iter_mut().skip(since.finished) {
            if finished.instance == from {
                finished.instance = to;
            }
        }
        for started in batch.started.iter_mut().skip(since.started) {
            if started.instance == from {
                started.instance = to;
            }
        }
        if batch.instances.len() == from.0 as usize + 1 {
            batch.instances.pop();
        }
    }

    pub(crate) fn mark(&self) -> Mark {
        let batch = &self.decoded.batch;
        Mark {
            instances: batch.instances.len(),
            finished: batch.finished.len(),
            started: batch.started.len(),
        }
    }

    /// Whether no signal has come since.
    pub(crate) fn is_at(&self, mark: Mark) -> bool {
        let now = self.mark();
        (now.finished, now.started) == (mark.finished, mark.started)
    }

    /// Whether spans are like any others, so that one that has ended need not be read in full.
    #[inline]
    pub(crate) fn is_reading_traces(&self) -> bool {
        self.said == Said::Trace
    }

    /// Forgets what has come since.
    pub(crate) fn back_to(&mut self, mark: Mark) {
        let batch = &mut self.decoded.batch;
        batch.instances.truncate(mark.instances);
        batch.finished.truncate(mark.finished);
        batch.started.truncate(mark.started);
    }

    pub(crate) fn reject(&mut self, why: Rejection) {
        self.decoded.rejected += 1;
        self.first.get_or_insert(why);
    }

    /// Counts a span, and answers whether there is room for it.
    #[inline]
    fn has_room(&mut self) -> bool {
        self.spans += 1;
        if self.spans > SPANS_PER_REQUEST_MAX {
            self.reject(Rejection::TooMany);
            return false;
        }
        true
    }

    /// Takes a span that has ended, in no dialect.
    #[inline]
    pub(crate) fn ended(&mut self, instance: InstanceIx, span: &RawSpan<'_>, ending: &Ending<'_>) {
        if !self.has_room() {
            return;
        }
        match span.ids() {
            Ok(ids) => self.push_finished(instance, span, ids, ending),
            Err(why) => self.reject(why),
        }
    }

    #[inline]
    fn push_finished(&mut self, instance: InstanceIx, span: &RawSpan<'_>, ids: Ids, ending: &Ending<'_>) {
        let finished = span.finished(ids, instance, ending);
        self.decoded.batch.finished.push(finished);
    }

    /// Takes any span, all attributes of which have been read.
    pub(crate) fn span(&mut self, instance: InstanceIx, span: &RawSpan<'_>, attributes: &Attributes<'_>) {
        if !self.has_room() {
            return;
        }
        let taken = span.ids().and_then(|ids| self.take(instance, span, ids, attributes));
        if let Err(why) = taken {
            self.reject(why);
        }
    }

    fn take(
        &mut self,
        instance: InstanceIx,
        span: &RawSpan<'_>,
        ids: Ids,
        attributes: &Attributes<'_>,
    ) -> Result<(), Rejection> {
        let (ids, source) = match self.said {
            Said::Stop => {
                self.push_finished(instance, span, ids, &Ending::of(attributes));
                return Ok(());
            }
            Said::Heartbeat(heartbeat) if span.end_ns == 0 => (ids, Source::PartialLog { heartbeat }),
            Said::Trace | Said::Heartbeat(_) if is_pending(attributes) => {
                let open = Ids {
                    // The span that it stands for is its parent; a child of nothing stands for nothing.
                    span: if ids.parent == 0 {
                        return Err(Rejection::TwinOfNobody);
                    } else {
                        ids.parent
                    },
                    parent: attributes.span_id(Key::LogfirePendingParent),
                    is_linked: false,
                    ..ids
                };
                (open, Source::PendingSpan)
            }
            Said::Trace | Said::Heartbeat(_) if attributes.flag(Key::TwinMark) => {
                let open = match attributes.span_id(Key::TwinSpanId) {
                    0 => return Err(Rejection::TwinOfNobody),
                    span => Ids { span, ..ids },
                };
                (open, Source::PartialTwin)
            }
            Said::Trace if span.end_ns == 0 => (ids, Source::OpenSpan),
            Said::Trace | Said::Heartbeat(_) => {
                self.push_finished(instance, span, ids, &Ending::of(attributes));
                return Ok(());
            }
        };
        let span = &RawSpan {
            // What they say about the parent of a pending span is about the span that it stands for.
            flags: if source == Source::PendingSpan { 0 } else { span.flags },
            name: Cow::Borrowed(&span.name),
            ..*span
        };
        let started = span.started(ids, instance, source, attributes);
        self.decoded.batch.started.push(Box::new(started));
        Ok(())
    }

    /// A span of which only the ids are known has ended.
    pub(crate) fn stopped(&mut self, instance: InstanceIx, trace: u128, span: u64) {
        let ids = Ids {
            trace,
            span,
            parent: 0,
            is_linked: false,
        };
        self.push_finished(instance, &RawSpan::default(), ids, &Ending::default());
    }

    /// What the request said, each start once, and none of a span that has ended.
    pub(crate) fn finish(mut self) -> Decoded {
        let batch = &mut self.decoded.batch;
        if !batch.started.is_empty() {
            let mut open: HashSet<(u128, u64)> = HashSet::new();
            batch.started.retain(|started| open.insert(identity(started)));
            for finished in &batch.finished {
                open.remove(&(finished.trace_id, finished.span_id));
            }
            batch.started.retain(|started| open.contains(&identity(started)));
        }
        if let Some(first) = self.first {
            self.decoded.reason = format!("{} rejected; of the first, {first}", self.decoded.rejected);
        }
        self.decoded
    }
}

fn identity(started: &crate::Started) -> (u128, u64) {
    let trace = <[u8; 16]>::try_from(started.span.trace_id.as_slice());
    (trace.map(u128::from_be_bytes).unwrap_or(0), started.span.span_id)
}

/// Whether Logfire has sent it in place of its parent.
fn is_pending(attributes: &Attributes<'_>) -> bool {
    matches!(attributes.get(Key::LogfireSpanType), Some(Value::Text(kind)) if kind == "pending_span")
}
