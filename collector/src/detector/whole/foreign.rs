//! A foreign service: it speaks OTLP, by an exporter of its own, and cannot be asked.
//!
//! Its spans are exported in batches, each some time after it was made; batches overtake one another and come twice.
//! Decides what is sent when, not how it gets there.

use std::collections::BTreeMap;
use std::time::Duration;

use standoff_agent::Outcome;
use standoff_otlp::Format;
use standoff_protocol::stream::Started;

use super::MAX_OPEN;
use super::otlp::{Known, Request, Sender, pending, span, twin};
use crate::detector::chance::Random;

/// How a service says that its spans are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// The span without its end.
    Open,
    /// Logfire's pending spans.
    Pending,
    /// Trigger.dev's twins.
    Twin,
    /// G-Research's log records, which say it again and again.
    Logs,
    /// Not at all: an exporter as it comes.
    Ended,
}

impl Dialect {
    /// Whether it says that spans are open.
    pub(super) fn tells_starts(self) -> bool {
        self != Self::Ended
    }
}

/// How the foreign services of a run export.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exporting {
    /// From when something happens until whoever receives it knows, at most.
    pub(super) within: Duration,
    /// Whether batches overtake one another.
    pub(super) reorders: bool,
    /// In percent of requests: they come again, up to a few seconds later.
    pub(super) repeated: usize,
    /// How wrong the clocks of the services may be, or are if it is much.
    pub(super) skew: Duration,
}

/// How often those who say it again do so. Two of them and the longest delay are within the three that are believed.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// A request, with how long it takes.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) request: Request,
    pub(super) after: Duration,
    /// The same once more, so long after it was sent.
    pub(super) again_after: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Foreign {
    sender: Sender,
    pub(super) dialect: Dialect,
    exporting: Exporting,
    random: Random,
    /// How often it exports.
    pub(super) every: Duration,
    /// What its clock shows when it is 1970 elsewhere, or how late it was then.
    ahead: Duration,
    behind: Duration,
    open: BTreeMap<u64, Known>,
    /// Spans of which a log record has said that they are open.
    beating: BTreeMap<u64, Duration>,
    queue: Vec<Known>,
    /// When the last request arrives that may not be overtaken.
    last_arrival: Duration,
    pub(super) is_alive: bool,
    pub(super) has_crashed: bool,
}

impl Foreign {
    pub(super) fn new(
        number: usize,
        service: &str,
        dialect: Dialect,
        exporting: Exporting,
        mut random: Random,
    ) -> Self {
        let most = exporting.within.as_millis() as usize / 2;
        // One that is within the time that a span is believed would make spans end too early.
        let skew = if exporting.skew >= MAX_OPEN {
            exporting.skew
        } else {
            random.ms(exporting.skew.as_millis() as usize)
        };
        let is_ahead = random.percent(50);
        Self {
            sender: Sender {
                service: service.to_owned(),
                instance: format!("i-{number}"),
            },
            dialect,
            every: random.ms_within(50, most.clamp(51, 400)),
            ahead: if is_ahead { skew } else { Duration::ZERO },
            behind: if is_ahead { Duration::ZERO } else { skew },
            exporting,
            random,
            open: BTreeMap::new(),
            beating: BTreeMap::new(),
            queue: Vec::new(),
            last_arrival: Duration::ZERO,
            is_alive: true,
            has_crashed: false,
        }
    }

    fn clock(&self, now: Duration) -> Duration {
        now + self.ahead - self.behind
    }

    pub(super) fn start(&mut self, now: Duration, span: Started) {
        let known = Known {
            started: self.clock(now),
            span,
            ended: None,
        };
        if matches!(self.dialect, Dialect::Open | Dialect::Pending | Dialect::Twin) {
            self.queue.push(known.clone());
        }
        self.open.insert(known.span.span_id, known);
    }

    /// Returns what is sent at once.
    pub(super) fn end(&mut self, now: Duration, span: u64, outcome: Outcome) -> Option<Sent> {
        let mut known = self.open.remove(&span)?;
        known.ended = Some((self.clock(now), outcome));
        self.queue.push(known.clone());
        self.beating.remove(&span)?;
        Some(self.say(now, &known, None))
    }

    /// The time has come to export what there is: see [`Foreign::every`].
    pub(super) fn export(&mut self, now: Duration) -> Vec<Sent> {
        let mut sent = Vec::new();
        let queue = std::mem::take(&mut self.queue);
        if !queue.is_empty() {
            let spans = self.written(&queue);
            let format = if self.random.percent(50) {
                Format::Protobuf
            } else {
                Format::Json
            };
            let request = self.sender.traces(spans, format);
            sent.push(self.send(now, request));
        }
        sent.extend(self.beat(now));
        sent
    }

    fn written(&mut self, queue: &[Known]) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
        let mut spans = Vec::new();
        for known in queue {
            let ended = self.has_ended(queue, known.span.span_id);
            let extra = self.random.next() | 1;
            match self.dialect {
                _ if known.ended.is_some() => spans.push(span(known)),
                // It has references in its queue, and what has ended by now is exported twice as ended.
                Dialect::Open => spans.push(ended.map_or_else(|| span(known), span)),
                // It leaves a pending span out if the real one is in the same batch.
                Dialect::Pending if ended.is_some() => {}
                Dialect::Pending => spans.push(pending(known, extra)),
                Dialect::Twin => spans.push(twin(known, extra)),
                Dialect::Logs | Dialect::Ended => {}
            }
        }
        spans
    }

    fn has_ended<'a>(&self, queue: &'a [Known], span: u64) -> Option<&'a Known> {
        queue.iter().find(|it| it.span.span_id == span && it.ended.is_some())
    }

    /// Says of spans that they are open, again and again.
    fn beat(&mut self, now: Duration) -> Vec<Sent> {
        if self.dialect != Dialect::Logs {
            return Vec::new();
        }
        let is_due = |span: &u64| self.beating.get(span).is_none_or(|at| now >= *at);
        let due: Vec<Known> = self
            .open
            .iter()
            .filter(|(span, _)| is_due(span))
            .map(|(_, it)| it.clone())
            .collect();
        for known in &due {
            self.beating.insert(known.span.span_id, now + HEARTBEAT);
        }
        due.iter().map(|known| self.say(now, known, Some(HEARTBEAT))).collect()
    }

    fn say(&mut self, now: Duration, known: &Known, heartbeat: Option<Duration>) -> Sent {
        let request = self.sender.partial(span(known), heartbeat);
        self.send(now, request)
    }

    fn send(&mut self, now: Duration, request: Request) -> Sent {
        let longest = self.exporting.within - self.every;
        let mut after = self.random.ms(longest.as_millis() as usize);
        if !self.exporting.reorders {
            self.last_arrival = self.last_arrival.max(now + after);
            after = self.last_arrival - now;
        }
        let is_repeated = self.random.percent(self.exporting.repeated);
        Sent {
            request,
            after,
            again_after: is_repeated.then(|| after + self.random.ms(3000)),
        }
    }

    /// Whether there is something to export, now or later.
    pub(super) fn is_busy(&self) -> bool {
        !self.queue.is_empty() || self.dialect == Dialect::Logs && !self.open.is_empty()
    }

    /// It ends in good order, and so do its spans. Returns the last that it sends.
    pub(super) fn leave(&mut self, now: Duration) -> Vec<Sent> {
        let open: Vec<u64> = self.open.keys().copied().collect();
        let mut sent: Vec<Sent> = open
            .into_iter()
            .filter_map(|span| self.end(now, span, Outcome::Finished))
            .collect();
        sent.extend(self.export(now));
        self.is_alive = false;
        sent
    }

    /// It is no more. Whatever it had not sent nobody hears of.
    pub(super) fn crash(&mut self) {
        (self.is_alive, self.has_crashed) = (false, true);
        self.queue.clear();
        self.open.clear();
        self.beating.clear();
    }
}
