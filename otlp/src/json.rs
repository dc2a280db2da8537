//! Traces and logs in JSON.
//!
//! OTLP's own JSON is protobuf's with exceptions: ids are hexadecimal, enums are numbers. What the specification allows is
//! accepted, `null` for anything and numbers as text included, and what it forbids is not. The bodies of partial spans
//! are made by others, who write names for enums, snake case for keys and base64 for ids; they are read with
//! [`Strictness::Partial`].
//!
//! Texts are borrowed from the request unless they have escapes, spans are passed on one by one, and what is not read is
//! skipped without recursion.

mod objects;
mod span;
mod values;

use serde::de::{DeserializeSeed as _, MapAccess};
use serde_json::Deserializer;

use self::objects::{Array, Object, Objects, skip};
use self::span::Spans;
use self::values::{AnyValue, SpanIdOf, Text, TraceIdOf};
use crate::attributes::{Attributes, Value};
use crate::collect::{Collector, Mark};
use crate::keys::Key;
use crate::partial::{Body, Record};
use crate::resource::Resource;
use crate::signal::InstanceIx;

/// How much is forgiven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// What OTLP allows.
    Otlp,
    /// What the senders of partial spans write in the body of a log record of some instance.
    Partial {
        /// Where the spans ran, unless the body names a service.
        of_record: InstanceIx,
    },
}

impl Strictness {
    fn is_lenient(self) -> bool {
        self != Strictness::Otlp
    }
}

/// Reads an `ExportTraceServiceRequest`, or a `TracesData`, which has the same keys.
pub(crate) fn traces(request: &[u8], strictness: Strictness, out: &mut Collector) -> Result<(), serde_json::Error> {
    let reader = &mut Reader {
        out,
        strictness,
        attributes: Attributes::default(),
    };
    read(request, Level { reader, of: Of::Traces })
}

/// Reads an `ExportLogsServiceRequest`.
pub(crate) fn logs(request: &[u8], out: &mut Collector) -> Result<(), serde_json::Error> {
    let reader = &mut Reader {
        out,
        strictness: Strictness::Otlp,
        attributes: Attributes::default(),
    };
    read(request, Level { reader, of: Of::Logs })
}

fn read<'de>(request: &'de [u8], mut root: Level<'_, '_, 'de>) -> Result<(), serde_json::Error> {
    let mut json = Deserializer::from_slice(request);
    Object::of(&mut root).deserialize(&mut json)?;
    json.end()
}

/// What all levels share.
struct Reader<'o, 'de> {
    out: &'o mut Collector,
    strictness: Strictness,
    /// Those of the span that is being read.
    attributes: Attributes<'de>,
}

/// Traces or logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Traces,
    Logs,
}

/// The request itself.
struct Level<'r, 'o, 'de> {
    reader: &'r mut Reader<'o, 'de>,
    of: Of,
}

impl<'de> Objects<'de> for Level<'_, '_, 'de> {
    fn is_lenient(&self) -> bool {
        self.reader.strictness.is_lenient()
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match (self.of, key) {
            (Of::Traces, "resourceSpans") | (Of::Logs, "resourceLogs") => {
                map.next_value_seed(Array::of(&mut Resources {
                    reader: self.reader,
                    of: self.of,
                    ix: InstanceIx(0),
                    since: None,
                    resource: Resource::default(),
                }))
            }
            _ => skip(map),
        }
    }
}

/// `ResourceSpans`, or `ResourceLogs`.
struct Resources<'r, 'o, 'de> {
    reader: &'r mut Reader<'o, 'de>,
    of: Of,
    ix: InstanceIx,
    since: Option<Mark>,
    resource: Resource,
}

impl<'de> Objects<'de> for Resources<'_, '_, 'de> {
    fn is_lenient(&self) -> bool {
        self.reader.strictness.is_lenient()
    }

    fn begin(&mut self) {
        self.ix = self.reader.out.open_instance();
        self.since = Some(self.reader.out.mark());
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match (self.of, key) {
            (_, "resource") => map.next_value_seed(Object::of(&mut OneResource {
                resource: &mut self.resource,
                is_lenient: self.reader.strictness.is_lenient(),
            })),
            (Of::Traces, "scopeSpans") | (Of::Logs, "scopeLogs") => map.next_value_seed(Array::of(&mut Scopes {
                reader: self.reader,
                of: self.of,
                ix: self.ix,
            })),
            _ => skip(map),
        }
    }

    fn end(&mut self) {
        let resource = std::mem::take(&mut self.resource);
        let (ix, Some(since)) = (self.ix, self.since.take()) else {
            return;
        };
        match self.reader.strictness {
            Strictness::Otlp => self.reader.out.close_instance(ix, since, || resource.into_instance()),
            Strictness::Partial { of_record } => {
                let instance = resource.into_instance();
                self.reader.out.close_body(ix, since, of_record, instance);
            }
        }
    }
}

/// A `Resource`.
struct OneResource<'r> {
    resource: &'r mut Resource,
    is_lenient: bool,
}

impl<'de> Objects<'de> for OneResource<'_> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "attributes" {
            let resource = &mut *self.resource;
            let mut add = |name: &str, value: Value<'de>| resource.add(name, &value);
            map.next_value_seed(Array::of(&mut KeyValues::new(self.is_lenient, &mut add)))
        } else {
            skip(map)
        }
    }
}

/// `ScopeSpans`, or `ScopeLogs`.
struct Scopes<'r, 'o, 'de> {
    reader: &'r mut Reader<'o, 'de>,
    of: Of,
    ix: InstanceIx,
}

impl<'de> Objects<'de> for Scopes<'_, '_, 'de> {
    fn is_lenient(&self) -> bool {
        self.reader.strictness.is_lenient()
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match (self.of, key) {
            (Of::Traces, "spans") => map.next_value_seed(Array::of(&mut Spans::new(self.reader, self.ix))),
            (Of::Logs, "logRecords") => map.next_value_seed(Array::of(&mut Records {
                reader: self.reader,
                ix: self.ix,
                record: Record::default(),
            })),
            _ => skip(map),
        }
    }
}

/// `KeyValue`, in an array of them.
struct KeyValues<'r, 'de> {
    key: Text<'de>,
    value: Value<'de>,
    is_lenient: bool,
    add: &'r mut dyn FnMut(&str, Value<'de>),
}

impl<'r, 'de> KeyValues<'r, 'de> {
    fn new(is_lenient: bool, add: &'r mut dyn FnMut(&str, Value<'de>)) -> Self {
        KeyValues {
            key: Text::default(),
            value: Value::Other,
            is_lenient,
            add,
        }
    }
}

impl<'de> Objects<'de> for KeyValues<'_, 'de> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn begin(&mut self) {
        (self.key, self.value) = (Text::default(), Value::Other);
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "key" => self.key = map.next_value()?,
            "value" => self.value = map.next_value_seed(AnyValue::new(self.is_lenient))?,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self) {
        (self.add)(&self.key.0, std::mem::take(&mut self.value));
    }
}

/// `LogRecord`.
struct Records<'r, 'o, 'de> {
    reader: &'r mut Reader<'o, 'de>,
    ix: InstanceIx,
    record: Record<'de>,
}

impl<'de> Objects<'de> for Records<'_, '_, 'de> {
    fn is_lenient(&self) -> bool {
        false
    }

    fn begin(&mut self) {
        self.record = Record::default();
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let is_lenient = false;
        let record = &mut self.record;
        match key {
            "traceId" => record.trace = map.next_value_seed(TraceIdOf { is_lenient })?,
            "spanId" => record.span = map.next_value_seed(SpanIdOf { is_lenient })?,
            "body" => record.body = Body::of(map.next_value_seed(AnyValue::new(is_lenient))?),
            "attributes" => {
                let mut add = |name: &str, value: Value<'de>| {
                    if let Some(key) = Key::of(name.as_bytes()) {
                        record.add(key, value);
                    }
                };
                map.next_value_seed(Array::of(&mut KeyValues::new(is_lenient, &mut add)))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self) {
        std::mem::take(&mut self.record).take(self.ix, self.reader.out);
    }
}
