//! What a single signal means to the sources: a start, or an end.

use std::time::Duration;

use standoff_protocol::stream::{self, Ended, Outcome};

use super::messages::Messages;
use super::open::{Begun, Open, Why};
use super::{SourceNo, Sources};
use crate::signal::{Finished, Started};

impl Sources {
    /// Takes the end of a span, which is remembered already. `last` is the source of the one before, and where its message
    /// is.
    #[inline]
    pub(super) fn end(
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
    pub(super) fn begin(
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
        let timeout = Duration::from_millis(span.timeout_ms);
        // The beginning of a span may be before that of `now`.
        let until = |limit: Duration| now.saturating_add(limit.saturating_sub(age));
        let begun = Begun {
            source,
            timeout: (!timeout.is_zero()).then(|| until(timeout)),
            believed: match lease {
                Some(lease) => (now.saturating_add(lease), Why::MissedHeartbeats),
                None => (until(self.times.max_open), Why::MaxOpen),
            },
            // It may have ended by missed heartbeats. Whoever was told so does not believe its start for a while after.
            repeats: lease.is_some_and(|lease| said_age.is_none_or(|age| age >= lease)),
            is_member: span.role() == stream::Role::Member,
        };
        if !timeout.is_zero() && timeout <= age {
            self.give_up(now, source, &span, out);
            return;
        }
        self.open.insert(id, begun);
        if let Some(known) = self.sources.get_mut(&source) {
            known.open += 1;
        }
        self.say_started(source, span, out);
    }

    /// Takes a start after the timeout of its span. Its caller has given up already, so it never was open as far as anybody
    /// can tell.
    fn give_up(&mut self, now: Duration, source: SourceNo, span: &stream::Started, out: &mut Messages<'_>) {
        self.counts.ended_by_timeout += 1;
        self.recent.remember(now, span.span_id);
        let ended = Ended {
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            parent_is_remote: span.parent_is_remote,
            role: span.role,
            conversation_id: String::new(),
        };
        if let Some(message) = self.message(source, out) {
            out.ended(message, ended);
        }
    }

    fn say_started(&mut self, source: SourceNo, span: stream::Started, out: &mut Messages<'_>) {
        if let Some(message) = self.message(source, out) {
            out.started(message, span);
        }
    }

    /// Says that a span that was open has ended, which its source has one fewer of then.
    pub(super) fn say_finished(&mut self, open: &Open, id: u64, outcome: Outcome, out: &mut Messages<'_>) {
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
