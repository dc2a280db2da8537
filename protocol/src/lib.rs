//! What crosses a process border in standoff.
//!
//! This crate owns shapes and names, and nothing that acts on them: the native stream between instances and the
//! collector ([`stream`], feature `stream`), the attribute names that spans carry ([`attributes`]), and the types of
//! the collector's HTTP API ([`api`], feature `api`). It depends on no sibling.

#[cfg(feature = "api")]
pub mod api;
pub mod attributes;
#[cfg(feature = "stream")]
pub mod stream;

/// Where things listen unless told otherwise.
pub mod ports {
    /// The collector's HTTP API.
    pub const HTTP: &str = "127.0.0.1:4380";
    /// The native stream.
    pub const STREAM: &str = "127.0.0.1:4381";
    /// The relay's status page and metrics.
    pub const RELAY_HTTP: &str = "127.0.0.1:4382";
    /// OTLP over gRPC, of collectors and relays. The port is that of the specification.
    pub const OTLP_GRPC: &str = "127.0.0.1:4317";
    /// OTLP over HTTP, likewise.
    pub const OTLP_HTTP: &str = "127.0.0.1:4318";
}
