//! Makes tracing-opentelemetry start the spans of calls when they are created.
//!
//! Left to itself it starts the OpenTelemetry span when the tracing span is first entered, and a call that is created,
//! handed around and never entered would be captured when it ends. Handles are left alone: they are entered at once,
//! and `set_parent` must still be possible on them.

use std::sync::OnceLock;

use tracing::dispatcher::WeakDispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use standoff_protocol::attributes;

/// A tracing layer that starts the OpenTelemetry spans of calls, holds and members when their tracing spans are created.
///
/// A span is one of them if it has the field `otel.kind = "client"`, or `standoff.role` as `call`, `hold` or `member`,
/// when it is created. Put this layer *after* (outside of) the OpenTelemetry layer, which has to see the span first. The
/// fields that matter must be given at creation: later ones are not seen, nor is `set_parent` possible on these spans.
///
/// ```
/// use opentelemetry::trace::TracerProvider;
/// use opentelemetry_sdk::trace::SdkTracerProvider;
/// use standoff_agent::StartCapture;
/// use tracing_subscriber::layer::SubscriberExt;
///
/// let provider = SdkTracerProvider::builder().build();
/// let subscriber = tracing_subscriber::registry()
///     .with(tracing_opentelemetry::layer().with_tracer(provider.tracer("service-a")))
///     .with(StartCapture::new());
///
/// tracing::subscriber::with_default(subscriber, || {
///     let call = tracing::info_span!("ask", otel.kind = "client", standoff.target = "{:server_b, 42}");
///     // … the call is captured already, though it has never been entered.
/// #   drop(call);
/// });
/// ```
#[derive(Debug, Default)]
pub struct StartCapture {
    /// Weak, since the dispatcher owns this layer.
    dispatch: OnceLock<WeakDispatch>,
}

impl StartCapture {
    /// A layer for one subscriber.
    pub fn new() -> Self {
        StartCapture::default()
    }
}

impl<S: Subscriber> Layer<S> for StartCapture {
    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        // A layer belongs to one subscriber, which is registered once.
        drop(self.dispatch.set(dispatch.downgrade()));
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _context: Context<'_, S>) {
        let mut starts = StartsAtCreation::default();
        attributes.record(&mut starts);
        if starts.get() {
            // The current dispatcher cannot be asked from within a layer, hence the one remembered.
            if let Some(dispatch) = self.dispatch.get().and_then(WeakDispatch::upgrade) {
                // Asking for the context starts the span; the context itself is of no use here.
                drop(tracing_opentelemetry::get_otel_context(id, &dispatch));
            }
        }
    }
}

/// Reads from a span's fields whether it is one whose start matters at once.
#[derive(Default)]
struct StartsAtCreation {
    client: bool,
    /// What the role says, which outranks the kind.
    role: Option<bool>,
}

impl StartsAtCreation {
    fn get(&self) -> bool {
        self.role.unwrap_or(self.client)
    }
}

impl Visit for StartsAtCreation {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "otel.kind" {
            self.client = value.eq_ignore_ascii_case("client");
        } else if field.name() == attributes::ROLE {
            self.role = match value {
                "call" | "hold" | "member" => Some(true),
                "handle" | "none" => Some(false),
                _ => None,
            };
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // `%"client"` and `?SpanKind::Client` arrive here.
        if field.name() == "otel.kind" || field.name() == attributes::ROLE {
            self.record_str(field, &format!("{value:?}"));
        }
    }
}
