//! Carries the identity of the current span in the headers of a message, as W3C trace context (`traceparent` and
//! `tracestate`), so that a handler in another process has the call that it answers as its parent.
//!
//! Any carrier that implements OpenTelemetry's [`Injector`] and [`Extractor`] will do; `HashMap<String, String>` does.
//!
//! ```
//! use std::collections::HashMap;
//! use opentelemetry::trace::TraceContextExt;
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use standoff_agent::{Spans, propagation};
//!
//! let provider = SdkTracerProvider::builder().build();
//! let spans = Spans::new(&provider);
//!
//! // The caller.
//! let call = spans.call("service-b").start();
//! let mut headers: HashMap<String, String> = HashMap::new();
//! propagation::inject(call.context(), &mut headers);
//!
//! // The callee, usually in another process.
//! let caller = propagation::extract(&headers);
//! assert!(caller.span().span_context().is_remote());
//! let handle = spans.handle("process").parent(&caller).start();
//! # handle.end();
//! # call.end();
//! ```

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// Writes the span of `cx` into the headers of an outgoing message. Without a valid span nothing is written.
pub fn inject(cx: &Context, carrier: &mut dyn Injector) {
    TraceContextPropagator::new().inject_context(cx, carrier);
}

/// Reads the sender's span from the headers of an incoming message. Without valid headers the context is empty: what
/// runs under it is no child of anything, whatever span is current.
pub fn extract(carrier: &dyn Extractor) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), carrier)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

    use super::*;

    fn carried(traceparent: &str) -> Context {
        extract(&HashMap::from([("traceparent".to_owned(), traceparent.to_owned())]))
    }

    #[test]
    fn a_span_survives_the_headers() {
        let sent = SpanContext::new(
            TraceId::from(7),
            SpanId::from(9),
            TraceFlags::SAMPLED,
            false,
            TraceState::from_key_value([("vendor", "x")]).unwrap(),
        );
        let mut headers = HashMap::new();
        inject(&Context::new().with_remote_span_context(sent), &mut headers);
        assert_eq!(
            headers["traceparent"],
            "00-00000000000000000000000000000007-0000000000000009-01"
        );
        assert_eq!(headers["tracestate"], "vendor=x");

        let received = extract(&headers).span().span_context().clone();
        assert_eq!(received.span_id(), SpanId::from(9));
        assert!(received.is_remote());
    }

    #[test]
    fn nonsense_is_an_empty_context() {
        for nonsense in [
            "",
            "00",
            "00-0-0-01",
            "zz-1-1-1",
            "00-00000000000000000000000000000000-0000000000000000-00",
        ] {
            assert!(!carried(nonsense).span().span_context().is_valid(), "{nonsense}");
        }
    }
}
