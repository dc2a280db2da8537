//! A lock that many may read or one may write.

mod guards;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::TryLockError;

use super::Elapsed;
use super::resource::Resource;
use crate::{Spans, Text};

pub use guards::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLockReadGuard, RwLockWriteGuard};

/// As many readers as Tokio's lock has room for if nobody says otherwise.
const MAX_READERS: u32 = u32::MAX >> 3;

/// Like [`tokio::sync::RwLock`], and reports who waits for it and who has it: a resource of as many units as it may have
/// readers, of which a reader takes one and a writer all.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::Spans;
/// # use standoff_agent::sync::RwLock;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// let routes = RwLock::new(&spans, "routes", vec!["/"]);
///
/// let request = spans.handle("route").start();
/// let found = request.run(async { routes.read().await.contains(&"/") }).await;
/// # assert!(found);
/// # }
/// ```
#[derive(Debug)]
pub struct RwLock<T> {
    resource: Resource,
    readers: u32,
    // Shared, so that there are guards that borrow nothing.
    inner: Arc<tokio::sync::RwLock<T>>,
}

impl<T> RwLock<T> {
    /// A lock that is the resource `name`.
    pub fn new(spans: &Spans, name: impl Into<Text>, value: T) -> Self {
        Self::with_max_readers(spans, name, value, MAX_READERS)
    }

    /// A lock with room for so many readers, at least one and at most `u32::MAX >> 3`.
    pub fn with_max_readers(spans: &Spans, name: impl Into<Text>, value: T, readers: u32) -> Self {
        let readers = readers.clamp(1, MAX_READERS);
        RwLock {
            resource: Resource::new(spans, name),
            readers,
            inner: Arc::new(tokio::sync::RwLock::with_max_readers(value, readers)),
        }
    }

    /// Waits until nobody writes, nor has asked to before.
    pub async fn read(&self) -> RwLockReadGuard<'_, T> {
        let guard = match self.inner.try_read() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait(1, self.inner.read()).await,
        };
        self.reading(guard)
    }

    /// As [`read`](RwLock::read), for at most `patience`.
    ///
    /// # Errors
    ///
    /// It was not to be had in time.
    pub async fn read_within(&self, patience: Duration) -> Result<RwLockReadGuard<'_, T>, Elapsed> {
        let guard = match self.inner.try_read() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait_within(1, patience, self.inner.read()).await?,
        };
        Ok(self.reading(guard))
    }

    /// As [`read`](RwLock::read), with a guard that borrows nothing.
    pub async fn read_owned(&self) -> OwnedRwLockReadGuard<T> {
        let inner = Arc::clone(&self.inner);
        let guard = match Arc::clone(&inner).try_read_owned() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait(1, inner.read_owned()).await,
        };
        OwnedRwLockReadGuard {
            hold: self.resource.hold(1, self.readers),
            guard,
        }
    }

    /// Reads if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn try_read(&self) -> Result<RwLockReadGuard<'_, T>, TryLockError> {
        Ok(self.reading(self.inner.try_read()?))
    }

    /// Waits until nobody reads or writes, nor has asked to before.
    pub async fn write(&self) -> RwLockWriteGuard<'_, T> {
        let guard = match self.inner.try_write() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait(self.readers, self.inner.write()).await,
        };
        self.writing(guard)
    }

    /// As [`write`](RwLock::write), for at most `patience`.
    ///
    /// # Errors
    ///
    /// It was not to be had in time.
    pub async fn write_within(&self, patience: Duration) -> Result<RwLockWriteGuard<'_, T>, Elapsed> {
        let guard = match self.inner.try_write() {
            Ok(guard) => guard,
            Err(_) => {
                let write = self.inner.write();
                self.resource.wait_within(self.readers, patience, write).await?
            }
        };
        Ok(self.writing(guard))
    }

    /// As [`write`](RwLock::write), with a guard that borrows nothing.
    pub async fn write_owned(&self) -> OwnedRwLockWriteGuard<T> {
        let inner = Arc::clone(&self.inner);
        let guard = match Arc::clone(&inner).try_write_owned() {
            Ok(guard) => guard,
            Err(_) => self.resource.wait(self.readers, inner.write_owned()).await,
        };
        OwnedRwLockWriteGuard {
            hold: self.resource.hold(self.readers, self.readers),
            guard,
        }
    }

    /// Writes if that is possible without waiting.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn try_write(&self) -> Result<RwLockWriteGuard<'_, T>, TryLockError> {
        Ok(self.writing(self.inner.try_write()?))
    }

    /// The resource that it is.
    pub fn name(&self) -> &str {
        self.resource.name()
    }

    fn reading<'a>(&'a self, guard: tokio::sync::RwLockReadGuard<'a, T>) -> RwLockReadGuard<'a, T> {
        RwLockReadGuard {
            hold: self.resource.hold(1, self.readers),
            guard,
        }
    }

    fn writing<'a>(&'a self, guard: tokio::sync::RwLockWriteGuard<'a, T>) -> RwLockWriteGuard<'a, T> {
        RwLockWriteGuard {
            hold: self.resource.hold(self.readers, self.readers),
            guard,
            lock: self,
        }
    }
}
