//! Sampling that leaves the graph whole: what is not exported is recorded all the same, and goes nowhere but to us.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{Link, Span as _, SpanKind, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SamplingDecision, SamplingResult, ShouldSample, Span, SpanData, SpanProcessor};
use standoff_protocol::stream::Role;

use crate::agent::Running;
use crate::reading;

/// A sampler by which every start is seen, whatever another sampler decides. See [`Agent::sampler`](crate::Agent::sampler).
#[derive(Clone)]
pub struct CaptureSampler {
    running: Arc<Running>,
    decides: Box<dyn ShouldSample>,
}

impl CaptureSampler {
    pub(crate) fn new(running: Arc<Running>, decides: Box<dyn ShouldSample>) -> Self {
        CaptureSampler { running, decides }
    }
}

impl fmt::Debug for CaptureSampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CaptureSampler").field(&self.decides).finish()
    }
}

impl ShouldSample for CaptureSampler {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self
            .decides
            .should_sample(parent_context, trace_id, name, span_kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        // Attributes that the other sampler adds may say something else; then the span itself is looked at.
        let is_structural = result.attributes.is_empty() && reading::role(span_kind, attributes) == Role::Structural;
        let parent = parent_context.filter(|_| is_structural);
        Structural::note(parent.map(|parent| Structural::of(self.running.number(), parent, trace_id)));
        result
    }
}

thread_local! {
    static STRUCTURAL: Cell<Option<Structural>> = const { Cell::new(None) };
}

/// A span that is being started on this thread and only keeps the parent chain: a sampler can see that without the copy
/// of the span that a processor would have to take. What it notes is for the next start with the same agent, in the very
/// same context and trace.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Structural {
    agent: u64,
    parent: usize,
    trace_id: TraceId,
}

impl Structural {
    fn of(agent: u64, parent: &Context, trace_id: TraceId) -> Self {
        Structural {
            agent,
            parent: std::ptr::from_ref(parent).addr(),
            trace_id,
        }
    }

    fn note(structural: Option<Structural>) {
        // A thread that is ending notes nothing.
        STRUCTURAL.try_with(|noted| noted.set(structural)).ok();
    }

    /// Whether the sampler has said so of the span that is being started. It is asked once.
    pub(crate) fn take(agent: u64, parent: &Context, trace_id: TraceId) -> bool {
        let noted = STRUCTURAL.try_with(Cell::take).ok().flatten();
        noted == Some(Structural::of(agent, parent, trace_id))
    }
}

/// Lets only sampled spans through to another processor: to the exporter that you have beside standoff.
///
/// [`Agent::sampler`](crate::Agent::sampler) has spans recorded that are not sampled. The SDK's own
/// `BatchSpanProcessor` would export them.
#[derive(Debug)]
pub struct SampledOnly<P> {
    processor: P,
}

impl<P: SpanProcessor> SampledOnly<P> {
    /// Wraps a processor; give the provider this one instead.
    pub fn new(processor: P) -> Self {
        SampledOnly { processor }
    }
}

impl<P: SpanProcessor> SpanProcessor for SampledOnly<P> {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        if span.span_context().is_sampled() {
            self.processor.on_start(span, cx);
        }
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.processor.on_end(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.processor.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.processor.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.processor.set_resource(resource);
    }
}
