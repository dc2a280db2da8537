//! Which process the agent lives in.
//!
//! A child that is forked without executing another program has copies of everything but of the threads: nobody there
//! reports, and a lock that another thread held at that moment will never be released. The child must not wait for
//! either. Asking for the process costs a system call, so it is asked only where there is waiting to be done.

use crate::primitives::{Mutex, MutexGuard, PoisonError, TryLockError};

/// The process that has started the agent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner {
    pid: u32,
}

impl Owner {
    /// This process.
    pub(crate) fn this() -> Self {
        Owner {
            pid: std::process::id(),
        }
    }

    /// Whether this is still the process that has started the agent, and not a child of it.
    pub(crate) fn is_here(self) -> bool {
        self.pid == std::process::id()
    }

    /// Locks, also after a panic of another thread: what is behind our locks is consistent between any two statements
    /// that can panic. `None` if the lock is held, and in a forked child, where it may be held for good.
    pub(crate) fn lock<T>(self, mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
        match mutex.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => self
                .is_here()
                .then(|| mutex.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_does_not_wait_for_a_lock() {
        let (parent, mutex) = (Owner::this(), Mutex::new(7));
        let child = Owner { pid: parent.pid + 1 };
        let held = parent.lock(&mutex);
        assert_eq!((held.as_deref(), child.lock(&mutex).as_deref()), (Some(&7), None));
        drop(held);
        assert_eq!(child.lock(&mutex).as_deref(), Some(&7));
    }

    #[test]
    fn a_panic_of_another_thread_locks_nobody_out() {
        let mutex = Mutex::new(7);
        std::thread::scope(|scope| {
            let panics = scope.spawn(|| {
                let _held = Owner::this().lock(&mutex);
                panic!("while it holds the lock");
            });
            assert!(panics.join().is_err());
        });
        assert_eq!(Owner::this().lock(&mutex).as_deref(), Some(&7));
    }
}
