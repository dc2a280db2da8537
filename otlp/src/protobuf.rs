//! Traces and logs in protobuf.
//!
//! A request is read in place, and of an ordinary span that has ended only what all spans have: its ids, kind, times and
//! status. Of its attributes only the lengths of their names are looked at, unless one has the length of a name that
//! matters. Only spans that are open, or stand for one that is, are read again and in full.

use standoff_protocol::stream::RESOURCES_PER_SPAN_MAX;

use crate::attributes::{Attributes, Value, lossy};
use crate::collect::{Collector, Mark};
use crate::keys::{Key, Lengths, OF_ENDED, OF_RECORDS};
use crate::partial::{Body, Record};
use crate::resource::Resource;
use crate::signal::{Instance, InstanceIx};
use crate::span::{Ending, Id, Links, RawSpan};
use crate::wire::{Fields, Value as Field, WireError};

/// Lengths of the names of attributes that matter of every span.
const ENDED: Lengths = Lengths::of(&OF_ENDED);
/// Lengths of the names of attributes that matter of every log record.
const RECORDS: Lengths = Lengths::of(&OF_RECORDS);

/// Reads an `ExportTraceServiceRequest`, or a `TracesData`, which is the same on the wire.
pub(crate) fn traces(request: &[u8], out: &mut Collector) -> Result<(), WireError> {
    let mut attributes = Attributes::default();
    each(request, 1, |resource_spans| {
        let (ix, since) = (out.open_instance(), out.mark());
        each(resource_spans, 2, |scope_spans| {
            each(scope_spans, 2, |bytes| span(bytes, ix, &mut attributes, out))
        })?;
        close(resource_spans, ix, since, out)
    })
}

/// Reads the `TracesData` in the body of a log record of some instance, which holds unless the body names a service.
pub(crate) fn body(message: &[u8], of_record: InstanceIx, out: &mut Collector) -> Result<(), WireError> {
    let mut attributes = Attributes::default();
    each(message, 1, |resource_spans| {
        let (ix, since) = (out.open_instance(), out.mark());
        each(resource_spans, 2, |scope_spans| {
            each(scope_spans, 2, |bytes| span(bytes, ix, &mut attributes, out))
        })?;
        let (instance, read) = instance(resource_spans);
        out.close_body(ix, since, of_record, instance);
        read
    })
}

/// Reads an `ExportLogsServiceRequest`.
pub(crate) fn logs(request: &[u8], out: &mut Collector) -> Result<(), WireError> {
    each(request, 1, |resource_logs| {
        let (ix, since) = (out.open_instance(), out.mark());
        each(resource_logs, 2, |scope_logs| {
            each(scope_logs, 2, |bytes| record(bytes, ix, out))
        })?;
        close(resource_logs, ix, since, out)
    })
}

/// Does something with each nested message of one field.
fn each<'a>(
    message: &'a [u8],
    number: u32,
    mut take: impl FnMut(&'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut fields = Fields::new(message);
    while let Some((found, value)) = fields.next()? {
        if found == number {
            take(value.bytes(found)?)?;
        }
    }
    Ok(())
}

/// Says which instance spans or records were of, if there were signals among them.
fn close(message: &[u8], ix: InstanceIx, since: Mark, out: &mut Collector) -> Result<(), WireError> {
    let mut read = Ok(());
    out.close_instance(ix, since, || {
        let (instance, result) = instance(message);
        read = result;
        instance
    });
    read
}

fn instance(message: &[u8]) -> (Instance, Result<(), WireError>) {
    let mut resource = Resource::default();
    // A message that is there several times is merged, which for attributes is one after the other.
    let read = each(message, 1, |bytes| {
        each(bytes, 1, |attribute| {
            let (key, value) = key_value(attribute)?;
            if let Ok(name) = std::str::from_utf8(key)
                && Resource::reads(name)
            {
                resource.add(name, &any_value(value)?);
            }
            Ok(())
        })
    });
    (resource.into_instance(), read)
}

fn span<'a>(
    bytes: &'a [u8],
    instance: InstanceIx,
    attributes: &mut Attributes<'a>,
    out: &mut Collector,
) -> Result<(), WireError> {
    let mut span = RawSpan::default();
    let mut name = &bytes[..0];
    let mut ending = Ending::default();
    let mut stands_for_another = false;
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            9 => {
                let attribute = value.bytes(number)?;
                if let Some(key) = key_that_matters(attribute, ENDED)? {
                    if matches!(key, Key::LogfireSpanType | Key::TwinMark) {
                        stands_for_another = true;
                    } else {
                        ending.add(key, any_value(key_value(attribute)?.1)?);
                    }
                }
            }
            1 => span.trace = Id::trace(value.bytes(number)?),
            2 => span.span = Id::span(value.bytes(number)?),
            4 => span.parent = Id::span(value.bytes(number)?),
            5 => name = value.bytes(number)?,
            6 => span.kind = value.int32(number)?,
            7 => span.start_ns = value.fixed64(number)?,
            8 => span.end_ns = value.fixed64(number)?,
            13 => link(value.bytes(number)?, &mut span.links)?,
            15 => status(value, number, &mut span)?,
            16 => span.flags = value.fixed32(number)?,
            _ => {}
        }
    }
    if span.end_ns != 0 && !stands_for_another && out.is_reading_traces() {
        out.ended(instance, &span, &ending);
        return Ok(());
    }
    span.name = lossy(name);
    attributes.clear();
    each(bytes, 9, |attribute| {
        let (key, value) = key_value(attribute)?;
        if let Some(key) = Key::of(key) {
            attributes.add(key, any_value(value)?);
        }
        Ok(())
    })?;
    out.span(instance, &span, attributes);
    Ok(())
}

fn status(value: Field<'_>, number: u32, span: &mut RawSpan<'_>) -> Result<(), WireError> {
    let mut fields = Fields::new(value.bytes(number)?);
    while let Some((number, value)) = fields.next()? {
        if number == 3 {
            span.status = value.int32(number)?;
        }
    }
    Ok(())
}

fn link(bytes: &[u8], links: &mut Links) -> Result<(), WireError> {
    let (mut span, mut flags) = (Id::Absent, 0);
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            2 => span = Id::span(value.bytes(number)?),
            6 => flags = value.fixed32(number)?,
            _ => {}
        }
    }
    links.add(span, flags);
    Ok(())
}

fn record(bytes: &[u8], instance: InstanceIx, out: &mut Collector) -> Result<(), WireError> {
    let mut record = Record::default();
    let mut body = None;
    let mut fields = Fields::new(bytes);
    while let Some((number, value)) = fields.next()? {
        match number {
            5 => body = Some(value.bytes(number)?),
            6 => {
                let attribute = value.bytes(number)?;
                if let Some(key) = key_that_matters(attribute, RECORDS)? {
                    record.add(key, any_value(key_value(attribute)?.1)?);
                }
            }
            9 => record.trace = Id::trace(value.bytes(number)?),
            10 => record.span = Id::span(value.bytes(number)?),
            _ => {}
        }
    }
    if !record.is_partial() {
        return Ok(());
    }
    record.body = match body.map(any_value_uncut).transpose()? {
        Some(Field::Bytes(bytes)) => Body::Bytes(bytes),
        _ => Body::None,
    };
    record.take(instance, out);
    Ok(())
}

/// The key of an attribute, if it is one that matters. `lengths` are those of all that do.
#[inline]
fn key_that_matters(attribute: &[u8], lengths: Lengths) -> Result<Option<Key>, WireError> {
    // What every encoder writes: the key, shorter than 128 bytes, and then the value, to the end.
    if let [0x0a, len, rest @ ..] = attribute
        && let Some((_, [0x12, value @ ..])) = rest.split_at_checked(usize::from(*len))
        && *len < 0x80
        && is_all(value)
        && !lengths.contains(usize::from(*len))
    {
        return Ok(None);
    }
    let (key, _) = key_value(attribute)?;
    Ok(if lengths.contains(key.len()) {
        Key::of(key)
    } else {
        None
    })
}

/// Whether bytes that begin with the length of a message end with it.
#[inline]
fn is_all(bytes: &[u8]) -> bool {
    match bytes {
        [len, rest @ ..] if *len < 0x80 => usize::from(*len) == rest.len(),
        [low, high, rest @ ..] if *high < 0x80 => usize::from(*low & 0x7f) | usize::from(*high) << 7 == rest.len(),
        _ => false,
    }
}

/// Key and value of a `KeyValue`, either empty if it is missing.
fn key_value(attribute: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut key, mut value) = (&attribute[..0], &attribute[..0]);
    let mut fields = Fields::new(attribute);
    while let Some((number, found)) = fields.next()? {
        match number {
            1 => key = found.bytes(number)?,
            // Merged, several values are the last that says something, which is as good as the last.
            2 => value = found.bytes(number)?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// What an `AnyValue` says, as far as we read it.
fn any_value(value: &[u8]) -> Result<Value<'_>, WireError> {
    let mut said = Value::Other;
    let mut fields = Fields::new(value);
    while let Some((number, found)) = fields.next()? {
        said = match number {
            1 => Value::Text(lossy(found.bytes(number)?)),
            2 => Value::Bool(found.number(number)? != 0),
            3 => Value::Int(found.number(number)?.cast_signed()),
            4 => Value::Double(f64::from_bits(found.fixed64(number)?)),
            5 => texts(found.bytes(number)?)?,
            7 => Value::Bytes(found.bytes(number)?.into()),
            _ => continue,
        };
    }
    Ok(said)
}

/// The text or bytes of an `AnyValue`, however long they are.
fn any_value_uncut(value: &[u8]) -> Result<Field<'_>, WireError> {
    let mut said = Field::Number(0);
    let mut fields = Fields::new(value);
    while let Some((number, found)) = fields.next()? {
        said = if matches!(number, 1 | 7) {
            found
        } else {
            Field::Number(0)
        };
    }
    Ok(said)
}

/// The texts of an `ArrayValue`. Arrays within it are passed over.
fn texts(array: &[u8]) -> Result<Value<'_>, WireError> {
    let mut texts = Vec::new();
    each(array, 1, |value| {
        let mut fields = Fields::new(value);
        while let Some((number, found)) = fields.next()? {
            if number == 1 && texts.len() < RESOURCES_PER_SPAN_MAX {
                texts.push(lossy(found.bytes(number)?));
            }
        }
        Ok(())
    })?;
    Ok(Value::Texts(texts))
}
