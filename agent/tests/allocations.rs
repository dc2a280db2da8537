//! What capturing a call allocates beyond what the SDK does by itself: nothing.

#[expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]
#[expect(dead_code, reason = "shared with the tests of the stream, which need more of it")]
mod support;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState, Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use standoff_agent::{Connection, Spans};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use support::{Collector, Service, eventually};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<std::alloc::System> = &INSTRUMENTED_SYSTEM;

/// More handles and structural spans than are remembered after their ends, so that all tables have the size they keep.
const WARM_UP: u64 = 300_000;
const ROUNDS: usize = 40;
const CALLS: usize = 250;

/// Does nothing with a span, or takes the SDK's copy of it and throws it away.
#[derive(Debug)]
struct Idle {
    copies: bool,
}

impl SpanProcessor for Idle {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        if self.copies {
            drop(span.exported_data());
        }
    }

    fn on_end(&self, _span: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Allocations of so many calls, in the quietest of the rounds: other threads allocate now and then.
fn allocations(mut call: impl FnMut()) -> usize {
    let round = |_| {
        let region = Region::new(ALLOCATOR);
        (0..CALLS).for_each(|_| call());
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..ROUNDS).map(round).min().unwrap_or(usize::MAX)
}

fn provider(processor: impl SpanProcessor + 'static) -> SdkTracerProvider {
    SdkTracerProvider::builder().with_span_processor(processor).build()
}

fn idle(copies: bool) -> SdkTracerProvider {
    provider(Idle { copies })
}

/// A context in which a call of another process is the current span.
fn caller(nth: u64) -> Context {
    let (trace_id, span_id) = (TraceId::from(7), SpanId::from(nth));
    let caller = SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, true, TraceState::NONE);
    Context::new().with_remote_span_context(caller)
}

/// Does so much that all tables have the size that they keep.
fn warm_up(provider: &SdkTracerProvider) {
    let tracer = provider.tracer("test");
    for nth in 1..=WARM_UP {
        let handle = tracer.span_builder("handle").with_kind(SpanKind::Server);
        let handle = handle.start_with_context(&tracer, &caller(nth));
        let cx = Context::new().with_span(handle);
        drop(tracer.span_builder("inner").start_with_context(&tracer, &cx));
    }
}

/// A call and what it does, as stock instrumentation has it: with owned texts, and a span beneath.
fn stock(provider: &SdkTracerProvider) -> impl FnMut() {
    let tracer = provider.tracer("stock");
    move || {
        let call = tracer
            .span_builder("GET")
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("server.address", "service-b".to_owned()),
                KeyValue::new("server.port", 8080),
                KeyValue::new("url.full", "http://service-b:8080/".to_owned()),
            ])
            .start_with_context(&tracer, &Context::new());
        let cx = Context::new().with_span(call);
        tracer
            .span_builder("attempt".to_owned())
            .start_with_context(&tracer, &cx)
            .end();
        cx.span().end();
    }
}

#[test]
fn capturing_allocates_nothing_of_its_own() {
    let collector = Collector::start();
    let service = Service::start(collector.agent());
    eventually("a session", || {
        service.agent.counters().connection == Connection::Connected
    });
    warm_up(&service.provider);
    let captured = &service.provider;

    // Through the processor: as many allocations as the SDK's copy alone.
    let sdk = allocations(stock(&idle(true)));
    assert_eq!(allocations(stock(captured)), sdk, "calls and structural spans");
    assert!(sdk >= 8 * CALLS, "allocations are really counted: {sdk}");

    // Through the helpers: as many as without any processor that does something.
    let (sdk, helped) = (Spans::new(&idle(false)), &service.spans);
    let caller = caller(u64::MAX);
    let target: Arc<str> = "{:server_b, 42}".into();
    let call = |spans: &Spans| {
        let call = spans.call(&target).timeout(Duration::from_secs(5)).conversation("c");
        call.start().end();
    };
    let handle = |spans: &Spans| {
        let turn = spans.handle("turn").resource(&target).parent(&caller);
        turn.start().end();
    };
    let hold = |spans: &Spans| spans.hold("lock").units(2).start().end();
    let nested = |spans: &Spans| {
        let outer = spans.call("b").group("all", 2, 2).start();
        outer.in_scope(|| spans.call("c").start().end());
        outer.end();
    };
    for (what, does) in [
        ("call", &call as &dyn Fn(&Spans)),
        ("handle", &handle),
        ("hold", &hold),
        ("nested calls", &nested),
    ] {
        assert_eq!(allocations(|| does(helped)), allocations(|| does(&sdk)), "{what}");
    }

    // And what OpenTelemetry allocates for such a span and its context, whoever starts it.
    let plain = idle(false);
    let tracer = plain.tracer("plain");
    let by_hand = allocations(|| {
        let mut attributes = Vec::with_capacity(4);
        attributes.push(KeyValue::new("standoff.target", target.clone()));
        let call = tracer
            .span_builder("call")
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .start_with_context(&tracer, &Context::new());
        let cx = Context::new().with_span(call);
        cx.span().end();
    });
    assert_eq!(allocations(|| helped.call(&target).start().end()), by_hand);
    assert_eq!(service.agent.counters().open, 0);
}
