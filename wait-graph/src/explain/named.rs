//! What the explanation asks of whoever keeps spans and names. The picture knows both only by numbers.

use std::sync::Arc;
use std::time::Duration;

use crate::span::{InstanceId, SpanId, TraceId};
use crate::wait_for::{Slot, Symbol};

/// Keeps the spans and names that a picture refers to.
pub(crate) trait Named {
    /// The id of a span, even if that span was never reported.
    fn id(&self, span: Slot) -> SpanId;

    /// What is known of a span, open or remembered; `None` if it was never reported.
    fn span(&self, span: Slot) -> Option<SpanFacts<'_>>;

    /// The name of the service of an instance; `None` if nobody has said.
    fn service(&self, instance: InstanceId) -> Option<&Arc<str>>;

    /// A name. The same name is always the same allocation: names are compared by address before they are read.
    fn text(&self, name: Symbol) -> &Arc<str>;
}

/// What a report says of a span.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SpanFacts<'a> {
    pub(crate) trace: TraceId,
    pub(crate) instance: InstanceId,
    pub(crate) name: &'a Arc<str>,
    pub(crate) started_at: Duration,
    /// Of a call: the caller gives up when it is this old.
    pub(crate) timeout: Option<Duration>,
}
