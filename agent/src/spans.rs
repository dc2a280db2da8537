//! Helpers that make the right spans for calls, handles, holds and members.
//!
//! They start ordinary OpenTelemetry spans at once and with all their attributes, so whatever else exports the spans of
//! the provider sees them too. They need no [`Agent`](crate::Agent): without one nothing is reported.

use std::time::Duration;

use opentelemetry::trace::{SpanKind, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use standoff_protocol::stream::Role;

use crate::draft::Draft;
use crate::record::{Group, Subject};
use crate::{OpenSpan, Outcome, Text};

/// Starts spans that standoff understands.
///
/// ```
/// use std::time::Duration;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use standoff_agent::{Outcome, Spans};
///
/// let provider = SdkTracerProvider::builder().build();
/// let spans = Spans::new(&provider);
///
/// // A turn of the actor `{:server_a, 42}`, which does one thing at a time.
/// let turn = spans.handle("handle_call").resource("{:server_a, 42}").start();
/// turn.in_scope(|| {
///     // It asks another actor, and waits for at most 5 s.
///     let call = spans.call("{:server_b, 42}").timeout(Duration::from_secs(5)).start();
///     match ask() {
///         Ok(_reply) => call.end(),
///         Err(Failure::Timeout) => call.end_with(Outcome::Timeout),
///         Err(Failure::Refused) => call.end_with(Outcome::Error),
///     }
/// });
/// turn.end();
/// # enum Failure { Timeout, Refused }
/// # fn ask() -> Result<i32, Failure> { Ok(1) }
/// ```
#[derive(Clone, Debug)]
pub struct Spans {
    tracer: SdkTracer,
}

impl Spans {
    /// Starts spans through `provider`. Its [`Agent::processor`](crate::Agent::processor) reports them.
    pub fn new(provider: &SdkTracerProvider) -> Spans {
        Spans {
            tracer: provider.tracer("standoff-agent"),
        }
    }

    /// A task waits for a reply from `target`: the resource a unit of which it needs until a handler accepts the call. An
    /// empty one says nothing: what is called is unknown until a handler accepts.
    ///
    /// ```
    /// # use opentelemetry_sdk::trace::SdkTracerProvider;
    /// # use standoff_agent::Spans;
    /// # let spans = Spans::new(&SdkTracerProvider::builder().build());
    /// // Whichever of two replicas answers first.
    /// let first = spans.call("replica-1").group("read", 1, 2).start();
    /// let second = spans.call("replica-2").group("read", 1, 2).start();
    /// # first.end();
    /// # second.end();
    /// ```
    pub fn call(&self, target: impl Into<Text>) -> CallBuilder<'_> {
        let mut draft = self.draft(Role::Call, SpanKind::Client, "call".into());
        let target = target.into();
        if !target.as_str().is_empty() {
            draft.facts.subject = Subject::Named(target.into_value());
        }
        CallBuilder { draft }
    }

    /// A task begins: a turn of an actor, a request or a message that is served. Its parent should be the call that it
    /// answers, as [extracted](crate::propagation::extract) from the message.
    ///
    /// ```
    /// # use opentelemetry_sdk::trace::SdkTracerProvider;
    /// # use standoff_agent::Spans;
    /// # let spans = Spans::new(&SdkTracerProvider::builder().build());
    /// # let caller = opentelemetry::Context::new();
    /// // One of the eight workers of a pool is busy with this.
    /// let work = spans.handle("work").parent(&caller).resource("workers").capacity(8).start();
    /// # work.end();
    /// ```
    pub fn handle(&self, name: impl Into<Text>) -> HandleBuilder<'_> {
        HandleBuilder {
            draft: self.draft(Role::Handle, SpanKind::Consumer, name.into()),
        }
    }

    /// The current task occupies units of `resource`: a lock, a connection of a pool.
    ///
    /// ```
    /// # use opentelemetry_sdk::trace::SdkTracerProvider;
    /// # use standoff_agent::Spans;
    /// # let spans = Spans::new(&SdkTracerProvider::builder().build());
    /// # let lock = std::sync::Mutex::new(());
    /// let waiting = spans.call("ledger lock").start();
    /// let guard = lock.lock();
    /// waiting.end();
    /// let held = spans.hold("ledger lock").start();
    /// // … work under the lock …
    /// drop(guard);
    /// held.end();
    /// ```
    pub fn hold(&self, resource: impl Into<Text>) -> HoldBuilder<'_> {
        let mut draft = self.draft(Role::Hold, SpanKind::Internal, "hold".into());
        draft.facts.subject = Subject::Named(resource.into().into_value());
        HoldBuilder { draft }
    }

    /// A consumer or worker contributes units to the pool `resource` for as long as it lives. It is reported at once.
    ///
    /// It is a root: it outlives whatever was going on when the consumer was started.
    ///
    /// ```
    /// # use opentelemetry_sdk::trace::SdkTracerProvider;
    /// # use standoff_agent::Spans;
    /// # let spans = Spans::new(&SdkTracerProvider::builder().build());
    /// let consumer = spans.member("service-a").units(1).start();
    /// // … consume until told to stop …
    /// consumer.end();
    /// ```
    pub fn member(&self, resource: impl Into<Text>) -> MemberBuilder<'_> {
        let mut draft = self.draft(Role::Member, SpanKind::Internal, "member".into());
        draft.facts.subject = Subject::Named(resource.into().into_value());
        draft.parent = Some(Context::new());
        MemberBuilder { draft }
    }

    #[inline]
    fn draft(&self, role: Role, kind: SpanKind, name: Text) -> Draft<'_> {
        Draft::new(&self.tracer, role, kind, name)
    }
}

/// A call about to start. See [`Spans::call`].
#[derive(Debug)]
#[must_use = "nothing is started until `start` is called"]
pub struct CallBuilder<'a> {
    draft: Draft<'a>,
}

impl CallBuilder<'_> {
    /// The same, to be started when the [`Spans`] that it came from may be gone.
    #[cfg(feature = "groups")]
    pub(crate) fn into_owned(self) -> CallBuilder<'static> {
        CallBuilder {
            draft: self.draft.into_owned(),
        }
    }

    /// Names the span, instead of `call`.
    #[inline]
    pub fn name(mut self, name: impl Into<Text>) -> Self {
        self.draft.name(name.into());
        self
    }

    /// The caller gives up after this long. It is still the caller who ends the span then.
    #[inline]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        // Rounded up, since 0 would mean that it never gives up; and attributes are signed.
        let below_a_second = timeout.subsec_nanos().div_ceil(1_000_000);
        let millis = timeout
            .as_secs()
            .saturating_mul(1000)
            .saturating_add(below_a_second.into());
        self.draft.facts.timeout_ms = millis.clamp(1, i64::MAX.cast_unsigned());
        self
    }

    /// Asks for this many units of the target instead of one.
    #[inline]
    pub fn units(mut self, units: u32) -> Self {
        self.draft.facts.units = units;
        self
    }

    /// The task needs only `needed` of the `size` calls that it makes with this group name.
    #[inline]
    pub fn group(mut self, name: impl Into<Text>, needed: u32, size: u32) -> Self {
        let name = name.into().into_value();
        self.draft.facts.group = Some(Group { name, needed, size });
        self
    }

    /// The enclosing handler does not wait for this call: it is spawned and left alone.
    #[inline]
    pub fn detached(mut self) -> Self {
        self.draft.facts.detached = true;
        self
    }

    /// The correlation id of the request, by which a handler is found that has no trace context.
    #[inline]
    pub fn conversation(mut self, id: impl Into<Text>) -> Self {
        self.draft.facts.conversation = Some(id.into().into_value());
        self
    }

    /// The wait is for something in this process, a lock for instance: the span is one of kind `INTERNAL`, so that nobody
    /// looks for a peer.
    #[inline]
    pub fn internal(mut self) -> Self {
        self.draft.kind = SpanKind::Internal;
        self
    }

    /// An attribute of one's own, for whatever else exports the span. Standoff does not read it.
    #[inline]
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.draft.attributes.push(attribute);
        self
    }

    /// What listens there is what is needed, unless a target has been named.
    #[cfg(feature = "tower")]
    pub(crate) fn address(mut self, host: String, port: u16) -> Self {
        if let Subject::Unknown = self.draft.facts.subject {
            self.draft.facts.subject = Subject::Address(host.into(), port.into());
        }
        self
    }

    /// The parent, instead of the current context.
    #[inline]
    pub fn parent(mut self, parent: &Context) -> Self {
        self.draft.parent = Some(parent.clone());
        self
    }

    /// Starts the call.
    #[inline]
    pub fn start(self) -> OpenSpan {
        self.draft.start(Outcome::Cancelled)
    }
}

/// A handle about to start. See [`Spans::handle`].
#[derive(Debug)]
#[must_use = "nothing is started until `start` is called"]
pub struct HandleBuilder<'a> {
    draft: Draft<'a>,
}

impl HandleBuilder<'_> {
    /// The handler occupies a unit of this resource. May be called several times.
    #[inline]
    pub fn resource(mut self, name: impl Into<Text>) -> Self {
        self.draft.facts.subject.push(name.into().into_value());
        self
    }

    /// The units of its resources that this instance offers. Without it, and without [members](Spans::member), a
    /// resource is exclusive.
    #[inline]
    pub fn capacity(mut self, units: u32) -> Self {
        self.draft.facts.capacity = units;
        self
    }

    /// The correlation id of the request, by which its call is found where there is no trace context.
    #[inline]
    pub fn conversation(mut self, id: impl Into<Text>) -> Self {
        self.draft.facts.conversation = Some(id.into().into_value());
        self
    }

    /// Makes the span one of kind `SERVER` instead of `CONSUMER`.
    #[inline]
    pub fn server(mut self) -> Self {
        self.draft.kind = SpanKind::Server;
        self
    }

    /// Makes the span one of kind `INTERNAL`: a branch of what this process does anyway.
    #[inline]
    pub fn internal(mut self) -> Self {
        self.draft.kind = SpanKind::Internal;
        self
    }

    /// An attribute of one's own, for whatever else exports the span. Standoff does not read it.
    #[inline]
    pub fn attribute(mut self, attribute: KeyValue) -> Self {
        self.draft.attributes.push(attribute);
        self
    }

    /// The parent, instead of the current context: usually the caller's context, as extracted from the message.
    #[inline]
    pub fn parent(mut self, parent: &Context) -> Self {
        self.draft.parent = Some(parent.clone());
        self
    }

    /// Starts the handle.
    #[inline]
    pub fn start(self) -> OpenSpan {
        self.draft.start(Outcome::Finished)
    }
}

/// A hold about to start. See [`Spans::hold`].
#[derive(Debug)]
#[must_use = "nothing is started until `start` is called"]
pub struct HoldBuilder<'a> {
    draft: Draft<'a>,
}

impl HoldBuilder<'_> {
    /// Names the span, instead of `hold`.
    #[inline]
    pub fn name(mut self, name: impl Into<Text>) -> Self {
        self.draft.name(name.into());
        self
    }

    /// Holds this many units instead of one.
    #[inline]
    pub fn units(mut self, units: u32) -> Self {
        self.draft.facts.units = units;
        self
    }

    /// The whole capacity of the resource. Without it, and without members, a resource is exclusive.
    #[inline]
    pub fn capacity(mut self, units: u32) -> Self {
        self.draft.facts.capacity = units;
        self
    }

    /// The parent, instead of the current context.
    #[inline]
    pub fn parent(mut self, parent: &Context) -> Self {
        self.draft.parent = Some(parent.clone());
        self
    }

    /// Starts the hold.
    #[inline]
    pub fn start(self) -> OpenSpan {
        self.draft.start(Outcome::Finished)
    }
}

/// A member about to start. See [`Spans::member`].
#[derive(Debug)]
#[must_use = "nothing is started until `start` is called"]
pub struct MemberBuilder<'a> {
    draft: Draft<'a>,
}

impl MemberBuilder<'_> {
    /// Names the span, instead of `member`.
    #[inline]
    pub fn name(mut self, name: impl Into<Text>) -> Self {
        self.draft.name(name.into());
        self
    }

    /// Contributes this many units instead of one: the prefetch of a consumer, for instance.
    #[inline]
    pub fn units(mut self, units: u32) -> Self {
        self.draft.facts.units = units;
        self
    }

    /// Starts the member.
    #[inline]
    pub fn start(self) -> OpenSpan {
        self.draft.start(Outcome::Finished)
    }
}
