//! What a short call costs a service: start and end of a span, by what listens to it.
//!
//! `cargo bench --package standoff-agent --bench capture`. Rows to compare stand side by side: the same spans with a
//! processor that does nothing, with the SDK's own batch processor, and with ours. Our agent is connected to a collector
//! in this process that reads everything, as it would be in a service.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail like a test")]

#[expect(dead_code, reason = "shared with the tests of the stream, which need more of it")]
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use divan::{AllocProfiler, Bencher};
use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use standoff_agent::{Agent, Connection, Spans};

use support::{Collector, eventually};

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

/// One thread, and as many as a busy service has.
const THREADS: [usize; 2] = [1, 8];

fn main() {
    divan::Divan::from_args().sample_count(200).sample_size(2000).main();
    if let Some(watched) = WATCHED.get() {
        let counters = watched.agent.counters();
        assert_eq!(
            (counters.open, counters.dropped.spans),
            (0, 0),
            "all of it was kept, and all has ended"
        );
    }
}

#[derive(Debug)]
struct Nothing;

impl SpanProcessor for Nothing {
    fn on_start(&self, _span: &mut Span, _cx: &Context) {}
    fn on_end(&self, _span: SpanData) {}
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }
    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

impl SpanExporter for Nothing {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Ok(())
    }
}

/// An agent with a collector.
struct Watched {
    agent: Agent,
    _collector: Collector,
    provider: SdkTracerProvider,
    /// The same with the agent's sampler.
    sampling: SdkTracerProvider,
}

static WATCHED: OnceLock<Watched> = OnceLock::new();

fn watched() -> &'static Watched {
    WATCHED.get_or_init(|| {
        let collector = Collector::start();
        let agent = collector.agent().start().unwrap();
        let with_agent = || SdkTracerProvider::builder().with_span_processor(agent.processor());
        let provider = with_agent().build();
        let sampling = with_agent().with_sampler(agent.sampler(Sampler::AlwaysOn)).build();
        eventually("a session", || agent.counters().connection == Connection::Connected);
        Watched {
            agent,
            _collector: collector,
            provider,
            sampling,
        }
    })
}

fn idle() -> &'static SdkTracerProvider {
    static IDLE: OnceLock<SdkTracerProvider> = OnceLock::new();
    IDLE.get_or_init(|| SdkTracerProvider::builder().with_span_processor(Nothing).build())
}

fn batching() -> &'static SdkTracerProvider {
    static BATCHING: OnceLock<SdkTracerProvider> = OnceLock::new();
    BATCHING.get_or_init(|| {
        let batches = BatchSpanProcessor::builder(Nothing).build();
        SdkTracerProvider::builder().with_span_processor(batches).build()
    })
}

fn tracer(provider: &SdkTracerProvider) -> SdkTracer {
    provider.tracer("bench")
}

/// A call as stock instrumentation makes it, with eight attributes, of which four have texts of their own.
fn stock(bencher: Bencher<'_, '_>, provider: &SdkTracerProvider) {
    let tracer = tracer(provider);
    bencher.bench(|| {
        let call = tracer
            .span_builder("GET")
            .with_kind(SpanKind::Client)
            .with_attributes([
                KeyValue::new("http.request.method", "GET"),
                KeyValue::new("url.full", "http://service-b.internal:8080/orders/42".to_owned()),
                KeyValue::new("server.address", "service-b.internal".to_owned()),
                KeyValue::new("server.port", 8080),
                KeyValue::new("network.protocol.version", "1.1"),
                KeyValue::new("network.peer.address", "10.1.2.3".to_owned()),
                KeyValue::new("network.peer.port", 8080),
                KeyValue::new("user_agent.original", "service-a/1.0".to_owned()),
            ])
            .start_with_context(&tracer, &Context::new());
        drop(call);
    });
}

/// A span that neither waits nor serves.
fn step(bencher: Bencher<'_, '_>, provider: &SdkTracerProvider) {
    let tracer = tracer(provider);
    bencher.bench(|| drop(tracer.span_builder("step").start_with_context(&tracer, &Context::new())));
}

/// What our helper does, written out with OpenTelemetry alone.
fn by_hand(bencher: Bencher<'_, '_>, provider: &SdkTracerProvider) {
    let tracer = tracer(provider);
    let target: Arc<str> = "{:server_b, 42}".into();
    bencher.bench(|| {
        let mut attributes = Vec::with_capacity(4);
        attributes.push(KeyValue::new("standoff.target", Arc::clone(&target)));
        attributes.push(KeyValue::new("standoff.timeout_ms", 5000));
        let cx = Context::current();
        let call = tracer
            .span_builder("call")
            .with_kind(SpanKind::Client)
            .with_attributes(attributes)
            .start_with_context(&tracer, &cx);
        cx.with_span(call).span().end();
    });
}

fn helper_call(bencher: Bencher<'_, '_>, provider: &SdkTracerProvider) {
    let spans = Spans::new(provider);
    let target: Arc<str> = "{:server_b, 42}".into();
    bencher.bench(|| spans.call(&target).timeout(Duration::from_secs(5)).start().end());
}

fn helper_handle(bencher: Bencher<'_, '_>, provider: &SdkTracerProvider) {
    let spans = Spans::new(provider);
    let target: Arc<str> = "{:server_b, 42}".into();
    bencher.bench(|| spans.handle("turn").resource(&target).start().end());
}

mod stock_call {
    use super::{Bencher, THREADS, batching, idle, stock, watched};

    #[divan::bench(threads = THREADS)]
    fn a_no_op(bencher: Bencher<'_, '_>) {
        stock(bencher, idle());
    }

    #[divan::bench(threads = THREADS)]
    fn b_sdk_batch(bencher: Bencher<'_, '_>) {
        stock(bencher, batching());
    }

    #[divan::bench(threads = THREADS)]
    fn c_ours(bencher: Bencher<'_, '_>) {
        stock(bencher, &watched().provider);
    }
}

mod call_by_helper {
    use super::{Bencher, THREADS, batching, by_hand, helper_call, idle, watched};

    #[divan::bench(threads = THREADS)]
    fn a_by_hand_no_op(bencher: Bencher<'_, '_>) {
        by_hand(bencher, idle());
    }

    #[divan::bench(threads = THREADS)]
    fn b_helper_no_op(bencher: Bencher<'_, '_>) {
        helper_call(bencher, idle());
    }

    #[divan::bench(threads = THREADS)]
    fn c_helper_sdk_batch(bencher: Bencher<'_, '_>) {
        helper_call(bencher, batching());
    }

    #[divan::bench(threads = THREADS)]
    fn d_helper_ours(bencher: Bencher<'_, '_>) {
        helper_call(bencher, &watched().provider);
    }

    #[divan::bench(threads = THREADS)]
    fn e_by_hand_ours(bencher: Bencher<'_, '_>) {
        by_hand(bencher, &watched().provider);
    }
}

mod handle_by_helper {
    use super::{Bencher, THREADS, helper_handle, idle, watched};

    #[divan::bench(threads = THREADS)]
    fn a_no_op(bencher: Bencher<'_, '_>) {
        helper_handle(bencher, idle());
    }

    #[divan::bench(threads = THREADS)]
    fn b_ours(bencher: Bencher<'_, '_>) {
        helper_handle(bencher, &watched().provider);
    }
}

mod structural {
    use super::{Bencher, THREADS, batching, idle, step, watched};

    #[divan::bench(threads = THREADS)]
    fn a_no_op(bencher: Bencher<'_, '_>) {
        step(bencher, idle());
    }

    #[divan::bench(threads = THREADS)]
    fn b_sdk_batch(bencher: Bencher<'_, '_>) {
        step(bencher, batching());
    }

    #[divan::bench(threads = THREADS)]
    fn c_ours(bencher: Bencher<'_, '_>) {
        step(bencher, &watched().provider);
    }

    #[divan::bench(threads = THREADS)]
    fn d_ours_with_our_sampler(bencher: Bencher<'_, '_>) {
        step(bencher, &watched().sampling);
    }
}
