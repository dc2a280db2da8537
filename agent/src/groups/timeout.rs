//! A limit to how long a call is awaited, which the call knows of.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::CallFuture;
use crate::Outcome;

/// Awaits a call or a branch for at most `after`, from now on. If it takes longer, the call ends as
/// [`Outcome::Timeout`], and its future is dropped with this.
///
/// Unlike `tokio::time::timeout` around a call it says beforehand when the caller will give up, so that an alert can
/// tell how much time is left.
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::{Spans, groups};
/// # use std::time::Duration;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// # async fn ask() { std::future::pending().await }
/// let call = spans.call("{:server_b, 42}").run(ask());
/// assert!(groups::timeout(Duration::from_millis(1), call).await.is_err());
/// # }
/// ```
///
/// # Panics
///
/// If there is no Tokio runtime with a timer.
pub fn timeout<F: Future>(after: Duration, mut call: CallFuture<F>) -> Timeout<F> {
    call.announce_timeout(after);
    Timeout {
        call,
        over: tokio::time::sleep(after),
    }
}

/// The call took longer than it was allowed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the time for the call is over")]
pub struct Elapsed;

pin_project! {
    /// A call with a limit. See [`timeout`].
    #[must_use = "nothing is started until this is polled"]
    pub struct Timeout<F>
    where
        F: Future,
    {
        #[pin]
        call: CallFuture<F>,
        #[pin]
        over: Sleep,
    }
}

impl<F: Future> Future for Timeout<F> {
    type Output = Result<F::Output, Elapsed>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(output) = this.call.as_mut().poll(task) {
            return Poll::Ready(Ok(output));
        }
        this.over.poll(task).map(|()| {
            this.call.end(Outcome::Timeout);
            Err(Elapsed)
        })
    }
}

impl<F: Future> fmt::Debug for Timeout<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("call", &self.call)
            .finish_non_exhaustive()
    }
}
