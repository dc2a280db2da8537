//! The span processor through which OpenTelemetry tells of starts and ends.
//!
//! It runs on the application's threads. It takes a copy of what matters of a span to the open table and no more: no
//! I/O, no waiting but for the lock of one shard, and neither logs nor spans of its own, which would lead back here.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::{Span as _, SpanContext, TraceContextExt};
use opentelemetry::{Context, Key, StringValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use standoff_protocol::attributes::semconv;

use crate::agent::Running;
use crate::prepared::{self, Taken};
use crate::reading;
use crate::record::{self, Record};
use crate::sampling::Structural;
use crate::shared::{FLUSH_WITHIN, Identity, SHUTDOWN_WITHIN};

/// Captures starts and ends of spans for its [`Agent`](crate::Agent).
///
/// Give it to one tracer provider, whose resource (`service.name`, `service.namespace`, `service.instance.id`) becomes
/// the identity of this instance. Without an instance id the instance is told apart by its host and process, so a
/// process with several providers should give each its own.
pub struct CaptureProcessor {
    running: Arc<Running>,
}

impl CaptureProcessor {
    pub(crate) fn new(running: Arc<Running>) -> Self {
        CaptureProcessor { running }
    }

    /// Whether our sampler has found that the span only keeps the parent chain.
    fn is_structural(&self, span: &SpanContext, cx: &Context) -> bool {
        Structural::take(self.running.number(), cx, span.trace_id())
    }

    /// What a helper knows of the span that it is starting.
    #[inline]
    fn prepared(&self, span: &SpanContext, cx: &Context) -> Option<Record> {
        let taken = Taken {
            agent: self.running.number(),
            span_id: span.span_id(),
        };
        let facts = prepared::take(cx, taken)?;
        Some(Record::new(span, cx.span().span_context(), facts))
    }
}

impl fmt::Debug for CaptureProcessor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CaptureProcessor").finish_non_exhaustive()
    }
}

impl SpanProcessor for CaptureProcessor {
    fn on_start(&self, span: &mut Span, cx: &Context) {
        let shared = self.running.shared();
        if shared.is_stopping() {
            return;
        }
        let record = match self.prepared(span.span_context(), cx) {
            Some(record) => record,
            None if self.is_structural(span.span_context(), cx) => {
                let name = || span.exported_data().map_or_else(|| "".into(), |data| data.name.into());
                let (span, parent) = (span.span_context(), cx.span());
                let (parent, is_remote) = record::parent(parent.span_context());
                shared.table.pass(record::id(span.span_id()), parent, is_remote, name);
                return;
            }
            // The only way to see the kind and attributes of any other span: a copy of all of it.
            None => match span.exported_data() {
                Some(data) => reading::record(data),
                None => return,
            },
        };
        shared.table.start(record, shared.now());
    }

    fn on_end(&self, span: SpanData) {
        let shared = self.running.shared();
        let span_id = record::id(span.span_context.span_id());
        shared.table.end_by(span_id, reading::outcome(&span), || shared.now());
    }

    /// Hands over what is due, which is nothing that is younger than `report-after`. Without a collector there is nothing
    /// to hand over, since the next connection begins with everything that is open.
    fn force_flush(&self) -> OTelSdkResult {
        if self.running.shared().flush(FLUSH_WITHIN) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(FLUSH_WITHIN))
        }
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.running.shared().stop();
        let within = timeout.min(SHUTDOWN_WITHIN);
        if self.running.shared().wait_stopped(within) {
            Ok(())
        } else {
            Err(OTelSdkError::Timeout(within))
        }
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.running.shared().identify(identity(resource));
    }
}

fn identity(resource: &Resource) -> Identity {
    let text = |key: &'static str| {
        let value = resource.get_ref(&Key::from_static_str(key));
        let text = value.map_or_else(|| "".into(), |value| StringValue::from(value.clone()));
        record::cut(text).to_string()
    };
    let or = |text: String, otherwise: fn() -> String| if text.is_empty() { otherwise() } else { text };
    let instance_id = text(semconv::SERVICE_INSTANCE_ID);
    Identity {
        service_name: text(semconv::SERVICE_NAME),
        service_namespace: text(semconv::SERVICE_NAMESPACE),
        instance_id: if instance_id.is_empty() {
            let host = or(text("host.name"), host_name);
            let pid = or(text("process.pid"), || std::process::id().to_string());
            format!("{host}:{pid}")
        } else {
            instance_id
        },
    }
}

/// The name of this host; empty if it has none.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map(|name| name.trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use opentelemetry::KeyValue;

    use super::*;

    fn of(attributes: Vec<KeyValue>) -> Identity {
        identity(&Resource::builder_empty().with_attributes(attributes).build())
    }

    #[test]
    fn the_identity_is_the_resource_s() {
        let identity = of(vec![
            KeyValue::new(semconv::SERVICE_NAME, "service-a"),
            KeyValue::new(semconv::SERVICE_NAMESPACE, "shop"),
            KeyValue::new(semconv::SERVICE_INSTANCE_ID, "a-1"),
        ]);
        let expected = ["service-a", "shop", "a-1"].map(str::to_owned);
        assert_eq!(
            [identity.service_name, identity.service_namespace, identity.instance_id],
            expected
        );
    }

    #[test]
    fn without_an_instance_id_it_is_host_and_process() {
        let said = of(vec![
            KeyValue::new("host.name", "host"),
            KeyValue::new("process.pid", 7),
        ]);
        assert_eq!(said.instance_id, "host:7");
        let found = of(vec![]).instance_id;
        assert!(found.ends_with(&format!(":{}", std::process::id())), "{found}");
    }
}
