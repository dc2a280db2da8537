//! An instance: the real library, driven as the reporter's thread drives it.
//!
//! The thread flushes at fixed intervals. Flushes that have nothing to do are left out, unless a run asks for all of
//! them: it must make no difference. Knows when the library wants to run, not what becomes of what it says.

use std::collections::BTreeSet;
use std::time::Duration;

use standoff_agent::sans_io::{FLUSH_EVERY, Library, QUEUE_MAX, Standing};
use standoff_protocol::stream::{FromCollector, FromInstance, Instance, Process, Started};

use super::network::LinkId;

/// What an instance sets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub(super) report_after: Duration,
    pub(super) heartbeat: Duration,
    pub(super) lease: Duration,
    /// Whether no flush is left out.
    pub(super) every_flush: bool,
}

#[derive(Debug)]
pub(super) struct Host {
    library: Library,
    times: Times,
    is_visible: bool,
    /// What its clock calls zero.
    origin: Duration,
    pub(super) link: Option<LinkId>,
    pub(super) is_accepted: bool,
    /// Counts connections and attempts, so that what was meant for an earlier one is known as such.
    pub(super) session: u64,
    /// From when on flushes are counted.
    base: Duration,
    last_flush: Option<Duration>,
    flushes: BTreeSet<Duration>,
    /// When spans become old enough to be reported.
    dues: BTreeSet<Duration>,
    pub(super) is_alive: bool,
    /// The service wants to end.
    pub(super) is_leaving: bool,
    /// Goodbye has been said.
    pub(super) has_left: bool,
}

impl Host {
    pub(super) fn new(now: Duration, number: usize, service: &str, process_host: &str, times: Times) -> Self {
        let process = Process {
            host: process_host.to_owned(),
            pid: number as u32,
            start_ticks: 1,
        };
        let instance = Instance {
            service_name: service.to_owned(),
            service_namespace: String::new(),
            instance_id: format!("i-{number}"),
            incarnation: 1,
            process: Some(process).filter(|_| !process_host.is_empty()),
        };
        Self {
            library: Library::new(instance, times.report_after, times.heartbeat, times.lease),
            times,
            is_visible: !process_host.is_empty(),
            origin: now.saturating_sub(Duration::from_millis(7 * number as u64)),
            link: None,
            is_accepted: false,
            session: 0,
            base: now,
            last_flush: None,
            flushes: BTreeSet::new(),
            dues: BTreeSet::new(),
            is_alive: true,
            is_leaving: false,
            has_left: false,
        }
    }

    fn local(&self, now: Duration) -> Duration {
        now.saturating_sub(self.origin)
    }

    pub(super) fn start(&self, now: Duration, span: Started) {
        self.library.start(span, self.local(now));
    }

    pub(super) fn end(&self, now: Duration, span: u64, outcome: standoff_agent::Outcome) {
        self.library.end(span, outcome, self.local(now));
    }

    /// Whether whoever is on its host sees its process end.
    pub(super) fn is_visible(&self) -> bool {
        self.is_visible
    }

    /// Begins to connect; the hello goes with it.
    pub(super) fn connect(&mut self, now: Duration) -> Option<FromInstance> {
        self.session += 1;
        self.is_accepted = false;
        self.library.connect(self.local(now))
    }

    /// The stream is accepted, and flushes begin.
    pub(super) fn accepted(&mut self, now: Duration) {
        self.is_accepted = true;
        self.base = now;
        self.last_flush = None;
        self.library.accepted(self.local(now));
    }

    pub(super) fn flush(&mut self, now: Duration) -> Standing {
        self.flushes.remove(&now);
        self.last_flush = Some(now);
        self.library.tick(self.local(now))
    }

    /// The thread did not run for a while: it flushes at once, and counts from now on.
    pub(super) fn resume(&mut self, now: Duration) {
        self.base = now;
        self.flushes.clear();
    }

    pub(super) fn hear(&mut self, now: Duration, message: FromCollector) -> Standing {
        self.library.hear(message, self.local(now))
    }

    pub(super) fn leave(&mut self, now: Duration) -> Standing {
        self.library.leave(self.local(now))
    }

    /// The connection is no more. Returns when to try again.
    pub(super) fn lose(&mut self, now: Duration, jitter: f64) -> Duration {
        self.session += 1;
        self.is_accepted = false;
        self.flushes.clear();
        now + self.library.lose(self.local(now), jitter)
    }

    pub(super) fn next_outgoing(&mut self) -> Option<FromInstance> {
        assert!(self.library.outgoing() <= QUEUE_MAX, "the queue is bounded");
        self.library.next_outgoing()
    }

    pub(super) fn has_outgoing(&self) -> bool {
        self.library.outgoing() > 0
    }

    pub(super) fn open_count(&self) -> u64 {
        self.library.open_count()
    }

    /// When the flush comes that is to be made for something that is so at this time, unless it comes anyway.
    pub(super) fn flush_for(&mut self, now: Duration, at: Duration) -> Option<Duration> {
        if !self.is_accepted {
            return None;
        }
        let from = self.base.as_nanos();
        let every = FLUSH_EVERY.as_nanos();
        let since = at.max(now).as_nanos().saturating_sub(from);
        let nanos = from + since.div_ceil(every) * every;
        let mut at = Duration::from_nanos(nanos as u64);
        if self.last_flush.is_some_and(|last| at <= last) {
            at += FLUSH_EVERY;
        }
        self.flushes.insert(at).then_some(at)
    }

    /// The flushes that follow from how the library stands now.
    pub(super) fn flushes(&mut self, now: Duration) -> Vec<Duration> {
        let mut wanted: Vec<Duration> = Vec::new();
        if let Some(wake) = self.library.wake_at() {
            wanted.push(wake + self.origin);
        }
        if self.has_outgoing() || self.times.every_flush {
            wanted.push(now + Duration::from_nanos(1));
        }
        self.dues = self.dues.split_off(&now);
        wanted.extend(&self.dues);
        wanted.into_iter().filter_map(|at| self.flush_for(now, at)).collect()
    }

    /// The flushes that follow from a span that starts now.
    pub(super) fn flushes_for_start(&mut self, now: Duration) -> Vec<Duration> {
        let due = now + self.times.report_after;
        self.dues.insert(due);
        [now, due]
            .into_iter()
            .filter_map(|at| self.flush_for(now, at))
            .collect()
    }
}
