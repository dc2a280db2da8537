//! Trace context in the headers of messages.

use ::lapin::BasicProperties;
use ::lapin::types::{AMQPValue, FieldTable, ShortString};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector};

use crate::propagation;

/// The longest text that a name in AMQP can be.
const SHORT_BYTES_MAX: usize = 255;

/// Adds the span of `cx` to the headers of an outgoing message.
pub fn inject(cx: &Context, properties: BasicProperties) -> BasicProperties {
    let mut headers = Headers(properties.headers().clone().unwrap_or_default());
    propagation::inject(cx, &mut headers);
    properties.with_headers(headers.0)
}

/// The sender's span, from the headers of an incoming message. Without valid headers the context is empty.
pub fn extract(properties: &BasicProperties) -> Context {
    match properties.headers() {
        Some(headers) => propagation::extract(&Carried(headers)),
        None => Context::new(),
    }
}

/// A text of AMQP, if it is not too long to be one.
pub(super) fn short(text: &str) -> Option<ShortString> {
    (text.len() <= SHORT_BYTES_MAX).then(|| text.into())
}

struct Headers(FieldTable);

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        if let Some(key) = short(key) {
            self.0.insert(key, AMQPValue::LongString(value.into()));
        }
    }
}

struct Carried<'a>(&'a FieldTable);

impl Extractor for Carried<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let value = self.0.inner().get(key)?;
        // Other clients may have chosen the shorter one.
        if let AMQPValue::LongString(text) = value {
            std::str::from_utf8(text.as_bytes()).ok()
        } else if let AMQPValue::ShortString(text) = value {
            Some(text.as_str())
        } else {
            None
        }
    }

    fn keys(&self) -> Vec<&str> {
        self.0.inner().keys().map(ShortString::as_str).collect()
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TraceContextExt;
    use opentelemetry_sdk::trace::SdkTracerProvider;

    use super::*;
    use crate::Spans;

    #[test]
    fn a_span_survives_the_headers_beside_others() {
        let provider = SdkTracerProvider::builder().build();
        let call = Spans::new(&provider).call("queue").start();
        let mut headers = FieldTable::default();
        headers.insert("mine".into(), AMQPValue::LongInt(7));
        let properties = inject(call.context(), BasicProperties::default().with_headers(headers));
        assert_eq!(
            properties.headers().as_ref().unwrap().inner().get("mine"),
            Some(&AMQPValue::LongInt(7))
        );
        let received = extract(&properties).span().span_context().clone();
        assert!(received.is_remote());
        assert_eq!(received.span_id(), call.span_id());
    }

    #[test]
    fn nonsense_is_an_empty_context() {
        let nonsense = [
            AMQPValue::LongInt(7),
            AMQPValue::LongString(vec![0xff, 0xfe].into()),
            AMQPValue::ShortString("00-0-0-01".into()),
        ];
        for value in nonsense {
            let mut headers = FieldTable::default();
            headers.insert("traceparent".into(), value);
            let properties = BasicProperties::default().with_headers(headers);
            assert!(!extract(&properties).span().span_context().is_valid());
        }
        assert!(!extract(&BasicProperties::default()).span().span_context().is_valid());
    }

    #[test]
    fn what_is_too_long_for_a_name_is_none() {
        assert_eq!(short(&"x".repeat(255)).map(|name| name.as_str().len()), Some(255));
        assert_eq!(short(&"x".repeat(256)), None);
    }
}
