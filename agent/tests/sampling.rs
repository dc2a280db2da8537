//! Sampling beside an ordinary exporter: every start counts here, and only what is sampled goes there.

#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

#[expect(dead_code, reason = "shared with the tests of the stream, which need more of it")]
mod support;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracerProvider, SpanData, SpanExporter,
};
use standoff_agent::{Agent, SampledOnly, Spans, propagation};
use standoff_protocol::stream::Role;

use support::{Collector, id};

/// An exporter into memory.
#[derive(Clone, Debug, Default)]
struct Backend(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Backend {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

impl Backend {
    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().unwrap().clone()
    }
}

struct Service {
    agent: Agent,
    provider: SdkTracerProvider,
    spans: Spans,
    backend: Backend,
}

/// A service with an ordinary backend that gets this part of the traces.
fn service(agent: Agent, ratio: f64) -> Service {
    let backend = Backend::default();
    let batches = BatchConfigBuilder::default().with_max_queue_size(100_000).build();
    let exporter = BatchSpanProcessor::builder(backend.clone()).with_batch_config(batches);
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(ratio)));
    let provider = SdkTracerProvider::builder()
        .with_sampler(agent.sampler(sampler))
        .with_span_processor(agent.processor())
        .with_span_processor(SampledOnly::new(exporter.build()))
        .build();
    let spans = Spans::new(&provider);
    Service {
        agent,
        provider,
        spans,
        backend,
    }
}

fn alone() -> Agent {
    Agent::builder().upstream("http://127.0.0.1:1").start().unwrap()
}

#[test]
fn every_start_is_seen_and_the_backend_gets_its_sample() {
    const TRACES: usize = 5000;
    let (caller, callee) = (service(alone(), 0.01), service(alone(), 0.01));
    let stock = callee.provider.tracer("stock");
    let mut sampled = 0;
    for _ in 0..TRACES {
        let call = caller.spans.call("b").parent(&Context::new()).start();
        let mut headers = HashMap::new();
        propagation::inject(call.context(), &mut headers);
        let is_sampled = call.context().span().span_context().is_sampled();
        sampled += usize::from(is_sampled);
        assert!(
            headers["traceparent"].ends_with(if is_sampled { "-01" } else { "-00" }),
            "the decision is passed on"
        );

        // The callee decides as its caller did.
        let handle = callee
            .spans
            .handle("serve")
            .parent(&propagation::extract(&headers))
            .start();
        assert_eq!(handle.context().span().span_context().is_sampled(), is_sampled);
        let inner = stock.span_builder("inner").start_with_context(&stock, handle.context());
        let asking = stock
            .span_builder("GET")
            .with_kind(SpanKind::Client)
            .start_with_context(&stock, handle.context());
        drop((asking, inner));
        handle.end();
        call.end();
    }
    assert_eq!(caller.agent.counters().captured, TRACES as u64);
    assert_eq!(
        callee.agent.counters().captured,
        2 * TRACES as u64,
        "the handles, and the calls within"
    );
    assert!((1..TRACES / 10).contains(&sampled), "about one in a hundred: {sampled}");
    for (service, spans_each) in [(&caller, 1), (&callee, 3)] {
        service.provider.force_flush().unwrap();
        let exported = service.backend.spans();
        assert!(exported.iter().all(|span| span.span_context.is_sampled()));
        assert_eq!(exported.len(), spans_each * sampled);
    }
}

#[test]
fn the_graph_of_a_trace_that_is_not_sampled_is_whole() {
    let collector = Collector::start();
    let service = service(collector.agent().report_after(Duration::ZERO).start().unwrap(), 0.0);
    let tracer = service.provider.tracer("stock");
    let handle = service
        .spans
        .handle("serve")
        .resource("r")
        .parent(&Context::new())
        .start();
    // Structural spans, of which the sampler says so, and which a call may lie beneath and above.
    let around = tracer.build_with_context(tracer.span_builder("around"), handle.context());
    let around = handle.context().with_span(around);
    let call = tracer.span_builder("GET").with_kind(SpanKind::Client);
    let call = call
        .with_attributes([KeyValue::new("service.peer.name", "b")])
        .start_with_context(&tracer, &around);
    let call = around.with_span(call);
    let attempt = tracer.build_with_context(tracer.span_builder("attempt"), &call);
    let wire = |cx: &Context| u64::from_be_bytes(cx.span().span_context().span_id().to_bytes());
    let attempt = call.with_span(attempt);

    let reported = |span: u64| collector.wait_latest("a span", |mirror| mirror.open.get(&span).cloned());
    let asked = reported(wire(&call));
    assert_eq!(
        (asked.role(), asked.parent_span_id, asked.target.as_str()),
        (Role::Call, id(&handle), "b")
    );
    let link = reported(wire(&attempt));
    assert_eq!(
        (link.role(), link.parent_span_id, link.name.as_str()),
        (Role::Structural, wire(&call), "attempt")
    );
    assert_eq!(service.backend.spans().len(), 0);
}

#[test]
fn a_role_outranks_what_the_kind_says_to_the_sampler_too() {
    let service = service(alone(), 0.0);
    let tracer = service.provider.tracer("stock");
    let role = |role: &'static str| {
        let span = tracer
            .span_builder("span")
            .with_attributes([KeyValue::new("standoff.role", role)]);
        drop(span.start_with_context(&tracer, &Context::new()));
        service.agent.counters().captured
    };
    assert_eq!([role("hold"), role("none"), role("call")], [1, 1, 2]);
}

#[test]
fn two_agents_of_one_provider_see_the_same() {
    let (first, second) = (alone(), alone());
    let provider = SdkTracerProvider::builder()
        .with_sampler(first.sampler(Sampler::AlwaysOff))
        .with_span_processor(second.processor())
        .with_span_processor(first.processor())
        .build();
    let tracer = provider.tracer("stock");
    let outer = tracer.build_with_context(
        tracer.span_builder("outer").with_kind(SpanKind::Client),
        &Context::new(),
    );
    let outer = Context::new().with_span(outer);
    drop(tracer.build_with_context(tracer.span_builder("inner"), &outer));
    for agent in [first, second] {
        assert_eq!((agent.counters().captured, agent.counters().open), (1, 1));
    }
}
