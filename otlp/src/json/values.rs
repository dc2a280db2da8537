//! Values as OTLP's JSON, and its imitators, write them. `null` is always absence.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use standoff_protocol::stream::RESOURCES_PER_SPAN_MAX;

use super::objects::{Object, Objects, skip};
use crate::attributes::Value;
use crate::span::Id;

/// A text, borrowed unless it has escapes.
#[derive(Clone, Debug, Default)]
pub(super) struct Text<'de>(pub(super) Cow<'de, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(text.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Text<'de>, E> {
        Ok(Text::default())
    }
}

/// A whole number: written as a number or as text, with an exponent or a point as long as it is whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Int(i128);

impl Int {
    /// As an unsigned number of 64 bits.
    pub(super) fn unsigned<E: Error>(self) -> Result<u64, E> {
        u64::try_from(self.0).map_err(|_| E::custom(format_args!("{} is not within 64 bits, unsigned", self.0)))
    }

    /// As a signed number of 64 bits.
    fn signed<E: Error>(self) -> Result<i64, E> {
        i64::try_from(self.0).map_err(|_| E::custom(format_args!("{} is not within 64 bits", self.0)))
    }
}

impl<'de> Deserialize<'de> for Int {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(IntVisitor)
    }
}

struct IntVisitor;

impl Visitor<'_> for IntVisitor {
    type Value = Int;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a whole number, or a text that is one")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Int, E> {
        Ok(Int(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Int, E> {
        Ok(Int(number.into()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Int, E> {
        // Beyond 2^64 it is out of range for everybody who asks.
        if number.fract() == 0.0 && number.abs() < 1e20 {
            Ok(Int(number as i128))
        } else {
            Err(E::invalid_value(Unexpected::Float(number), &self))
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Int, E> {
        if text.is_empty() {
            return Ok(Int(0));
        }
        if let Ok(number) = text.parse::<i128>() {
            return Ok(Int(number));
        }
        match text.parse::<f64>() {
            Ok(number) if number.is_finite() => self.visit_f64(number),
            _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
        }
    }

    fn visit_unit<E>(self) -> Result<Int, E> {
        Ok(Int(0))
    }
}

/// A number that need not be whole. Some numbers can only be written as text.
struct Double(f64);

impl<'de> Deserialize<'de> for Double {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DoubleVisitor)
    }
}

struct DoubleVisitor;

impl Visitor<'_> for DoubleVisitor {
    type Value = Double;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, or a text that is one")
    }

    fn visit_u64<E>(self, number: u64) -> Result<Double, E> {
        Ok(Double(number as f64))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Double, E> {
        Ok(Double(number as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Double, E> {
        Ok(Double(number))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Double, E> {
        // Rust reads `NaN` and `Infinity` as protobuf writes them.
        let number = text.parse().map(Double);
        number.map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_unit<E>(self) -> Result<Double, E> {
        Ok(Double(0.0))
    }
}

/// A truth, of which `null` is the lesser.
struct Flag(bool);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<bool>::deserialize(deserializer).map(|flag| Flag(flag.unwrap_or_default()))
    }
}

/// Names of an enum's values, by number.
type Names = &'static [&'static str];

/// A value of an enum: a number, and its name where that is forgiven.
pub(super) struct Enum {
    /// Empty if only numbers count.
    names: Names,
}

impl Enum {
    pub(super) fn kind(is_lenient: bool) -> Self {
        const NAMES: Names = &[
            "SPAN_KIND_UNSPECIFIED",
            "SPAN_KIND_INTERNAL",
            "SPAN_KIND_SERVER",
            "SPAN_KIND_CLIENT",
            "SPAN_KIND_PRODUCER",
            "SPAN_KIND_CONSUMER",
        ];
        Enum {
            names: if is_lenient { NAMES } else { &[] },
        }
    }

    pub(super) fn status(is_lenient: bool) -> Self {
        const NAMES: Names = &["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"];
        Enum {
            names: if is_lenient { NAMES } else { &[] },
        }
    }
}

impl<'de> DeserializeSeed<'de> for Enum {
    type Value = i32;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<i32, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for Enum {
    type Value = i32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.names.is_empty() {
            "the number of an enum's value (OTLP has no names for them in JSON)"
        } else {
            "the number or name of an enum's value"
        })
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<i32, E> {
        i32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<i32, E> {
        i32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<i32, E> {
        let place = self.names.iter().position(|name| *name == text);
        let number = place.and_then(|place| i32::try_from(place).ok());
        number.ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_unit<E>(self) -> Result<i32, E> {
        Ok(0)
    }
}

/// The id of a trace.
pub(super) struct TraceIdOf {
    pub(super) is_lenient: bool,
}

impl<'de> DeserializeSeed<'de> for TraceIdOf {
    type Value = Id<u128>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Id<u128>, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Ok(match (hexadecimal(&text.0), self.is_lenient) {
            (Some(bytes), _) => Id::trace(&bytes),
            (None, true) => Id::trace(&base64(&text.0)),
            (None, false) => Id::Invalid,
        })
    }
}

/// The id of a span.
pub(super) struct SpanIdOf {
    pub(super) is_lenient: bool,
}

impl<'de> DeserializeSeed<'de> for SpanIdOf {
    type Value = Id<u64>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Id<u64>, D::Error> {
        let text = Text::deserialize(deserializer)?;
        Ok(match (hexadecimal(&text.0), self.is_lenient) {
            (Some(bytes), _) => Id::span(&bytes),
            (None, true) => Id::span(&base64(&text.0)),
            (None, false) => Id::Invalid,
        })
    }
}

/// The bytes of hexadecimal digits, for texts as long as the longest id at most.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() > 32 || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

/// The bytes of an id in base64; one byte, which no id has, if it is not.
fn base64(text: &str) -> Vec<u8> {
    if text.len() > 24 {
        return vec![0];
    }
    STANDARD.decode(text).unwrap_or_else(|_| vec![0])
}

/// An `AnyValue`.
pub(super) struct AnyValue<'de> {
    value: Value<'de>,
    is_lenient: bool,
}

impl AnyValue<'_> {
    pub(super) fn new(is_lenient: bool) -> Self {
        AnyValue {
            value: Value::Other,
            is_lenient,
        }
    }
}

impl<'de> DeserializeSeed<'de> for AnyValue<'de> {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Value<'de>, D::Error> {
        Object::of(&mut self).deserialize(deserializer)?;
        Ok(self.value)
    }
}

impl<'de> Objects<'de> for AnyValue<'de> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let value = match key {
            "stringValue" => Value::Text(map.next_value::<Text<'de>>()?.0),
            "boolValue" => Value::Bool(map.next_value::<Flag>()?.0),
            "intValue" => Value::Int(map.next_value::<Int>()?.signed()?),
            "doubleValue" => Value::Double(map.next_value::<Double>()?.0),
            "arrayValue" => {
                let mut texts = Texts {
                    texts: Vec::new(),
                    is_lenient: self.is_lenient,
                };
                map.next_value_seed(Object::of(&mut texts))?;
                Value::Texts(texts.texts)
            }
            "bytesValue" => match STANDARD.decode(map.next_value::<Text<'de>>()?.0.as_bytes()) {
                Ok(bytes) => Value::Bytes(bytes.into()),
                Err(error) => return Err(Error::custom(error)),
            },
            _ => return skip(map),
        };
        self.value = value;
        Ok(())
    }
}

/// The texts of an `ArrayValue`. What else is in it is left out.
struct Texts<'de> {
    texts: Vec<Cow<'de, str>>,
    is_lenient: bool,
}

impl<'de> Objects<'de> for Texts<'de> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "values" {
            map.next_value_seed(Elements(self))
        } else {
            skip(map)
        }
    }
}

/// The values of an array.
struct Elements<'t, 'de>(&'t mut Texts<'de>);

impl<'de> DeserializeSeed<'de> for Elements<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while self.0.texts.len() < RESOURCES_PER_SPAN_MAX {
            let mut element = Element {
                text: None,
                is_lenient: self.0.is_lenient,
            };
            if array.next_element_seed(Object::of(&mut element))?.is_none() {
                return Ok(());
            }
            self.0.texts.extend(element.text);
        }
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A value within an array, of which only texts are read.
struct Element<'de> {
    text: Option<Cow<'de, str>>,
    is_lenient: bool,
}

impl<'de> Objects<'de> for Element<'de> {
    fn is_lenient(&self) -> bool {
        self.is_lenient
    }

    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if key == "stringValue" {
            self.text = Some(map.next_value::<Text<'de>>()?.0);
            Ok(())
        } else {
            skip(map)
        }
    }
}
