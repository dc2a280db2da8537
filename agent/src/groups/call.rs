//! A call around a future: open from the first time that the future is polled to its end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use opentelemetry::Context;
use pin_project_lite::pin_project;

use crate::{CallBuilder, OpenSpan, Outcome, Spans, Text};

pin_project! {
    /// A future during which its task waits: a call, or a branch. See [`CallBuilder::run`] and
    /// [`WaitGroup::branch`](super::WaitGroup::branch).
    ///
    /// The call starts when this is first polled. It is finished when the future is, and cancelled if this is dropped
    /// before.
    #[must_use = "nothing is started until this is polled"]
    pub struct CallFuture<F>
    where
        F: Future,
    {
        // Dropped before the spans: what is open within ends first.
        #[pin]
        future: F,
        state: State,
        judge: fn(&F::Output) -> Outcome,
        // Keeps the task of a wait group that has none of its own open.
        task: Option<Arc<OpenSpan>>,
    }
}

/// What is to be started, or is.
#[derive(Debug)]
enum State {
    New(Box<New>),
    // A branch's handle ends before its call.
    Open { handle: Option<OpenSpan>, call: OpenSpan },
    Ended,
}

#[derive(Debug)]
struct New {
    call: CallBuilder<'static>,
    branch: Option<Branch>,
}

/// What makes a task of a future.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) spans: Spans,
    pub(super) name: Text,
}

impl State {
    /// The context within which the future runs.
    fn started(&mut self) -> Option<Context> {
        if matches!(self, State::New(_))
            && let State::New(new) = std::mem::replace(self, State::Ended)
        {
            let call = new.call.start();
            let handle = new.branch.map(|branch| {
                let handle = branch.spans.handle(branch.name);
                handle.internal().parent(call.context()).start()
            });
            *self = State::Open { handle, call };
        }
        match self {
            State::Open { handle, call } => Some(handle.as_ref().unwrap_or(call).context().clone()),
            State::New(_) | State::Ended => None,
        }
    }

    fn end(&mut self, outcome: Outcome) {
        if let State::Open { handle, call } = std::mem::replace(self, State::Ended) {
            drop(handle);
            call.end_with(outcome);
        }
    }
}

impl<F: Future> CallFuture<F> {
    pub(super) fn new(call: CallBuilder<'_>, branch: Option<Branch>, future: F) -> Self {
        let call = call.into_owned();
        CallFuture {
            future,
            state: State::New(Box::new(New { call, branch })),
            judge: |_| Outcome::Finished,
            task: None,
        }
    }

    pub(super) fn keeping(mut self, task: Option<Arc<OpenSpan>>) -> Self {
        self.task = task;
        self
    }

    /// Says how the call ended, from what the future came to. Without it, it has finished whatever came.
    pub fn outcome(mut self, judge: fn(&F::Output) -> Outcome) -> Self {
        self.judge = judge;
        self
    }

    /// Announces that the caller gives up after this long. Of no effect once this has been polled.
    pub(super) fn announce_timeout(&mut self, timeout: Duration) {
        if matches!(self.state, State::New(_))
            && let State::New(mut new) = std::mem::replace(&mut self.state, State::Ended)
        {
            new.call = new.call.timeout(timeout);
            self.state = State::New(new);
        }
    }

    /// The caller has given up.
    pub(super) fn end(self: Pin<&mut Self>, outcome: Outcome) {
        self.project().state.end(outcome);
    }
}

impl<F, T, E> CallFuture<F>
where
    F: Future<Output = Result<T, E>>,
{
    /// An `Err` ends the call as [`Outcome::Error`].
    pub fn fallible(self) -> Self {
        self.outcome(|output| match output {
            Ok(_) => Outcome::Finished,
            Err(_) => Outcome::Error,
        })
    }
}

impl<F: Future> Future for CallFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<F::Output> {
        let this = self.project();
        let polled = {
            let _attached = this.state.started().map(Context::attach);
            this.future.poll(task)
        };
        if let Poll::Ready(output) = &polled {
            this.state.end((this.judge)(output));
            this.task.take();
        }
        polled
    }
}

impl<F: Future> fmt::Debug for CallFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture")
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl CallBuilder<'_> {
    /// Makes a call of a future: it starts when the future is first polled, is the current span within it, and ends with
    /// it. Dropping it before ends the call as [cancelled](Outcome::Cancelled).
    ///
    /// ```
    /// # use opentelemetry::Context;
    /// # use opentelemetry_sdk::trace::SdkTracerProvider;
    /// # use standoff_agent::{Spans, propagation};
    /// # use std::collections::HashMap;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let spans = Spans::new(&SdkTracerProvider::builder().build());
    /// # async fn send(_headers: HashMap<String, String>) -> Result<u32, String> { Ok(7) }
    /// let reply = spans
    ///     .call("service-b")
    ///     .run(async {
    ///         let mut headers = HashMap::new();
    ///         propagation::inject(&Context::current(), &mut headers);
    ///         send(headers).await
    ///     })
    ///     .fallible()
    ///     .await;
    /// # assert_eq!(reply, Ok(7));
    /// # }
    /// ```
    pub fn run<F: Future>(self, future: F) -> CallFuture<F> {
        CallFuture::new(self, None, future)
    }
}
