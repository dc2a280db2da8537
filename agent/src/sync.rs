//! Locks and semaphores like those of [`tokio::sync`] that report who waits for them and who holds them.
//!
//! Each has a name, which is its resource; names are shared by all services, so choose one that does not collide. Whoever
//! has to wait for it makes a call for its name, and whoever has it holds it: a wait is reported only where there is one,
//! so an uncontended lock costs one span and no more.
//!
//! A lock is taken by a task. Take it within a span, a handle usually (`turn.run(…)`): what is held and what is awaited
//! outside of any span cannot be told to be the same task's, and a deadlock through it is missed.
//!
//! A guard's hold ends just before the lock is free, so for a moment nobody is known to hold it. This may put an alert off
//! by as much, and never invents one.
//!
//! **Not seen:** the locks are fair. A reader that waits behind a writer who waits in turn is taken for free to go, and so
//! is a small request behind a large one for a [`Semaphore`]. This may hide a deadlock and never invents one.

mod mutex;
mod resource;
mod rw_lock;
mod semaphore;

pub use mutex::{Mutex, MutexGuard, OwnedMutexGuard};
pub use resource::Elapsed;
pub use rw_lock::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit};
pub use tokio::sync::{TryAcquireError, TryLockError};
