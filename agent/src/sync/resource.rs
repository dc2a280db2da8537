//! What all locks have in common: a name, waits for it, and holds.

use std::future::Future;
use std::time::Duration;

use crate::{OpenSpan, Outcome, Spans, Text};

/// The lock was not to be had in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time to wait for the lock is over")]
pub struct Elapsed;

/// A lock as the graph knows it.
#[derive(Clone, Debug)]
pub(super) struct Resource {
    spans: Spans,
    name: Text,
}

impl Resource {
    pub(super) fn new(spans: &Spans, name: impl Into<Text>) -> Self {
        Resource {
            spans: spans.clone(),
            name: name.into(),
        }
    }

    /// Waits for something that is not to be had at once.
    pub(super) async fn wait<T>(&self, units: u32, lock: impl Future<Output = T>) -> T {
        let call = self.call(units, None);
        let got = lock.await;
        call.end();
        got
    }

    /// Waits for something that may turn out not to be had at all.
    pub(super) async fn try_wait<T, E>(&self, units: u32, lock: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let call = self.call(units, None);
        let got = lock.await;
        call.end_with(if got.is_ok() { Outcome::Finished } else { Outcome::Error });
        got
    }

    /// Waits for at most `patience`.
    pub(super) async fn wait_within<T>(
        &self,
        units: u32,
        patience: Duration,
        lock: impl Future<Output = T>,
    ) -> Result<T, Elapsed> {
        let call = self.call(units, Some(patience));
        match tokio::time::timeout(patience, lock).await {
            Ok(got) => {
                call.end();
                Ok(got)
            }
            Err(_) => {
                call.end_with(Outcome::Timeout);
                Err(Elapsed)
            }
        }
    }

    /// Waits on this thread.
    pub(super) fn wait_blocking<T>(&self, units: u32, lock: impl FnOnce() -> T) -> T {
        let call = self.call(units, None);
        let got = lock();
        call.end();
        got
    }

    fn call(&self, units: u32, patience: Option<Duration>) -> OpenSpan {
        let mut call = self.spans.call(&self.name).internal().name("wait");
        if units > 1 {
            call = call.units(units);
        }
        if let Some(patience) = patience {
            call = call.timeout(patience);
        }
        call.start()
    }

    /// The current task holds so many units of this many. To be called when no wait for them is open any more, or the task
    /// would seem to wait for what it has.
    pub(super) fn hold(&self, units: u32, capacity: u32) -> OpenSpan {
        let mut hold = self.spans.hold(&self.name);
        if units > 1 {
            hold = hold.units(units);
        }
        if capacity > 1 {
            hold = hold.capacity(capacity);
        }
        hold.start()
    }

    pub(super) fn name(&self) -> &str {
        self.name.as_str()
    }
}
