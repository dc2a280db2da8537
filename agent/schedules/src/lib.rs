//! The agent's shared state under schedules of its threads that a test chooses.
//!
//! The very sources of `standoff-agent` are compiled here once more, on primitives that let a test decide who runs next:
//! nothing in the library knows of it but one module that names the primitives. `tests/` runs what is in [`scenarios`].

// Compiled as a test it would run the tests of the sources, which have real threads.
#![cfg(not(test))]
#![expect(dead_code, reason = "not all of the library is put to the test here")]
#![expect(unreachable_pub, reason = "what the library exports is for nobody here")]
#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

mod primitives {
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
}

#[path = "../../src"]
mod sources {
    pub(crate) mod counters;
    pub(crate) mod open_span;
    pub(crate) mod owner;
    pub(crate) mod record;
    pub(crate) mod session;
    pub(crate) mod table;
}

#[path = "../../tests/support/mirror.rs"]
mod mirror;

pub mod scenarios;

use sources::counters::Dropped;
use sources::open_span::Outcome;
use sources::{owner, record, session, table};
