//! Those who take part with OpenTelemetry's protocol: each becomes an instance that cannot be asked, and what it says is
//! told to the owner as that of any other.
//!
//! What of it is open, and for how long that is believed, is up to [`Sources`](standoff_otlp::Sources). `feed` gives it a
//! connection and numbers; here it gets its signs of life, and its turn.

pub(crate) mod feed;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use standoff_otlp::{Batch, Pulse, Receiver};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Connections;
use crate::clock::Clock;
use crate::ingest::otlp::feed::Feed;
use crate::owner::{Message, Owner, ShuttingDown};
use crate::settings::Times;

/// Requests that have been read and wait to be taken. A thousand exporters that send every five seconds send so many in two
/// and a half; the memory for them is limited by the receiver.
const QUEUE_MAX: usize = 512;

/// Requests that are taken in one go if they wait already, so that many small ones cost the owner few steps.
const TAKEN_AT_ONCE: usize = 64;

/// Messages under way to the owner. Spans that have ended take 400 KiB of one at most, and those that are open 2 MiB on the
/// wire, so that no more than about 128 MiB wait there.
const UNDER_WAY_MAX: usize = 64;

/// A deadlock of somebody who cannot be asked is believed once it has settled, and he was heard of after that. For this to
/// be soon, so many signs of life are given in the time that it takes to settle.
const BEATS_PER_SETTLE: u32 = 4;

/// Nobody needs to be told more often than this that sources are there.
const BEAT_MIN: Duration = Duration::from_millis(50);

/// Takes what a receiver has read, and tells the owner.
#[derive(Debug)]
pub(crate) struct Otlp {
    receiver: Receiver,
    requests: mpsc::Receiver<Batch>,
    feed: Feed,
    owner: Owner,
    clock: Clock,
    beat: Duration,
    /// One permit for each message that may be under way.
    turns: Arc<Semaphore>,
}

impl Otlp {
    pub(crate) fn new(owner: Owner, connections: Connections, clock: Clock, times: &Times) -> Self {
        let (queue, requests) = mpsc::channel(QUEUE_MAX);
        Self {
            receiver: Receiver::new(standoff_otlp::Settings::default(), queue),
            requests,
            feed: Feed::new(connections, times, RandomState::new().build_hasher().finish()),
            owner,
            clock,
            beat: times.heartbeat.min(times.settle / BEATS_PER_SETTLE).max(BEAT_MIN),
            turns: Arc::new(Semaphore::new(UNDER_WAY_MAX)),
        }
    }

    /// What is to be served, by whoever has the listeners.
    pub(crate) fn receiver(&self) -> Receiver {
        self.receiver.clone()
    }

    /// Passes on what comes, until the collector shuts down.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        // That the owner is gone means the same.
        shutdown.run_until_cancelled(self.pass_on()).await;
    }

    async fn pass_on(&mut self) -> Result<(), ShuttingDown> {
        let mut beats = tokio::time::interval(self.beat);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pulse = Pulse::new(self.clock.now(), self.beat);
        let mut requests = Vec::with_capacity(TAKEN_AT_ONCE);
        loop {
            let expiry = self.feed.next_expiry().map(|at| self.clock.instant(at));
            tokio::select! {
                biased;
                _ = beats.tick() => {
                    // A sign of life says that nothing that came before it is still to be told.
                    for _ in 0..self.requests.len().div_ceil(TAKEN_AT_ONCE) {
                        self.requests.recv_many(&mut requests, TAKEN_AT_ONCE).await;
                        self.take(&mut requests).await?;
                    }
                    self.expire().await?;
                    if pulse.beats(self.clock.now()) {
                        self.beat().await?;
                    }
                }
                _ = self.requests.recv_many(&mut requests, TAKEN_AT_ONCE) => self.take(&mut requests).await?,
                () = until(expiry) => self.expire().await?,
            }
        }
    }

    async fn take(&mut self, requests: &mut Vec<Batch>) -> Result<(), ShuttingDown> {
        let told = self
            .feed
            .take(self.clock.now(), Clock::since_epoch(), requests.drain(..));
        self.tell(told).await
    }

    async fn expire(&mut self) -> Result<(), ShuttingDown> {
        let told = self.feed.expire(self.clock.now());
        self.tell(told).await
    }

    async fn beat(&mut self) -> Result<(), ShuttingDown> {
        let told = self.feed.beat(&self.receiver.counts());
        self.tell(told).await
    }

    /// Waits while the owner has enough to do. Meanwhile requests wait, and when there are too many of them, their senders
    /// are told to come again.
    async fn tell(&self, messages: Vec<Message>) -> Result<(), ShuttingDown> {
        for message in messages {
            let message = if let Message::Input(input) = message {
                let turn = Arc::clone(&self.turns).acquire_owned().await;
                let turn = turn.map_err(|_| ShuttingDown)?;
                Message::InTurn { input, _turn: turn }
            } else {
                message
            };
            self.owner.tell(message).await?;
        }
        Ok(())
    }
}

async fn until(time: Option<std::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(Instant::from_std(time)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
