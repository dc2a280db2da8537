//! A group of waits of one task.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;

use super::CallFuture;
use super::call::Branch;
use crate::{CallBuilder, OpenSpan, Spans, Text};

/// Tells the groups of this process apart: a name that is used again, perhaps at the same time, is another group.
static GROUPS: AtomicU64 = AtomicU64::new(0);

/// Several waits of one task, of which so many must finish. See [`Spans::all`], [`Spans::any`] and [`Spans::quorum`].
///
/// The group belongs to the task that is current when it is made. Where there is none, it is one itself.
#[derive(Clone, Debug)]
pub struct WaitGroup {
    spans: Spans,
    name: Arc<str>,
    needed: u32,
    size: u32,
    parent: Context,
    task: Option<Arc<OpenSpan>>,
}

impl WaitGroup {
    fn new(spans: &Spans, name: &str, needed: u32, size: u32) -> Self {
        let current = Context::current();
        let of_this_process = {
            let span = current.span();
            span.span_context().is_valid() && !span.span_context().is_remote()
        };
        // Without a span above them in this process each of the calls would be a task of its own.
        let task = (!of_this_process).then(|| spans.handle(name.to_owned()).internal().start());
        let parent = task.as_ref().map_or(current, |task| task.context().clone());
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        WaitGroup {
            spans: spans.clone(),
            name: format!("{name} #{number}").into(),
            needed,
            size,
            parent,
            task: task.map(Arc::new),
        }
    }

    /// One of the calls, of which nothing more is to be said: the task does nothing else meanwhile than to wait for it.
    pub fn call(&self, target: impl Into<Text>) -> CallBuilder<'_> {
        self.spans
            .call(target)
            .group(&self.name, self.needed, self.size)
            .parent(&self.parent)
    }

    /// One of the futures that the task waits for. It is a task of its own, and what it calls are its calls.
    pub fn branch<F: Future>(&self, name: impl Into<Text>, future: F) -> CallFuture<F> {
        let name = name.into();
        let call = self.call("").internal().name(name.clone());
        let spans = self.spans.clone();
        CallFuture::new(call, Some(Branch { spans, name }), future).keeping(self.task.clone())
    }
}

impl Spans {
    /// A group of `size` waits all of which must finish.
    pub fn all(&self, name: &str, size: u32) -> WaitGroup {
        WaitGroup::new(self, name, size, size)
    }

    /// A group of `size` waits any one of which is enough.
    pub fn any(&self, name: &str, size: u32) -> WaitGroup {
        WaitGroup::new(self, name, 1, size)
    }

    /// A group of `size` waits of which `needed` must finish.
    pub fn quorum(&self, name: &str, needed: u32, size: u32) -> WaitGroup {
        WaitGroup::new(self, name, needed, size)
    }

    /// A future that its task waits for while it does other things too: a member of a batch, or an arm of a `join!`. It
    /// is a task of its own, and what it calls are its calls.
    ///
    /// The branch belongs to the task that is current when it is first polled.
    pub fn branch<F: Future>(&self, name: impl Into<Text>, future: F) -> CallFuture<F> {
        let name = name.into();
        let call = self.call("").internal().name(name.clone());
        let spans = self.clone();
        CallFuture::new(call, Some(Branch { spans, name }), future)
    }
}
