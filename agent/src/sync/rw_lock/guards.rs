//! Guards of readers and writers. Each has a hold that ends before the lock is free, so that no more units seem to be held
//! than there are.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::RwLock;
use crate::OpenSpan;

/// Somebody reads. Dropping it ends the hold and gives the place back.
#[must_use = "the lock is free when this is dropped"]
pub struct RwLockReadGuard<'a, T> {
    pub(super) hold: OpenSpan,
    pub(super) guard: tokio::sync::RwLockReadGuard<'a, T>,
}

/// Somebody writes. Dropping it ends the hold and frees the lock.
#[must_use = "the lock is free when this is dropped"]
pub struct RwLockWriteGuard<'a, T> {
    pub(super) hold: OpenSpan,
    pub(super) guard: tokio::sync::RwLockWriteGuard<'a, T>,
    pub(super) lock: &'a RwLock<T>,
}

/// A [`RwLockReadGuard`] that borrows nothing.
#[must_use = "the lock is free when this is dropped"]
pub struct OwnedRwLockReadGuard<T> {
    pub(super) hold: OpenSpan,
    pub(super) guard: tokio::sync::OwnedRwLockReadGuard<T>,
}

/// A [`RwLockWriteGuard`] that borrows nothing.
#[must_use = "the lock is free when this is dropped"]
pub struct OwnedRwLockWriteGuard<T> {
    pub(super) hold: OpenSpan,
    pub(super) guard: tokio::sync::OwnedRwLockWriteGuard<T>,
}

impl<'a, T> RwLockWriteGuard<'a, T> {
    /// Goes on reading; nobody writes in between.
    pub fn downgrade(self) -> RwLockReadGuard<'a, T> {
        self.hold.end();
        self.lock.reading(self.guard.downgrade())
    }
}

/// What a guard of any kind is for.
macro_rules! guards {
    ($($guard:ident $(<$lifetime:lifetime>)?),*) => {
        $(
            impl<T> Deref for $guard<$($lifetime,)? T> {
                type Target = T;

                fn deref(&self) -> &T {
                    &self.guard
                }
            }

            impl<T: fmt::Debug> fmt::Debug for $guard<$($lifetime,)? T> {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.debug_struct(stringify!($guard))
                        .field("hold", &self.hold)
                        .field("value", &**self)
                        .finish_non_exhaustive()
                }
            }
        )*
    };
}

guards!(
    RwLockReadGuard<'_>,
    RwLockWriteGuard<'_>,
    OwnedRwLockReadGuard,
    OwnedRwLockWriteGuard
);

impl<T> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> DerefMut for OwnedRwLockWriteGuard<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}
