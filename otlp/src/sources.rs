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
//! - An end closes it, whoever sends it. The end of any other span is passed on as [`Ended`](standoff_protocol::stream::Ended), since that span may
//!   stand between a handler and the call that this answers, or be such a handler.
//! - A span that says so ends at its timeout. One whose source repeats itself ends when three heartbeats are missed, and is
//!   open again should another one come; any other span ends when it is [as old as is believed](Times::max_open). A member,
//!   which is open for as long as its process lives, ends so long after its source was last heard of instead: a pool that
//!   looks smaller than it is would look exhausted.
//!
//! # Memory
//!
//! At most 130 bytes for each open span, of which there are [`OPEN_SPANS_MAX`]; some 300 bytes and its names for each source, at most
//! [`SOURCES_MAX`]; and [`REMEMBERED_BYTES_MAX`] for the ends of the last minute. A source that has nothing open and says
//! nothing for [`Times::forget_after`] leaves nothing behind.

mod hashing;
mod identity;
mod messages;
mod open;
mod recent;
mod said;
mod signals;
mod silent;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::signal::{Batch, Instance};

use self::hashing::IdHashes;
use self::identity::Identity;
use self::messages::Messages;
use self::open::{OpenSpans, Why};
use self::recent::Recent;
use self::silent::Silent;

pub use self::recent::REMEMBERED_BYTES_MAX;
pub use self::said::{Said, SourceCounts, SourceNo, Times};

/// The most spans that all sources have open together: about as many as the engine is measured with, and 130 MiB here.
pub const OPEN_SPANS_MAX: usize = 1 << 20;

/// The most sources at the same time: ten for each of a thousand hosts. Beyond that most likely each request names an
/// instance of its own.
pub const SOURCES_MAX: usize = 10_000;

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

    /// Says all that was put together.
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
