//! Records the spans of a test's instances, in the order in which they start and end.

use std::time::Duration;

use opentelemetry::trace::{SpanId, Status};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use standoff_agent::Spans;
use tokio::sync::watch;

use super::within_deadline;

/// All spans of all instances that have been instrumented with it. Clones are the same recorder.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    log: watch::Sender<Log>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) started: Vec<Recorded>,
    pub(crate) ended: Vec<Recorded>,
}

/// A span, as far as the tests care.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) instance: String,
    pub(crate) data: SpanData,
}

#[derive(Debug)]
struct Processor {
    instance: String,
    log: watch::Sender<Log>,
}

impl Recorder {
    pub(crate) fn new() -> Self {
        Self {
            log: watch::Sender::new(Log::default()),
        }
    }

    /// Spans of an instance of its own, and the provider that must outlive them.
    pub(crate) fn spans(&self, instance: &str) -> (Spans, SdkTracerProvider) {
        let processor = Processor {
            instance: instance.to_owned(),
            log: self.log.clone(),
        };
        let resource = Resource::builder_empty()
            .with_attribute(KeyValue::new("service.instance.id", instance.to_owned()))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource)
            .with_span_processor(processor)
            .build();
        (Spans::new(&provider), provider)
    }

    /// Waits until the log is as `condition` says.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Log) -> bool) -> Log {
        let mut log = self.log.subscribe();
        let reached = within_deadline(what, log.wait_for(|log| condition(log))).await;
        reached.unwrap().clone()
    }
}

impl Log {
    /// Those that have started and not ended.
    pub(crate) fn open(&self) -> impl Iterator<Item = &Recorded> {
        self.started
            .iter()
            .filter(|span| !self.ended.iter().any(|ended| ended.id() == span.id()))
    }

    /// Those that ended, by the value of `error.type`.
    pub(crate) fn ended_with(&self, error_type: &str) -> Vec<&Recorded> {
        self.ended
            .iter()
            .filter(|span| span.text("error.type").as_deref() == Some(error_type))
            .collect()
    }

    pub(crate) fn by_id(&self, id: SpanId) -> Option<&Recorded> {
        self.started.iter().find(|span| span.id() == id)
    }
}

impl Recorded {
    pub(crate) fn id(&self) -> SpanId {
        self.data.span_context.span_id()
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let attribute = self
            .data
            .attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == key)?;
        // A list of one reads like its element.
        if let Value::Array(opentelemetry::Array::String(texts)) = &attribute.value
            && let [text] = texts.as_slice()
        {
            return Some(text.to_string());
        }
        Some(attribute.value.to_string())
    }

    pub(crate) fn target(&self) -> Option<String> {
        self.text("standoff.target")
    }

    pub(crate) fn resource(&self) -> Option<String> {
        self.text("standoff.resource")
    }

    pub(crate) fn failed(&self) -> bool {
        matches!(self.data.status, Status::Error { .. })
    }

    pub(crate) fn lasted(&self) -> Duration {
        self.data
            .end_time
            .duration_since(self.data.start_time)
            .unwrap_or_default()
    }
}

impl Processor {
    fn record(&self, data: SpanData, list: impl FnOnce(&mut Log) -> &mut Vec<Recorded>) {
        self.log.send_modify(|log| {
            list(log).push(Recorded {
                instance: self.instance.clone(),
                data,
            })
        });
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        self.record(span.exported_data().unwrap(), |log| &mut log.started);
    }

    fn on_end(&self, span: SpanData) {
        self.record(span, |log| &mut log.ended);
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
