//! Wait groups and branches: a task that waits for several things at once, for all of them, any of them, or k of n.
//!
//! A task is one thread of control. Work that goes on in several futures of one task has to be marked, or a future that
//! computes while another waits is taken for waiting too. A *branch* is such a future: it is a call of its task, and a
//! task of its own ([`Spans::branch`](crate::Spans::branch), [`WaitGroup::branch`]). What it calls while it is polled is its own, whatever the
//! other branches do.
//!
//! [`all`], [`any`] and [`quorum`] run like futures together. For futures of several types, or for a `select!` with
//! arms that are not waits, there is [`WaitGroup`]:
//!
//! ```
//! # use opentelemetry_sdk::trace::SdkTracerProvider;
//! # use standoff_agent::Spans;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let spans = Spans::new(&SdkTracerProvider::builder().build());
//! # async fn price(_of: &str) -> u32 { 7 }
//! # async fn stock(_of: &str) -> bool { true }
//! # async fn look(_in: &str) -> bool { true }
//! // The page needs both.
//! let group = spans.all("page", 2);
//! let (price, stock) = tokio::join!(
//!     group.branch("price", price("book")),
//!     group.branch("stock", stock("book")),
//! );
//! # assert_eq!((price, stock), (7, true));
//!
//! // Whichever comes first; the other is dropped, and ends as cancelled.
//! let group = spans.any("stock", 2);
//! tokio::select! {
//!     _ = group.branch("here", look("here")) => {}
//!     _ = group.branch("there", look("there")) => {}
//! }
//! # }
//! ```
//!
//! Calls of which nothing more is to be said than that they are alternatives need no branches:
//! [`WaitGroup::call`] starts them as members of the group.
//!
//! **Not seen:** an alternative that failed counts as finished, so a task that goes on waiting for the others is taken
//! for one that got its answer. This may hide a deadlock and never invents one.

mod call;
mod group;
mod timeout;
mod together;

pub use call::CallFuture;
pub use group::WaitGroup;
pub use timeout::{Elapsed, Timeout, timeout};
pub use together::{all, any, quorum};
