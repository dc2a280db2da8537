//! Going through objects and arrays of objects without building them.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserializer;
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::values::Text;

/// Somebody who takes objects, field by field. `null` is an object without fields.
pub(super) trait Objects<'de> {
    /// Whether keys may be in snake case.
    fn is_lenient(&self) -> bool;

    /// An object begins.
    fn begin(&mut self) {}

    /// Takes the value of a field, or [`skip`]s it.
    fn field<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// It ends. Not called if reading it fails, and then nothing of the request counts.
    fn end(&mut self) {}
}

/// Leaves out a value, whatever it is.
pub(super) fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(drop)
}

/// One object.
pub(super) struct Object<'o, 'de, O> {
    objects: &'o mut O,
    of: PhantomData<&'de ()>,
}

impl<'o, O> Object<'o, '_, O> {
    pub(super) fn of(objects: &'o mut O) -> Self {
        Object {
            objects,
            of: PhantomData,
        }
    }
}

impl<'de, O: Objects<'de>> DeserializeSeed<'de> for Object<'_, 'de, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, O: Objects<'de>> Visitor<'de> for Object<'_, 'de, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.objects.begin();
        while let Some(Text(key)) = map.next_key()? {
            let key = if self.objects.is_lenient() {
                camel_case(&key)
            } else {
                Cow::Borrowed(key.as_ref())
            };
            self.objects.field(&key, &mut map)?;
        }
        self.objects.end();
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.objects.begin();
        self.objects.end();
        Ok(())
    }
}

/// `resourceSpans` of `resource_spans`.
fn camel_case(key: &str) -> Cow<'_, str> {
    if !key.contains('_') {
        return Cow::Borrowed(key);
    }
    let mut words = key.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    Cow::Owned(camel)
}

/// An array of objects; `null` is an empty one.
pub(super) struct Array<'o, 'de, O> {
    objects: &'o mut O,
    of: PhantomData<&'de ()>,
}

impl<'o, O> Array<'o, '_, O> {
    pub(super) fn of(objects: &'o mut O) -> Self {
        Array {
            objects,
            of: PhantomData,
        }
    }
}

impl<'de, O: Objects<'de>> DeserializeSeed<'de> for Array<'_, 'de, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, O: Objects<'de>> Visitor<'de> for Array<'_, 'de, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Object::of(self.objects))?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::camel_case;

    #[test]
    fn snake_case_becomes_camel_case() {
        assert_eq!(camel_case("start_time_unix_nano"), "startTimeUnixNano");
        assert_eq!(camel_case("traceId"), "traceId");
        assert_eq!(camel_case("_a__b_"), "AB");
    }
}
