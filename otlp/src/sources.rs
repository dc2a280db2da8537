//! Turns what a receiver has read into what the native stream would say: each service that sends OpenTelemetry's protocol
//! becomes an instance that cannot be asked.
//!
//! This owns what each source has open and for how long that is believed, and remembers for a while which spans have
//! ended. It does no I/O and reads no clock; it knows neither connections nor the graph. Whoever owns it gives it batches
//! and the time, and passes on what it [says](Said).
//!
//! # Which spans are open
//!
//! - A start opens a span, unless it is open already, or has ended: batches may come out of order.
//! - An end closes it, whoever sends it. The end of any other span is passed on as [`stream::Ended`], since that span may
//!   stand between a handler and the call that this answers, or be such a handler.
//! - A span that says so ends at its timeout. One whose source repeats itself ends when three heartbeats are missed, and is
//!   open again should another one come; any other span ends when it is [as old as is believed](Times::max_open). A member,
//!   which is open for as long as its process lives, ends so long after its source was last heard of instead: a pool that
//!   looks smaller than it is would look exhausted.
//!
//! # Memory
//!
//! Some 120 bytes for each open span, at most [`OPEN_SPANS_MAX`]; some 300 bytes and its names for each source, at most
//! [`SOURCES_MAX`]; and [`REMEMBERED_BYTES_MAX`] for the ends of the last minute. A source that has nothing open and says
//! nothing for [`Times::forget_after`] leaves nothing behind.

mod hashing;
mod identity;
mod messages;
mod open;
mod recent;
mod silent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use standoff_protocol::stream::{self, Ended, Outcome};

use crate::signal::{Batch, Finished, Instance, Started};

use self::hashing::IdHashes;
use self::identity::Identity;
use self::messages::Messages;
use self::open::{Begun, Open, OpenSpans, Why};
use self::recent::Recent;
use self::silent::Silent;

pub use self::recent::REMEMBERED_BYTES_MAX;

/// The most spans that all sources have open together. Twice as many as a collector is made for, and some 120 MiB here.
pub const OPEN_SPANS_MAX: usize = 1 << 20;

/// The most sources at the same time: ten for each of a thousand hosts. Beyond that most likely each request names an
/// instance of its own.
pub const SOURCES_MAX: usize = 10_000;

/// Names a source, and is never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SourceNo(pub u64);

/// What is to be passed on, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A source was heard of for the first time, or again after it had left. Nothing of it is open yet.
    Came {
        /// Its number from now on.
        source: SourceNo,
        /// Who it is.
        hello: stream::Hello,
    },
    /// Spans of a source have started or ended.
    Batch {
        /// One that came and did not leave.
        source: SourceNo,
        /// Within the limits of the stream. Its sequence is 0: whoever has the connection counts.
        batch: stream::Batch,
    },
    /// Nothing was heard of a source for long, and nothing of it is open.
    Left {
        /// Its number until now.
        source: SourceNo,
    },
}

/// How long what sources say is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// The age at which a span ends of whose end nothing was heard, unless its source repeats itself.
    pub max_open: Duration,
    /// How long a source is remembered that says nothing and has nothing open.
    pub forget_after: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            max_open: Duration::from_secs(600),
            forget_after: Duration::from_secs(300),
        }
    }
}

/// How much there is, and how much there was since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceCounts {
    /// Spans that are open now.
    pub open: u64,
    /// Sources that are known now.
    pub sources: u64,
    /// Spans that have ended at their own timeouts.
    pub ended_by_timeout: u64,
    /// Spans that have ended since they were older than is believed.
    pub ended_by_max_open: u64,
    /// Spans that have ended since three heartbeats were missed.
    pub ended_by_missed_heartbeats: u64,
    /// Starts that came after the end of their span.
    pub late_starts: u64,
    /// Starts for which there was no room, or no room for their source. They may come again, and count again.
    pub refused_spans: u64,
    /// Ends for whose source there was no room.
    pub refused_ends: u64,
    /// How often there was no room for a source of a batch.
    pub refused_sources: u64,
}

#[derive(Debug)]
struct Source {
    identity: Identity,
    /// When it last said something.
    heard: Duration,
    /// How many spans it has open.
    open: usize,
    /// When it is looked whether it has been silent for long. Absent only while it has something open.
    look_at: Option<Duration>,
    /// Where among the messages that are being put together its message is.
    message: Option<usize>,
}

/// All sources of one receiver.
#[derive(Debug)]
pub struct Sources {
    times: Times,
    seed: u64,
    /// [`OPEN_SPANS_MAX`], unless a test cannot wait for so many.
    open_max: usize,
    next: u64,
    /// In the order in which they came, so that whatever is done for all of them is done in the same order each time.
    sources: BTreeMap<SourceNo, Source>,
    /// Holds exactly the identities of all sources.
    numbers: HashMap<Identity, SourceNo, IdHashes>,
    /// Each one is of a source that is known, and counted there.
    open: OpenSpans,
    recent: Recent,
    /// Holds exactly the sources that say when they are to be looked after.
    silent: Silent,
    counts: SourceCounts,
}

impl Sources {
    /// No sources yet. `incarnation_seed` is drawn at random, once for each process and receiver: what two receivers see
    /// of one source are two instances.
    pub fn new(times: Times, incarnation_seed: u64) -> Self {
        let hashes = IdHashes::new(incarnation_seed);
        Sources {
            times,
            seed: incarnation_seed,
            open_max: OPEN_SPANS_MAX,
            next: 1,
            sources: BTreeMap::new(),
            numbers: HashMap::with_hasher(hashes),
            open: OpenSpans::new(hashes),
            recent: Recent::new(hashes),
            silent: Silent::default(),
            counts: SourceCounts::default(),
        }
    }

    /// Takes what a request has said. `now` never goes back; `unix_now` is the time since 1970, which the start times of
    /// spans are compared with.
    pub fn take(&mut self, now: Duration, unix_now: Duration, batch: Batch, said: &mut Vec<Said>) {
        let Batch {
            instances,
            finished,
            started,
            held,
        } = batch;
        let mut out = Messages::new(said);
        if let [_] = instances.as_slice() {
            out.expect_ended(finished.len());
        }
        let sources: Vec<Option<SourceNo>> = instances
            .iter()
            .map(|instance| self.enter(now, instance, &mut out))
            .collect();
        let source_of = |ix: crate::InstanceIx| sources.get(ix.0 as usize).copied().flatten();
        // All of them before anything else, so that memory answers for several of them at once.
        for finished in &finished {
            self.recent.remember(now, finished.span_id);
        }
        // Most follow one of the same source, which then need not be looked up.
        let mut last = None;
        for finished in finished {
            let source = source_of(finished.instance);
            self.end(source, &mut last, finished, &mut out);
        }
        for started in started {
            let source = source_of(started.instance);
            self.begin(now, unix_now, source, *started, &mut out);
        }
        self.flush(out);
        // What the batch takes of the receiver's memory is given back only now.
        drop(held);
    }

    /// Ends what is not believed to be open any longer, and forgets who has been silent. To be called at
    /// [`Sources::next_expiry`] or later, after whatever has arrived by then was taken.
    pub fn expire(&mut self, now: Duration, said: &mut Vec<Said>) {
        let mut out = Messages::new(said);
        while let Some((id, open)) = self.open.first_due(now) {
            if open.is_member
                && open.why == Why::MaxOpen
                && let Some(until) = self.believed_of(open.source)
                && until > now
            {
                self.open.renew(id, until, Why::MaxOpen);
                continue;
            }
            self.open.remove(id);
            let count = match open.why {
                Why::Timeout => &mut self.counts.ended_by_timeout,
                Why::MaxOpen => &mut self.counts.ended_by_max_open,
                Why::MissedHeartbeats => &mut self.counts.ended_by_missed_heartbeats,
            };
            *count += 1;
            // A heartbeat that comes after all opens it again.
            if open.why != Why::MissedHeartbeats {
                self.recent.remember(now, id);
            }
            self.say_finished(&open, id, open.why.outcome(), &mut out);
        }
        self.flush(out);
        while let Some(source) = self.silent.take_due(now) {
            let Some(known) = self.sources.get_mut(&source) else {
                continue;
            };
            known.look_at = None;
            let forget_at = known.heard.saturating_add(self.times.forget_after);
            if known.open > 0 {
                // It is noted again when nothing is open.
            } else if forget_at > now {
                known.look_at = Some(forget_at);
                self.silent.note(forget_at, source);
            } else {
                self.forget(source);
                said.push(Said::Left { source });
            }
        }
        self.recent.forget_old(now);
    }

    /// When there may be something to do for [`Sources::expire`].
    pub fn next_expiry(&self) -> Option<Duration> {
        let times = [self.open.next_due(), self.silent.next_due(), self.recent.next_due()];
        times.into_iter().flatten().min()
    }

    /// The sources that came and did not leave, in that order.
    pub fn sources(&self) -> impl Iterator<Item = SourceNo> {
        self.sources.keys().copied()
    }

    /// Forgets a source, since whoever was told of it does not want it, and all that it has open. It comes again, under
    /// another number, as soon as it is heard of again.
    pub fn drop_source(&mut self, source: SourceNo) {
        if self.sources.get(&source).is_some_and(|it| it.open > 0) {
            self.open.remove_all_of(source);
        }
        self.forget(source);
    }

    /// Until when a source is believed that says nothing any more.
    fn believed_of(&self, source: SourceNo) -> Option<Duration> {
        let known = self.sources.get(&source)?;
        Some(known.heard.saturating_add(self.times.max_open))
    }

    /// How much there is and was.
    pub fn counts(&self) -> SourceCounts {
        SourceCounts {
            open: self.open.len() as u64,
            sources: self.sources.len() as u64,
            ..self.counts
        }
    }

    /// The source that an instance is, if there is room for it.
    fn enter(&mut self, now: Duration, instance: &Instance, out: &mut Messages<'_>) -> Option<SourceNo> {
        let identity = Identity::of(instance, self.seed);
        if let Some(source) = self.numbers.get(&identity).copied() {
            if let Some(known) = self.sources.get_mut(&source) {
                known.heard = now;
            }
            return Some(source);
        }
        if self.sources.len() >= SOURCES_MAX {
            self.counts.refused_sources += 1;
            return None;
        }
        let source = SourceNo(self.next);
        self.next += 1;
        self.numbers.insert(identity, source);
        let forget_at = now.saturating_add(self.times.forget_after);
        self.silent.note(forget_at, source);
        let known = Source {
            identity,
            heard: now,
            open: 0,
            look_at: Some(forget_at),
            message: None,
        };
        self.sources.insert(source, known);
        let hello = identity::hello(instance, identity);
        out.push(Said::Came { source, hello });
        Some(source)
    }

    /// Takes the end of a span, which is remembered already. `last` is the source of the one before, and where its message
    /// is.
    #[inline]
    fn end(
        &mut self,
        source: Option<SourceNo>,
        last: &mut Option<(SourceNo, usize)>,
        finished: Finished,
        out: &mut Messages<'_>,
    ) {
        let id = finished.span_id;
        if let Some(open) = self.open.remove(id) {
            self.say_finished(&open, id, finished.outcome, out);
            return;
        }
        let Some(source) = source else {
            self.counts.refused_ends += 1;
            return;
        };
        if says_nothing(&finished) {
            return;
        }
        let message = match *last {
            Some((known, message)) if known == source => message,
            _ => {
                let Some(known) = self.sources.get_mut(&source) else {
                    return;
                };
                let message = *known.message.get_or_insert_with(|| out.begin(source));
                *last = Some((source, message));
                message
            }
        };
        let ended = Ended {
            span_id: id,
            parent_span_id: finished.parent_span_id,
            parent_is_remote: finished.parent_is_remote,
            role: finished.role.into(),
            conversation_id: finished.conversation_id.map(String::from).unwrap_or_default(),
        };
        out.ended(message, ended);
    }

    /// Takes the start of a span.
    fn begin(
        &mut self,
        now: Duration,
        unix_now: Duration,
        source: Option<SourceNo>,
        started: Started,
        out: &mut Messages<'_>,
    ) {
        let lease = started.lease();
        let said_age = age(unix_now, started.start_time_unix_nano);
        // One that makes no sense counts as none: too young a span ends later, and is not taken for settled.
        let age = said_age.filter(|age| *age <= self.times.max_open).unwrap_or_default();
        let mut span = started.span;
        span.age_ns = u64::try_from(age.as_nanos()).unwrap_or(u64::MAX);
        let id = span.span_id;
        if let Some(open) = self.open.get(id) {
            if let Some(lease) = lease {
                self.open.renew(id, now.saturating_add(lease), Why::MissedHeartbeats);
                if open.repeats {
                    self.say_started(open.source, span, out);
                }
            }
            return;
        }
        if self.recent.contains(id) {
            self.counts.late_starts += 1;
            return;
        }
        let Some(source) = source.filter(|_| self.open.len() < self.open_max) else {
            self.counts.refused_spans += 1;
            return;
        };
        let opened = now.saturating_sub(age);
        let begun = Begun {
            source,
            timeout: (span.timeout_ms > 0).then(|| opened.saturating_add(Duration::from_millis(span.timeout_ms))),
            believed: match lease {
                Some(lease) => (now.saturating_add(lease), Why::MissedHeartbeats),
                None => (opened.saturating_add(self.times.max_open), Why::MaxOpen),
            },
            // It may have ended by missed heartbeats. Whoever was told so does not believe its start for a while after.
            repeats: lease.is_some_and(|lease| said_age.is_none_or(|age| age >= lease)),
            is_member: span.role() == stream::Role::Member,
        };
        if begun.timeout.is_some_and(|timeout| timeout <= now) {
            // Its caller has given up already, so it never was open as far as anybody can tell.
            self.counts.ended_by_timeout += 1;
            self.recent.remember(now, id);
            let ended = Ended {
                span_id: id,
                parent_span_id: span.parent_span_id,
                parent_is_remote: span.parent_is_remote,
                role: span.role,
                conversation_id: String::new(),
            };
            if let Some(message) = self.message(source, out) {
                out.ended(message, ended);
            }
            return;
        }
        self.open.insert(id, begun);
        if let Some(known) = self.sources.get_mut(&source) {
            known.open += 1;
        }
        self.say_started(source, span, out);
    }

    fn say_started(&mut self, source: SourceNo, span: stream::Started, out: &mut Messages<'_>) {
        if let Some(message) = self.message(source, out) {
            out.started(message, span);
        }
    }

    /// Says that a span that was open has ended, which its source has one fewer of then.
    fn say_finished(&mut self, open: &Open, id: u64, outcome: Outcome, out: &mut Messages<'_>) {
        let Some(known) = self.sources.get_mut(&open.source) else {
            return;
        };
        known.open = known.open.saturating_sub(1);
        if known.open == 0 && known.look_at.is_none() {
            let forget_at = known.heard.saturating_add(self.times.forget_after);
            known.look_at = Some(forget_at);
            self.silent.note(forget_at, open.source);
        }
        if let Some(message) = self.message(open.source, out) {
            let finished = stream::Finished {
                span_id: id,
                outcome: outcome.into(),
            };
            out.finished(message, finished);
        }
    }

    /// The message of a source that is being put together.
    fn message(&mut self, source: SourceNo, out: &mut Messages<'_>) -> Option<usize> {
        let known = self.sources.get_mut(&source)?;
        Some(*known.message.get_or_insert_with(|| out.begin(source)))
    }

    /// Says all that was put together.
    fn flush(&mut self, out: Messages<'_>) {
        for source in out.finish() {
            if let Some(known) = self.sources.get_mut(&source) {
                known.message = None;
            }
        }
    }

    fn forget(&mut self, source: SourceNo) {
        if let Some(known) = self.sources.remove(&source) {
            self.numbers.remove(&known.identity);
            if let Some(at) = known.look_at {
                self.silent.remove(at, source);
            }
            if self.numbers.is_empty() {
                self.numbers.shrink_to_fit();
            }
        }
    }
}

/// Whether an end tells nobody anything: no chain of parents leads on from it, and nobody was answered by it. Of spans
/// whose stop alone was heard, more is not known.
fn says_nothing(finished: &Finished) -> bool {
    finished.parent_span_id == 0 && finished.role == stream::Role::Structural
}

/// How long a span has been open, by the clocks of two hosts; `None` if they contradict each other, or it does not say.
fn age(unix_now: Duration, start_time_unix_nano: u64) -> Option<Duration> {
    let start = Duration::from_nanos(start_time_unix_nano);
    unix_now.checked_sub(start).filter(|_| !start.is_zero())
}
