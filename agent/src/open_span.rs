//! An open span that its owner ends, and the outcomes it can end with.

use std::future::Future;

use opentelemetry::trace::{FutureExt, SpanId, Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use standoff_protocol::attributes::semconv;

/// How a span ended.
///
/// It is written on the span as OpenTelemetry would: nothing for a finished one, otherwise the status `Error` and
/// `error.type`. Spans of other instrumentation are read in the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It did what it was for.
    Finished,
    /// It failed.
    Error,
    /// The caller gave up when its time was over.
    Timeout,
    /// The caller gave up for another reason; its future was dropped, for instance.
    Cancelled,
}

impl Outcome {
    /// The value of `error.type`; `None` for a finished span.
    fn error_type(self) -> Option<&'static str> {
        match self {
            Outcome::Finished => None,
            // The semantic conventions' own word for an error of no known type.
            Outcome::Error => Some("_OTHER"),
            Outcome::Timeout => Some("timeout"),
            Outcome::Cancelled => Some("cancelled"),
        }
    }
}

/// A span that is open until it is ended or dropped.
///
/// Dropping it without [`end`](OpenSpan::end) ends it too. A call then counts as [cancelled](Outcome::Cancelled), since
/// that is what dropping a future that waits for a reply means; everything else counts as finished. Where a panic drops it,
/// it has [failed](Outcome::Error).
#[derive(Debug)]
#[must_use = "the span ends when this is dropped"]
pub struct OpenSpan {
    context: Context,
    /// `None` once ended.
    on_drop: Option<Outcome>,
}

impl OpenSpan {
    pub(crate) fn new(context: Context, on_drop: Outcome) -> Self {
        OpenSpan {
            context,
            on_drop: Some(on_drop),
        }
    }

    /// The context in which this span is the current one: to attach, to inject into a message, or to be the parent of
    /// other spans.
    pub fn context(&self) -> &Context {
        &self.context
    }

    /// The identity of the span. [`SpanId::INVALID`] if the provider has been shut down.
    pub fn span_id(&self) -> SpanId {
        self.context.span().span_context().span_id()
    }

    /// Ends the span well.
    pub fn end(self) {
        self.end_with(Outcome::Finished);
    }

    /// Ends the span.
    pub fn end_with(mut self, outcome: Outcome) {
        self.on_drop = None;
        self.finish(outcome);
    }

    /// Runs blocking code within the span: spans that it starts on this thread are beneath this one.
    pub fn in_scope<R>(&self, f: impl FnOnce() -> R) -> R {
        let _attached = self.context.clone().attach();
        f()
    }

    /// Runs a future within the span: it is the current span whenever the future is polled, on whatever thread.
    pub async fn run<F: Future>(&self, future: F) -> F::Output {
        future.with_context(self.context.clone()).await
    }

    fn finish(&self, outcome: Outcome) {
        let span = self.context.span();
        if let Some(error_type) = outcome.error_type() {
            span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type));
            span.set_status(Status::error(""));
        }
        span.end();
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(outcome) = self.on_drop {
            // Whatever else it would mean, this time something has gone wrong.
            let outcome = if std::thread::panicking() {
                Outcome::Error
            } else {
                outcome
            };
            self.finish(outcome);
        }
    }
}
