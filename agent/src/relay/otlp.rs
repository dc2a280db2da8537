//! Those who take part with OpenTelemetry's protocol: each becomes an instance that cannot be asked, and the owner is told
//! of it as of any other.
//!
//! What of it is open, and for how long that is believed, is up to [`Sources`](standoff_otlp::Sources). `feed` gives each a
//! connection and numbers; here it gets its turn, and its signs of life.

mod feed;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use standoff_otlp::{Batch, Counts, Pulse, Receiver, SourceCounts};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use self::feed::Feed;
use super::owner::{Message, Owner, ShuttingDown};

/// Requests that have been read and wait to be taken: as many exporters that send at the same time. The memory for them is
/// limited by the receiver.
const QUEUE_MAX: usize = 256;

/// Requests that are taken before anything else is done.
const TAKEN_AT_ONCE: usize = 64;

/// A deadlock of somebody who cannot be asked is believed once it has settled, which takes a second unless a collector is
/// told otherwise, and once he was heard of after that. For this to be soon, signs of life are this frequent.
const BEAT: Duration = Duration::from_millis(250);

/// What the status page shows.
#[derive(Clone, Debug)]
pub(super) struct View {
    receiver: Receiver,
    sources: watch::Receiver<SourceCounts>,
}

impl View {
    /// What was taken and refused, and what is open.
    pub(super) fn counts(&self) -> (Counts, SourceCounts) {
        (self.receiver.counts(), *self.sources.borrow())
    }
}

/// Takes what a receiver has read, and tells the owner.
#[derive(Debug)]
pub(super) struct Otlp {
    receiver: Receiver,
    requests: mpsc::Receiver<Batch>,
    feed: Feed,
    owner: Owner,
    origin: Instant,
    beat: Duration,
    counts: watch::Sender<SourceCounts>,
}

impl Otlp {
    pub(super) fn new(owner: Owner, heartbeat: Duration, max_open: Duration) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        Self {
            receiver: Receiver::new(standoff_otlp::Settings::default(), queue),
            requests,
            feed: Feed::new(owner.connections(), max_open, rand::random()),
            owner,
            origin: Instant::now(),
            beat: heartbeat.min(BEAT),
            counts: watch::Sender::new(SourceCounts::default()),
        }
    }

    /// What is to be served, by whoever has the listeners.
    pub(super) fn receiver(&self) -> Receiver {
        self.receiver.clone()
    }

    pub(super) fn view(&self) -> View {
        View {
            receiver: self.receiver(),
            sources: self.counts.subscribe(),
        }
    }

    /// Passes on what comes, until the relay ends.
    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        // That the owner is gone means the same.
        shutdown.run_until_cancelled(self.pass_on()).await;
    }

    async fn pass_on(&mut self) -> Result<(), ShuttingDown> {
        let mut beats = tokio::time::interval(self.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = Pulse::new(self.origin.elapsed(), self.beat);
        let mut requests = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            let expiry = self.feed.next_expiry().map(|at| self.origin + at);
            tokio::select! {
                biased;
                _ = beats.tick() => {
                    // A sign of life says that nothing that came before it is still to be told.
                    for _ in 0..self.requests.len().div_ceil(TAKEN_AT_ONCE) {
                        self.requests.recv_many(&mut requests, TAKEN_AT_ONCE).await;
                        self.take(&mut requests).await?;
                    }
                    self.expire().await?;
                    if pulse.beats(self.origin.elapsed()) {
                        self.tell(|feed, receiver| feed.beat(&receiver.counts())).await?;
                    }
                    self.counts.send_replace(self.feed.counts());
                }
                _ = self.requests.recv_many(&mut requests, TAKEN_AT_ONCE) => self.take(&mut requests).await?,
                () = until(expiry) => self.expire().await?,
            }
        }
    }

    async fn take(&mut self, requests: &mut Vec<Batch>) -> Result<(), ShuttingDown> {
        // The one after the next is read only when what this one says was told: it takes memory that nobody else counts.
        for request in requests.drain(..) {
            let unix_now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = self.origin.elapsed();
            for message in self.feed.take(now, unix_now, request) {
                self.owner.tell(message).await?;
            }
        }
        Ok(())
    }

    async fn expire(&mut self) -> Result<(), ShuttingDown> {
        let now = self.origin.elapsed();
        self.tell(|feed, _| feed.expire(now)).await
    }

    /// Waits while the owner has enough to do. Meanwhile requests wait, and when there are too many of them, their senders
    /// are told to come again.
    async fn tell(&mut self, what: impl FnOnce(&mut Feed, &Receiver) -> Vec<Message>) -> Result<(), ShuttingDown> {
        for message in what(&mut self.feed, &self.receiver) {
            self.owner.tell(message).await?;
        }
        Ok(())
    }
}

async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
