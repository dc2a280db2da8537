//! What the helpers hand to the span processor by themselves is what the SDK's copy of the span would have said.

#![expect(clippy::unwrap_used, reason = "a failed expectation is what tests are for")]

#[expect(dead_code, reason = "shared with the tests of the stream, which need more of it")]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry::trace::{Span as _, SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor};
use standoff_agent::{Agent, OpenSpan, Spans, Text};
use standoff_protocol::stream::{Role, Started};

use support::{Collector, Service, id};

/// Calls something whenever a span starts.
struct Hook<F>(F);

impl<F> std::fmt::Debug for Hook<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hook")
    }
}

impl<F: Fn(&mut Span, &Context) + Send + Sync> SpanProcessor for Hook<F> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        self.0(span, cx);
    }

    fn on_end(&self, _span: SpanData) {}

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn eager(collector: &Collector) -> Agent {
    collector.agent().report_after(Duration::ZERO).start().unwrap()
}

fn reported(collector: &Collector, nth: usize, span: u64) -> Started {
    collector.wait("a span", |connections| {
        connections.get(nth)?.mirror.open.get(&span).cloned()
    })
}

/// One span of each helper, with all that can be said of it.
fn all_kinds(spans: &Spans) -> Vec<OpenSpan> {
    let long = "x".repeat(3000);
    let handle = spans
        .handle("turn")
        .resource("a")
        .resource("b")
        .resource("a")
        .resource("");
    let handle = handle.capacity(3).conversation(&long).start();
    let beneath = handle.context();
    let call = spans.call(long.clone()).name(&long).parent(beneath).units(2).detached();
    let call = call
        .timeout(Duration::from_micros(1))
        .group("any", 1, 2)
        .conversation("c");
    let empty = spans.call("").group("", 1, 2).conversation("").timeout(Duration::MAX);
    let served = spans
        .handle("served")
        .server()
        .resource(Arc::<str>::from("one"))
        .parent(beneath);
    let hold = spans
        .hold("lock")
        .name("held".to_owned())
        .units(4)
        .capacity(5)
        .parent(beneath);
    let member = spans.member("pool").name("consumer").units(6);
    vec![
        call.start(),
        empty.start(),
        served.start(),
        hold.start(),
        member.start(),
        spans.call("plain").start(),
        handle,
    ]
}

#[test]
fn helpers_say_the_same_by_either_way() {
    let collector = Collector::start();
    // The first processor takes what the helper has prepared; the second is left with the SDK's copy.
    let (first, second) = (eager(&collector), eager(&collector));
    let provider = SdkTracerProvider::builder()
        .with_span_processor(first.processor())
        .with_span_processor(second.processor())
        .build();
    let spans = all_kinds(&Spans::new(&provider));
    collector.wait("both agents", |connections| (connections.len() == 2).then_some(()));
    for span in &spans {
        let [prepared, copied] = [0, 1].map(|nth| Started {
            age_ns: 0,
            ..reported(&collector, nth, id(span))
        });
        assert_eq!(prepared, copied);
    }
}

#[test]
fn texts_may_be_anything_that_is_one() {
    let spans = Spans::new(&SdkTracerProvider::builder().build());
    let (owned, shared) = ("a".to_owned(), Arc::<str>::from("b"));
    let text = Text::from("c");
    drop((
        spans.call(&owned).start(),
        spans.call(&shared).start(),
        spans.call(&text).start(),
    ));
    drop((
        spans.call(owned).start(),
        spans.call(shared).start(),
        spans.call(text).start(),
    ));
}

/// A tracer for a processor of the provider that it belongs to.
type Late = Arc<std::sync::OnceLock<SdkTracer>>;

/// A provider with a processor ahead of the agent's that starts a span of its own in each call's context.
fn with_an_odd_processor(
    agent: &Agent,
    start: impl Fn(&SdkTracer, &Context) -> Span + Send + Sync + 'static,
) -> (SdkTracerProvider, Arc<AtomicU64>) {
    let (tracer, inner) = (Late::default(), Arc::new(AtomicU64::new(0)));
    let (late, found) = (Arc::clone(&tracer), Arc::clone(&inner));
    let nesting = std::sync::atomic::AtomicBool::new(false);
    let hook = Hook(move |_: &mut Span, cx: &Context| {
        if !nesting.swap(true, Relaxed)
            && let Some(tracer) = late.get()
        {
            let span = start(tracer, cx);
            found.store(u64::from_be_bytes(span.span_context().span_id().to_bytes()), Relaxed);
            // It stays open: what was recorded of it can be looked at.
            std::mem::forget(span);
        }
    });
    let provider = SdkTracerProvider::builder()
        .with_span_processor(hook)
        .with_span_processor(agent.processor())
        .build();
    tracer.set(provider.tracer("odd")).unwrap();
    (provider, inner)
}

#[test]
fn a_span_that_another_processor_starts_meanwhile_is_not_taken_for_the_helper_s() {
    let collector = Collector::start();
    let agent = eager(&collector);
    let (provider, inner) = with_an_odd_processor(&agent, |tracer, _| {
        let server = tracer.span_builder("inner").with_kind(SpanKind::Server);
        server.start_with_context(tracer, &Context::new())
    });
    let call = Spans::new(&provider).call("b").start();
    let outer = reported(&collector, 0, id(&call));
    assert_eq!((outer.role(), outer.target.as_str()), (Role::Call, "b"));
    let inner = reported(&collector, 0, inner.load(Relaxed));
    assert_eq!((inner.role(), inner.name.as_str()), (Role::Handle, "inner"));
    assert_eq!(agent.counters().dropped, Default::default());
}

#[test]
fn one_that_it_starts_in_the_very_same_context_is_rather_unknown_than_wrong() {
    let collector = Collector::start();
    let agent = eager(&collector);
    let (provider, inner) = with_an_odd_processor(&agent, |tracer, cx| {
        tracer.span_builder("inner").start_with_context(tracer, cx)
    });
    let call = Spans::new(&provider).call("b").start();
    let outer = reported(&collector, 0, id(&call));
    assert_eq!((outer.role(), outer.target.as_str()), (Role::Call, "b"));
    assert_ne!(inner.load(Relaxed), 0);
    let counters = agent.counters();
    assert_eq!(
        (counters.open, counters.dropped.spans),
        (1, 1),
        "the other one is not kept"
    );
}

#[test]
fn a_span_that_is_not_recorded_leaves_nothing_behind() {
    let agent = Agent::builder().upstream("http://127.0.0.1:1").start().unwrap();
    let provider = |sampler| {
        SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_span_processor(agent.processor())
            .build()
    };
    let (off, on) = (provider(Sampler::AlwaysOff), provider(Sampler::AlwaysOn));
    let unseen = Spans::new(&off).call("b").start();
    let structural = on.tracer("on").start("structural");
    assert_eq!(agent.counters().captured, 0, "the call's facts are nobody else's");
    drop((unseen, structural));
}

#[test]
fn a_panic_of_another_processor_leaves_nothing_behind() {
    let collector = Collector::start();
    let agent = eager(&collector);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(Hook(|span: &mut Span, _: &Context| {
            let call = span
                .exported_data()
                .is_some_and(|data| data.span_kind == SpanKind::Client);
            assert!(!call, "a call, of all things");
        }))
        .with_span_processor(agent.processor())
        .build();
    let spans = Spans::new(&provider);
    let panicked = catch_unwind(AssertUnwindSafe(|| spans.call("b").start()));
    assert!(panicked.is_err());
    let handle = spans.handle("turn").resource("r").start();
    let reported = reported(&collector, 0, id(&handle));
    assert_eq!((reported.role(), agent.counters().captured), (Role::Handle, 1));
}

#[test]
fn a_panic_while_a_span_is_open_ends_it_as_an_error() {
    use standoff_protocol::stream::Outcome;
    let collector = Collector::start();
    let service = Service::start(collector.agent().report_after(Duration::ZERO));
    let mut open = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let turn = service.spans.handle("turn").start();
        open = id(&turn);
        collector.wait_latest("the turn", |mirror| mirror.open.get(&open).cloned());
        turn.in_scope(|| panic!("in the middle of it"));
    }));
    assert!(panicked.is_err());
    let outcome = collector.wait_latest("its end", |mirror| mirror.outcome(open));
    assert_eq!(outcome, Outcome::Error);
    assert!(
        !Context::current().has_active_span(),
        "the context around it is restored"
    );
}
