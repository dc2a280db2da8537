//! Reports the calls of a service to standoff when they start, not only when they end.
//!
//! The library lives beside the application, not in it: an operating-system thread with a runtime of its own tells the
//! collector which spans are open, so an application whose every thread is stuck still reports and still answers.
//! Nothing here blocks or fails the service: the collector may be absent, slow, or come back.
//!
//! ```no_run
//! use opentelemetry_sdk::Resource;
//! use opentelemetry_sdk::trace::SdkTracerProvider;
//! use standoff_agent::{Agent, Spans};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let agent = Agent::builder().upstream("http://127.0.0.1:4381").from_env()?.start()?;
//! let provider = SdkTracerProvider::builder()
//!     .with_resource(Resource::builder().with_service_name("service-a").build())
//!     .with_span_processor(agent.processor())
//!     .build();
//! let spans = Spans::new(&provider);
//!
//! let call = spans.call("{:server_b, 42}").start();
//! call.end();
//! agent.shutdown();
//! # Ok(())
//! # }
//! ```
//!
//! Stock instrumentation is understood as well: `CLIENT` spans are calls, `SERVER` and `CONSUMER` spans handles.
//!
//! **Sampling.** OpenTelemetry does not tell span processors of spans that a sampler drops, so what is dropped cannot be
//! seen here, and a wait stays unknown. Where you sample, wrap the sampler in [`Agent::sampler`] and every other processor
//! in [`SampledOnly`]: then every start counts, and your backend gets what it did before. Without a sampler of your own
//! everything is recorded anyway; but a handler follows its caller's decision under `ParentBased` samplers, the default,
//! so where any service samples, every service of the chain needs this.

#[cfg(feature = "actors")]
pub mod actors;
mod agent;
mod backoff;
mod capture;
mod conversation;
mod counters;
mod draft;
#[cfg(feature = "groups")]
pub mod groups;
#[cfg(feature = "lapin")]
pub mod lapin;
#[cfg(test)]
#[path = "../tests/support/mirror.rs"]
mod mirror;
mod open_span;
mod owner;
mod prepared;
mod primitives;
pub mod propagation;
mod reading;
mod record;
#[cfg(feature = "relay")]
pub mod relay;
mod reporter;
mod sampling;
#[cfg(feature = "sans-io")]
#[doc(hidden)]
pub mod sans_io;
mod session;
mod settings;
mod shared;
mod spans;
#[cfg(feature = "tracing")]
mod start_capture;
#[cfg(feature = "sync")]
pub mod sync;
mod table;
mod text;
#[cfg(feature = "tower")]
pub mod tower;

pub use agent::{Agent, AgentBuilder, StartError};
pub use capture::CaptureProcessor;
pub use counters::{Connection, Counters, Dropped};
pub use open_span::{OpenSpan, Outcome};
pub use sampling::{CaptureSampler, SampledOnly};
pub use settings::ConfigError;
pub use spans::{CallBuilder, HandleBuilder, HoldBuilder, MemberBuilder, Spans};
#[cfg(feature = "tracing")]
pub use start_capture::StartCapture;
pub use text::Text;

/// What the guide shows is compiled.
#[cfg(all(
    doctest,
    feature = "actors",
    feature = "groups",
    feature = "lapin",
    feature = "sync",
    feature = "tower"
))]
#[doc = include_str!("../../docs/rust.md")]
struct Guide;
