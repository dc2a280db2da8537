//! What the service's threads and the reporter share: the open table, who this instance is, and what one wants of the
//! other.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::owner::Owner;
use crate::session::Sent;
use crate::settings::Settings;
use crate::table::OpenTable;
use crate::{Connection, Counters};

/// How long a flush may take: a hundred times what it needs where the connection is well.
pub(crate) const FLUSH_WITHIN: Duration = Duration::from_millis(500);

/// How long a shutdown may take.
pub(crate) const SHUTDOWN_WITHIN: Duration = Duration::from_secs(2);

/// What application threads and the reporter share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) table: OpenTable,
    pub(crate) settings: Settings,
    origin: Instant,
    owner: Owner,
    identity: OnceLock<Identity>,
    /// The identity has become known, or the agent is to stop.
    woken: Notify,
    stopping: AtomicBool,
    stopped: Mutex<bool>,
    has_stopped: Condvar,
    flush_asked: Notify,
    flushes: Mutex<Flushes>,
    has_flushed: Condvar,
    connection: AtomicU8,
    sessions: AtomicU64,
    started_sent: AtomicU64,
    finished_sent: AtomicU64,
    probes_dropped: AtomicU64,
}

/// How often somebody has wanted a flush, and how many of these have been carried out.
#[derive(Clone, Copy, Debug, Default)]
struct Flushes {
    wanted: u64,
    done: u64,
}

/// Who this instance is, as the resource of its tracer provider says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) service_name: String,
    pub(crate) service_namespace: String,
    pub(crate) instance_id: String,
}

impl Shared {
    pub(crate) fn new(settings: Settings) -> Self {
        Shared {
            table: OpenTable::new(settings.report_after),
            settings,
            origin: Instant::now(),
            owner: Owner::this(),
            identity: OnceLock::new(),
            woken: Notify::new(),
            stopping: AtomicBool::new(false),
            stopped: Mutex::new(false),
            has_stopped: Condvar::new(),
            flush_asked: Notify::new(),
            flushes: Mutex::default(),
            has_flushed: Condvar::new(),
            connection: AtomicU8::new(0),
            sessions: AtomicU64::new(0),
            started_sent: AtomicU64::new(0),
            finished_sent: AtomicU64::new(0),
            probes_dropped: AtomicU64::new(0),
        }
    }

    /// The time by the clock of this agent.
    pub(crate) fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Says who this instance is. The first to say so is believed: an instance does not become another one.
    pub(crate) fn identify(&self, identity: Identity) {
        drop(self.identity.set(identity));
        self.wake();
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.wake();
    }

    /// The reporter has something to look at. In a forked child there is none, and what wakes it may be locked for good.
    fn wake(&self) {
        if self.owner.is_here() {
            self.woken.notify_one();
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Relaxed)
    }

    /// Waits until the reporter has said goodbye, or has nobody to say it to. Returns whether it has. In a forked child
    /// there is nothing to wait for.
    pub(crate) fn wait_stopped(&self, within: Duration) -> bool {
        if !self.owner.is_here() {
            return true;
        }
        let stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .has_stopped
            .wait_timeout_while(stopped, within, |stopped| !*stopped);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Waits until everything that is due by now has been handed to the connection. Returns whether it has. Without a
    /// connection there is nothing to hand over: the next one begins with the open set.
    pub(crate) fn flush(&self, within: Duration) -> bool {
        let is_pending = || self.connection() == Connection::Connected && !self.is_stopping();
        if !self.owner.is_here() || !is_pending() {
            return true;
        }
        let mut flushes = self.flushes.lock().unwrap_or_else(PoisonError::into_inner);
        flushes.wanted += 1;
        let mine = flushes.wanted;
        self.flush_asked.notify_one();
        let waited = self
            .has_flushed
            .wait_timeout_while(flushes, within, |flushes| flushes.done < mine && is_pending());
        let flushes = waited.unwrap_or_else(PoisonError::into_inner).0;
        flushes.done >= mine || !is_pending()
    }

    /// How many flushes somebody has wanted so far.
    pub(crate) fn flushes_wanted(&self) -> u64 {
        self.flushes.lock().unwrap_or_else(PoisonError::into_inner).wanted
    }

    pub(crate) fn flushed(&self, wanted: u64) {
        let mut flushes = self.flushes.lock().unwrap_or_else(PoisonError::into_inner);
        if flushes.done < wanted {
            flushes.done = wanted;
            self.has_flushed.notify_all();
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut dropped = self.table.dropped();
        dropped.probes = self.probes_dropped.load(Relaxed);
        Counters {
            captured: self.table.captured(),
            open: self.table.open_count(),
            reported: self.started_sent.load(Relaxed),
            finished: self.finished_sent.load(Relaxed),
            sessions: self.sessions.load(Relaxed),
            connection: self.connection(),
            dropped,
        }
    }

    fn connection(&self) -> Connection {
        match self.connection.load(Relaxed) {
            0 => Connection::Connecting,
            1 => Connection::Connected,
            _ => Connection::Closed,
        }
    }

    pub(crate) fn set_connection(&self, connection: Connection) {
        // Whoever waits for a flush looks at it under this lock.
        let _flushes = self.flushes.lock().unwrap_or_else(PoisonError::into_inner);
        self.connection.store(connection as u8, Relaxed);
        self.has_flushed.notify_all();
    }

    pub(crate) fn count(&self, before: Sent, after: Sent) {
        self.started_sent.fetch_add(after.started - before.started, Relaxed);
        self.finished_sent.fetch_add(after.finished - before.finished, Relaxed);
    }

    /// The collector has welcomed this instance.
    pub(crate) fn welcomed(&self) {
        self.sessions.fetch_add(1, Relaxed);
        self.set_connection(Connection::Connected);
    }

    pub(crate) fn probe_dropped(&self) {
        self.probes_dropped.fetch_add(1, Relaxed);
    }

    /// The reporter has come to its end, whatever has brought it there.
    pub(crate) fn reporter_stopped(&self) {
        self.table.end_session();
        self.set_connection(Connection::Closed);
        *self.stopped.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.has_stopped.notify_all();
    }

    /// Who this instance is, once that is known. `None` if the agent is to stop before.
    pub(crate) async fn identity(&self) -> Option<Identity> {
        loop {
            if self.is_stopping() {
                return None;
            }
            if let Some(identity) = self.identity.get() {
                return Some(identity.clone());
            }
            self.woken.notified().await;
        }
    }

    /// Somebody wants a flush.
    pub(crate) async fn flush_asked(&self) {
        self.flush_asked.notified().await;
    }

    pub(crate) async fn until_stopping(&self) {
        while !self.is_stopping() {
            self.woken.notified().await;
        }
    }
}
