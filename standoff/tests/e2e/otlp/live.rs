//! A service with a tracer provider, whose span processor exports each span twice: when it begins, and when it ends. It
//! knows nothing of standoff.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanKind, TraceContextExt, Tracer, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, Span, SpanData, SpanExporter as _, SpanProcessor, TracerProviderBuilder,
};
use standoff_agent::{Agent, propagation};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// More than any test has under way.
const QUEUE_MAX: usize = 4096;

/// How many spans an exporter sends in one request.
const BATCH_MAX: usize = 64;

/// A span that is open until it is told to end.
pub(super) struct Open(Context);

impl Open {
    pub(super) fn end(&self) {
        self.0.span().end();
    }
}

/// The context of a call as it arrives in another process.
pub(super) fn arrived(call: &Open) -> Context {
    let mut headers: HashMap<String, String> = HashMap::new();
    propagation::inject(&call.0, &mut headers);
    propagation::extract(&headers)
}

/// The span processor.
#[derive(Debug)]
struct Twice(mpsc::Sender<SpanData>);

impl SpanProcessor for Twice {
    fn on_start(&self, span: &mut Span, _: &Context) {
        let mut data = span.exported_data().unwrap();
        // It has not ended.
        data.end_time = SystemTime::UNIX_EPOCH;
        self.0.try_send(data).unwrap();
    }

    fn on_end(&self, span: SpanData) {
        self.0.try_send(span).unwrap();
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The service.
pub(super) struct Live {
    tracer: SdkTracer,
    provider: SdkTracerProvider,
    exports: JoinHandle<()>,
    _agent: Option<Agent>,
}

impl Live {
    /// Starts one that reports to this address.
    pub(super) fn start(name: &'static str, protocol: Protocol, url: &str) -> Self {
        Self::with(name, protocol, url, |provider| (provider, None))
    }

    /// One that has standoff's library, too.
    pub(super) fn with_the_library(name: &'static str, protocol: Protocol, url: &str, upstream: &str) -> Self {
        let agent = Agent::builder().upstream(upstream).start().unwrap();
        Self::with(name, protocol, url, |provider| {
            (provider.with_span_processor(agent.processor()), Some(agent))
        })
    }

    fn with(
        name: &'static str,
        protocol: Protocol,
        url: &str,
        more: impl FnOnce(TracerProviderBuilder) -> (TracerProviderBuilder, Option<Agent>),
    ) -> Self {
        let identity = [("service.name", name), ("service.instance.id", name)];
        let resource = Resource::builder_empty()
            .with_attributes(identity.map(|(key, value)| KeyValue::new(key, value)))
            .build();
        let mut exporter = exporter(protocol, url);
        exporter.set_resource(&resource);
        let (spans, mut to_export) = mpsc::channel(QUEUE_MAX);
        let exports = tokio::spawn(async move {
            let mut batch = Vec::with_capacity(BATCH_MAX);
            while to_export.recv_many(&mut batch, BATCH_MAX).await > 0 {
                exporter.export(std::mem::take(&mut batch)).await.unwrap();
            }
        });
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(Twice(spans));
        let (provider, agent) = more(provider);
        let provider = provider.build();
        Self {
            tracer: provider.tracer("test"),
            provider,
            exports,
            _agent: agent,
        }
    }

    /// Serves a request, and occupies this name meanwhile.
    pub(super) fn turn(&self, name: &str, caller: &Context) -> Open {
        let attributes = vec![KeyValue::new("standoff.resource", name.to_owned())];
        self.span(format!("serve {name}"), SpanKind::Server, attributes, caller)
    }

    pub(super) fn call(&self, target: &str, turn: &Open, timeout_s: Option<u32>) -> Open {
        let mut attributes = vec![KeyValue::new("standoff.target", target.to_owned())];
        attributes.extend(timeout_s.map(|it| KeyValue::new("standoff.timeout_ms", i64::from(it) * 1000)));
        self.span(format!("ask {target}"), SpanKind::Client, attributes, &turn.0)
    }

    fn span(&self, name: String, kind: SpanKind, attributes: Vec<KeyValue>, parent: &Context) -> Open {
        let builder = self.tracer.span_builder(name).with_kind(kind);
        let span = builder
            .with_attributes(attributes)
            .start_with_context(&self.tracer, parent);
        Open(Context::new().with_span(span))
    }

    /// Waits until the collector has taken everything.
    pub(super) async fn flush(self) {
        let Self {
            tracer,
            provider,
            exports,
            ..
        } = self;
        drop((tracer, provider));
        exports.await.unwrap();
    }
}

fn exporter(protocol: Protocol, url: &str) -> SpanExporter {
    match protocol {
        Protocol::Grpc => SpanExporter::builder().with_tonic().with_endpoint(url).build(),
        Protocol::HttpBinary | Protocol::HttpJson => SpanExporter::builder()
            .with_http()
            .with_protocol(protocol)
            .with_endpoint(format!("{url}/v1/traces"))
            .build(),
        other => panic!("{other:?} is not here"),
    }
    .unwrap()
}
