//! One request and its response: the span that lasts as long, and how it ends.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, StatusCode};
use http_body::Body;
use opentelemetry::trace::{Status, TraceContextExt};
use opentelemetry::{Context, KeyValue};
use pin_project_lite::pin_project;
use standoff_protocol::attributes::semconv;

use super::body::TrackedBody;
use super::conventions::{Protocol, Side, Verdict, grpc_verdict, http_verdict};
use crate::{OpenSpan, Outcome};

/// What is known of a request that is under way.
#[derive(Debug)]
pub(super) struct Exchange {
    side: Side,
    protocol: Protocol,
    /// `None` once it has ended.
    span: Option<OpenSpan>,
    verdict: Option<Verdict>,
    /// When the caller gives up, as far as it has said so.
    gives_up: Option<Instant>,
    /// Code of the user's is running. If this is dropped meanwhile, it has panicked.
    busy: bool,
    /// The response is a stream that nobody waits for.
    ends_with_head: bool,
}

/// How the last of an exchange was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// All of the response has come.
    Complete,
    /// The service, or the body of the response, has failed.
    Failed,
    /// Nobody wants to know any more.
    Dropped,
}

impl Exchange {
    pub(super) fn new(side: Side, protocol: Protocol, span: OpenSpan) -> Self {
        Exchange {
            side,
            protocol,
            span: Some(span),
            verdict: None,
            gives_up: None,
            busy: false,
            ends_with_head: false,
        }
    }

    pub(super) fn gives_up_after(&mut self, timeout: Option<Duration>) {
        self.gives_up = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    }

    pub(super) fn ends_with_head(&mut self) {
        self.ends_with_head = true;
    }

    /// Runs what may panic within the span.
    pub(super) fn run<R>(&mut self, work: impl FnOnce() -> R) -> R {
        self.busy = true;
        let result = {
            let _attached = self.span.as_ref().map(|span| span.context().clone().attach());
            work()
        };
        self.busy = false;
        result
    }

    pub(super) fn context(&self) -> Context {
        self.span
            .as_ref()
            .map_or_else(Context::new, |span| span.context().clone())
    }

    /// The head of the response has come.
    fn head(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.verdict = match self.protocol {
            // In the head if there is no body, otherwise in the trailers.
            Protocol::Grpc => grpc_verdict(self.side, headers),
            Protocol::Http => Some(http_verdict(self.side, status)),
        };
        if self.ends_with_head {
            // Of gRPC nothing is known yet, and nothing has gone wrong.
            self.end(match self.verdict {
                Some(_) => End::Complete,
                None => return self.finish(None),
            });
        }
    }

    pub(super) fn trailers(&mut self, trailers: &HeaderMap) {
        if self.protocol == Protocol::Grpc {
            self.verdict = grpc_verdict(self.side, trailers);
        }
    }

    /// All of the response has come.
    pub(super) fn complete(&mut self) {
        self.end(End::Complete);
    }

    /// The service, or the body of the response, has failed.
    pub(super) fn failed(&mut self) {
        self.end(End::Failed);
    }

    fn end(&mut self, end: End) {
        let is_late = self.gives_up.is_some_and(|at| at <= Instant::now());
        let error_type = match (end, &self.verdict) {
            _ if self.busy => Some("panic".to_owned()),
            // Who has the head of an HTTP response may do without its body.
            (End::Complete | End::Dropped, Some(verdict)) => verdict.error_type.clone(),
            // gRPC without a status: the connection has broken.
            (End::Complete, None) => Some("UNKNOWN".to_owned()),
            (End::Failed | End::Dropped, _) if is_late => Some("timeout".to_owned()),
            (End::Failed, _) => Some("_OTHER".to_owned()),
            (End::Dropped, None) => Some("cancelled".to_owned()),
        };
        self.finish(error_type);
    }

    fn finish(&mut self, error_type: Option<String>) {
        let Some(open) = self.span.take() else { return };
        {
            let span = open.context().span();
            if let Some(verdict) = self.verdict.take() {
                span.set_attribute(verdict.attribute);
            }
            if let Some(error_type) = error_type {
                span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type));
                span.set_status(Status::error(""));
            }
        }
        open.end_with(Outcome::Finished);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.end(End::Dropped);
    }
}

pin_project! {
    /// A response to come, of a server or to a client.
    #[must_use = "nothing is served or sent until this is polled"]
    pub struct ResponseFuture<F> {
        // Dropped before the span ends: what is open within ends first.
        #[pin]
        future: F,
        exchange: Option<Exchange>,
    }
}

impl<F> ResponseFuture<F> {
    pub(super) fn new(future: F, exchange: Exchange) -> Self {
        ResponseFuture {
            future,
            exchange: Some(exchange),
        }
    }
}

impl<F, B, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<http::Response<B>, E>>,
    B: Body,
{
    type Output = Result<http::Response<TrackedBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, task: &mut TaskContext<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = match this.exchange.as_mut() {
            Some(exchange) => exchange.run(|| this.future.poll(task)),
            None => this.future.poll(task),
        };
        polled.map(|result| {
            let mut exchange = this.exchange.take();
            match (result, &mut exchange) {
                (Ok(response), Some(open)) => {
                    open.head(response.status(), response.headers());
                    Ok(response.map(|body| TrackedBody::new(body, exchange)))
                }
                (Ok(response), None) => Ok(response.map(|body| TrackedBody::new(body, None))),
                (Err(error), Some(open)) => {
                    open.failed();
                    Err(error)
                }
                (Err(error), None) => Err(error),
            }
        })
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
