//! The body of a response, whose end is the end of the exchange.

use std::fmt;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::exchange::Exchange;

pin_project! {
    /// The body of a response. The handle or call lasts until it has ended or is dropped.
    pub struct TrackedBody<B> {
        // Dropped before the span ends: what is open within ends first.
        #[pin]
        body: B,
        exchange: Option<Exchange>,
    }
}

impl<B: Body> TrackedBody<B> {
    pub(super) fn new(body: B, mut exchange: Option<Exchange>) -> Self {
        // Who gets an empty body need not look into it.
        if body.is_end_stream()
            && let Some(mut exchange) = exchange.take()
        {
            exchange.complete();
        }
        TrackedBody { body, exchange }
    }
}

impl<B: Body> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        task: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(exchange) = this.exchange else {
            return this.body.poll_frame(task);
        };
        // A streaming handler goes on working while its body is polled.
        let polled = exchange.run(|| this.body.as_mut().poll_frame(task));
        match &polled {
            Poll::Pending => return polled,
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    exchange.trailers(trailers);
                }
                // Who knows that it was the last frame need not ask for another.
                if !this.body.is_end_stream() {
                    return polled;
                }
                exchange.complete();
            }
            Poll::Ready(None) => exchange.complete(),
            Poll::Ready(Some(Err(_))) => exchange.failed(),
        }
        this.exchange.take();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> fmt::Debug for TrackedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrackedBody")
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}
