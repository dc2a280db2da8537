//! What an attribute says, as far as we read it.
//!
//! Odd values are data, not errors: what makes no sense counts as absent. This is how the agent library reads them, too.

use std::borrow::Cow;

use standoff_protocol::stream::{RESOURCES_PER_SPAN_MAX, TEXT_BYTES_MAX};

use crate::keys::Key;

/// The value of an attribute.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) enum Value<'a> {
    /// None, or of a kind that we never read.
    #[default]
    Other,
    Text(Cow<'a, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// The texts of an array, at most [`RESOURCES_PER_SPAN_MAX`]. What else is in it is left out.
    Texts(Vec<Cow<'a, str>>),
    Bytes(Cow<'a, [u8]>),
}

impl Value<'_> {
    /// A text that is not empty, cut to what the native stream accepts. Numbers are texts too: a port, for instance.
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        let text = match self {
            Value::Text(text) => Cow::Borrowed(cut(text)),
            Value::Int(number) => number.to_string().into(),
            Value::Double(number) => number.to_string().into(),
            Value::Bool(flag) => flag.to_string().into(),
            Value::Texts(_) | Value::Bytes(_) | Value::Other => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// Whether it counts beside an earlier one of the same key. The last of several counts, as in the agent library, and
    /// under a current and an older name, too; but instrumentations in between two conventions send one name filled and
    /// the other one empty.
    pub(crate) fn supersedes(&self) -> bool {
        *self != Value::Other && *self != Value::Text("".into())
    }

    /// A whole number above 0, or 0 if the value is none. `tracing` hands over unsigned numbers as text, and so do
    /// sources that know nothing but text.
    pub(crate) fn whole(&self) -> u64 {
        match self {
            Value::Int(number) => u64::try_from(*number).unwrap_or(0),
            Value::Text(text) => text.parse().unwrap_or(0),
            Value::Double(_) | Value::Bool(_) | Value::Texts(_) | Value::Bytes(_) | Value::Other => 0,
        }
    }

    /// As [`Value::whole`], for what fits 32 bits on the native stream. More than fits is as much as fits.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.whole()).unwrap_or(u32::MAX)
    }

    pub(crate) fn flag(&self) -> bool {
        match self {
            Value::Bool(flag) => *flag,
            Value::Text(text) => matches!(text.as_ref(), "true" | "True"),
            Value::Int(_) | Value::Double(_) | Value::Texts(_) | Value::Bytes(_) | Value::Other => false,
        }
    }

    /// The id of a span as 16 hexadecimal digits; 0 if it is none.
    pub(crate) fn span_id(&self) -> u64 {
        if let Value::Text(text) = self
            && text.len() == 16
            && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return u64::from_str_radix(text, 16).unwrap_or(0);
        }
        0
    }

    /// Names without duplicates: of an array, or one alone.
    pub(crate) fn names(&self) -> Vec<String> {
        let Value::Texts(texts) = self else {
            return self.text().map(Cow::into_owned).into_iter().collect();
        };
        let mut names: Vec<String> = Vec::with_capacity(texts.len().min(RESOURCES_PER_SPAN_MAX));
        for text in texts.iter().map(|text| cut(text)) {
            if names.len() < RESOURCES_PER_SPAN_MAX && !text.is_empty() && !names.iter().any(|name| name == text) {
                names.push(text.to_owned());
            }
        }
        names
    }
}

/// Cuts a text to what the native stream accepts.
pub(crate) fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_BYTES_MAX)).unwrap_or(text)
}

/// Text of bytes that should be UTF-8. Of more than is kept of any text, the rest is not even looked at.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    // Three bytes more, for a character that is cut in two is cut off later.
    String::from_utf8_lossy(bytes.get(..TEXT_BYTES_MAX + 3).unwrap_or(bytes))
}

/// The attributes of one span that we read.
#[derive(Debug, Default)]
pub(crate) struct Attributes<'a>(Vec<(Key, Value<'a>)>);

impl<'a> Attributes<'a> {
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds one. Of several with the same key the last counts, as [`Value::supersedes`] says.
    pub(crate) fn add(&mut self, key: Key, value: Value<'a>) {
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) if value.supersedes() => *known = value,
            Some(_) => {}
            None => self.0.push((key, value)),
        }
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Value<'a>> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }

    pub(crate) fn text(&self, key: Key) -> Option<Cow<'_, str>> {
        self.get(key)?.text()
    }

    pub(crate) fn whole(&self, key: Key) -> u64 {
        self.get(key).map_or(0, Value::whole)
    }

    pub(crate) fn count(&self, key: Key) -> u32 {
        self.get(key).map_or(0, Value::count)
    }

    pub(crate) fn flag(&self, key: Key) -> bool {
        self.get(key).is_some_and(Value::flag)
    }

    pub(crate) fn span_id(&self, key: Key) -> u64 {
        self.get(key).map_or(0, Value::span_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value<'_> {
        Value::Text(text.into())
    }

    #[test]
    fn numbers_may_be_texts_and_texts_numbers() {
        assert_eq!(text("5000").whole(), 5000);
        assert_eq!(Value::Int(5672).text().unwrap(), "5672");
        assert_eq!(Value::Int(i64::MAX).count(), u32::MAX);
        assert!(text("True").flag());
    }

    #[test]
    fn nonsense_counts_as_absent() {
        for value in [
            text("soon"),
            Value::Int(-3),
            Value::Double(2.0),
            Value::Bool(true),
            Value::Other,
        ] {
            assert_eq!(value.whole(), 0, "{value:?}");
        }
        for id in ["xyz", "+00000000000000f", "00000000000000ff0", "ff"] {
            assert_eq!(text(id).span_id(), 0, "{id}");
        }
        assert_eq!(text("00000000000000Ff").span_id(), 255);
        assert_eq!(text("").text(), None);
        assert!(!Value::Int(1).flag());
    }

    #[test]
    fn names_are_texts_without_duplicates() {
        let array = Value::Texts(vec!["a".into(), "b".into(), "a".into(), "".into()]);
        assert_eq!(array.names(), ["a", "b"]);
        assert_eq!(text("a").names(), ["a"]);
        assert_eq!(Value::Other.names(), [""; 0]);
        let many = Value::Texts((0..100).map(|n| n.to_string().into()).collect());
        assert_eq!(many.names().len(), RESOURCES_PER_SPAN_MAX);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let odd = "x".to_owned() + &"ä".repeat(TEXT_BYTES_MAX);
        assert_eq!(text(&odd).text().unwrap().len(), TEXT_BYTES_MAX - 1);
        let read = lossy(odd.as_bytes());
        assert_eq!(
            cut(&read).len(),
            TEXT_BYTES_MAX - 1,
            "and what is not looked at changes nothing"
        );
    }

    #[test]
    fn the_last_of_several_counts_unless_it_is_empty() {
        let mut attributes = Attributes::default();
        attributes.add(Key::Destination, text("old"));
        attributes.add(Key::Destination, text("new"));
        attributes.add(Key::Destination, text(""));
        assert_eq!(attributes.text(Key::Destination).unwrap(), "new");
    }
}
