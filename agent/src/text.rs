//! Texts that cost nothing to hand around.

use std::borrow::Cow;
use std::sync::Arc;

use opentelemetry::StringValue;

/// A name, target, resource or id, as the helpers take it.
///
/// A `&'static str` and an `Arc<str>` are taken over as they are, without an allocation; a `String` is copied once. So
/// names that are used for many calls are best kept as `Arc<str>`:
///
/// ```
/// # use opentelemetry_sdk::trace::SdkTracerProvider;
/// # use standoff_agent::Spans;
/// # let spans = Spans::new(&SdkTracerProvider::builder().build());
/// use std::sync::Arc;
///
/// let target: Arc<str> = format!("{{:server_b, {}}}", 42).into();
/// for _ in 0..3 {
///     let call = spans.call(&target).start();
///     call.end();
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Repr);

#[derive(Clone, Debug)]
enum Repr {
    Static(&'static str),
    Shared(Arc<str>),
}

impl Repr {
    fn as_str(&self) -> &str {
        match self {
            Repr::Static(text) => text,
            Repr::Shared(text) => text,
        }
    }
}

impl PartialEq for Repr {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Repr {}

impl std::hash::Hash for Repr {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl Text {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// As a name of a span. Only a shared one is copied.
    #[inline]
    pub(crate) fn to_name(&self) -> Cow<'static, str> {
        match &self.0 {
            Repr::Static(text) => Cow::Borrowed(text),
            Repr::Shared(text) => Cow::Owned(text.as_ref().to_owned()),
        }
    }

    /// As a value of an attribute. Cloning it costs no allocation either.
    #[inline]
    pub(crate) fn into_value(self) -> StringValue {
        match self.0 {
            Repr::Static(text) => StringValue::from(text),
            Repr::Shared(text) => StringValue::from(text),
        }
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Text(Repr::Static(text))
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Text(Repr::Shared(text))
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Text(Repr::Shared(Arc::clone(text)))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Text(Repr::Shared(text.into()))
    }
}

impl From<&String> for Text {
    fn from(text: &String) -> Self {
        Text(Repr::Shared(text.as_str().into()))
    }
}

impl From<Cow<'static, str>> for Text {
    fn from(text: Cow<'static, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl From<&Text> for Text {
    fn from(text: &Text) -> Self {
        text.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_what_it_was_made_of() {
        let texts: [Text; 6] = [
            "a".into(),
            "a".to_owned().into(),
            (&"a".to_owned()).into(),
            Arc::<str>::from("a").into(),
            (&Arc::<str>::from("a")).into(),
            Cow::Borrowed("a").into(),
        ];
        for text in &texts {
            assert_eq!((text, text.as_str()), (&texts[0], "a"));
            assert_eq!(text.to_name(), "a");
            assert_eq!(text.clone().into_value().as_str(), "a");
        }
    }
}
