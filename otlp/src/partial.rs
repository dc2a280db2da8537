//! Log records that carry a span: `partial.event` says whether it is open or has ended.
//!
//! There are several senders, and no two agree. Bodies are JSON that is not quite OTLP's, or protobuf in base64; ids may
//! be missing on the record, the service may be missing on the record or in the body.

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::attributes::Value;
use crate::collect::{Collector, Said};
use crate::json::{self, Strictness};
use crate::keys::Key;
use crate::limits::{HEARTBEAT, HEARTBEAT_MAX};
use crate::protobuf;
use crate::signal::InstanceIx;
use crate::span::{Id, Rejection};

/// Base64 as some write it who leave out what follows from the length.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What the body of a record is.
#[derive(Clone, Debug, Default)]
pub(crate) enum Body<'a> {
    #[default]
    None,
    /// A text, or bytes.
    Bytes(&'a [u8]),
    /// The same, that had to be put together.
    Owned(Vec<u8>),
}

impl<'a> Body<'a> {
    /// The text or bytes of a value.
    pub(crate) fn of(value: Value<'a>) -> Self {
        match value {
            Value::Text(Cow::Borrowed(text)) => Body::Bytes(text.as_bytes()),
            Value::Text(Cow::Owned(text)) => Body::Owned(text.into_bytes()),
            Value::Bytes(Cow::Borrowed(bytes)) => Body::Bytes(bytes),
            Value::Bytes(Cow::Owned(bytes)) => Body::Owned(bytes),
            Value::Other | Value::Bool(_) | Value::Int(_) | Value::Double(_) | Value::Texts(_) => Body::None,
        }
    }
}

/// What we read of a log record.
#[derive(Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) trace: Id<u128>,
    pub(crate) span: Id<u64>,
    pub(crate) body: Body<'a>,
    event: Option<Event>,
    frequency: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Heartbeat,
    Stop,
}

impl<'a> Record<'a> {
    /// Adds an attribute. Of several with the same key the last counts that is a text, and not empty.
    pub(crate) fn add(&mut self, key: Key, value: Value<'a>) {
        let Value::Text(text) = value else {
            return;
        };
        if text.is_empty() {
            return;
        }
        if key == Key::PartialEvent {
            self.event = match text.as_ref() {
                "heartbeat" => Some(Event::Heartbeat),
                "stop" => Some(Event::Stop),
                _ => None,
            };
        } else if key == Key::PartialFrequency {
            self.frequency = duration(&text);
        }
        // The type of the body says less than the body: some senders name one and send another.
    }

    /// Whether it is more than a log record.
    pub(crate) fn is_partial(&self) -> bool {
        self.event.is_some()
    }

    /// Passes on what it says.
    pub(crate) fn take(self, instance: InstanceIx, out: &mut Collector) {
        let Some(event) = self.event else {
            return;
        };
        out.expect(match event {
            Event::Heartbeat => Said::Heartbeat(self.frequency.unwrap_or(HEARTBEAT).min(HEARTBEAT_MAX)),
            Event::Stop => Said::Stop,
        });
        let mark = out.mark();
        let is_read = match &self.body {
            Body::None => false,
            Body::Bytes(body) => spans(body, instance, out),
            Body::Owned(body) => spans(body, instance, out),
        };
        out.expect(Said::Trace);
        if is_read && !out.is_at(mark) {
            return;
        }
        out.back_to(mark);
        match (event, self.trace, self.span) {
            // It says so itself, whatever its body is.
            (Event::Stop, Id::Valid(trace), Id::Valid(span)) => out.stopped(instance, trace, span),
            _ => out.reject(Rejection::Body),
        }
    }
}

/// Reads the spans of a body, and answers whether it could be read.
fn spans(body: &[u8], of_record: InstanceIx, out: &mut Collector) -> bool {
    if body.trim_ascii_start().first() == Some(&b'{') {
        return json::traces(body, Strictness::Partial { of_record }, out).is_ok();
    }
    // Text is base64; bytes are the message itself. A message begins with a field that no base64 text begins with.
    let message = if body.first() == Some(&0x0a) {
        Cow::Borrowed(body)
    } else {
        match BASE64.decode(body.trim_ascii()) {
            Ok(message) => Cow::Owned(message),
            Err(_) => return false,
        }
    };
    protobuf::body(&message, of_record, out).is_ok()
}

/// A duration as Go writes it: `5000ms`, `1m30s`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = 0.0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at_checked(digits)?;
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(unit)?;
        let scale = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    let duration = Duration::try_from_secs_f64(seconds).ok()?;
    (!duration.is_zero()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_as_go_writes_them() {
        let cases = [
            ("5000ms", Some(5000)),
            ("1m30s", Some(90_000)),
            ("1.5s", Some(1500)),
            ("1h", Some(3_600_000)),
            ("250000us", Some(250)),
            ("0s", None),
            ("5000", None),
            ("ms", None),
            ("1e9s", None),
            ("-1s", None),
            ("1.2.3s", None),
            ("", None),
        ];
        for (text, millis) in cases {
            assert_eq!(duration(text), millis.map(Duration::from_millis), "{text}");
        }
        let endless = "9".repeat(400) + "s";
        assert_eq!(duration(&endless), None);
    }
}
