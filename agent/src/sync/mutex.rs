//! A mutex.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::TryLockError;

use super::Elapsed;
use super::resource::Resource;
use crate::{OpenSpan, Spans, Text};

/// Like [`tokio::sync::Mutex`], and reports who waits for it and who has it.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::Spans;
/// # use standoff_agent::sync::Mutex;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// let ledger = Mutex::new(&spans, "ledger", 0);
///
/// // What holds a lock is a task: the turn of an actor, a request that is served.
/// let request = spans.handle("book").start();
/// request.run(async {
///     let mut balance = ledger.lock().await;
///     *balance += 1;
/// }).await;
/// # }
/// ```
#[derive(Debug)]
pub struct Mutex<T> {
    resource: Resource,
    // Shared, so that there are guards that borrow nothing.
    inner: Arc<tokio::sync::Mutex<T>>,
}

impl<T> Mutex<T> {
    /// A mutex that is the resource `name`.
    pub fn new(spans: &Spans, name: impl Into<Text>, value: T) -> Self {
        Mutex {
            resource: Resource::new(spans, name),
            inner: Arc::new(tokio::sync::Mutex::new(value)),
        }
    }

    /// Waits until nobody has the mutex. Whoever is dropped while waiting loses its place.
    pub async fn lock(&self) -> MutexGuard<'_, T> {
        let guard = match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait(1, self.inner.lock()).await,
        };
        self.guard(guard)
    }

    /// Waits for at most `patience`, which the wait says.
    ///
    /// # Errors
    ///
    /// Somebody had the mutex all the time.
    pub async fn lock_within(&self, patience: Duration) -> Result<MutexGuard<'_, T>, Elapsed> {
        let guard = match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait_within(1, patience, self.inner.lock()).await?,
        };
        Ok(self.guard(guard))
    }

    /// As [`lock`](Mutex::lock), with a guard that borrows nothing.
    pub async fn lock_owned(&self) -> OwnedMutexGuard<T> {
        let inner = Arc::clone(&self.inner);
        let guard = match Arc::clone(&inner).try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait(1, inner.lock_owned()).await,
        };
        OwnedMutexGuard {
            hold: self.resource.hold(1, 1),
            guard,
        }
    }

    /// As [`lock`](Mutex::lock), on a thread that may block.
    ///
    /// # Panics
    ///
    /// If called within an asynchronous task.
    pub fn blocking_lock(&self) -> MutexGuard<'_, T> {
        let guard = match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait_blocking(1, || self.inner.blocking_lock()),
        };
        self.guard(guard)
    }

    /// Takes the mutex if nobody has it. Waits for nothing, so reports no wait.
    ///
    /// # Errors
    ///
    /// Somebody has it.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, T>, TryLockError> {
        Ok(self.guard(self.inner.try_lock()?))
    }

    /// The resource that it is.
    pub fn name(&self) -> &str {
        self.resource.name()
    }

    fn guard<'a>(&self, guard: tokio::sync::MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        MutexGuard {
            hold: self.resource.hold(1, 1),
            guard,
        }
    }
}

/// Somebody has the mutex. Dropping it ends the hold and frees the mutex.
#[must_use = "the mutex is free when this is dropped"]
pub struct MutexGuard<'a, T> {
    // Ends before the lock is free, so that no two seem to hold it at once.
    hold: OpenSpan,
    guard: tokio::sync::MutexGuard<'a, T>,
}

/// A [`MutexGuard`] that borrows nothing.
#[must_use = "the mutex is free when this is dropped"]
pub struct OwnedMutexGuard<T> {
    hold: OpenSpan,
    guard: tokio::sync::OwnedMutexGuard<T>,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Deref for OwnedMutexGuard<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for OwnedMutexGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T: fmt::Debug> fmt::Debug for MutexGuard<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MutexGuard")
            .field("hold", &self.hold)
            .field("value", &**self)
            .finish()
    }
}

impl<T: fmt::Debug> fmt::Debug for OwnedMutexGuard<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnedMutexGuard")
            .field("hold", &self.hold)
            .field("value", &**self)
            .finish()
    }
}
