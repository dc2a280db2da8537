//! Spans in JSON.

use serde::de::MapAccess;

use super::objects::{Array, Object, Objects, skip};
use super::values::{Enum, Int, SpanIdOf, Text, TraceIdOf};
use super::{KeyValues, Reader};
use crate::attributes::Value;
use crate::keys::Key;
use crate::signal::InstanceIx;
use crate::span::{Id, Links, RawSpan};

/// `Span`.
pub(super) struct Spans<'r, 'o, 'de> {
    reader: &'r mut Reader<'o, 'de>,
    ix: InstanceIx,
    span: RawSpan<'de>,
}

impl<'r, 'o, 'de> Spans<'r, 'o, 'de> {
    pub(super) fn new(reader: &'r mut Reader<'o, 'de>, ix: InstanceIx) -> Self {
        Spans {
            reader,
            ix,
            span: RawSpan::default(),
        }
    }
}

impl<'de> Objects<'de> for Spans<'_, '_, 'de> {
    fn is_lenient(&self) -> bool {
        self.reader.strictness.is_lenient()
    }

    fn begin(&mut self) {
        self.span = RawSpan::default();
        self.reader.attributes.clear();
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let is_lenient = self.is_lenient();
        let span = &mut self.span;
        match key {
            "traceId" => span.trace = map.next_value_seed(TraceIdOf { is_lenient })?,
            "spanId" => span.span = map.next_value_seed(SpanIdOf { is_lenient })?,
            "parentSpanId" => span.parent = map.next_value_seed(SpanIdOf { is_lenient })?,
            "name" => span.name = map.next_value::<Text<'de>>()?.0,
            "kind" => span.kind = map.next_value_seed(Enum::kind(is_lenient))?,
            "startTimeUnixNano" => span.start_ns = map.next_value::<Int>()?.unsigned()?,
            "endTimeUnixNano" => span.end_ns = map.next_value::<Int>()?.unsigned()?,
            // Bits beyond the 32 of the field mean nothing.
            "flags" => span.flags = map.next_value::<Int>()?.unsigned::<A::Error>()? as u32,
            "status" => map.next_value_seed(Object::of(&mut Status {
                code: &mut span.status,
                is_lenient,
            }))?,
            "links" => map.next_value_seed(Array::of(&mut LinksOf {
                links: &mut span.links,
                span: Id::Absent,
                flags: 0,
                is_lenient,
            }))?,
            "attributes" => {
                let attributes = &mut self.reader.attributes;
                let mut add = |name: &str, value: Value<'de>| {
                    if let Some(key) = Key::of(name.as_bytes()) {
                        attributes.add(key, value);
                    }
                };
                map.next_value_seed(Array::of(&mut KeyValues::new(is_lenient, &mut add)))?;
            }
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self) {
        self.reader.out.span(self.ix, &self.span, &self.reader.attributes);
    }
}

/// A `Status`.
struct Status<'r> {
    code: &'r mut i32,
    is_lenient: bool,
}

impl<'de> Objects<'de> for Status<'_> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "code" {
            *self.code = map.next_value_seed(Enum::status(self.is_lenient))?;
            Ok(())
        } else {
            skip(map)
        }
    }
}

/// `Link`, in an array of them.
struct LinksOf<'r> {
    links: &'r mut Links,
    span: Id<u64>,
    flags: u32,
    is_lenient: bool,
}

impl<'de> Objects<'de> for LinksOf<'_> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn begin(&mut self) {
        (self.span, self.flags) = (Id::Absent, 0);
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let is_lenient = self.is_lenient;
        match key {
            "spanId" => self.span = map.next_value_seed(SpanIdOf { is_lenient })?,
            // As those of a span.
            "flags" => self.flags = map.next_value::<Int>()?.unsigned::<A::Error>()? as u32,
            _ => skip(map)?,
        }
        Ok(())
    }

    fn end(&mut self) {
        self.links.add(self.span, self.flags);
    }
}
