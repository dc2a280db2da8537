//! A semaphore.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::TryAcquireError;

use super::Elapsed;
use super::resource::Resource;
use crate::{OpenSpan, Spans, Text};

/// Like [`tokio::sync::Semaphore`], and reports who waits for it and who has how many of its permits.
///
/// A permit is to be given back by who took it. Where somebody else does it, as with credits, use Tokio's own: who has
/// taken such a permit would be taken for the only one who can give it back, and a **false alarm** be possible.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::Spans;
/// # use standoff_agent::sync::Semaphore;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// let connections = Semaphore::new(&spans, "connections", 8);
///
/// let request = spans.handle("query").start();
/// request.run(async {
///     let _permit = connections.acquire().await?;
///     // … query …
///     Ok::<_, standoff_agent::sync::AcquireError>(())
/// }).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Semaphore {
    resource: Resource,
    /// All there are, whoever has them.
    permits: Arc<AtomicUsize>,
    inner: Arc<tokio::sync::Semaphore>,
}

/// Why a permit was not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcquireError {
    /// The semaphore has been closed.
    #[error("the semaphore is closed")]
    Closed,
    /// The time was over. Only where a time was given.
    #[error("the time to wait for a permit is over")]
    Timeout,
}

impl From<tokio::sync::AcquireError> for AcquireError {
    fn from(_: tokio::sync::AcquireError) -> Self {
        AcquireError::Closed
    }
}

impl From<Elapsed> for AcquireError {
    fn from(_: Elapsed) -> Self {
        AcquireError::Timeout
    }
}

impl Semaphore {
    /// A semaphore that is the resource `name`. Clones are the same semaphore.
    ///
    /// # Panics
    ///
    /// If there are more permits than [`tokio::sync::Semaphore::MAX_PERMITS`].
    pub fn new(spans: &Spans, name: impl Into<Text>, permits: usize) -> Self {
        Semaphore {
            resource: Resource::new(spans, name),
            permits: Arc::new(AtomicUsize::new(permits)),
            inner: Arc::new(tokio::sync::Semaphore::new(permits)),
        }
    }

    /// Waits for a permit.
    ///
    /// # Errors
    ///
    /// The semaphore has been closed.
    pub async fn acquire(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.acquire_many(1).await
    }

    /// Waits for so many permits at once.
    ///
    /// # Errors
    ///
    /// The semaphore has been closed.
    pub async fn acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, AcquireError> {
        let permit = match self.inner.try_acquire_many(n) {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
            Err(TryAcquireError::NoPermits) => self.resource.try_wait(n, self.inner.acquire_many(n)).await?,
        };
        Ok(self.permit(permit))
    }

    /// As [`acquire_many`](Semaphore::acquire_many), for at most `patience`, which the wait says.
    ///
    /// # Errors
    ///
    /// The semaphore has been closed, or the permits were not to be had in time.
    pub async fn acquire_many_within(&self, n: u32, patience: Duration) -> Result<SemaphorePermit<'_>, AcquireError> {
        let permit = match self.inner.try_acquire_many(n) {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
            Err(TryAcquireError::NoPermits) => {
                let acquire = self.inner.acquire_many(n);
                self.resource.wait_within(n, patience, acquire).await??
            }
        };
        Ok(self.permit(permit))
    }

    /// As [`acquire_many`](Semaphore::acquire_many), with a permit that borrows nothing.
    ///
    /// # Errors
    ///
    /// The semaphore has been closed.
    pub async fn acquire_many_owned(&self, n: u32) -> Result<OwnedSemaphorePermit, AcquireError> {
        let inner = Arc::clone(&self.inner);
        let permit = match Arc::clone(&inner).try_acquire_many_owned(n) {
            Ok(permit) => permit,
            Err(TryAcquireError::Closed) => return Err(AcquireError::Closed),
            Err(TryAcquireError::NoPermits) => self.resource.try_wait(n, inner.acquire_many_owned(n)).await?,
        };
        Ok(OwnedSemaphorePermit {
            hold: self.hold(n),
            permit,
            permits: Arc::clone(&self.permits),
        })
    }

    /// Takes so many permits if they are free. Waits for nothing, so reports no wait.
    ///
    /// # Errors
    ///
    /// They are not free, or the semaphore has been closed.
    pub fn try_acquire_many(&self, n: u32) -> Result<SemaphorePermit<'_>, TryAcquireError> {
        Ok(self.permit(self.inner.try_acquire_many(n)?))
    }

    /// Adds permits that there have not been before.
    ///
    /// Holds say how many there are when they start, so until one starts that knows of them they are not counted. That
    /// is before anybody waits in vain: who waits while these are free gets one.
    ///
    /// # Panics
    ///
    /// If there would be more permits than [`tokio::sync::Semaphore::MAX_PERMITS`].
    pub fn add_permits(&self, n: usize) {
        // Before anybody can have them, so that their holds count them.
        self.permits.fetch_add(n, Ordering::Relaxed);
        self.inner.add_permits(n);
    }

    /// How many permits are free.
    pub fn available_permits(&self) -> usize {
        self.inner.available_permits()
    }

    /// Nobody gets a permit any more, and who waits for one is told so.
    pub fn close(&self) {
        self.inner.close();
    }

    /// The resource that it is.
    pub fn name(&self) -> &str {
        self.resource.name()
    }

    fn permit<'a>(&'a self, permit: tokio::sync::SemaphorePermit<'a>) -> SemaphorePermit<'a> {
        SemaphorePermit {
            hold: self.hold(u32::try_from(permit.num_permits()).unwrap_or(u32::MAX)),
            permit,
            permits: &self.permits,
        }
    }

    /// None if nothing is held: no permits are asked for sometimes.
    fn hold(&self, units: u32) -> Option<OpenSpan> {
        let permits = self.permits.load(Ordering::Relaxed);
        let capacity = u32::try_from(permits).unwrap_or(u32::MAX).max(1);
        (units > 0).then(|| self.resource.hold(units, capacity))
    }
}

/// Somebody has permits. Dropping it ends the hold and gives them back.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct SemaphorePermit<'a> {
    // Ends before the permits are free, so that no more units seem to be held than there are.
    hold: Option<OpenSpan>,
    permit: tokio::sync::SemaphorePermit<'a>,
    permits: &'a AtomicUsize,
}

/// A [`SemaphorePermit`] that borrows nothing.
#[derive(Debug)]
#[must_use = "the permits are given back when this is dropped"]
pub struct OwnedSemaphorePermit {
    hold: Option<OpenSpan>,
    permit: tokio::sync::OwnedSemaphorePermit,
    permits: Arc<AtomicUsize>,
}

impl SemaphorePermit<'_> {
    /// Takes the permits out of the semaphore for good. The hold ends, and there are so many fewer.
    ///
    /// Holds that have started before say that there are more, so until they have ended a deadlock may be missed.
    pub fn forget(self) {
        drop(self.hold);
        self.permits.fetch_sub(self.permit.num_permits(), Ordering::Relaxed);
        self.permit.forget();
    }

    /// How many permits these are.
    pub fn num_permits(&self) -> usize {
        self.permit.num_permits()
    }
}

impl OwnedSemaphorePermit {
    /// As [`SemaphorePermit::forget`].
    pub fn forget(self) {
        drop(self.hold);
        self.permits.fetch_sub(self.permit.num_permits(), Ordering::Relaxed);
        self.permit.forget();
    }

    /// How many permits these are.
    pub fn num_permits(&self) -> usize {
        self.permit.num_permits()
    }
}
