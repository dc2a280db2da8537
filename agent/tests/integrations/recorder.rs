//! Records the spans of a test, in the order in which they start and end.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{SpanId, SpanKind, Status};
use opentelemetry::{Context, Value};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanProcessor};
use standoff_agent::Spans;
use tokio::sync::watch;

/// How long any condition may take to come true. Far more than it needs, so that a busy machine fails no test.
const DEADLINE: Duration = Duration::from_secs(20);

/// All spans of one service.
#[derive(Debug)]
pub(crate) struct Recorder {
    log: watch::Sender<Log>,
    provider: SdkTracerProvider,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    pub(crate) started: Vec<Recorded>,
    pub(crate) ended: Vec<Recorded>,
}

/// A span as it was when it started or ended.
#[derive(Clone, Debug)]
pub(crate) struct Recorded(SpanData);

#[derive(Debug)]
struct Processor {
    log: watch::Sender<Log>,
}

/// Spans to be used, and what records them.
pub(crate) fn recorded() -> (Spans, Recorder) {
    let log = watch::Sender::new(Log::default());
    let processor = Processor { log: log.clone() };
    let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
    (Spans::new(&provider), Recorder { log, provider })
}

/// Awaits something that must happen.
pub(crate) async fn within_deadline<F: Future>(what: &str, future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future)
        .await
        .unwrap_or_else(|_| panic!("still waiting for: {what}"))
}

impl Recorder {
    pub(crate) fn log(&self) -> Log {
        self.log.borrow().clone()
    }

    /// The names of the spans that are open, in the order in which they started.
    pub(crate) fn open(&self) -> Vec<String> {
        self.log().open()
    }

    /// Waits until the log is as `condition` says.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Log) -> bool) -> Log {
        let mut log = self.log.subscribe();
        within_deadline(what, log.wait_for(|log| condition(log)))
            .await
            .unwrap()
            .clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        // Nobody else keeps it, and spans are recorded for as long as it is there.
        self.provider.shutdown().ok();
    }
}

impl Log {
    pub(crate) fn open(&self) -> Vec<String> {
        self.started
            .iter()
            .filter(|span| !self.ended.iter().any(|ended| ended.id() == span.id()))
            .map(|span| span.name().to_owned())
            .collect()
    }

    /// The only span of this name.
    pub(crate) fn span(&self, name: &str) -> &Recorded {
        let mut found = self.started.iter().filter(|span| span.name() == name);
        match (found.next(), found.next()) {
            (Some(span), None) => span,
            (None, _) => panic!("there is no span {name}"),
            (Some(_), Some(_)) => panic!("there are several spans {name}"),
        }
    }

    /// The spans with this attribute, as they started.
    pub(crate) fn with(&self, key: &str, value: &str) -> Vec<&Recorded> {
        let is = |span: &&Recorded| span.text(key).as_deref() == Some(value);
        self.started.iter().filter(is).collect()
    }

    /// How the only span of this name has ended.
    pub(crate) fn outcome(&self, name: &str) -> String {
        self.outcome_of(self.span(name))
    }

    /// `open`, `finished`, or what it failed with.
    pub(crate) fn outcome_of(&self, span: &Recorded) -> String {
        let Some(ended) = self.ended.iter().find(|ended| ended.id() == span.id()) else {
            return "open".to_owned();
        };
        match ended.0.status {
            Status::Error { .. } => ended.text("error.type").unwrap(),
            Status::Unset | Status::Ok => "finished".to_owned(),
        }
    }

    /// A span as it ended.
    pub(crate) fn ended(&self, name: &str) -> &Recorded {
        self.ended.iter().find(|span| span.name() == name).unwrap()
    }
}

impl Recorded {
    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn id(&self) -> SpanId {
        self.0.span_context.span_id()
    }

    pub(crate) fn parent(&self) -> SpanId {
        self.0.parent_span_id
    }

    pub(crate) fn parent_is_remote(&self) -> bool {
        self.0.parent_span_is_remote
    }

    pub(crate) fn started_at(&self) -> SystemTime {
        self.0.start_time
    }

    pub(crate) fn ended_at(&self) -> SystemTime {
        self.0.end_time
    }

    pub(crate) fn links(&self) -> Vec<SpanId> {
        self.0.links.iter().map(|link| link.span_context.span_id()).collect()
    }

    pub(crate) fn kind(&self) -> SpanKind {
        self.0.span_kind.clone()
    }

    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let attribute = self.0.attributes.iter().find(|it| it.key.as_str() == key)?;
        Some(attribute.value.to_string())
    }

    pub(crate) fn number(&self, key: &str) -> Option<i64> {
        let attribute = self.0.attributes.iter().find(|it| it.key.as_str() == key)?;
        match attribute.value {
            Value::I64(number) => Some(number),
            Value::Bool(_) | Value::F64(_) | Value::String(_) | Value::Array(_) => None,
            _ => None,
        }
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, span: &mut Span, _cx: &Context) {
        let data = span.exported_data().unwrap();
        self.log.send_modify(|log| log.started.push(Recorded(data)));
    }

    fn on_end(&self, span: SpanData) {
        self.log.send_modify(|log| log.ended.push(Recorded(span)));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}
